/*
 * marked_disk.h - pwritev() and fdatasync() in place of the C library's, that fail or wait for one
 * record only: the one that contains a mark. For the one source file of a test program, which gets
 * them by including this.
 *
 * Threads: any writes; the test's own thread sets marks and waits.
 */
#pragma once

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum disk_way {
    DISK_WRITE_FAILS,
    DISK_WRITE_SHORT, /* half of it is written, and then no more */
    DISK_HAS_NO_SPACE,
    DISK_SYNC_FAILS,
    DISK_WAYS
};
#define DISK_ALWAYS UINT_MAX

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char mark[32];
    size_t size; /* 0: all is well */
    enum disk_way way;
    unsigned hits, most;
    int doomed; /* what fails or waits next: the descriptor's sync, or write after a short one */
    bool holds, held, fails;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .doomed = -1};

static void disk_set(const void *mark, size_t size, enum disk_way way, unsigned most, bool holds)
{
    pthread_mutex_lock(&disk.lock);
    memcpy(disk.mark, mark, size);
    disk.size = size;
    disk.way = way;
    disk.most = most;
    disk.hits = 0;
    disk.doomed = -1;
    disk.holds = holds;
    disk.held = false;
    disk.fails = true;
    pthread_mutex_unlock(&disk.lock);
}

/* Records with the mark cannot be written or synced, the first `most` times. */
static void disk_fail(const void *mark, size_t size, enum disk_way way, unsigned most)
{
    disk_set(mark, size, way, most, false);
}

/* The first sync of a record with the mark waits for disk_release(); then all of them fail, or not.
 */
static void disk_hold(const void *mark, size_t size, bool fails)
{
    disk_set(mark, size, DISK_SYNC_FAILS, DISK_ALWAYS, true);
    pthread_mutex_lock(&disk.lock);
    disk.fails = fails;
    pthread_mutex_unlock(&disk.lock);
}

static void disk_wait_held(void)
{
    pthread_mutex_lock(&disk.lock);
    while (!disk.held)
        pthread_cond_wait(&disk.changed, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
}

static void disk_release(void)
{
    pthread_mutex_lock(&disk.lock);
    disk.holds = false;
    pthread_cond_broadcast(&disk.changed);
    pthread_mutex_unlock(&disk.lock);
}

/* All is well from now on. */
static void disk_mend(void)
{
    pthread_mutex_lock(&disk.lock);
    disk.size = 0;
    disk.doomed = -1;
    disk.holds = false;
    pthread_cond_broadcast(&disk.changed);
    pthread_mutex_unlock(&disk.lock);
}

/* How often the record came since it was marked. */
static unsigned disk_hits(void)
{
    unsigned hits;

    pthread_mutex_lock(&disk.lock);
    hits = disk.hits;
    pthread_mutex_unlock(&disk.lock);
    return hits;
}

/* With the lock. */
static bool disk_is_marked(const struct iovec *vectors, int count)
{
    for (int i = 0; i < count && disk.size > 0 && disk.hits < disk.most; i++)
        if (memmem(vectors[i].iov_base, vectors[i].iov_len, disk.mark, disk.size) != NULL)
            return true;
    return false;
}

/* With the lock: the errno to fail with, or 0; *is_short: write a part of it. */
static int disk_judge(int fd, const struct iovec *vectors, int count, bool *is_short)
{
    *is_short = false;
    if (disk.way == DISK_WRITE_SHORT && disk.doomed == fd) {
        disk.doomed = -1;
        return EIO;
    }
    if (!disk_is_marked(vectors, count))
        return 0;
    disk.hits++;
    if (disk.way == DISK_WRITE_FAILS || disk.way == DISK_HAS_NO_SPACE)
        return disk.way == DISK_WRITE_FAILS ? EIO : ENOSPC;
    *is_short = disk.way == DISK_WRITE_SHORT;
    disk.doomed = fd;
    return 0;
}

ssize_t pwritev(int fd, const struct iovec *vectors, int count, off_t offset)
{
    struct iovec first = vectors[0];
    bool is_short;
    int error;

    pthread_mutex_lock(&disk.lock);
    error = disk_judge(fd, vectors, count, &is_short);
    pthread_mutex_unlock(&disk.lock);
    errno = error;
    if (error != 0)
        return -1;
    if (is_short && count == 1)
        first.iov_len = (first.iov_len + 1) / 2;
    return is_short ? syscall(SYS_pwritev, fd, &first, 1L, (long)offset, 0L)
                    : syscall(SYS_pwritev, fd, vectors, (long)count, (long)offset, 0L);
}

int fdatasync(int fd)
{
    bool fails;

    pthread_mutex_lock(&disk.lock);
    if (disk.holds && disk.doomed == fd) {
        disk.held = true;
        pthread_cond_broadcast(&disk.changed);
        while (disk.holds)
            pthread_cond_wait(&disk.changed, &disk.lock);
    }
    fails = disk.doomed == fd && disk.size > 0 && disk.fails && disk.way == DISK_SYNC_FAILS;
    if (disk.doomed == fd)
        disk.doomed = -1;
    pthread_mutex_unlock(&disk.lock);
    errno = EIO;
    return fails ? -1 : (int)syscall(SYS_fdatasync, fd);
}
