/*
 * checksum.h - XXH3-64, the checksum of everything in a pack (xxhash; its specification:
 * https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
 *
 * Threads: a struct checksum belongs to one thread at a time.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t checksum_once(const void *data, size_t size);
/* XXH64, the older algorithm, which the seek tables of zstd streams use. */
uint64_t checksum_xxh64(const void *data, size_t size);

struct checksum {
    void *state; /* XXH3_state_t */
};

void checksum_init(struct checksum *sum);
void checksum_update(struct checksum *sum, const void *data, size_t size);
uint64_t checksum_value(const struct checksum *sum);
void checksum_release(struct checksum *sum);
