/*
 * tar_in.h - read a tar archive of any common dialect, entry by entry, from a function
 * (libarchive).
 *
 * Order:   next, data until *size is 0 (or not at all), next, ...
 * Memory:  names and data are borrowed until the next call. A few KiB; nothing that the archive
 *          says makes it more (libarchive bounds its extended headers).
 * Errors:  COFFER_BAD_REQUEST when the bytes are not a tar archive or end in the middle of one:
 *          what came before it is good. COFFER_DRAINING when the source was cancelled.
 * Threads: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/slice.h"
#include "storage/base/status.h"

struct tar_in;

/* The next bytes, borrowed until the next call; *size 0: the end. False: cancelled. */
typedef bool tar_in_read(void *context, const void **data, size_t *size);

struct tar_in_entry {
    struct slice name; /* as it stands in the archive, any bytes */
    uint64_t size;
    const char *refused; /* not NULL: why this is nothing to store ("a directory", ...) */
};

MUST_USE enum coffer_status tar_in_create(
    tar_in_read *read, void *context, struct tar_in **out, struct error *err);
/* *more false: the archive is complete. */
MUST_USE enum coffer_status tar_in_next(
    struct tar_in *tar, struct tar_in_entry *entry, bool *more, struct error *err);
MUST_USE enum coffer_status tar_in_data(
    struct tar_in *tar, const void **data, size_t *size, struct error *err);
void tar_in_destroy(struct tar_in *tar); /* NULL is a no-op */
