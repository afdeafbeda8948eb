/*
 * exchange_driver.h - drives one exchange from request to reply without a socket: a host whose
 * suspension is a gate. For tests of resources.
 *
 *     struct driven driven;
 *     driver_run(&driven, &service, &(struct driver_request){.method = "GET", .target =
 * "/healthz"}); assert_int_equal(driven.status, 200); driver_release(&driven);
 *
 * Threads: the calling one; wakers may come from others.
 */
#pragma once

#include "api/exchange.h"

enum { DRIVER_HEADERS_MAX = 16 };

struct driver_request {
    const char *method; /* NULL: GET */
    const char *target;
    const char *headers[DRIVER_HEADERS_MAX]; /* "Name: value"; the framing headers are made */
    const void *body;                        /* NULL: none */
    size_t body_size;
    size_t piece; /* bytes given at once; 0: all */
    bool chunked; /* do not announce the size */
    bool abandon; /* the client is gone before the last piece: no reply */
};

struct driven {
    struct exchange *exchange; /* open until driver_release() */
    int status;                /* 0: abandoned */
    char *body;                /* of the reply, with a NUL after it; empty for HEAD */
    size_t body_size;
    enum coffer_status body_status; /* not COFFER_OK: the stream failed on the way */
    unsigned waits;                 /* how often it was suspended */
    size_t body_taken;              /* bytes of the request's body that were taken */
};

void driver_run(
    struct driven *driven, struct service *service, const struct driver_request *request);
/* NULL if the reply has no such header. */
const char *driver_header(const struct driven *driven, const char *name);
void driver_release(struct driven *driven);
