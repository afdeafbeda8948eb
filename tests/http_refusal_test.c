/*
 * Goal: each kind of refusal that libmicrohttpd makes by itself leaves cofferd as a problem, once,
 * and is in the access log; and what it would refuse wrongly does not get that far. So this also
 * shows that the installed libmicrohttpd can be told how (server/http_mhd_hooks.c). Method: one raw
 * request for each place in its source that refuses, on a new connection and on a used one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

enum { PATIENCE_S = 30, ANSWER_MAX = 8000 };

static struct server server;

#define HOST "Host: localhost\r\n"
#define GET "GET /v1/status HTTP/1.1\r\n" HOST
#define POST "POST /v1/chunks HTTP/1.1\r\n" HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

/* A request: begin, then `each` so many times, then end. */
struct request {
    const char *begin, *each;
    size_t count;
    const char *end;
};

#define WHOLE(text)                                                                                \
    {                                                                                              \
        text, NULL, 0, NULL                                                                        \
    }

struct refusal {
    struct request request;
    int status;
    const char *code, *detail; /* a piece of it */
};

/* In the order of libmicrohttpd's connection.c. */
static const struct refusal refusals[] = {
    /* the buffer is full: in the request line, in a header, in many of them */
    {{"GET /", "0123456789", 10000, " HTTP/1.1\r\n" HOST "\r\n"}, 414, "uri_too_long", "line"},
    {{"", "A", 100000, "\r\n\r\n"}, 414, "uri_too_long", "line"},
    {{GET "X: ", "0123456789", 10000, "\r\n\r\n"}, 431, "headers_too_large", "headers"},
    {{GET "", "X: y\r\n", 10000, "\r\n"}, 431, "headers_too_large", "headers"},
    {{GET "X: y\r\n", " z\r\n", 10000, "\r\n"}, 431, "headers_too_large", "headers"},
    /* the version */
    {WHOLE("GET /v1/status\r\n" HOST "\r\n"), 400, "bad_request", "first line"},
    {WHOLE("GET /v1/status HTTP/1.1.1\r\n" HOST "\r\n"), 400, "bad_request", "first line"},
    {WHOLE("GET /v1/status FTP/1.1\r\n" HOST "\r\n"), 400, "bad_request", "first line"},
    {WHOLE("GET /v1/status HTTP/0.9\r\n" HOST "\r\n"), 505, "http_version_not_supported",
        "HTTP/1.1"},
    {WHOLE("GET /v1/status HTTP/3.0\r\n" HOST "\r\n"), 505, "http_version_not_supported",
        "HTTP/1.1"},
    {WHOLE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505, "http_version_not_supported", "HTTP/1.1"},
    /* chunks: an end that is none, a size that is none, that no number holds, that never ends */
    {WHOLE(CHUNKED "5\r\nhelloworld\r\n0\r\n\r\n"), 400, "bad_request", "chunks"},
    {WHOLE(CHUNKED "zz\r\nhello\r\n0\r\n\r\n"), 400, "bad_request", "chunks"},
    {WHOLE(CHUNKED "\r\nhello\r\n0\r\n\r\n"), 400, "bad_request", "chunks"},
    {WHOLE(CHUNKED "5\r\nhello\r\nfffffffffffffffff\r\n"), 413, "content_too_large", "chunk"},
    {{CHUNKED "5;", "0123456789", 10000, "\r\nhello\r\n0\r\n\r\n"}, 400, "bad_request", "chunks"},
    /* header lines: the first, another */
    {WHOLE("GET /v1/status HTTP/1.1\r\nno colon\r\n" HOST "\r\n"), 400, "bad_request", "colon"},
    {WHOLE(GET "no colon\r\n\r\n"), 400, "bad_request", "colon"},
    /* Host; Content-Length */
    {WHOLE("GET /v1/status HTTP/1.1\r\n\r\n"), 400, "bad_request", "Host"},
    {WHOLE(POST "Content-Length: five\r\n\r\nhello"), 400, "bad_request", "Content-Length"},
    {WHOLE(POST "Content-Length: \r\n\r\nhello"), 400, "bad_request", "Content-Length"},
    {WHOLE(POST "Content-Length: 5 \r\n\r\nhello"), 400, "bad_request", "Content-Length"},
    {WHOLE(POST "CONTENT-LENGTH: -5\r\n\r\nhello"), 400, "bad_request", "Content-Length"},
    {WHOLE(POST "Content-Length: five\r\nContent-Length: 5\r\n\r\nhello"), 400, "bad_request",
        "Content-Length"},
    {WHOLE(POST "Content-Length: 5\r\nContent-Length: five\r\n\r\nhello"), 400, "bad_request",
        "Content-Length"},
    {{POST "Content-Length: ", "9", 30, "\r\n\r\nhello"}, 413, "content_too_large",
        "Content-Length"},
    /* trailers: the first, another, too large */
    {WHOLE(CHUNKED "5\r\nhello\r\n0\r\nno colon\r\n\r\n"), 400, "bad_request", "trailer"},
    {WHOLE(CHUNKED "5\r\nhello\r\n0\r\nX: y\r\nno colon\r\n\r\n"), 400, "bad_request", "trailer"},
    {{CHUNKED "5\r\nhello\r\n0\r\nX: ", "0123456789", 10000, "\r\n\r\n"}, 431, "headers_too_large",
        "trailers"},
    {{CHUNKED "5\r\nhello\r\n0\r\n", "X: y\r\n", 10000, "\r\n"}, 431, "headers_too_large",
        "trailers"},
};

