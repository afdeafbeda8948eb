/*
 * file.h - whole reads and writes, and files and folders that are still there after a power cut.
 *
 * Errors:  COFFER_DISK_FULL for ENOSPC and EDQUOT, COFFER_IO for the rest; the text names the call
 *          and the path. A failed sync is never tried again by anybody: the kernel may have dropped
 *          the pages and would answer "done" (docs/durability.md).
 * Threads: any.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "storage/base/slice.h"
#include "storage/base/status.h"

/* Make `path` and the missing folders above it, each synced into its parent. */
MUST_USE enum coffer_status dir_make(const char *path, struct error *err);
/* fsync of the folder: names made or removed in it are durable afterwards. */
MUST_USE enum coffer_status dir_sync(const char *path, struct error *err);
/* Bytes that an ordinary user may still write on the file system of `path`. */
MUST_USE enum coffer_status dir_free_space(const char *path, uint64_t *bytes, struct error *err);

/* All of `size` bytes, or COFFER_IO: an end of file before that is an error. */
MUST_USE enum coffer_status file_read_at(
    int fd, void *data, size_t size, uint64_t offset, const char *name, struct error *err);
/* As many as there are: *got < size only at the end of the file. */
MUST_USE enum coffer_status file_read_some(int fd, void *data, size_t size, uint64_t offset,
    size_t *got, const char *name, struct error *err);
/* All of the vectors (modified by the call). */
MUST_USE enum coffer_status file_write_all(int fd, struct iovec *vectors, size_t count,
    uint64_t offset, const char *name, struct error *err);

/* The content of DIR/NAME is `content` after a power cut, or what it was before, never a part. */
MUST_USE enum coffer_status file_publish(
    const char *dir, const char *name, struct slice content, struct error *err);
/* A whole small file into `out` (NUL-terminated); COFFER_NO_SUCH_PATH when it is not there. */
MUST_USE enum coffer_status file_load(
    const char *path, char *out, size_t capacity, size_t *size, struct error *err);
