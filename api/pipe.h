/*
 * pipe.h - a bounded pipe of bytes between a thread that may block and an exchange that may not.
 *
 * Either may be the writer: a request body goes pipe_try_write() -> pipe_read(), a reply goes
 * pipe_write() -> pipe_try_read(). It is destroyed when both are done with it.
 *
 * Order:   bytes come out as they went in. pipe_finish() is the writer's last word; the reader sees
 *          it after the last byte. pipe_cancel() may come from either side at any time and is seen
 *          at once: blocked calls return, bytes on their way are dropped. A writer whose reader is
 *          gone may go on: what it writes vanishes (try_write), or it is told (write).
 * Wakers:  the try_ side is woken once for each COFFER_AGAIN; to save wakes when there is
 *          something worth doing: a quarter of the pipe to read, half of it to write, or the end.
 *          pipe_flush() wakes a reader for less.
 * Threads: one writer, one reader.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "storage/base/status.h"
#include "storage/base/waker.h"

struct pipe;

/* `size` is a power of two. COFFER_OVERLOADED without memory. */
MUST_USE enum coffer_status pipe_create(size_t size, struct pipe **out, struct error *err);
void pipe_destroy(struct pipe *pipe); /* NULL is a no-op */
void pipe_cancel(struct pipe *pipe);
bool pipe_cancelled(struct pipe *pipe);

/* ---- the side that never blocks ---- */

/* Take up to `size` bytes; *taken says how many, also with COFFER_AGAIN. */
MUST_USE enum coffer_status pipe_try_write(
    struct pipe *pipe, const void *data, size_t size, size_t *taken, struct waker waker);
/* Wait for the first bytes, or the end. A failure is told at once, whatever bytes are there: as
 * long as nothing was read, it can still be told instead of them. */
MUST_USE enum coffer_status pipe_try_wait(struct pipe *pipe, struct waker waker, struct error *err);
/* Up to `max` bytes; *size 0 with COFFER_OK: the end. Otherwise what pipe_finish() was given. */
MUST_USE enum coffer_status pipe_try_read(
    struct pipe *pipe, void *out, size_t max, size_t *size, struct waker waker, struct error *err);

/* ---- the side that blocks ---- */

/* False: cancelled. */
MUST_USE bool pipe_write(struct pipe *pipe, const void *data, size_t size);
void pipe_flush(struct pipe *pipe);
/* The next bytes, borrowed until the next call; *size 0: the end. False: cancelled. With `poked`
 * not NULL, *poked says that pipe_poke() came while there were none: call it again. */
MUST_USE bool pipe_read(struct pipe *pipe, const void **data, size_t *size, bool *poked);
/* Have a pipe_read() that waits, or the next one that would, return. Any thread. */
void pipe_poke(struct pipe *pipe);

/* ---- the writer, either way ---- */

/* No more bytes. Not COFFER_OK: the reader gets this failure after the bytes. */
void pipe_finish(struct pipe *pipe, enum coffer_status status, const struct error *err);
