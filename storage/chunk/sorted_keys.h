/*
 * sorted_keys.h - the keys of a request in ascending order, each with its place in the request: so
 * that equal ones are neighbours, and the index is asked for them in its own order.
 */
#pragma once

#include <assert.h>

#include "storage/base/bytes.h"
#include "storage/base/key_source.h"
#include "storage/io/record_sorter.h"

struct sorted_key { /* sorted as bytes */
    struct digest key;
    uint8_t position[4]; /* big-endian */
};
static_assert(sizeof(struct sorted_key) == DIGEST_SIZE + 4, "no padding");

enum { SORTED_KEYS_AT_ONCE = 512 };

static inline uint32_t sorted_key_position(const struct sorted_key *key)
{
    return get_be32(key->position);
}

/* A finished sorter of struct sorted_key; *out is to be destroyed in any case.
 * COFFER_CONTENT_TOO_LARGE: more keys than a position can tell apart. */
MUST_USE enum coffer_status sorted_keys(const struct key_source *keys, struct spill_place place,
    struct record_sorter **out, struct error *err);
