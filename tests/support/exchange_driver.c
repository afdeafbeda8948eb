#include "tests/support/exchange_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "storage/base/invariant.h"

enum { HEADER_PATH_MAX = 8192, READ_SIZE = 64 * 1024 };

struct driver {
    struct exchange *exchange;
    struct driven *driven;
    struct gate gate;
};

static void suspend(void *context)
{
    struct driver *driver = context;

    driver->driven->waits++;
}

static void resume(void *context)
{
    struct driver *driver = context;

    waker_wake(gate_waker(&driver->gate));
}

/* After COFFER_AGAIN: returns when the step is to be called again. */
static void wait_for_wake(struct driver *driver)
{
    if (exchange_park(driver->exchange))
        gate_wait(&driver->gate);
}

static void give_header(struct exchange *exchange, const char *line)
{
    const char *colon = strchr(line, ':');
    const char *value;

    invariant(colon != NULL);
    value = colon + 1 + strspn(colon + 1, " ");
    exchange_add_header(exchange, line, (size_t)(colon - line), value, strlen(value));
}

static void give_head(struct exchange *exchange, const struct driver_request *request)
{
    exchange_set_method(exchange, request->method == NULL ? "GET" : request->method);
    exchange_set_target(exchange, request->target, HEADER_PATH_MAX);
    for (size_t i = 0; i < DRIVER_HEADERS_MAX && request->headers[i] != NULL; i++)
        give_header(exchange, request->headers[i]);
    if (request->chunked)
        give_header(exchange, "Transfer-Encoding: chunked");
    else if (request->body != NULL)
        give_header(exchange, exchange_format(exchange, "Content-Length: %zu", request->body_size));
}

/* False: the client went away. */
static bool give_body(struct driver *driver, const struct driver_request *request)
{
    const char *body = request->body;
    size_t piece = request->piece == 0 ? request->body_size : request->piece;
    size_t end =
        request->abandon && request->body_size > 0 ? request->body_size - 1 : request->body_size;
    size_t at = 0;

    while (at < end) {
        size_t size = piece < end - at ? piece : end - at;
        size_t taken;

        if (exchange_receive(driver->exchange, body + at, size, &taken) == COFFER_AGAIN)
            wait_for_wake(driver);
        at += taken;
    }
    driver->driven->body_taken = at;
    return !request->abandon;
}

static void take_stream(struct driver *driver)
{
    struct driven *driven = driver->driven;
    struct error err;

    for (;;) {
        size_t size = 0;

        driven->body = realloc(driven->body, driven->body_size + READ_SIZE + 1);
        invariant(driven->body != NULL);
        driven->body_status = exchange_read(
            driver->exchange, driven->body + driven->body_size, READ_SIZE, &size, &err);
        if (driven->body_status == COFFER_AGAIN) {
            wait_for_wake(driver);
            continue;
        }
        driven->body_size += size;
        if (driven->body_status != COFFER_OK || size == 0)
            break;
    }
}

static void take_reply(struct driver *driver)
{
    const struct reply *reply = &driver->exchange->reply;
    struct driven *driven = driver->driven;

    driven->status = reply->status;
    driven->body = calloc(1, 1);
    invariant(driven->body != NULL);
    if (driver->exchange->method == METHOD_HEAD || reply->status == 304)
        return;
    if (reply->form == REPLY_STREAM) {
        take_stream(driver);
    } else if (reply->form != REPLY_EMPTY) {
        driven->body_size = (size_t)reply->size;
        driven->body = realloc(driven->body, driven->body_size + 1);
        invariant(driven->body != NULL);
        if (reply->form == REPLY_FILE)
            invariant(pread(reply->fd, driven->body, driven->body_size, (off_t)reply->offset) ==
                      (ssize_t)driven->body_size);
        else if (driven->body_size > 0)
            memcpy(driven->body, reply->data, driven->body_size);
    }
    driven->body[driven->body_size] = '\0';
}

void driver_run(
    struct driven *driven, struct service *service, const struct driver_request *request)
{
    struct driver driver = {.driven = driven};
    const struct exchange_host host = {suspend, resume, &driver};

    memset(driven, 0, sizeof(*driven));
    gate_init(&driver.gate);
    driver.exchange = driven->exchange = exchange_open(service, host);
    give_head(driver.exchange, request);
    exchange_start(driver.exchange);
    if (give_body(&driver, request)) {
        while (exchange_finish(driver.exchange) == COFFER_AGAIN)
            wait_for_wake(&driver);
        take_reply(&driver);
    }
    gate_release(&driver.gate);
}

const char *driver_header(const struct driven *driven, const char *name)
{
    const struct reply *reply = &driven->exchange->reply;

    for (unsigned i = 0; i < reply->header_count; i++)
        if (strcasecmp(reply->headers[i].name, name) == 0)
            return reply->headers[i].value;
    return NULL;
}

void driver_release(struct driven *driven)
{
    exchange_close(driven->exchange);
    free(driven->body);
    memset(driven, 0, sizeof(*driven));
}
