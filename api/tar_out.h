/*
 * tar_out.h - write a tar archive, entry by entry, to a function (libarchive; GNU format, which
 * has entries of any size), as it is or as one zstd frame.
 *
 * The same calls give the same bytes, and a plain tar has a size that is known beforehand: the sum
 * of tar_out_entry_size() and TAR_OUT_END_SIZE.
 *
 * Order:   entry, data until it is complete, ..., end. destroy without end leaves the archive
 *          without its trailer; nothing is written by destroy.
 * Memory:  a block of 64 KiB; with zstd its window, some MiB.
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

enum { TAR_OUT_END_SIZE = 1024, TAR_OUT_NAME_MAX = 99 };

MUST_USE enum coffer_status tar_out_create(
    tar_out_write *write, void *context, struct tar_out **out, struct error *err);
MUST_USE enum coffer_status tar_out_create_zstd(
    tar_out_write *write, void *context, struct tar_out **out, struct error *err);
/* When the entries that follow were changed; without it, 1970. */
void tar_out_set_time(struct tar_out *tar, uint64_t wall_ns);
/* Of an entry with a name of at most TAR_OUT_NAME_MAX bytes, with its header and padding. */
uint64_t tar_out_entry_size(uint64_t size);
/* A regular file of `size` bytes. */
MUST_USE enum coffer_status tar_out_entry(
    struct tar_out *tar, const char *name, uint64_t size, struct error *err);
MUST_USE enum coffer_status tar_out_data(
    struct tar_out *tar, const void *data, size_t size, struct error *err);
MUST_USE enum coffer_status tar_out_end(struct tar_out *tar, struct error *err);
void tar_out_destroy(struct tar_out *tar); /* NULL is a no-op */
