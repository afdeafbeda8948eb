/*
 * spill.h - an array of records of one size that may grow large without taking memory: all but the
 * last block of it goes to a temporary file that has no name.
 *
 * Memory:  SPILL_BLOCK_SIZE at most, less for a few records. What the disk does not take, since it
 *          is full or would have less than `disk_spare` left, stays in memory: a full disk must
 *          not keep anybody from deleting.
 * Order:   append, and read what was appended, in any order.
 * Errors:  COFFER_OVERLOADED without memory; COFFER_IO when the file cannot be read back.
 * Threads: one appends; any number may read while nobody does. Both may wait for a disk, though
 *          what was written lately is in the page cache.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/status.h"

struct spill;

enum { SPILL_BLOCK_SIZE = 64 * 1024 };

struct spill_place {
    const char *folder;  /* for the file, see temp_file.h; borrowed until destroy; may be NULL */
    uint64_t disk_spare; /* bytes that are left free on its disk */
};

/* Records of at most SPILL_BLOCK_SIZE bytes. Makes no file yet. Never NULL. */
struct spill *spill_create(size_t record_size, struct spill_place place)
    __attribute__((returns_nonnull));
void spill_destroy(struct spill *spill); /* NULL is a no-op */
MUST_USE enum coffer_status spill_append(
    struct spill *spill, const void *records, size_t count, struct error *err);
uint64_t spill_count(const struct spill *spill);
/* Records [first, first + count), which are there. */
MUST_USE enum coffer_status spill_read(
    const struct spill *spill, uint64_t first, size_t count, void *out, struct error *err);
/* Whether some of it is in memory because the disk did not take it. */
bool spill_is_kept(const struct spill *spill);
