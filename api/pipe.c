/*
 * A ring of bytes. `read_at` and `write_at` only grow; the bytes between them are the reader's, the
 * rest the writer's, so that they are copied outside of the lock.
 */
#include "api/pipe.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"

struct pipe {
    pthread_mutex_t lock;   /* a leaf: nothing else is taken under it, wakers are called outside */
    pthread_cond_t changed; /* for the side that blocks */
    size_t size;
    uint64_t read_at, write_at; /* (lock) */
    bool cancelled;             /* (lock) */
    bool finished;              /* (lock) */
    bool poked;                 /* (lock) */
    bool blocked;               /* (lock) a thread waits on changed */
    bool waiting;               /* (lock) `waker` is owed a call */
    struct waker waker;         /* (lock) */
    struct error failure;       /* (lock) status COFFER_OK: none */
    size_t borrowed;            /* by the reader that blocks; its own */
    unsigned char bytes[];
};

enum coffer_status pipe_create(size_t size, struct pipe **out, struct error *err)
{
    struct pipe *pipe;

    invariant(size > 0 && (size & (size - 1)) == 0);
    pipe = malloc(sizeof(*pipe) + size);
    if (pipe == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for a pipe; try again later");
    memset(pipe, 0, sizeof(*pipe)); /* not the bytes: pages that are not used are not touched */
    pthread_mutex_init(&pipe->lock, NULL);
    pthread_cond_init(&pipe->changed, NULL);
    pipe->size = size;
    pipe->failure.status = COFFER_OK;
    *out = pipe;
    return COFFER_OK;
}

void pipe_destroy(struct pipe *pipe)
{
    if (pipe == NULL)
        return;
    pthread_cond_destroy(&pipe->changed);
    pthread_mutex_destroy(&pipe->lock);
    free(pipe);
}

static size_t used(const struct pipe *pipe)
{
    return (size_t)(pipe->write_at - pipe->read_at);
}

/* With the lock: what to call after dropping it, if the other side is owed a wake and `worth` it.
 */
static struct waker owed(struct pipe *pipe, bool worth)
{
    struct waker waker = {NULL, NULL};

    if (pipe->waiting && worth) {
        waker = pipe->waker;
        pipe->waiting = false;
    }
    return waker;
}

static void unlock_and_wake(struct pipe *pipe, struct waker waker)
{
    pthread_mutex_unlock(&pipe->lock);
    waker_wake(waker);
}

/* With the lock. */
static void signal_blocked(struct pipe *pipe)
{
    if (pipe->blocked)
        pthread_cond_signal(&pipe->changed);
}

static void block(struct pipe *pipe)
{
    pipe->blocked = true;
    pthread_cond_wait(&pipe->changed, &pipe->lock);
    pipe->blocked = false;
}

void pipe_cancel(struct pipe *pipe)
{
    struct waker waker;

    pthread_mutex_lock(&pipe->lock);
    pipe->cancelled = true;
    signal_blocked(pipe);
    waker = owed(pipe, true);
    unlock_and_wake(pipe, waker);
}

bool pipe_cancelled(struct pipe *pipe)
{
    bool cancelled;

    pthread_mutex_lock(&pipe->lock);
    cancelled = pipe->cancelled;
    pthread_mutex_unlock(&pipe->lock);
    return cancelled;
}

void pipe_finish(struct pipe *pipe, enum coffer_status status, const struct error *err)
{
    struct waker waker;

    pthread_mutex_lock(&pipe->lock);
    invariant(!pipe->finished);
    pipe->finished = true;
    if (err != NULL && err->status == status)
        pipe->failure = *err;
    pipe->failure.status = status;
    signal_blocked(pipe);
    waker = owed(pipe, true);
    unlock_and_wake(pipe, waker);
}

static void copy_in(struct pipe *pipe, uint64_t at, const void *data, size_t size)
{
    size_t start = (size_t)(at & (pipe->size - 1));
    size_t head = size < pipe->size - start ? size : pipe->size - start;

    memcpy(pipe->bytes + start, data, head);
    memcpy(pipe->bytes, (const char *)data + head, size - head);
}

static void copy_out(const struct pipe *pipe, uint64_t at, void *out, size_t size)
{
    size_t start = (size_t)(at & (pipe->size - 1));
    size_t head = size < pipe->size - start ? size : pipe->size - start;

    memcpy(out, pipe->bytes + start, head);
    memcpy((char *)out + head, pipe->bytes, size - head);
}

enum coffer_status pipe_try_write(
    struct pipe *pipe, const void *data, size_t size, size_t *taken, struct waker waker)
{
    enum coffer_status status = COFFER_OK;
    uint64_t at;
    size_t room;

    *taken = 0;
    pthread_mutex_lock(&pipe->lock);
    invariant(!pipe->finished && !pipe->waiting);
    at = pipe->write_at;
    room = pipe->size - used(pipe);
    if (pipe->cancelled) {
        pthread_mutex_unlock(&pipe->lock);
        *taken = size;
        return COFFER_OK;
    }
    pthread_mutex_unlock(&pipe->lock);

    if (room > size)
        room = size;
    copy_in(pipe, at, data, room);
    *taken = room;

