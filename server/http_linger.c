#include "server/http_linger.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/base/clock.h"

enum {
    LINGER_SECONDS = 5,
    READ_SIZE = 64 * 1024,
    READS_PER_TURN = 16, /* so that accepting goes on */
};

void http_linger_init(struct http_linger *linger)
{
    pthread_mutex_init(&linger->lock, NULL);
    linger->count = 0;
}

void http_linger_add(struct http_linger *linger, int fd)
{
    bool room;

    pthread_mutex_lock(&linger->lock);
    room = linger->count < LINGER_MAX;
    if (room) {
        linger->sockets[linger->count].fd = fd;
        linger->sockets[linger->count++].until_ns =
            clock_monotonic_ns() + (uint64_t)LINGER_SECONDS * NS_PER_S;
    }
    pthread_mutex_unlock(&linger->lock);
    if (!room)
        (void)close(fd);
}

size_t http_linger_poll(struct http_linger *linger, struct pollfd *polled, int *timeout_ms)
{
    uint64_t now;
    size_t count;

    pthread_mutex_lock(&linger->lock);
    count = linger->count;
    now = count == 0 ? 0 : clock_monotonic_ns();
    for (size_t i = 0; i < count; i++) {
        uint64_t until = linger->sockets[i].until_ns;
        int left = until <= now ? 0 : (int)((until - now) / NS_PER_MS) + 1;

        polled[i] = (struct pollfd){.fd = linger->sockets[i].fd, .events = POLLIN};
        if (*timeout_ms < 0 || left < *timeout_ms)
            *timeout_ms = left;
    }
    pthread_mutex_unlock(&linger->lock);
    return count;
}

/* Whether there may be more. */
static bool read_past(int fd)
{
    char dropped[READ_SIZE];
    ssize_t size = 0;

    for (int i = 0; i < READS_PER_TURN; i++) {
        size = recv(fd, dropped, sizeof(dropped), MSG_DONTWAIT);
        if (size <= 0)
            break;
    }
    return size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
}

void http_linger_read(struct http_linger *linger, const struct pollfd *polled, size_t count)
{
    uint64_t now = count == 0 ? 0 : clock_monotonic_ns();

    /* Others may have been added behind the first `count`; only this thread removes any. */
    for (size_t i = count; i-- > 0;) {
        bool over = now >= linger->sockets[i].until_ns;

        if (!over && polled[i].revents != 0)
            over = !read_past(polled[i].fd);
        if (!over)
            continue;
        (void)close(polled[i].fd);
        pthread_mutex_lock(&linger->lock);
        linger->sockets[i] = linger->sockets[--linger->count];
        pthread_mutex_unlock(&linger->lock);
    }
}

void http_linger_release(struct http_linger *linger)
{
    for (size_t i = 0; i < linger->count; i++)
        (void)close(linger->sockets[i].fd);
    linger->count = 0;
    pthread_mutex_destroy(&linger->lock);
}
