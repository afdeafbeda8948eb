/*
 * places.h - where the chunks of a request are: looked up once, and given in the order of the
 * request or of the disk. The first half of a bulk reader.
 *
 * Memory:  a bit a key; the rest is in the sorter (record_sorter.h) and its temporary file.
 * Threads: one at a time.
 */
#pragma once

#include "storage/chunk/store_parts.h"

struct places;

enum place_kind {
    PLACE_MISSING,
    PLACE_BUFFERED, /* it was in a buffer: look again */
    PLACE_LARGE,    /* for a reader of its own */
    PLACE_SMALL,
};

struct place {
    struct digest key;
    uint32_t position; /* in the keys of the request */
    enum place_kind kind;
    struct engine_row row; /* PLACE_SMALL, as it was when it was looked up */
};

/* Looks up all of the keys (blocking). COFFER_DRAINING: cancelled. */
MUST_USE enum coffer_status places_find(struct store *store, const struct bulk_options *options,
    struct places **out, struct error *err);
void places_destroy(struct places *places); /* NULL is a no-op */
uint64_t places_missing_count(const struct places *places);
bool places_is_missing(const struct places *places, uint64_t position);
/* The next one in order; *more false: there was none left. */
MUST_USE enum coffer_status places_next(
    struct places *places, struct place *place, bool *more, struct error *err);
