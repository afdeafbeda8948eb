/*
 * Rules:
 * 1. An exchange comes from a list that its thread keeps, so that the usual request needs no
 *    malloc: small things live in the arena inside of it, more in blocks that are freed at close.
 * 2. Waiting is a race between the host, which suspends, and the waker. `wait` decides it:
 *
 *        RUNNING --wake()--> WOKEN       the step that answered COFFER_AGAIN is called again
 *        RUNNING --park()--> PARKED      the host has suspended
 *        PARKED  --wake()--> WOKEN       and the waker resumes the host
 *
 *    Every step starts as RUNNING. Whoever comes second resumes, so it happens exactly once.
 * 3. A failure of a step becomes a reply here and nowhere else.
 */
#include "api/exchange.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/exchange_head.h"
#include "api/problem.h"
#include "api/route.h"
#include "storage/base/bytes.h"
#include "storage/base/digest.h"
#include "storage/base/invariant.h"

enum wait_state { WAIT_RUNNING, WAIT_WOKEN, WAIT_PARKED };

enum { FREE_LIST_MAX = 64 }; /* exchanges that a thread keeps */

struct arena_block {
    struct arena_block *next;
    _Alignas(16) char bytes[];
};

/* ---- memory ---- */

static _Thread_local struct exchange *free_list;
static _Thread_local unsigned free_count;

static pthread_key_t thread_end_key;
static pthread_once_t thread_end_once = PTHREAD_ONCE_INIT;
static _Thread_local bool thread_end_known;

void exchange_thread_end(void)
{
    while (free_list != NULL) {
        struct exchange *exchange = free_list;

        free_list = exchange->next_free;
        free(exchange);
    }
    free_count = 0;
}

static void on_thread_end(void *context)
{
    (void)context;
    exchange_thread_end();
}

static void make_thread_end_key(void)
{
    invariant(pthread_key_create(&thread_end_key, on_thread_end) == 0);
}

/* The threads are libmicrohttpd's: only the system tells when one ends. */
static void expect_thread_end(void)
{
    (void)pthread_once(&thread_end_once, make_thread_end_key);
    (void)pthread_setspecific(thread_end_key, &thread_end_known);
    thread_end_known = true;
}

static void *arena_take(struct exchange *exchange, size_t size, size_t align)
{
    size_t at = (exchange->arena_used + align - 1) & ~(align - 1);
    struct arena_block *block;

    if (likely(at + size <= sizeof(exchange->arena) && at + size >= size)) {
        exchange->arena_used = at + size;
        return exchange->arena + at;
    }
    invariant(size < SIZE_MAX - sizeof(*block));
    block = malloc(sizeof(*block) + size);
    invariant(block != NULL);
    block->next = exchange->blocks;
    exchange->blocks = block;
    return block->bytes;
}

void *exchange_alloc(struct exchange *exchange, size_t size)
{
    return memset(arena_take(exchange, size, 16), 0, size);
}

char *exchange_alloc_text(struct exchange *exchange, size_t size)
{
    return arena_take(exchange, size, 1);
}

