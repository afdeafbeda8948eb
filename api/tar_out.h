/*
 * tar_out.h - write a tar archive, entry by entry, to a function (libarchive; GNU format, which
 * has entries of any size).
 *
 * Order:   entry, data until it is complete, ..., end. destroy without end leaves the archive
 *          without its trailer; nothing is written by destroy.
 * Memory:  a block of 64 KiB.
 * Threads: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/status.h"

struct tar_out;

/* False: nobody wants the bytes any more; the calls then answer COFFER_DRAINING. */
typedef bool tar_out_write(void *context, const void *data, size_t size);

MUST_USE enum coffer_status tar_out_create(
    tar_out_write *write, void *context, struct tar_out **out, struct error *err);
/* A regular file of `size` bytes. */
MUST_USE enum coffer_status tar_out_entry(
    struct tar_out *tar, const char *name, uint64_t size, struct error *err);
MUST_USE enum coffer_status tar_out_data(
    struct tar_out *tar, const void *data, size_t size, struct error *err);
MUST_USE enum coffer_status tar_out_end(struct tar_out *tar, struct error *err);
void tar_out_destroy(struct tar_out *tar); /* NULL is a no-op */