    pthread_mutex_lock(&pipe->lock);
    pipe->write_at += room;
    if (room > 0)
        signal_blocked(pipe);
    if (pipe->cancelled) {
        *taken = size;
    } else if (room < size) {
        status = COFFER_AGAIN;
        if (used(pipe) <= pipe->size / 2) { /* there is room again already */
            unlock_and_wake(pipe, waker);
            return status;
        }
        pipe->waiting = true;
        pipe->waker = waker;
    }
    pthread_mutex_unlock(&pipe->lock);
    return status;
}

/* With the lock: no bytes are there, and nothing else is to be told. */
static enum coffer_status start_waiting(struct pipe *pipe, struct waker waker)
{
    pipe->waiting = true;
    pipe->waker = waker;
    return COFFER_AGAIN;
}

/* With the lock: the writer's last word. */
static enum coffer_status last_word(const struct pipe *pipe, struct error *err)
{
    enum coffer_status status = pipe->finished ? pipe->failure.status : COFFER_INTERNAL;

    if (status != COFFER_OK && err != NULL)
        *err = pipe->failure;
    return status;
}

enum coffer_status pipe_try_wait(struct pipe *pipe, struct waker waker, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    pthread_mutex_lock(&pipe->lock);
    invariant(!pipe->waiting);
    if (pipe->finished || pipe->cancelled)
        status = last_word(pipe, err);
    else if (used(pipe) == 0)
        status = start_waiting(pipe, waker);
    pthread_mutex_unlock(&pipe->lock);
    return status;
}

enum coffer_status pipe_try_read(
    struct pipe *pipe, void *out, size_t max, size_t *size, struct waker waker, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    uint64_t at;
    size_t there;

    *size = 0;
    pthread_mutex_lock(&pipe->lock);
    invariant(!pipe->waiting);
    at = pipe->read_at;
    there = used(pipe);
    if (there == 0) {
        status =
            pipe->finished || pipe->cancelled ? last_word(pipe, err) : start_waiting(pipe, waker);
        pthread_mutex_unlock(&pipe->lock);
        return status;
    }
    pthread_mutex_unlock(&pipe->lock);

    if (there > max)
        there = max;
    copy_out(pipe, at, out, there);
    *size = there;

    pthread_mutex_lock(&pipe->lock);
    pipe->read_at += there;
    signal_blocked(pipe);
    pthread_mutex_unlock(&pipe->lock);
    return COFFER_OK;
}

bool pipe_write(struct pipe *pipe, const void *data, size_t size)
{
    const char *in = data;
    struct waker waker = {NULL, NULL};

    pthread_mutex_lock(&pipe->lock);
    invariant(!pipe->finished);
    while (size > 0 && !pipe->cancelled) {
        size_t room = pipe->size - used(pipe);
        uint64_t at = pipe->write_at;

        if (room == 0) {
            block(pipe);
            continue;
        }
        pthread_mutex_unlock(&pipe->lock);
        if (room > size)
            room = size;
        copy_in(pipe, at, in, room);
        in += room;
        size -= room;
        pthread_mutex_lock(&pipe->lock);
        pipe->write_at += room;
        waker = owed(pipe, used(pipe) >= pipe->size / 4);
        if (waker.wake != NULL) {
            unlock_and_wake(pipe, waker);
            pthread_mutex_lock(&pipe->lock);
        }
    }
    size = pipe->cancelled; /* the last look under the lock */
    pthread_mutex_unlock(&pipe->lock);
    return size == 0;
}

void pipe_flush(struct pipe *pipe)
{
    struct waker waker;

    pthread_mutex_lock(&pipe->lock);
    waker = owed(pipe, used(pipe) > 0);
    unlock_and_wake(pipe, waker);
}

void pipe_poke(struct pipe *pipe)
{
    pthread_mutex_lock(&pipe->lock);
    pipe->poked = true;
    signal_blocked(pipe);
    pthread_mutex_unlock(&pipe->lock);
}

bool pipe_read(struct pipe *pipe, const void **data, size_t *size, bool *poked)
{
    struct waker waker;
    size_t start, there;
    bool cancelled;

    pthread_mutex_lock(&pipe->lock);
    pipe->read_at += pipe->borrowed;
    pipe->borrowed = 0;
    waker = owed(pipe, used(pipe) <= pipe->size / 2);
    if (waker.wake != NULL) {
        unlock_and_wake(pipe, waker);
        pthread_mutex_lock(&pipe->lock);
    }
    while (
        used(pipe) == 0 && !pipe->finished && !pipe->cancelled && !(poked != NULL && pipe->poked))
        block(pipe);
    start = (size_t)(pipe->read_at & (pipe->size - 1));
    there = used(pipe);
    if (there > pipe->size - start)
        there = pipe->size - start;
    pipe->borrowed = there;
    cancelled = pipe->cancelled;
    if (poked != NULL) {
        *poked = there == 0 && !pipe->finished && !cancelled;
        pipe->poked = false;
    }
    pthread_mutex_unlock(&pipe->lock);
    *data = pipe->bytes + start;
    *size = there;
    return !cancelled;
}
