/*
 * http_linger.h - closes sockets whose clients may still be sending, without losing the answer.
 *
 * Closing a socket with unread bytes resets the connection, and the client may lose an answer that
 * it has not read yet. So such a socket (our direction is shut down already) is read empty until
 * the client closes, for a few seconds at most.
 *
 * Threads: http_linger_add() from any; all else on the thread that polls.
 */
#pragma once

#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { LINGER_MAX = 128 };

struct http_linger {
    pthread_mutex_t lock;
    struct {
        int fd;
        uint64_t until_ns;
    } sockets[LINGER_MAX]; /* (lock) */
    size_t count;          /* (lock) */
};

void http_linger_init(struct http_linger *linger);
/* Takes the descriptor; when there are too many it is closed at once. */
void http_linger_add(struct http_linger *linger, int fd);
/* Fill `polled` (room for LINGER_MAX); how many. *timeout_ms is lowered to the next deadline. */
size_t http_linger_poll(struct http_linger *linger, struct pollfd *polled, int *timeout_ms);
/* After poll(): read, and close what is at its end. */
void http_linger_read(struct http_linger *linger, const struct pollfd *polled, size_t count);
void http_linger_release(struct http_linger *linger); /* closes all */
