/*
 * http_server.h - serves exchanges over HTTP/1.1: listeners, connections, worker threads.
 *
 * Order:   http_server_start() accepts and serves; http_server_stop_accepting(), after which the
 *          listeners may be closed; http_server_drain(), which returns when nothing is under way
 *          any more; http_server_destroy().
 * Threads: start, drain and destroy belong to one thread. Inside: one thread accepts, each worker
 *          serves its connections with an epoll loop of libmicrohttpd.
 * Memory:  options are copied; service, guard and listeners are borrowed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "api/exchange.h"
#include "server/host_guard.h"
#include "server/listen.h"
#include "storage/base/status.h"

struct http_server;

struct http_options {
    unsigned threads;           /* 0: one a processor */
    unsigned connections_max;   /* more wait in the kernel's queue */
    uint64_t connection_memory; /* bytes of one connection's buffer */
    uint64_t header_size_max;   /* bytes of request line and headers */
    uint64_t path_size_max;     /* bytes of the request target */
    uint64_t timeout_ns;        /* a silent connection is closed */
};

MUST_USE enum coffer_status http_server_start(const struct http_options *options,
    struct service *service, const struct host_guard *guard, const struct listener *listeners,
    size_t listener_count, struct http_server **out, struct error *err);
/* Returns when no listener is used any more. */
void http_server_stop_accepting(struct http_server *server);
/* Wait at most timeout_ns for requests under way, then cut the connections that
 * are left, and wait until the store needs nothing from them any more. The service must be in
 * SERVICE_DRAINING. Returns how many requests were cut. */
uint64_t http_server_drain(struct http_server *server, uint64_t timeout_ns);
void http_server_destroy(struct http_server *server);
