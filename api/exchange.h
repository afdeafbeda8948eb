/*
 * exchange.h - one request and the reply to it, without a socket; and what a resource is.
 *
 * A resource is a few plain functions over an exchange. A host (the HTTP server, or a test) feeds
 * the request in and takes the reply out, so every resource can be driven without a socket.
 *
 * Order:   resource->start() when the headers are there, ->data() for each piece of the body,
 *          ->finish() when the body is complete (also when there is none), ->release() at the end,
 *          always if start() was called. A resource replies with one exchange_reply*() call, in
 *          start() (the body is then not read, or read and dropped) or in finish() at the latest.
 *          After a reply only release() is called. HEAD runs the resource of GET: reply as for GET;
 *          the body is then not asked for (exchange->method tells, to save the work).
 * Errors:  a step that returns anything but COFFER_OK and COFFER_AGAIN is answered with that
 *          status and the text of err as problem+json (problem.h); if it wants more members in
 *          it, it replies by itself and returns COFFER_OK.
 * Waiting: data() and finish() may return COFFER_AGAIN after they gave exchange_waker() to a call
 *          that answered COFFER_AGAIN; they are called again (data() with the bytes that it did
 *          not take) once woken. start() must not wait. A stream's read may wait in the same way.
 *          One call may be waited for at a time.
 * Threads: an exchange is used by one thread at a time; only the waker and cancel() are called from
 *          others.
 * Memory:  everything given out by exchange_*() lives until the exchange is closed, so a resource
 *          needs no malloc of its own: exchange_alloc(). What it holds beside that (an upload, a
 *          reader) it gives back in release(), which is called after the reply's last byte was
 *          sent or the client is gone. An exchange is not closed while somebody may wake it.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/slice.h"
#include "storage/base/status.h"
#include "storage/base/waker.h"
#include "storage/store.h"

struct exchange;
struct bulk_pool; /* api/bulk.h */
struct route;     /* api/route.h */

/* ---- what all resources share ---- */

enum service_state { SERVICE_RECOVERING, SERVICE_READY, SERVICE_DRAINING };

/* Made by the server before the first request; constant from then on, but for the atomics. */
struct service {
    struct store *store;        /* valid in every state but SERVICE_RECOVERING */
    struct bulk_pool *bulk;     /* the same */
    const char *version;        /* of coffer */
    enum durability durability; /* of a write that does not say */
    uint64_t collect_max;       /* bytes of one body that a resource collects (BODY_JSON) */
    uint64_t memory_max;        /* bytes that all exchanges may charge together */
    uint64_t started_ns;        /* wall clock */
    uint64_t heartbeat_ns;      /* the longest silence of an event stream; 0: 15 s */
    _Atomic int state;          /* enum service_state */
    _Atomic uint64_t memory_used;
};

/* ---- the request ---- */

enum exchange_method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_PUT,
    METHOD_POST,
    METHOD_DELETE,
    METHOD_PATCH,
    METHOD_OPTIONS,
    METHOD_OTHER,
};

enum exchange_header_id {
#define HEADER(id, name, kind) HEADER_##id,
#include "api/exchange_headers.def"
#undef HEADER
    HEADER_COUNT
};

enum body_kind {
    BODY_NONE,   /* a small body is dropped; 413 above EXCHANGE_IGNORED_MAX */
    BODY_JSON,   /* JSON or text, at most service->collect_max bytes: 413 above */
    BODY_STREAM, /* any size */
};

struct resource {
    bool any_state; /* also served while the store is not ready: health. service->store may be NULL
                     */
    /* The headers are there. Optional. */
    enum coffer_status (*start)(struct exchange *exchange, struct error *err);
    /* The next bytes of the body: takes *taken of them (all, unless COFFER_AGAIN). Required unless
     * the route's body is BODY_NONE. */
    enum coffer_status (*data)(
        struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err);
    /* The body is complete; reply. Required unless start() always replies. */
    enum coffer_status (*finish)(struct exchange *exchange, struct error *err);
    /* The client is gone, or has said that it sends no more: if the stream's read waits for what
     * may never come, make it end, with any failure. Called from another thread, beside that read
     * but not beside release(). Optional. */
    void (*cancel)(struct exchange *exchange);
    /* Give back what exchange->state holds. Optional. */
    void (*release)(struct exchange *exchange);
};

/* ---- the reply ---- */

enum reply_form { REPLY_EMPTY, REPLY_MEMORY, REPLY_FILE, REPLY_STREAM };
#define REPLY_SIZE_UNKNOWN UINT64_MAX

/* Writes up to max (at least 1) bytes to out; *size 0 is the end. COFFER_AGAIN: not now, the
 * exchange's waker will be called. Any failure cuts the connection, so that the client sees that
 * the body is not whole. */