const char *exchange_copy(struct exchange *exchange, struct slice text)
{
    char *copy = exchange_alloc_text(exchange, text.size + 1);

    if (text.size > 0)
        memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

const char *exchange_format(struct exchange *exchange, const char *format, ...)
{
    char small[256];
    va_list args;
    char *text;
    int length;

    va_start(args, format);
    length = vsnprintf(small, sizeof(small), format, args);
    va_end(args);
    invariant(length >= 0);
    text = exchange_alloc_text(exchange, (size_t)length + 1);
    if ((size_t)length < sizeof(small)) {
        memcpy(text, small, (size_t)length + 1);
    } else {
        va_start(args, format);
        (void)vsnprintf(text, (size_t)length + 1, format, args);
        va_end(args);
    }
    return text;
}

const char *exchange_number(struct exchange *exchange, uint64_t value)
{
    char digits[20];
    size_t used = sizeof(digits);

    do {
        digits[--used] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return exchange_copy(exchange, slice_of(digits + used, sizeof(digits) - used));
}

enum coffer_status exchange_charge(struct exchange *exchange, uint64_t size, struct error *err)
{
    struct service *service = exchange->service;
    uint64_t used =
        atomic_fetch_add_explicit(&service->memory_used, size, memory_order_relaxed) + size;

    if (used > service->memory_max || used < size) {
        atomic_fetch_sub_explicit(&service->memory_used, size, memory_order_relaxed);
        return error_set(err, COFFER_OVERLOADED,
            "the requests under way hold %llu bytes of memory and this one needs %llu more: send "
            "it again later",
            (unsigned long long)(used - size), (unsigned long long)size);
    }
    exchange->charged += size;
    return COFFER_OK;
}

/* ---- opening and closing ---- */

/* Ours: 16 hexadecimal digits of the thread and 8 of a counter. A random prefix for each thread
 * makes them unique over restarts and servers without a lock. */
static void make_request_id(struct exchange *exchange)
{
    static _Thread_local char prefix[17];
    static _Thread_local uint32_t counter;
    static const char hex[] = "0123456789abcdef";
    uint32_t number = counter++;
    char *out = exchange->id_buffer;

    if (unlikely(prefix[0] == '\0')) {
        uint8_t random[8];

        random_bytes(random, sizeof(random));
        hex_encode(random, sizeof(random), prefix);
    }
    memcpy(out, prefix, 16);
    for (int shift = 28; shift >= 0; shift -= 4)
        out[16 + (28 - shift) / 4] = hex[(number >> shift) & 15];
    out[24] = '\0';
    exchange->request_id = out;
}

struct exchange *exchange_open(struct service *service, struct exchange_host host)
{
    struct exchange *exchange = free_list;

    if (likely(exchange != NULL)) {
        free_list = exchange->next_free;
        free_count--;
    } else {
        exchange = aligned_alloc(64, round_up(sizeof(*exchange), 64));
        invariant(exchange != NULL);
    }
    memset(exchange, 0, offsetof(struct exchange, id_buffer));
    exchange->service = service;
    exchange->host = host;
    exchange->method = METHOD_OTHER;
    exchange->method_text = "";
    exchange->target = exchange->path = exchange->query = slice_of("", 0);
    make_request_id(exchange);
    return exchange;
}

void exchange_close(struct exchange *exchange)
{
    if (exchange == NULL)
        return;
    if (exchange->resource != NULL && exchange->resource->release != NULL)
        exchange->resource->release(exchange);
    if (exchange->charged > 0)
        atomic_fetch_sub_explicit(
            &exchange->service->memory_used, exchange->charged, memory_order_relaxed);
    while (exchange->blocks != NULL) {
        struct arena_block *block = exchange->blocks;

        exchange->blocks = block->next;
        free(block);
    }
    if (free_count >= FREE_LIST_MAX) {
        free(exchange);
        return;
    }
    if (unlikely(!thread_end_known))
        expect_thread_end();
    exchange->next_free = free_list;
    free_list = exchange;
    free_count++;
}

/* ---- the steps ---- */

static void problem(struct exchange *exchange, enum coffer_status status, const struct error *err)
{
    problem_reply(exchange, status, err);
    invariant(exchange_replied(exchange));
}

static bool store_is_there(struct exchange *exchange, const struct resource *resource)
{
    int state = atomic_load_explicit(&exchange->service->state, memory_order_acquire);
    struct error err;

    if (likely(state == SERVICE_READY) || resource->any_state)
        return true;
    (void)error_set(&err, state == SERVICE_DRAINING ? COFFER_DRAINING : COFFER_OVERLOADED,
        state == SERVICE_DRAINING ? "the server is shutting down: use another one, or come again"
                                  : "the store is being opened: come again in a moment");
    problem(exchange, err.status, &err);
    return false;
}

static void answer_options(struct exchange *exchange, const char *allow)
{
    exchange_reply(exchange, 204);
    exchange_reply_header(exchange, "Allow", allow);
}

/* Whether the announced body may come at all. */
static bool body_is_legal(struct exchange *exchange, struct error *err)
{
    uint64_t max =
        exchange->body_kind == BODY_NONE ? EXCHANGE_IGNORED_MAX : exchange->service->collect_max;
    uint64_t size =
        exchange->body_size == UPLOAD_SIZE_UNKNOWN ? exchange->received : exchange->body_size;

    if (exchange->body_kind == BODY_STREAM || size <= max)
        return true;
    if (exchange->body_kind == BODY_NONE)
        (void)error_set(err, COFFER_CONTENT_TOO_LARGE, "this request takes no body");
    else
        (void)error_set(err, COFFER_CONTENT_TOO_LARGE,
            "the body of this request may have %llu bytes: send several smaller ones",
            (unsigned long long)max);
    return false;
}

void exchange_start(struct exchange *exchange)
{
    struct error err = {COFFER_OK, ""};
    const struct resource *resource;
    enum coffer_status status;

    exchange_read_head(exchange);
    if (unlikely(exchange->bad != COFFER_OK)) {
        (void)error_set(&err, exchange->bad, "%s",
            exchange->bad_text != NULL ? exchange->bad_text : status_title(exchange->bad));
        problem(exchange, exchange->bad, &err);
        return;
    }
    if (exchange->method == METHOD_OPTIONS && slice_equal(exchange->path, slice_of("*", 1))) {
        answer_options(exchange, "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS");
        return;
    }
    status = route_find(exchange, &err);
    if (unlikely(status != COFFER_OK)) {
        if (status == COFFER_METHOD_NOT_ALLOWED && exchange->method == METHOD_OPTIONS)
            answer_options(exchange, exchange->allow);
        else
            problem(exchange, status, &err);
        return;
    }
    exchange->body_kind = exchange->route->body;
    resource = exchange->route->resource;
    if (!store_is_there(exchange, resource))
        return;
    if (!body_is_legal(exchange, &err)) {
        problem(exchange, err.status, &err);
        return;
    }
    exchange->resource = resource; /* from here on release() is due */
    if (resource->start == NULL)
        return;
    status = resource->start(exchange, &err);
    invariant(status != COFFER_AGAIN);
    if (status != COFFER_OK)
        problem(exchange, status, &err);
}

enum coffer_status exchange_receive(
    struct exchange *exchange, const void *data, size_t size, size_t *taken)
{
    struct error err = {COFFER_OK, ""};
    enum coffer_status status;

    *taken = size;
    if (exchange_replied(exchange)) {
        exchange->received += size;
        return COFFER_OK;
    }
    if (exchange->body_kind == BODY_NONE) {
        exchange->received += size;
    } else {
        *taken = 0;
        atomic_store_explicit(&exchange->wait, WAIT_RUNNING, memory_order_relaxed);
        status = exchange->resource->data(exchange, data, size, taken, &err);
        exchange->received += *taken;
        if (status == COFFER_AGAIN)
            return COFFER_AGAIN;
        if (status != COFFER_OK)
            problem(exchange, status, &err);
        *taken = size;
    }
    if (!exchange_replied(exchange) && !body_is_legal(exchange, &err))
        problem(exchange, err.status, &err);
    return COFFER_OK;
}

enum coffer_status exchange_finish(struct exchange *exchange)
{
    struct error err = {COFFER_OK, ""};
    enum coffer_status status;

    if (exchange_replied(exchange))
        return COFFER_OK;
    atomic_store_explicit(&exchange->wait, WAIT_RUNNING, memory_order_relaxed);
    status = exchange->resource->finish(exchange, &err);
    if (status == COFFER_AGAIN)
        return COFFER_AGAIN;
    if (status != COFFER_OK)
        problem(exchange, status, &err);
    invariant(exchange_replied(exchange));
    return COFFER_OK;
}

enum coffer_status exchange_read(
    struct exchange *exchange, void *out, size_t max, size_t *size, struct error *err)
{
    *size = 0;
    atomic_store_explicit(&exchange->wait, WAIT_RUNNING, memory_order_relaxed);
    return exchange->reply.read(exchange->reply.read_context, out, max, size, err);
}

/* ---- waiting ---- */

static void exchange_wake(void *context)
{
    struct exchange *exchange = context;

    /* Once it is WOKEN and was RUNNING the exchange may be gone: do not touch it again. */
    if (atomic_exchange_explicit(&exchange->wait, WAIT_WOKEN, memory_order_acq_rel) == WAIT_PARKED)
        exchange->host.resume(exchange->host.context);
}

struct waker exchange_waker(struct exchange *exchange)
{
    return (struct waker){exchange_wake, exchange};
}

bool exchange_park(struct exchange *exchange)
{
    int expected = WAIT_RUNNING;

    if (atomic_load_explicit(&exchange->wait, memory_order_acquire) == WAIT_WOKEN)
        return false;
    exchange->host.suspend(exchange->host.context);
    if (!atomic_compare_exchange_strong_explicit(
            &exchange->wait, &expected, WAIT_PARKED, memory_order_acq_rel, memory_order_acquire))
        exchange->host.resume(exchange->host.context); /* woken in between */
    return true;
}

void exchange_cancel(struct exchange *exchange)
{
    if (exchange->resource != NULL && exchange->resource->cancel != NULL)
        exchange->resource->cancel(exchange);
}

/* ---- the reply ---- */

void exchange_reply(struct exchange *exchange, int http_status)
{
    struct reply *reply = &exchange->reply;

    reply->status = http_status;
    reply->form = REPLY_EMPTY;
    reply->size = 0;
    reply->headers[0] = (struct reply_header){"X-Request-Id", exchange->request_id};
    reply->header_count = 1;
}

void exchange_reply_header(struct exchange *exchange, const char *name, const char *value)
{
    struct reply *reply = &exchange->reply;

    invariant(reply->status != 0 && reply->header_count < REPLY_HEADERS_MAX);
    reply->headers[reply->header_count++] = (struct reply_header){name, value};
}

void exchange_reply_memory(struct exchange *exchange, const void *data, uint64_t size)
{
    exchange->reply.form = REPLY_MEMORY;
    exchange->reply.data = data;
    exchange->reply.size = size;
}

void exchange_reply_file(struct exchange *exchange, int fd, uint64_t offset, uint64_t size)
{
    exchange->reply.form = REPLY_FILE;
    exchange->reply.fd = fd;
    exchange->reply.offset = offset;
    exchange->reply.size = size;
}

void exchange_reply_stream(
    struct exchange *exchange, uint64_t size, reply_read *read, void *context)
{
    exchange->reply.form = REPLY_STREAM;
    exchange->reply.read = read;
    exchange->reply.read_context = context;
    exchange->reply.size = size;
}
