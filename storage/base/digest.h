/*
 * digest.h - SHA-256, its hexadecimal and base64 forms, and random bytes (OpenSSL libcrypto).
 *
 * Threads: a struct sha256 belongs to one thread at a time; everything else is callable anywhere.
 * Errors:  libcrypto's digests do not fail on memory that is there; a failure is an invariant.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/slice.h"

enum {
    DIGEST_SIZE = 32,
    DIGEST_HEX_SIZE = 64,    /* without a terminator */
    DIGEST_BASE64_SIZE = 44, /* without a terminator */
};

struct digest { /* a SHA-256; also the name of a chunk */
    uint8_t bytes[DIGEST_SIZE];
};

struct sha256 {
    void *context; /* EVP_MD_CTX */
};

/* Incremental hashing; release may be called at any point, also twice. */
void sha256_init(struct sha256 *sha);
void sha256_update(struct sha256 *sha, const void *data, size_t size);
void sha256_final(struct sha256 *sha, struct digest *out);
void sha256_release(struct sha256 *sha);
/* All at once, with a context kept by the calling thread. */
void sha256_once(const void *data, size_t size, struct digest *out);

/* Exactly 64 lower-case hexadecimal digits, nothing else. */
bool digest_from_hex(struct slice text, struct digest *out);
/* Writes DIGEST_HEX_SIZE characters and a NUL. */
void digest_to_hex(const struct digest *digest, char out[DIGEST_HEX_SIZE + 1]);
/* Standard base64 with padding (RFC 4648 section 4). */
bool digest_from_base64(struct slice text, struct digest *out);
void digest_to_base64(const struct digest *digest, char out[DIGEST_BASE64_SIZE + 1]);
/* Lower-case hexadecimal of any bytes: 2 * size characters and a NUL. */
void hex_encode(const void *data, size_t size, char *out);

static inline int digest_compare(const struct digest *a, const struct digest *b)
{
    return memcmp(a->bytes, b->bytes, DIGEST_SIZE);
}

static inline bool digest_equal(const struct digest *a, const struct digest *b)
{
    return digest_compare(a, b) == 0;
}

/* From the operating system's generator, for ids and nonces. */
void random_bytes(void *out, size_t size);
