/*
 * Goal: over a real socket, whatever bytes a client sends, it gets an answer that fits and the
 * server goes on. Method: a server in this process over a store in memory, raw requests, and what
 * comes back.
 */
#include "server/http_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/bulk.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/datasets.h"
#include "tests/support/http_check.h"
#include "tests/support/socket_client.h"

struct fixture {
    struct service service;
    struct host_guard guard;
    struct listener listeners[2]; /* loopback, unix */
    struct http_server *server;
    char folder[64];
};

static void start(struct fixture *fixture, unsigned connections_max)
{
    const struct http_options options = {.threads = 2,
        .connections_max = connections_max,
        .connection_memory = 32 << 10,
        .header_size_max = 16 << 10,
        .path_size_max = 4 << 10,
        .timeout_ns = UINT64_C(60) * NS_PER_S};
    struct listen_address address;
    char text[128];
    struct error err;

    assert_int_equal(listen_parse("127.0.0.1:0", &address, &err), COFFER_OK);
    assert_int_equal(listener_open(&address, &fixture->listeners[0], &err), COFFER_OK);
    (void)snprintf(text, sizeof(text), "unix:%s/socket", fixture->folder);
    assert_int_equal(listen_parse(text, &address, &err), COFFER_OK);
    assert_int_equal(listener_open(&address, &fixture->listeners[1], &err), COFFER_OK);
    host_guard_init(&fixture->guard, true, fixture->listeners, 2);
    assert_int_equal(http_server_start(&options, &fixture->service, &fixture->guard,
                         fixture->listeners, 2, &fixture->server, &err),
        COFFER_OK);
}

static struct fixture *fixture_make(unsigned connections_max)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct store_options options;
    struct error err;

    assert_non_null(fixture);
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &fixture->service.store, &err), COFFER_OK);
    fixture->service.bulk = bulk_pool_create(2, BULK_IDLE_DEFAULT_NS);
    fixture->service.version = "test";
    fixture->service.collect_max = 1 << 20;
    fixture->service.memory_max = 16 << 20;
    atomic_store(&fixture->service.state, SERVICE_READY);
    (void)snprintf(fixture->folder, sizeof(fixture->folder), "/tmp/coffer-http-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    start(fixture, connections_max);
    return fixture;
}

static int setup(void **state)
{
    *state = fixture_make(100);
    return 0;
}

static int setup_two_connections(void **state)
{
    *state = fixture_make(2);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    atomic_store(&fixture->service.state, SERVICE_DRAINING);
    if (fixture->server != NULL) {
        http_server_stop_accepting(fixture->server);
        assert_int_equal(http_server_drain(fixture->server, UINT64_C(10) * NS_PER_S), 0);
        http_server_destroy(fixture->server);
    }
    listener_close(&fixture->listeners[0]);
    listener_close(&fixture->listeners[1]);
    bulk_pool_destroy(fixture->service.bulk);
    assert_int_equal(store_close(fixture->service.store, &err), COFFER_OK);
    assert_int_equal(rmdir(fixture->folder), 0); /* the socket's file is gone */
    free(fixture);
    return 0;
}

static void ask(struct fixture *fixture, const char *request, size_t size, unsigned replies,
    struct socket_reply *reply)
{
    int fd = socket_open(&fixture->listeners[0]);

    (void)socket_send(fd, request, size);
    socket_read(fd, replies, reply);
    close(fd);
}

static void assert_alive(struct fixture *fixture)
{
    static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct socket_reply reply;

    ask(fixture, request, sizeof(request) - 1, 1, &reply);
    assert_int_equal(reply.status, 200);
}

#define HOST "Host: localhost\r\n"
#define KEY "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define PUT_KEY "PUT /v1/chunks/" KEY " HTTP/1.1\r\n" HOST
#define POST "POST /v1/chunks HTTP/1.1\r\n" HOST
#define CHUNKED "Transfer-Encoding: chunked\r\n\r\n"
#define BYTES(text) text, sizeof(text) - 1

/* ---- tests ---- */

