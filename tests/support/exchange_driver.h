/*
 * exchange_driver.h - drives one exchange from request to reply without a socket: a host whose
 * suspension is a gate. For tests of resources.
 *
 *     struct driven driven;
 *     driver_run(&driven, &service, &(struct driver_request){.method = "GET", .target =
 * "/healthz"}); assert_int_equal(driven.status, 200); driver_release(&driven);
 *
 * Errors:  the calls that look at JSON fail the running test (cmocka).
 * Threads: the calling one; wakers may come from others.
 */
#pragma once

#include <jansson.h>

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
    bool cancel;  /* the client is gone when the reply waits for more to send */
};

struct driven {
    struct exchange *exchange; /* open until driver_release() */
    int status;                /* 0: abandoned */
    char *body;                /* of the reply, with a NUL after it; empty for HEAD */
    size_t body_size;
    enum coffer_status body_status; /* not COFFER_OK: the stream failed on the way */
    unsigned waits;                 /* how often it was suspended */
    size_t body_taken;              /* bytes of the request's body that were taken */
    struct driver *driver;          /* its own */
};

void driver_run(
    struct driven *driven, struct service *service, const struct driver_request *request);
/* The same, but the bytes of a reply that is a stream are left for driver_read(). */
void driver_open(
    struct driven *driven, struct service *service, const struct driver_request *request);
/* Its next bytes, once there are some: how many; 0: it has ended, see body_status. */
size_t driver_read(struct driven *driven, void *out, size_t max);
/* NULL if the reply has no such header. */
const char *driver_header(const struct driven *driven, const char *name);
void driver_release(struct driven *driven);

/* ---- requests and answers in JSON ---- */

struct driver_request driver_post(const char *target, const char *body);
/* The first JSON value of a text; the caller drops it. */
json_t *driver_parse(const char *text, size_t size);
/* A member; NULL if it is not there or no text. */
const char *json_text_of(const json_t *object, const char *name);
json_int_t json_number_of(const json_t *object, const char *name);
/* Run it and give the status; the body, if it is wanted, as JSON, which the caller drops. */
int driver_ask(struct service *service, struct driver_request request, json_t **body);
/* It must be answered with this status and code. */
void driver_refused(
    struct service *service, struct driver_request request, int status, const char *code);

/* The same in words: "PUT /v1/datasets/abc", one more header and a body, or NULL. */
int driver_call(struct service *service, const char *request, const char *header, const char *body,
    json_t **answer);
void driver_call_refused(struct service *service, const char *request, const char *header,
    const char *body, int status, const char *code);
/* The body of what must be answered with this status and is not JSON; the caller frees it. */
char *driver_call_text(
    struct service *service, const char *request, const char *header, int status);

/* A service over a store in memory, and its end, which finds what was left open. */
void driver_service_open(struct service *service);
void driver_service_close(struct service *service);