typedef enum coffer_status reply_read(
    void *context, void *out, size_t max, size_t *size, struct error *err);

struct reply_header { /* both with a NUL; the value is as long as the exchange, or static */
    const char *name, *value;
};

enum {
    REPLY_HEADERS_MAX = 24,
    EXCHANGE_PARAMS_MAX = 4,
    EXCHANGE_ARENA_SIZE = 2048,
    EXCHANGE_IGNORED_MAX = 64 * 1024, /* bytes of a body that a BODY_NONE route reads past */
};

struct reply {
    int status; /* HTTP; 0: no reply yet */
    enum reply_form form;
    uint64_t size;      /* of the body; REPLY_SIZE_UNKNOWN only with REPLY_STREAM */
    const void *data;   /* REPLY_MEMORY */
    int fd;             /* REPLY_FILE: borrowed until release() */
    uint64_t offset;    /* REPLY_FILE */
    reply_read *read;   /* REPLY_STREAM */
    void *read_context; /* REPLY_STREAM */
    unsigned header_count;
    struct reply_header headers[REPLY_HEADERS_MAX];
};

/* ---- the exchange ---- */

/* What the host does to let an exchange wait. Both may be called from any thread. */
struct exchange_host {
    void (*suspend)(void *context); /* called on the exchange's thread, before resume */
    void (*resume)(void *context);  /* from the waker's thread: call the same step again */
    void *context;
};

struct exchange {
    struct service *service;
    enum exchange_method method;
    const char *method_text;  /* as sent */
    struct slice target;      /* as sent: path and query, percent-encoded; it has a NUL after it */
    struct slice path, query; /* parts of target; query without the '?', empty if there is none */
    struct slice headers[HEADER_COUNT]; /* data is NULL if not sent; values have a NUL after them */
    const char *request_id;             /* the caller's, or one of ours */
    uint64_t body_size; /* from exchange_start() on: as announced, 0 if there is no body,
                           UPLOAD_SIZE_UNKNOWN if it is chunked */

    const struct route *route;                /* set by route_find(): NULL if nothing was found */
    struct slice params[EXCHANGE_PARAMS_MAX]; /* of {name} in the route, in its order, decoded */
    const char *allow;                        /* set by route_find(): value of the Allow header */

    void *state; /* of the resource */
    struct reply reply;

    /* For the log and the metrics. */
    uint64_t received;        /* bytes of the body so far */
    uint64_t started_ns;      /* monotonic; 0 unless service or log want timings */
    const char *coffer_state; /* what the reply said as Coffer-State, or NULL */

    /* Of exchange.c and the host. */
    const struct resource *resource; /* set when start() was called */
    struct exchange_host host;
    _Atomic int wait;       /* enum wait_state of exchange.c */
    enum coffer_status bad; /* what is wrong with the request's head, found while it was read */
    const char *bad_text;
    enum body_kind body_kind;
    uint64_t charged; /* bytes of service->memory_used */
    struct arena_block *blocks;
    size_t arena_used;
    struct exchange *next_free;
    char id_buffer[32];
    _Alignas(16) char arena[EXCHANGE_ARENA_SIZE];
};

static inline bool exchange_replied(const struct exchange *exchange)
{
    return exchange->reply.status != 0;
}

/* ---- for resources: asking ---- */

static inline struct slice exchange_header(
    const struct exchange *exchange, enum exchange_header_id id)
{
    return exchange->headers[id];
}

static inline bool exchange_has(const struct exchange *exchange, enum exchange_header_id id)
{
    return exchange->headers[id].data != NULL;
}

/* Percent-decode; plus: '+' is a space (queries). False: a broken escape, or a NUL in it. The
 * result has a NUL after it unless it is `text` itself (nothing to decode). */
bool exchange_unescape(struct exchange *exchange, struct slice text, bool plus, struct slice *out);
/* Walk through the query: *cursor starts as 0. False with COFFER_OK: no more. COFFER_BAD_REQUEST
 * for a broken escape. Decoded and with a NUL after name and value. */
MUST_USE enum coffer_status exchange_query_next(struct exchange *exchange, size_t *cursor,
    bool *more, struct slice *name, struct slice *value, struct error *err);
/* The first parameter of that name. *value has data NULL if there is none. */
MUST_USE enum coffer_status exchange_query(
    struct exchange *exchange, const char *name, struct slice *value, struct error *err);
/* COFFER_BAD_REQUEST if the query has a parameter that is not in the NULL-terminated `known`. */
MUST_USE enum coffer_status exchange_query_only(
    struct exchange *exchange, const char *const *known, struct error *err);

/* ---- for resources: memory ---- */

