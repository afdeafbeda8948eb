/*
 * memory_table.h - the memory engine's sorted tables of content: chunks, segments, and the blocks
 * of a partition. Content is reference counted, so that a pinned row stays readable when it goes.
 *
 * Threads: the caller holds the engine's lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/engine_row.h"

struct content {
    unsigned references;
    uint64_t size;
    uint8_t bytes[];
};

struct entry {
    uint8_t key[DIGEST_SIZE];
    struct engine_row row;
    struct content *content; /* NULL for a segmented chunk */
    bool staged;             /* a block that was not claimed yet */
};

struct table { /* sorted by key; all zeros is an empty one */
    struct entry *entries;
    size_t count, capacity;
    uint64_t bytes; /* of content */
};

/* A copy of `size` bytes, with one reference. */
struct content *content_create(const void *bytes, uint64_t size);
void content_drop(struct content *content); /* NULL is a no-op */

/* Where `key` is or would be. */
size_t table_place(const struct table *table, const uint8_t *key);
/* NULL: it is not there. */
struct entry *table_find(const struct table *table, const uint8_t *key);
struct entry *table_find_lsn(const struct table *table, uint64_t lsn);
/* Takes the entry's content; one with the same key makes way. */
void table_put(struct table *table, const struct entry *entry);
void table_remove(struct table *table, const uint8_t *key); /* one that is not there: a no-op */
void table_release(struct table *table);
