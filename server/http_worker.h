/*
 * http_worker.h - one thread that serves connections, with libmicrohttpd. Private to http_*.c;
 * libmicrohttpd's own header is included by http_mhd*.c alone.
 *
 * Threads: add, cut and sweep from the acceptor and the draining thread; all else runs on the
 * worker.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "server/http_server.h"

struct MHD_Daemon;
struct http_call; /* http_mhd.h */

/* A socket that libmicrohttpd serves. */
struct http_connection {
    struct http_worker *worker;
    struct http_connection *next, *previous; /* (worker.lock) */
    int fd;
    struct http_call *call;   /* the request under way whose first line was read, or NULL */
    bool local;               /* a unix socket: no web page reaches it */
    bool request_seen;        /* at least one request line could be read */
    bool linger;              /* an answer was sent while the client may still be sending */
    struct exchange *waiting; /* (worker.lock) its reply is sent as far as there is any of it */
};

/* What the workers tell the acceptor. */
struct http_events {
    void (*closed)(void *context);         /* a connection less */
    void (*linger)(void *context, int fd); /* takes the descriptor: read it empty, then close */
    void *context;
};

struct http_worker {
    const struct http_options *options;
    const struct host_guard *guard;
    struct service *service;
    struct http_events events;
    struct MHD_Daemon *daemon;
    _Atomic unsigned connections;    /* given to the worker and not closed yet */
    _Atomic uint64_t opened, closed; /* exchanges; written by the worker's thread only */
    pthread_mutex_t lock;
    struct http_connection *first; /* (lock) */
};

MUST_USE enum coffer_status http_worker_start(struct http_worker *worker, struct error *err);
/* Takes the socket, whatever happens. */
void http_worker_add(struct http_worker *worker, int fd, const struct listen_address *peer);
/* Cut all connections: what is under way on them ends as if the client had gone. How many. */
unsigned http_worker_cut(struct http_worker *worker);
/* Look for clients that have closed, and tell libmicrohttpd. It reads until it gets less than it
 * asked for, and the kernel reports an end only once: one that came together with the last bytes it
 * would see after the timeout, and an upload would live as long. And it does not look at the
 * sockets of suspended connections: a reply that waits for more to send is cancelled. To be called
 * now and then. */
void http_worker_sweep(struct http_worker *worker);
/* Requests that are not answered to the last byte yet. */
uint64_t http_worker_active(const struct http_worker *worker);
void http_worker_stop(struct http_worker *worker); /* no connection may be left */