static void test_malformed(void **state)
{
    static const struct {
        const char *request;
        size_t size;
        int status;
    } cases[] = {
        {BYTES("GARBAGE\r\n\r\n"), 400},
        {BYTES("THIS IS GARBAGE\r\n\r\n"), 400},
        {BYTES("\x80\xff\x01\xfe\x7f\n\n"), 400},
        {BYTES("\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03\n\n\n"), 400},
        {BYTES("GET /healthz\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1x\r\n\r\n"), 400},
        {BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},
        {BYTES("GET /healthz HTTP/3.7\r\n" HOST "\r\n"), 505},
        {BYTES("GET /healthz HTTP/0.9\r\n" HOST "\r\n"), 505},
        {BYTES("GET /healthz HTTP/1.1\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST HOST "\r\n"), 400},
        {BYTES("GET  /healthz HTTP/1.1\r\n" HOST "\r\n"), 400},
        {BYTES("GET /heal thz HTTP/1.1\r\n" HOST "\r\n"), 400},
        {BYTES("GET healthz HTTP/1.1\r\n" HOST "\r\n"), 400},
        {BYTES("GET /healthz\0x HTTP/1.1\r\n" HOST "\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST "X\0: ab\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n X: a\r\n" HOST "\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST "X\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST ": x\r\n\r\n"), 400},
        {BYTES("GET /healthz HTTP/1.1\r\n" HOST "Content-Length : 5\r\n\r\nhello"), 400},
        {BYTES("GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
        {BYTES(PUT_KEY "Content-Length: -1\r\n\r\nabc"), 400},
        {BYTES(PUT_KEY "Content-Length: \r\n\r\nabc"), 400},
        {BYTES(PUT_KEY "Content-Length: 3x\r\n\r\nabc"), 400},
        {BYTES(PUT_KEY "Content-Length: 3, 3\r\n\r\nabc"), 400},
        {BYTES(PUT_KEY "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 400},
        {BYTES(PUT_KEY "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 400},
        {BYTES(PUT_KEY "Content-Length: 9999999999999999999\r\n\r\nabc"), 413},
        {BYTES(PUT_KEY "Content-Length: 99999999999999999999999\r\n\r\nabc"), 413},
        {BYTES(PUT_KEY "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
        {BYTES(PUT_KEY "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 400},
        {BYTES(PUT_KEY "Transfer-Encoding: identity\r\n\r\nabc"), 400},
        {BYTES(PUT_KEY "Transfer-Encoding: chunked \r\n\r\n0\r\n\r\n"), 400},
        {BYTES(PUT_KEY "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"), 400},
        {BYTES(PUT_KEY "Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n"), 400},
        {BYTES(PUT_KEY "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n"), 400},
        {BYTES(PUT_KEY "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\nabc"), 413},
        {BYTES("CONNECT localhost:80 HTTP/1.1\r\n" HOST "\r\n"), 400},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct socket_reply reply;

        ask(fixture, cases[i].request, cases[i].size, 0, &reply); /* all of them close */
        if (reply.status != cases[i].status || reply.reset)
            fail_msg("case %zu: %d%s: %.60s", i, reply.status, reply.reset ? " reset" : "",
                cases[i].request);
        check_raw_problem(reply.text, cases[i].status, NULL);
    }
    assert_alive(fixture);
}

static void test_random_bytes(void **state)
{
    struct fixture *fixture = *state;
    unsigned seed = 1;

    for (int run = 0; run < 200; run++) {
        char junk[600];
        struct socket_reply reply;
        int fd = socket_open(&fixture->listeners[run % 2]);

        for (size_t i = 0; i < sizeof(junk); i++)
            junk[i] = (char)rand_r(&seed);
        if (run % 4 == 3) /* something that begins like a request */
            memcpy(junk, "GET /v1/chunks/", 15);
        (void)socket_send(fd, junk, sizeof(junk));
        (void)shutdown(fd, SHUT_WR);
        socket_read(fd, 0, &reply);
        assert_true(reply.status == 0 || (reply.status >= 400 && reply.status < 506));
        if (reply.status != 0)
            check_raw_problem(reply.text, reply.status, NULL);
        close(fd);
    }
    assert_alive(fixture);
}

static void send_many(int fd, const char *begin, char fill, size_t count, const char *end)
{
    char *text = malloc(count);

    assert_non_null(text);
    memset(text, fill, count);
    socket_send_text(fd, begin);
    if (socket_send(fd, text, count))
        (void)socket_send(fd, end, strlen(end));
    free(text);
}

static void test_too_large(void **state)
{
    static const size_t sizes[] = {5000, 20000, 100000, 3000000};
    struct fixture *fixture = *state;
    struct socket_reply reply;

    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        int fd = socket_open(&fixture->listeners[0]);

        send_many(fd, "GET /", 'a', sizes[i], " HTTP/1.1\r\n" HOST "\r\n");
        socket_read(fd, 0, &reply);
        check_raw_problem(reply.text, 414, "uri_too_long");
        close(fd);
        fd = socket_open(&fixture->listeners[0]);
        send_many(fd, "GET /healthz HTTP/1.1\r\n" HOST "X: ", 'a', sizes[i], "\r\n\r\n");
        socket_read(fd, sizes[i] == 5000, &reply);
        assert_int_equal(reply.status, sizes[i] == 5000 ? 200 : 431);
        if (i > 0)
            check_raw_problem(reply.text, 431, "headers_too_large");
        close(fd);
    }
    assert_alive(fixture);
}

/* One connection, many requests: refusals of small bodies do not cost it. */
static void test_keep_alive(void **state)
{
    static const char requests[] =
        "GET /healthz HTTP/1.1\r\n" HOST "\r\n"
        "PUT /v1/chunks/zz HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"
        "GET /nowhere HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
        "\r\nGET /healthz HTTP/1.1\n" HOST "\n"
        "POST /v1/chunks HTTP/1.1\r\n" HOST
        "Transfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nTrailer: a\r\n\r\n"
        "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"
        "GET http://localhost/healthz HTTP/1.1\r\n" HOST "X-Request-Id: last\r\n\r\n";
    struct fixture *fixture = *state;
    struct socket_reply reply;

    ask(fixture, requests, sizeof(requests) - 1, 7, &reply);
    assert_false(reply.closed);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.text, "\"code\":\"bad_key\""));
    assert_non_null(strstr(reply.text, "\"code\":\"no_such_path\""));
    assert_non_null(strstr(reply.text, "HTTP/1.1 201 Created"));
    assert_non_null(strstr(reply.text, "HTTP/1.1 204 No Content"));
    assert_non_null(strstr(reply.text, "X-Request-Id: last"));
    assert_null(strstr(reply.text, "close"));
}

/* A byte at a time. */
static void test_slow_request(void **state)
{
    static const char request[] =
        "POST /v1/chunks HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc";
    struct fixture *fixture = *state;
    int fd = socket_open(&fixture->listeners[1]);
    struct socket_reply reply;

    for (size_t i = 0; i < sizeof(request) - 1; i++)
        assert_true(socket_send(fd, request + i, 1));
    socket_read(fd, 1, &reply);
    assert_int_equal(reply.status, 201);
    close(fd);
}

static void test_expect(void **state)
{
    struct fixture *fixture = *state;
    struct socket_reply reply;
    int fd = socket_open(&fixture->listeners[0]);

    socket_send_text(fd,
        "POST /v1/chunks HTTP/1.1\r\n" HOST "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    socket_read(fd, 1, &reply);
    assert_int_equal(reply.status, 100);
    socket_send_text(fd, "abc");
    socket_read(fd, 1, &reply);
    assert_int_equal(reply.status, 201);
    close(fd);
    /* Refused from the headers: no 100, so no body is sent. */
    fd = socket_open(&fixture->listeners[0]);
    socket_send_text(fd,
        "PUT /v1/chunks/zz HTTP/1.1\r\n" HOST "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    socket_read(fd, 0, &reply);
    assert_int_equal(reply.status, 400);
    close(fd);
}

/* The client sends a lot before it reads: it gets the answer all the same. */
static void test_large_bodies_refused(void **state)
{
    static const char *const begins[] = {"PUT /v1/chunks/zz HTTP/1.1\r\n" HOST
                                         "Content-Length: 30000000\r\n\r\n",
        "PUT /v1/chunks/zz HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1C9C380\r\n",
        "POST /v1/chunks/stat HTTP/1.1\r\n" HOST "Content-Length: 30000000\r\n\r\n",
        "POST /v1/chunks/stat HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1C9C380\r\n",
        "GET /healthz HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1C9C380\r\n"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(begins); i++) {
        int fd = socket_open(&fixture->listeners[0]);
        struct socket_reply reply;

        send_many(fd, begins[i], ' ', 30000000, "\r\n0\r\n\r\n");
        socket_read(fd, 0, &reply);
        check_raw_problem(reply.text, i < 2 ? 400 : 413, i < 2 ? "bad_key" : "content_too_large");
        close(fd);
    }
    assert_alive(fixture);
}

static void test_foreign_pages(void **state)
{
    static const struct {
        const char *headers;
        int status;
    } cases[] = {{"Host: evil.example\r\n", 403}, {"Host: localhost.evil.example\r\n", 403},
        {"Host: 127.0.0.1:80@evil\r\n", 403}, {"Host:\r\n", 403}, {"Host: 8.8.8.8\r\n", 403},
        {"Host: localhost\r\nOrigin: http://evil.example\r\n", 403},
        {"Host: localhost\r\nOrigin: null\r\n", 403},
        {"Host: localhost:1\r\nOrigin: http://127.0.0.1:3000\r\n", 200},
        {"Host: LOCALHOST\r\n", 200}, {"Host: 127.8.9.1:65535\r\n", 200},
        {"Host: [::1]:80\r\nOrigin: https://[::1]\r\n", 200}};
    struct fixture *fixture = *state;
    struct socket_reply reply;
    char request[256];
    int fd;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        int size =
            snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\n%s\r\n", cases[i].headers);

        ask(fixture, request, (size_t)size, cases[i].status == 200, &reply);
        if (reply.status != cases[i].status)
            fail_msg("%s: %d", cases[i].headers, reply.status);
    }
    /* No web page reaches a unix socket. */
    fd = socket_open(&fixture->listeners[1]);
    socket_send_text(fd, "GET /healthz HTTP/1.1\r\nHost: coffer\r\n\r\n");
    socket_read(fd, 1, &reply);
    assert_int_equal(reply.status, 200);
    close(fd);
}

/* Everything but the body is the same, byte for byte. */
static void test_head(void **state)
{
    static const char *const targets[] = {"/healthz", "/v1/chunks", "/v1/status", "/nowhere"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        struct socket_reply get, head;
        char request[256], *date;
        int size = snprintf(request, sizeof(request),
            "GET %s HTTP/1.1\r\n" HOST "X-Request-Id: same\r\nConnection: close\r\n\r\n",
            targets[i]);

        ask(fixture, request, (size_t)size, 0, &get);
        size = snprintf(request, sizeof(request),
            "HEAD %s HTTP/1.1\r\n" HOST "X-Request-Id: same\r\nConnection: close\r\n\r\n",
            targets[i]);
        ask(fixture, request, (size_t)size, 0, &head);
        date = strstr(get.text, "Date: ");
        assert_non_null(date);
        memset(date, ' ', 35);
        date = strstr(head.text, "Date: ");
        assert_non_null(date);
        memset(date, ' ', 35);
        assert_true(head.size < get.size);
        assert_memory_equal(head.text + head.size - 4, "\r\n\r\n", 4);
        if (strcmp(targets[i], "/v1/status") != 0) /* its length may change by the second */
            assert_memory_equal(head.text, get.text, head.size);
    }
}

/* The client hangs up in the middle of a body: nothing is kept, nothing stays open. */
static void test_hang_up(void **state)
{
    static const char *const requests[] = {(POST "Content-Length: 100\r\n\r\nabc"),
        (POST CHUNKED "3\r\nabc\r\n"), (POST CHUNKED "30\r\nabc"),
        (POST CHUNKED "3\r\nabc\r\n0\r\n"), POST};
    struct fixture *fixture = *state;
    struct store_status status;

    for (int run = 0; run < 100; run++) {
        int fd = socket_open(&fixture->listeners[run % 2]);

        socket_send_text(fd, requests[run % (int)ARRAY_COUNT(requests)]);
        if (run % 3 == 0) { /* a reset instead of an end */
            const struct linger reset = {1, 0};

            (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        }
        close(fd);
    }
    assert_alive(fixture);
    /* When draining is over, so is every one of those requests. */
    atomic_store(&fixture->service.state, SERVICE_DRAINING);
    http_server_stop_accepting(fixture->server);
    (void)http_server_drain(fixture->server, UINT64_C(10) * NS_PER_S);
    http_server_destroy(fixture->server);
    fixture->server = NULL;
    store_status(fixture->service.store, &status);
    assert_int_equal(status.chunks, 0);
}

/* An end that comes together with the last bytes is seen, long before the timeout. */
static void test_half_closed(void **state)
{
    struct fixture *fixture = *state;

    for (int run = 0; run < 200; run++) {
        int fd = socket_open(&fixture->listeners[run % 2]);
        struct socket_reply reply;

        socket_send_text(fd, run % 4 < 2 ? "GET /healthz HTTP/1.1\r\n" HOST "\r\n"
                                         : "POST /v1/chunks HTTP/1.1\r\n" HOST
                                           "Content-Length: 9\r\n\r\nabc");
        (void)shutdown(fd, SHUT_WR);
        socket_read(fd, 0, &reply);
        assert_true(reply.closed);
        assert_int_equal(reply.status, run % 4 < 2 ? 200 : 0);
        close(fd);
    }
}

/* The third connection waits in the kernel until one of two ends. */
static void test_connection_limit(void **state)
{
    struct fixture *fixture = *state;
    int fds[3];
    struct socket_reply reply;

    for (int i = 0; i < 3; i++) {
        fds[i] = socket_open(&fixture->listeners[0]);
        socket_send_text(fds[i], "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
        if (i < 2) {
            socket_read(fds[i], 1, &reply);
            assert_int_equal(reply.status, 200);
        }
    }
    close(fds[0]);
    socket_read(fds[2], 1, &reply);
    assert_int_equal(reply.status, 200);
    close(fds[1]);
    close(fds[2]);
}

/* Idle connections are closed at once, new requests on old ones are told to go away, and a request
 * that does not come to its end is cut when the time is over. */
static void test_drain(void **state)
{
    struct fixture *fixture = *state;
    int idle = socket_open(&fixture->listeners[0]), late = socket_open(&fixture->listeners[1]),
        stuck = socket_open(&fixture->listeners[0]);
    struct socket_reply reply;

    socket_send_text(idle, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    socket_read(idle, 1, &reply);
    socket_send_text(late, "GET /healthz HTTP/1.1\r\n" HOST "\r\n");
    socket_read(late, 1, &reply);
    socket_send_text(stuck,
        "POST /v1/chunks HTTP/1.1\r\n" HOST "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n");
    socket_read(stuck, 1, &reply);
    assert_int_equal(reply.status, 100);

    atomic_store(&fixture->service.state, SERVICE_DRAINING);
    http_server_stop_accepting(fixture->server);
    socket_send_text(late, "GET /v1/chunks HTTP/1.1\r\n" HOST "\r\n");
    socket_read(late, 0, &reply);
    assert_int_equal(reply.status, 503);
    assert_non_null(strstr(reply.text, "\"code\":\"draining\""));
    assert_non_null(strstr(reply.text, "Retry-After: "));
    assert_int_equal(http_server_drain(fixture->server, UINT64_C(200) * NS_PER_MS), 1);
    socket_read(idle, 0, &reply);
    assert_int_equal(reply.size, 0);
    socket_read(stuck, 0, &reply);
    assert_int_equal(reply.size, 0);
    http_server_destroy(fixture->server);
    fixture->server = NULL;
    close(idle);
    close(late);
    close(stuck);
}

/* What was sent of a stream that fails at once is followed by the end of the connection, not by a
 * last chunk or by silence. */
static void test_stream_fails(void **state)
{
    struct fixture *fixture = *state;
    int fd = socket_open(&fixture->listeners[0]);
    struct socket_reply reply;

    socket_send_text(fd, "PUT /v1/datasets/abc HTTP/1.1\r\n" HOST "\r\n");
    socket_read(fd, 1, &reply);
    assert_int_equal(reply.status, 201);
    socket_send_text(
        fd, "POST /v1/datasets/abc/channels/a HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
    socket_read(fd, 1, &reply);
    assert_int_equal(reply.status, 201);
    store_datasets_drain(fixture->service.store); /* what follows fails behind the last byte */
    socket_send_text(fd, "GET /v1/datasets/abc/channels/a?follow=true HTTP/1.1\r\n" HOST "\r\n");
    socket_read(fd, 0, &reply);
    assert_int_equal(reply.status, 200);
    assert_non_null(strstr(reply.text, "\r\n\r\n5\r\nhello\r\n"));
    assert_null(strstr(reply.text, "0\r\n\r\n"));
    close(fd);
}

#define HTTP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HTTP_TEST(test_malformed),
        HTTP_TEST(test_random_bytes),
        HTTP_TEST(test_too_large),
        HTTP_TEST(test_keep_alive),
        HTTP_TEST(test_slow_request),
        HTTP_TEST(test_expect),
        HTTP_TEST(test_large_bodies_refused),
        HTTP_TEST(test_foreign_pages),
        HTTP_TEST(test_head),
        HTTP_TEST(test_hang_up),
        HTTP_TEST(test_half_closed),
        HTTP_TEST(test_stream_fails),
        cmocka_unit_test_setup_teardown(test_connection_limit, setup_two_connections, teardown),
        HTTP_TEST(test_drain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
