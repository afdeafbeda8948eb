#include "storage/base/digest.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>

#include "storage/base/invariant.h"

static const char HEX_DIGITS[] = "0123456789abcdef";

/* EVP_sha256() looks its implementation up at each use; a fetched one is ready (OpenSSL 3,
 * EVP_MD_fetch(3)). Kept for the life of the process. */
static EVP_MD *sha256_method;
static pthread_once_t sha256_once_control = PTHREAD_ONCE_INIT;
static pthread_key_t thread_context_key;

static void free_context(void *context)
{
    EVP_MD_CTX_free(context);
}

static void sha256_setup(void)
{
    sha256_method = EVP_MD_fetch(NULL, "SHA256", NULL);
    invariant(sha256_method != NULL);
    invariant(pthread_key_create(&thread_context_key, free_context) == 0);
}

void sha256_init(struct sha256 *sha)
{
    pthread_once(&sha256_once_control, sha256_setup);
    sha->context = EVP_MD_CTX_new();
    invariant(sha->context != NULL);
    invariant(EVP_DigestInit_ex2(sha->context, sha256_method, NULL) == 1);
}

void sha256_update(struct sha256 *sha, const void *data, size_t size)
{
    invariant(EVP_DigestUpdate(sha->context, data, size) == 1);
}

void sha256_final(struct sha256 *sha, struct digest *out)
{
    unsigned size = DIGEST_SIZE;

    invariant(EVP_DigestFinal_ex(sha->context, out->bytes, &size) == 1 && size == DIGEST_SIZE);
}

void sha256_release(struct sha256 *sha)
{
    EVP_MD_CTX_free(sha->context);
    sha->context = NULL;
}

void sha256_once(const void *data, size_t size, struct digest *out)
{
    struct sha256 sha;

    pthread_once(&sha256_once_control, sha256_setup);
    sha.context = pthread_getspecific(thread_context_key);
    if (sha.context == NULL) {
        sha.context = EVP_MD_CTX_new();
        invariant(sha.context != NULL);
        invariant(pthread_setspecific(thread_context_key, sha.context) == 0);
    }
    invariant(EVP_DigestInit_ex2(sha.context, sha256_method, NULL) == 1);
    sha256_update(&sha, data, size);
    sha256_final(&sha, out);
}

static int hex_value(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool digest_from_hex(struct slice text, struct digest *out)
{
    const unsigned char *in = text.data;

    if (text.size != DIGEST_HEX_SIZE)
        return false;
    for (size_t i = 0; i < DIGEST_SIZE; i++) {
        int high = hex_value(in[2 * i]);
        int low = hex_value(in[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

void hex_encode(const void *data, size_t size, char *out)
{
    const uint8_t *in = data;

    for (size_t i = 0; i < size; i++) {
        out[2 * i] = HEX_DIGITS[in[i] >> 4];
        out[2 * i + 1] = HEX_DIGITS[in[i] & 15];
    }
    out[2 * size] = '\0';
}

void digest_to_hex(const struct digest *digest, char out[DIGEST_HEX_SIZE + 1])
{
    hex_encode(digest->bytes, DIGEST_SIZE, out);
}

bool digest_from_base64(struct slice text, struct digest *out)
{
    unsigned char decoded[DIGEST_SIZE + 1]; /* the decoder counts the padding as a zero byte */
    char again[DIGEST_BASE64_SIZE + 1];
    const char *in = text.data;

    if (text.size != DIGEST_BASE64_SIZE || in[DIGEST_BASE64_SIZE - 1] != '=' ||
        in[DIGEST_BASE64_SIZE - 2] == '=')
        return false;
    if (EVP_DecodeBlock(decoded, text.data, DIGEST_BASE64_SIZE) != (int)sizeof(decoded))
        return false;
    memcpy(out->bytes, decoded, DIGEST_SIZE);
    digest_to_base64(out, again); /* the decoder takes padding in the middle, and stray bits */
    return memcmp(again, in, DIGEST_BASE64_SIZE) == 0;
}

void digest_to_base64(const struct digest *digest, char out[DIGEST_BASE64_SIZE + 1])
{
    unsigned char encoded[DIGEST_BASE64_SIZE + 1];

    (void)EVP_EncodeBlock(encoded, digest->bytes, DIGEST_SIZE);
    memcpy(out, encoded, sizeof(encoded));
}

void random_bytes(void *out, size_t size)
{
    invariant(size <= INT32_MAX && RAND_bytes(out, (int)size) == 1);
}
