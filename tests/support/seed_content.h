/*
 * seed_content.h - chunk contents that a number stands for, so that every byte can be checked
 * without keeping it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "storage/base/digest.h"

/* The next value of a small generator (splitmix64); any start will do. */
uint64_t seed_next(uint64_t *state);
/* `size` bytes of `seed`: text that compresses for odd seeds, noise for even ones. */
void seed_fill(void *out, size_t size, uint64_t seed);
/* The same in new memory, which the caller frees; with its key. */
char *seed_content(size_t size, uint64_t seed, char key[DIGEST_HEX_SIZE + 1]);