static char *request_text(const struct request *request, const char *before)
{
    size_t each = request->each == NULL ? 0 : strlen(request->each) * request->count;
    size_t end = request->end == NULL ? 0 : strlen(request->end);
    char *text = malloc(strlen(before) + strlen(request->begin) + each + end + 1);
    char *at;

    assert_non_null(text);
    at = stpcpy(stpcpy(text, before), request->begin);
    for (size_t i = 0; i < request->count; i++)
        at = stpcpy(at, request->each);
    (void)stpcpy(at, request->end == NULL ? "" : request->end);
    return text;
}

/* Everything that comes until the connection ends. */
static void ask(const struct request *request, const char *before, char answer[static ANSWER_MAX])
{
    char *text = request_text(request, before);
    int fd = raw_connect(server.address);

    assert_true(fd >= 0);
    (void)raw_send_text(fd, text); /* it may be cut off on the way */
    assert_int_not_equal(raw_read_end(fd, PATIENCE_S, answer, ANSWER_MAX), RAW_HANG);
    raw_close(fd);
    free(text);
}

static void check_logged(const char *answer, int status)
{
    const char *at = strstr(answer, "X-Request-Id: ");
    char line[200], id[100];

    assert_non_null(at);
    assert_int_equal(sscanf(at, "X-Request-Id: %99s", id), 1);
    (void)snprintf(line, sizeof(line), " request: %s \"", id);
    assert_true(server_wait_log(&server, line));
    (void)snprintf(line, sizeof(line), "\" %d in=", status);
    assert_true(server_wait_log(&server, line));
}

static void check_refusal(const struct refusal *refusal, const char *answer)
{
    const char *detail = strstr(answer, "\"detail\":\"");

    check_raw_problem(answer, refusal->status, refusal->code);
    if (detail == NULL || strstr(detail, refusal->detail) == NULL)
        fail_msg("%s is not in: %s", refusal->detail, answer);
    check_logged(answer, refusal->status);
}

static void test_new_connection(void **state)
{
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        ask(&refusals[i].request, "", answer);
        check_refusal(&refusals[i], answer);
    }
}

/* Behind a request that is served. */
static void test_used_connection(void **state)
{
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        const char *second;

        ask(&refusals[i].request, "GET /healthz HTTP/1.1\r\n" HOST "\r\n", answer);
        assert_memory_equal(answer, "HTTP/1.1 200 ", 13);
        second = strstr(answer + 1, "HTTP/1.1 ");
        assert_non_null(second);
        check_refusal(&refusals[i], second);
    }
}