/* Zeroed, aligned to 16. Never NULL. For small things: large ones are charged and malloced. */
void *exchange_alloc(struct exchange *exchange, size_t size) __attribute__((returns_nonnull));
/* The same without zeroing, aligned to 1: for text. */
char *exchange_alloc_text(struct exchange *exchange, size_t size);
const char *exchange_copy(struct exchange *exchange, struct slice text); /* with a NUL */
const char *exchange_format(struct exchange *exchange, const char *format, ...) PRINTF_LIKE(2, 3);
/* The decimal form of a number; snprintf is ten times slower. */
const char *exchange_number(struct exchange *exchange, uint64_t value);
/* Count `size` more bytes of memory (malloced by the caller) that this request holds, against
 * service->memory_max. COFFER_OVERLOADED if they are not to be had. Given back when it closes. */
MUST_USE enum coffer_status exchange_charge(
    struct exchange *exchange, uint64_t size, struct error *err);

/* ---- for resources: waiting and replying ---- */

/* What to give to calls that may answer COFFER_AGAIN. */
struct waker exchange_waker(struct exchange *exchange);

/* Start the reply: a status and no body. What was prepared before (headers too) is dropped. */
void exchange_reply(struct exchange *exchange, int http_status);
/* Name and value are not copied. Before or after the body functions, after exchange_reply(). */
void exchange_reply_header(struct exchange *exchange, const char *name, const char *value);
/* The body. `data` and `fd` must stay valid until release(). */
void exchange_reply_memory(struct exchange *exchange, const void *data, uint64_t size);
void exchange_reply_file(struct exchange *exchange, int fd, uint64_t offset, uint64_t size);
void exchange_reply_stream(
    struct exchange *exchange, uint64_t size, reply_read *read, void *context);

/* ---- for hosts ----
 *
 *     exchange_open(); exchange_set_target(); exchange_add_header()...;
 *     exchange_start();            may have replied already
 *     exchange_receive()...        until the whole body was taken
 *     exchange_finish();           has replied when it answers COFFER_OK
 *     send exchange->reply, calling exchange_read() if it is a stream and method is not HEAD
 *     exchange_close();
 *
 * When receive, finish or read answers COFFER_AGAIN: call exchange_park(). True: leave, and call
 * the same step again after host.resume() was called; false: call it again now. All other
 * failures are turned into a reply inside, except those of exchange_read().
 */
struct exchange *exchange_open(struct service *service, struct exchange_host host);
/* Copies `target` up to `max` bytes; a longer one is remembered as COFFER_URI_TOO_LONG. */
void exchange_set_target(struct exchange *exchange, const char *target, size_t max);
void exchange_set_method(struct exchange *exchange, const char *method); /* borrowed */
/* `value` is borrowed until exchange_close() and has a NUL after it. */
void exchange_add_header(
    struct exchange *exchange, const char *name, size_t name_size, const char *value, size_t size);
/* Refuse the request: the reply is a problem. Only before exchange_start(). */
void exchange_refuse(struct exchange *exchange, enum coffer_status status, const char *why);
void exchange_start(struct exchange *exchange);
MUST_USE enum coffer_status exchange_receive(
    struct exchange *exchange, const void *data, size_t size, size_t *taken);
MUST_USE enum coffer_status exchange_finish(struct exchange *exchange);
MUST_USE enum coffer_status exchange_read(
    struct exchange *exchange, void *out, size_t max, size_t *size, struct error *err);
bool exchange_park(struct exchange *exchange);
/* The client is gone: a read that might wait for long ends. Any thread, until exchange_close(). */
void exchange_cancel(struct exchange *exchange);
void exchange_close(struct exchange *exchange); /* NULL is a no-op */
/* Free what the calling thread keeps for its next exchanges (done by itself when a thread ends, but
 * not for the main thread of a process that exits). */
void exchange_thread_end(void);

/*
 * What exchange.c expects of its neighbours:
 *   route.h    struct route { ...; enum body_kind body; const struct resource *resource; }
 *              enum coffer_status route_find(struct exchange *exchange, struct error *err);
 *                  from method and path. Sets ->route and ->params (decoded; a broken escape is
 *                  COFFER_BAD_REQUEST) and answers COFFER_OK; HEAD finds the route of GET.
 *                  COFFER_NO_SUCH_PATH. COFFER_METHOD_NOT_ALLOWED with ->allow set ("GET, HEAD,
 *                  OPTIONS"); OPTIONS is answered so too, and turned into 204 here.
 *   problem.h  void problem_reply(struct exchange *exchange, enum coffer_status status,
 *                  const struct error *err);
 *                  replies with problem+json (err may be NULL: then the title says it all), and
 *                  adds Allow from ->allow for COFFER_METHOD_NOT_ALLOWED, Retry-After for 503.
 */
