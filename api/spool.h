/*
 * spool.h - bytes that a thread writes and an exchange reads later, without a bound: the first of
 * them stay in memory, the rest goes to a temporary file that has no name.
 *
 * For replies that are made while the request body still arrives: nobody reads them before its
 * end, and the thread must not wait for that.
 * Order:   bytes come out as they went in. spool_finish() is the writer's last word.
 * Memory:  at most memory_max, and the file. It is destroyed when both sides are done with it.
 * Threads: one writer, which may block on the file; one reader, which does not wait for the writer.
 *          What the reader reads was written a moment ago and is in the page cache.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "storage/base/status.h"
#include "storage/base/waker.h"

struct spool;

/* `folder` for the file is made if missing; NULL, or one that cannot be used: TMPDIR or /tmp. */
MUST_USE enum coffer_status spool_create(
    size_t memory_max, const char *folder, struct spool **out, struct error *err);
void spool_destroy(struct spool *spool); /* NULL is a no-op */

/* A failure is also seen by the reader, after the bytes before it; later calls repeat it. */
MUST_USE enum coffer_status spool_write(
    struct spool *spool, const void *data, size_t size, struct error *err);
void spool_finish(struct spool *spool, enum coffer_status status, const struct error *err);

/* Wait for the first bytes, or the end. A failure is told at once, whatever bytes are there: as
 * long as nothing was read, it can still be told instead of them. */
MUST_USE enum coffer_status spool_try_wait(
    struct spool *spool, struct waker waker, struct error *err);
/* The failure so far, or COFFER_OK. */
enum coffer_status spool_failure(struct spool *spool, struct error *err);
/* Up to `max` bytes; *size 0 with COFFER_OK: the end. COFFER_AGAIN; or the failure. */
MUST_USE enum coffer_status spool_try_read(struct spool *spool, void *out, size_t max, size_t *size,
    struct waker waker, struct error *err);
