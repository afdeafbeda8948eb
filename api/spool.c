/*
 * Byte number N is in memory if N < memory_max, else in the file at N - memory_max. The memory is
 * read and grown under the lock; the file only grows, so it is read and written outside of it.
 */
#include "api/spool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/invariant.h"
#include "storage/base/temp_file.h"

struct spool {
    pthread_mutex_t lock; /* a leaf; wakers are called outside */
    size_t memory_max;
    char *memory;                  /* (lock) */
    size_t memory_size;            /* (lock) */
    uint64_t written;              /* (lock) bytes that may be read */
    uint64_t read;                 /* the reader's own */
    int fd;                        /* (lock) -1: none yet; then constant */
    bool finished;                 /* (lock) */
    bool waiting;                  /* (lock) `waker` is owed a call */
    struct waker waker;            /* (lock) */
    struct error failure;          /* (lock) status COFFER_OK: none */
    char folder[TEMP_FOLDER_SIZE]; /* empty: TMPDIR */
};

enum coffer_status spool_create(
    size_t memory_max, const char *folder, struct spool **out, struct error *err)
{
    struct spool *spool = calloc(1, sizeof(*spool));

    if (spool == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for a reply; try again later");
    pthread_mutex_init(&spool->lock, NULL);
    spool->memory_max = memory_max;
    spool->fd = -1;
    spool->failure.status = COFFER_OK;
    if (folder != NULL && strlen(folder) < TEMP_FOLDER_SIZE)
        memcpy(spool->folder, folder, strlen(folder) + 1);
    *out = spool;
    return COFFER_OK;
}

void spool_destroy(struct spool *spool)
{
    if (spool == NULL)
        return;
    if (spool->fd >= 0)
        close(spool->fd);
    free(spool->memory);
    pthread_mutex_destroy(&spool->lock);
    free(spool);
}

static enum coffer_status write_file(
    int fd, const char *data, size_t size, uint64_t offset, struct error *err)
{
    while (size > 0) {
        ssize_t done = pwrite(fd, data, size, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_errno(err, "write a temporary file");
        data += done;
        size -= (size_t)done;
        offset += (uint64_t)done;
    }
    return COFFER_OK;
}

/* With the lock. */
static enum coffer_status write_memory(
    struct spool *spool, const char *data, size_t size, struct error *err)
{
    size_t needed = (size_t)spool->written + size;

    if (needed > spool->memory_size) {
        size_t wanted = spool->memory_size == 0 ? 4096 : spool->memory_size * 2;
        char *grown;

        while (wanted < needed)
            wanted *= 2;
        if (wanted > spool->memory_max)
            wanted = spool->memory_max;
        grown = realloc(spool->memory, wanted);
        if (grown == NULL)
            return error_set(err, COFFER_OVERLOADED, "no memory for a reply");
        spool->memory = grown;
        spool->memory_size = wanted;
    }
    memcpy(spool->memory + spool->written, data, size);
    return COFFER_OK;
}

/* With the lock, which it drops. */
static void publish(struct spool *spool, size_t size)
{
    struct waker waker = {NULL, NULL};

    spool->written += size;
    if (spool->waiting) {
        waker = spool->waker;
        spool->waiting = false;
    }
    pthread_mutex_unlock(&spool->lock);
    waker_wake(waker);
}

static enum coffer_status note_failure(
    struct spool *spool, enum coffer_status status, struct error *err)
{
    pthread_mutex_lock(&spool->lock);
    if (err != NULL)
        spool->failure = *err;
    spool->failure.status = status;
    publish(spool, 0);
    return status;
}

enum coffer_status spool_write(
    struct spool *spool, const void *data, size_t size, struct error *err)
{
    const char *in = data;
    struct error local;
    enum coffer_status status;
    uint64_t at;
    int fd;

    err = err == NULL ? &local : err;
    pthread_mutex_lock(&spool->lock);
    invariant(!spool->finished);
    status = spool->failure.status;
    if (status != COFFER_OK)
        *err = spool->failure;
    if (status == COFFER_OK && size > 0 && spool->written < spool->memory_max) {
        size_t part = spool->memory_max - (size_t)spool->written;

        part = part < size ? part : size;
        status = write_memory(spool, in, part, err);
        if (status == COFFER_OK) {
            in += part;
            size -= part;
            publish(spool, part);
            pthread_mutex_lock(&spool->lock);
        }
    }
    at = spool->written - (status == COFFER_OK && size > 0 ? spool->memory_max : 0);
    fd = spool->fd;
    pthread_mutex_unlock(&spool->lock);
    if (status == COFFER_OK && size > 0 && fd < 0)
        status = temp_file_open(spool->folder, &fd, err);
    if (status == COFFER_OK && size > 0)
        status = write_file(fd, in, size, at, err);
    if (status != COFFER_OK) {
        if (fd >= 0 && fd != spool->fd)
            close(fd);
        return note_failure(spool, status, err);
    }
    if (size > 0) {
        pthread_mutex_lock(&spool->lock);
        spool->fd = fd;
        publish(spool, size);
    }
    return COFFER_OK;
}

void spool_finish(struct spool *spool, enum coffer_status status, const struct error *err)
{
    pthread_mutex_lock(&spool->lock);
    invariant(!spool->finished);
    spool->finished = true;
    if (spool->failure.status == COFFER_OK && status != COFFER_OK) {
        if (err != NULL)
            spool->failure = *err;
        spool->failure.status = status;
    }
    publish(spool, 0);
}

/* With the lock. */
static enum coffer_status failure(const struct spool *spool, struct error *err)
{
    if (spool->failure.status != COFFER_OK && err != NULL)
        *err = spool->failure;
    return spool->failure.status;
}

/* With the lock: nothing is there to be read. */
static enum coffer_status start_waiting(struct spool *spool, struct waker waker)
{
    spool->waiting = true;
    spool->waker = waker;
    return COFFER_AGAIN;
}

enum coffer_status spool_failure(struct spool *spool, struct error *err)
{
    enum coffer_status status;

    pthread_mutex_lock(&spool->lock);
    status = failure(spool, err);
    pthread_mutex_unlock(&spool->lock);
    return status;
}

enum coffer_status spool_try_wait(struct spool *spool, struct waker waker, struct error *err)
{
    enum coffer_status status;

    pthread_mutex_lock(&spool->lock);
    invariant(!spool->waiting);
    status = failure(spool, err);
    if (status == COFFER_OK && !spool->finished && spool->written == spool->read)
        status = start_waiting(spool, waker);
    pthread_mutex_unlock(&spool->lock);
    return status;
}

enum coffer_status spool_try_read(
    struct spool *spool, void *out, size_t max, size_t *size, struct waker waker, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    ssize_t done;
    uint64_t there;
    int fd;

    *size = 0;
    pthread_mutex_lock(&spool->lock);
    invariant(!spool->waiting);
    there = spool->written - spool->read;
    fd = spool->fd;
    if (there == 0) {
        status = failure(spool, err);
        if (status == COFFER_OK && !spool->finished)
            status = start_waiting(spool, waker);
    } else if (spool->read < spool->memory_max) {
        if (there > spool->memory_max - spool->read)
            there = spool->memory_max - spool->read;
        *size = there < max ? (size_t)there : max;
        memcpy(out, spool->memory + spool->read, *size);
        spool->read += *size;
        there = 0;
    }
    pthread_mutex_unlock(&spool->lock);
    if (there == 0)
        return status;

    done =
        pread(fd, out, there < max ? (size_t)there : max, (off_t)(spool->read - spool->memory_max));
    if (done < 0)
        return error_errno(err, "read a temporary file");
    if (done == 0)
        return error_set(err, COFFER_INTERNAL, "a temporary file was cut");
    spool->read += (uint64_t)done;
    *size = (size_t)done;
    return COFFER_OK;
}
