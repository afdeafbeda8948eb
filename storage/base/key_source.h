/*
 * key_source.h - keys that are read a few at a time, by their position: an array, or a spill that
 * has as many as one likes.
 *
 * Memory:  borrowed; passed by value.
 * Threads: any number may read.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "storage/base/digest.h"
#include "storage/base/spill.h"

struct key_source {
    const struct digest *array; /* or NULL: */
    const struct spill *spill;  /* records of DIGEST_SIZE */
    uint64_t count;
};

static inline struct key_source key_source_array(const struct digest *keys, size_t count)
{
    return (struct key_source){.array = keys, .count = count};
}

static inline struct key_source key_source_spill(const struct spill *spill)
{
    return (struct key_source){.spill = spill, .count = spill_count(spill)};
}

/* Keys [first, first + count), which are there. */
MUST_USE static inline enum coffer_status key_source_read(const struct key_source *source,
    uint64_t first, size_t count, struct digest *out, struct error *err)
{
    if (source->array == NULL)
        return source->spill == NULL ? COFFER_OK
                                     : spill_read(source->spill, first, count, out, err);
    memcpy(out, source->array + first, count * sizeof(*out));
    return COFFER_OK;
}
