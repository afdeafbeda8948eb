#include "tests/support/exchange_driver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

enum { HEADER_PATH_MAX = 8192, READ_SIZE = 64 * 1024 };

struct driver {
    struct exchange *exchange;
    struct driven *driven;
    struct gate gate;
    bool cancel; /* as asked for */
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

size_t driver_read(struct driven *driven, void *out, size_t max)
{
    struct error err;
    size_t size = 0;

    while ((driven->body_status = exchange_read(driven->exchange, out, max, &size, &err)) ==
           COFFER_AGAIN) {
        if (driven->driver->cancel)
            exchange_cancel(driven->exchange);
        wait_for_wake(driven->driver);
    }
    return driven->body_status == COFFER_OK ? size : 0;
}

static void take_stream(struct driven *driven)
{
    size_t size;

    do {
        driven->body = realloc(driven->body, driven->body_size + READ_SIZE + 1);
        invariant(driven->body != NULL);
        size = driver_read(driven, driven->body + driven->body_size, READ_SIZE);
        driven->body_size += size;
    } while (size > 0);
    driven->body[driven->body_size] = '\0';
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
    if (reply->form != REPLY_EMPTY && reply->form != REPLY_STREAM) {
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

void driver_open(
    struct driven *driven, struct service *service, const struct driver_request *request)
{
    struct driver *driver = calloc(1, sizeof(*driver));
    const struct exchange_host host = {suspend, resume, driver};

    invariant(driver != NULL);
    memset(driven, 0, sizeof(*driven));
    driver->driven = driven;
    driver->cancel = request->cancel;
    driven->driver = driver;
    gate_init(&driver->gate);
    driver->exchange = driven->exchange = exchange_open(service, host);
    give_head(driver->exchange, request);
    exchange_start(driver->exchange);
    if (give_body(driver, request)) {
        while (exchange_finish(driver->exchange) == COFFER_AGAIN)
            wait_for_wake(driver);
        take_reply(driver);
    }
}

void driver_run(
    struct driven *driven, struct service *service, const struct driver_request *request)
{
    driver_open(driven, service, request);
    if (driven->status != 0 && driven->exchange->reply.form == REPLY_STREAM &&
        driven->exchange->method != METHOD_HEAD && driven->status != 304)
        take_stream(driven);
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
    gate_release(&driven->driver->gate);
    free(driven->driver);
    free(driven->body);
    memset(driven, 0, sizeof(*driven));
}

struct driver_request driver_post(const char *target, const char *body)
{
    return (struct driver_request){
        .method = "POST", .target = target, .body = body, .body_size = strlen(body)};
}

json_t *driver_parse(const char *text, size_t size)
{
    json_error_t error;
    json_t *parsed =
        json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DISABLE_EOF_CHECK, &error);

    if (parsed == NULL)
        fail_msg("%s in %.*s", error.text, (int)size, text);
    return parsed;
}

const char *json_text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

json_int_t json_number_of(const json_t *object, const char *name)
{
    if (!json_is_integer(json_object_get(object, name)))
        fail_msg("\"%s\" is no number here", name);
    return json_integer_value(json_object_get(object, name));
}

int driver_ask(struct service *service, struct driver_request request, json_t **body)
{
    struct driven driven;
    int status;

    driver_run(&driven, service, &request);
    status = driven.status;
    assert_int_equal(driven.body_status, COFFER_OK);
    if (body != NULL)
        *body = driver_parse(driven.body, driven.body_size);
    driver_release(&driven);
    return status;
}

void driver_refused(
    struct service *service, struct driver_request request, int status, const char *code)
{
    json_t *body = NULL;
    int answered = driver_ask(service, request, &body);
    const char *got = json_text_of(body, "code");

    if (answered != status || got == NULL || strcmp(got, code) != 0)
        fail_msg("%s %s: %d %s (%s) is not %d %s", request.method == NULL ? "GET" : request.method,
            request.target, answered, got == NULL ? "without a code" : got,
            json_text_of(body, "detail"), status, code);
    assert_int_equal(json_number_of(body, "status"), status);
    json_decref(body);
}

static struct driver_request in_words(
    const char *request, const char *header, const char *body, char method[16])
{
    size_t size = strcspn(request, " ");

    assert_true(size < 16 && request[size] == ' ');
    memcpy(method, request, size);
    method[size] = '\0';
    return (struct driver_request){.method = method,
        .target = request + size + 1,
        .headers = {header},
        .body = body,
        .body_size = body == NULL ? 0 : strlen(body)};
}

int driver_call(struct service *service, const char *request, const char *header, const char *body,
    json_t **answer)
{
    char method[16];

    return driver_ask(service, in_words(request, header, body, method), answer);
}

void driver_call_refused(struct service *service, const char *request, const char *header,
    const char *body, int status, const char *code)
{
    char method[16];

    driver_refused(service, in_words(request, header, body, method), status, code);
}

char *driver_call_text(struct service *service, const char *request, const char *header, int status)
{
    char method[16];
    struct driver_request words = in_words(request, header, NULL, method);
    struct driven driven;
    char *body;

    driver_run(&driven, service, &words);
    if (driven.status != status)
        fail_msg("%s: %d, not %d: %s", request, driven.status, status, driven.body);
    assert_int_equal(driven.body_status, COFFER_OK);
    body = driven.body;
    driven.body = NULL;
    driver_release(&driven);
    return body;
}

void driver_service_open(struct service *service)
{
    struct store_options options;

    memset(service, 0, sizeof(*service));
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &service->store, NULL), COFFER_OK);
    service->state = SERVICE_READY;
    service->version = "test";
    service->collect_max = 64 << 20;
    service->memory_max = 256 << 20;
}

void driver_service_close(struct service *service)
{
    assert_int_equal(service->memory_used, 0);
    assert_int_equal(store_close(service->store, NULL), COFFER_OK);
    exchange_thread_end();
}