/* What is no request at all: there libmicrohttpd says nothing, and cofferd does. */
static void test_no_request_line(void **state)
{
    static const struct refusal garbage = {
        WHOLE("GARBAGE\r\n\r\n"), 400, "bad_request", "first line"};
    char answer[ANSWER_MAX];

    (void)state;
    ask(&garbage.request, "", answer);
    check_refusal(&garbage, answer);
}

/* No body, but its length. */
static void test_head(void **state)
{
    static const struct request request = WHOLE("HEAD / HTTP/3.0\r\n" HOST "\r\n");
    char answer[ANSWER_MAX];

    (void)state;
    ask(&request, "", answer);
    assert_memory_equal(answer, "HTTP/1.1 505 ", 13);
    assert_non_null(strstr(answer, "\r\nContent-Type: application/problem+json\r\n"));
    assert_memory_equal(answer + strlen(answer) - 4, "\r\n\r\n", 4);
    assert_null(strstr(answer, "\r\nContent-Length: 0\r\n"));
}

/* A refusal in mid-body is the answer to the request that was there: it has its id, and if that was
 * refused already, its reason. What was no refusal is dropped. */
static void test_request_under_way(void **state)
{
    struct http_client *client = http_client_create(server.address);
    struct sample sample;
    struct request request = WHOLE(POST "X-Request-Id: mine\r\n"
                                        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    char answer[ANSWER_MAX], begin[300];

    (void)state;
    ask(&request, "", answer);
    check_raw_problem(answer, 400, "bad_request");
    assert_non_null(strstr(answer, "X-Request-Id: mine\r\n"));
    assert_true(server_wait_log(&server, " request: mine \"POST /v1/chunks\" 400 in=5"));

    request.begin = "PUT /v1/chunks/bad HTTP/1.1\r\n" HOST
                    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    ask(&request, "", answer);
    check_raw_problem(answer, 400, "bad_key");

    request.begin = "POST /v1/chunks/insert HTTP/1.1\r\n" HOST "Content-Type: application/x-tar\r\n"
                    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    ask(&request, "", answer);
    check_raw_problem(answer, 400, "bad_request");

    sample_init(&sample, 1000, 1);
    check_put(client, &sample, NULL, 201);
    (void)snprintf(begin, sizeof(begin),
        "GET %s HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n", sample.path);
    request.begin = begin;
    ask(&request, "", answer);
    check_raw_problem(answer, 400, "bad_request");
    CHECK_STATUS(client, 204, .method = "DELETE", .path = sample.path);
    sample_release(&sample);
    http_client_destroy(client);
}

/* libmicrohttpd would have no memory left for these; but nobody wants them taken apart. */
static void test_not_refused(void **state)
{
    static const struct request requests[] = {
        {"GET /v1/chunks?", "a&", 1900, " HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"},
        {"GET /healthz HTTP/1.1\r\n" HOST "Connection: close\r\nCookie: ", "a=b;", 3900,
            "\r\n\r\n"},
        {POST "Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
            "X: y\r\n", 1000, "\r\n"},
    };
    struct http_client *client = http_client_create(server.address);
    char answer[ANSWER_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        ask(&requests[i], "", answer);
        assert_memory_equal(answer, i == 2 ? "HTTP/1.1 201 " : "HTTP/1.1 200 ", 13);
        assert_null(strstr(answer + 1, "HTTP/1.1 "));
    }
    CHECK_STATUS(client, 204, .method = "DELETE",
        .path = "/v1/chunks/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
    http_client_destroy(client);
}

static void test_unharmed(void **state)
{
    struct http_client *client = http_client_create(server.address);

    (void)state;
    assert_int_equal(status_number(client, "chunks"), 0);
    check_status_becomes(client, "memory_used", 0);
    http_client_destroy(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_connection),
        cmocka_unit_test(test_used_connection),
        cmocka_unit_test(test_no_request_line),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_request_under_way),
        cmocka_unit_test(test_not_refused),
        cmocka_unit_test(test_unharmed),
    };
    int failed;

    http_client_global();
    server_init(&server, (const char *const[]){"--timeout", "10s", "--log-level", "debug", NULL});
    server_start(&server);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return server_end(&server, failed);
}
