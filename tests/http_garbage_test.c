/*
 * Goal: whatever comes through the socket, cofferd answers with a problem (4xx) or closes: it never
 * hangs, never dies, stores nothing of it, and holds no memory for it afterwards. Method: raw
 * sockets against a server with short timeouts; after each case a fresh connection is served as if
 * nothing had been.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

/* The server's --timeout is 1 s; what is far beyond it is a hang. */
enum { PATIENCE_S = 30 };

static struct server server;
static struct http_client *client;

static int connect_client(void **state)
{
    (void)state;
    client = http_client_create(server.address);
    return 0;
}

static int drop_client(void **state)
{
    (void)state;
    http_client_destroy(client);
    return 0;
}

/* Nothing was stored and nothing is held: chunks are all removed by the tests that make them. */
static void check_unharmed(void)
{
    struct http_client *fresh = http_client_create(server.address);

    CHECK_STATUS(fresh, 200, .path = "/readyz");
    assert_int_equal(status_number(fresh, "chunks"), 0);
    assert_int_equal(status_number(fresh, "buffered_records"), 0);
    check_status_becomes(fresh, "memory_used", 0);
    http_client_destroy(fresh);
}

enum end { STAY, HALF_CLOSE };

/* Send and read to the end: the status, or RAW_CLOSED. A refusal must be a problem. */
static int try(const void *data, size_t size, enum end end)
{
    char answer[8000];
    int fd = raw_connect(server.address), status;

    assert_true(fd >= 0);
    (void)raw_send(fd, data, size); /* it may be cut off on the way, as it deserves */
    if (end == HALF_CLOSE)
        (void)shutdown(fd, SHUT_WR);
    status = raw_read_end(fd, PATIENCE_S, answer, sizeof(answer));
    raw_close(fd);
    assert_int_not_equal(status, RAW_HANG);
    if (status >= 400)
        check_raw_problem(answer, status, NULL);
    return status;
}

static int try_text(const char *text)
{
    int status = try(text, strlen(text), STAY);

    assert_int_equal(try(text, strlen(text), HALF_CLOSE), status);
    return status;
}

static bool is_refusal(int status)
{
    return status == RAW_CLOSED || (status >= 400 && status < 500);
}

/* ---- what is no HTTP ---- */

static void test_no_http(void **state)
{
    static const char *const texts[] = {
        "nonsense\r\n\r\n",
        "\r\n\r\n\r\n\r\nnonsense\r\n\r\n",
        "GET\r\n\r\n",
        "GET /v1/status\r\n\r\n", /* no version */
        "GET /v1/status HTTP\r\n\r\n",
        "GET /v1/status HTTP/2.0\r\nHost: localhost\r\n\r\n",
        "GET /v1/status HTTP/1.1.1\r\nHost: localhost\r\n\r\n",
        "GET /v1/status HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET /v1/status FTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET  /v1/status  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", /* the preface of HTTP/2 */
        "SSH-2.0-OpenSSH_9.2\r\n",
        "EHLO example.com\r\n",
        "{\"keys\":[]}\n",
        "<?xml version=\"1.0\"?>\n\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        int status = try_text(texts[i]);

        /* 505 is for what says that it is HTTP, of another version. */
        if ((status < 400 || status > 499) &&
            (status != 505 || strstr(texts[i], "HTTP/") == NULL)) {
            print_error("%s answered %d\n", texts[i], status);
            fail();
        }
    }
    check_unharmed();
}

static void test_binary(void **state)
{
    static const unsigned char hello[] = {0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b,
        0x03, 0x03, 0x52, 0x34, 0xc6, 0x6d, 0x86, 0x8d, 0xe8, 0x40, 0x97, 0xda, 0xee, 0x7e, 0x21,
        0xc4, 0x1d, 0x2e, 0x9f, 0xe9, 0x60, 0x5f, 0x05, 0xb0, 0xce, 0xaf, 0x7e, 0xb7, 0x95, 0x8c,
        0x33, 0x42, 0x3f, 0xd5, 0x00, 0x00, 0x04, 0xc0, 0x30, 0x00, 0x00, 0x00, 0x00};
    char noise[70000];

    (void)state;
    assert_true(is_refusal(try(hello, sizeof(hello), HALF_CLOSE)));
    assert_true(is_refusal(try(hello, sizeof(hello), STAY)));
    for (uint64_t seed = 2; seed < 60; seed += 2) { /* even: noise */
        seed_fill(noise, sizeof(noise), seed);
        assert_true(is_refusal(try(noise, seed * 1000 % sizeof(noise), HALF_CLOSE)));
    }
    assert_true(is_refusal(try(noise, sizeof(noise), STAY)));
    memset(noise, 0, sizeof(noise));
    assert_true(is_refusal(try(noise, 1000, HALF_CLOSE)));
    assert_true(is_refusal(try(noise, sizeof(noise), HALF_CLOSE)));
    assert_int_equal(try("", 0, HALF_CLOSE), RAW_CLOSED);
    check_unharmed();
}

/* Heads that two readers could read in two ways are refused, not guessed at. */
static void test_bad_heads(void **state)
{
    static const char *const lines[] = {
        "Host: localhost\r\nHost: localhost\r\n",
        "", /* no Host */
        "Host: localhost\r\nX : y\r\n",
        "Host: localhost\r\n X: y\r\n",
        "Host: localhost\r\nX: a\r\n folded\r\n",
        "Host: localhost\r\nno colon\r\n",
        "Host: localhost\r\n: no name\r\n",
        "Host: localhost\r\nX: a\x01z\r\n",
        "Host: localhost\r\nX: a\rb\r\n",
    };
    char head[400];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        int status;

        (void)snprintf(head, sizeof(head), "GET /v1/status HTTP/1.1\r\n%s\r\n", lines[i]);
        status = try(head, strlen(head), HALF_CLOSE);
        if (status != 400)
            print_error("%s answered %d\n", lines[i], status);
        assert_int_equal(status, 400);
    }
    assert_int_equal(
        try("GET /v1/\0status HTTP/1.1\r\nHost: localhost\r\n\r\n", 46, HALF_CLOSE), 400);
    assert_int_equal(
        try("GET /v1/status HTTP/1.1\r\nHost: local\0host\r\n\r\n", 46, HALF_CLOSE), 400);
    check_unharmed();
}

/* A line may end with LF alone (RFC 9112 section 2.2 allows it): served or refused, but answered.
 */
static void test_lone_lf(void **state)
{
    int status = try_text("GET /healthz HTTP/1.1\nHost: localhost\nConnection: close\n\n");

    (void)state;
    assert_true(status == 200 || status == 400);
}

/* ---- too much ---- */

static char *repeat(
    const char *start, const char *each, size_t count, const char *end, size_t *size)
{
    char *text = malloc(strlen(start) + strlen(each) * count + strlen(end) + 1), *at = text;

    assert_non_null(text);
    at = stpcpy(at, start);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, each);
    *size = (size_t)(stpcpy(at, end) - text);
    return text;
}

static void test_too_much(void **state)
{
    static const struct {
        const char *start, *each;
        size_t count;
        const char *end;
        int status, other;
    } cases[] = {
        {"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nX: ", "0123456789abcdef", 1 << 16,
            "\r\n\r\n", 431, 413},
        {"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n", 10000, "\r\n", 431, 413},
        {"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n", "X: y\r\n", 3500, "\r\n", 431, 431},
        {"GET /", "0123456789abcdef", 1 << 16, " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, 414},
        {"GET /", "0123456789abcdef", 300, " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414, 414},
        {"GET /v1/chunks?prefix=", "0123456789abcdef", 1200, " HTTP/1.1\r\nHost: localhost\r\n\r\n",
            414, 414},
        {"", "A", 3000000, "\r\n\r\n", 400, 414},
        {"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n", "A", 200000, ": b\r\n\r\n", 431, 400},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        size_t size;
        char *text = repeat(cases[i].start, cases[i].each, cases[i].count, cases[i].end, &size);

        for (int end = STAY; end <= HALF_CLOSE; end++) {
            int status = try(text, size, (enum end)end);

            if (status != cases[i].status && status != cases[i].other)
                print_error("case %zu, end %d: %d\n", i, end, status);
            assert_true(status == cases[i].status || status == cases[i].other);
        }
        free(text);
    }
    check_unharmed();
}

/* ---- framing ---- */

static void test_bad_lengths(void **state)
{
    static const char *const lines[] = {
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: five\r\n",
        "Content-Length: \r\n",
        "Content-Length: 99999999999999999999999999\r\n",
        "Content-Length: 18446744073709551617\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding:  chunked \r\n",
        "Transfer-Encoding: identity\r\n",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(lines); i++) {
        char text[400];
        int status;

        /* What follows must never be taken for a second request. */
        (void)snprintf(text, sizeof(text),
            "POST /v1/chunks HTTP/1.1\r\nHost: localhost\r\n%s\r\n5\r\nhello\r\n0\r\n\r\n"
            "POST /v1/chunks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
            lines[i]);
        status = try(text, strlen(text), HALF_CLOSE);
        if (status < 400 || status > 499)
            print_error("%s: %d\n", lines[i], status);
        assert_true(status >= 400 && status <= 499);
    }
    check_unharmed();
}

static void test_bad_chunked_bodies(void **state)
{
    static const char *const bodies[] = {
        "zz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n", /* longer than it says */
        "5 hello 0",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "7fffffffffffffff\r\nhello",
        "5\r\nhel",            /* cut off in the data */
        "5\r\nhello\r\n",      /* before the last chunk */
        "5\r\nhello\r\n0\r\n", /* before the last line */
        "5\r\nhello\r\n0\r\nTrailer: x",
        "5",
        "",
    };
    int waiting[ARRAY_COUNT(bodies)];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) {
        char text[400];
        int status;

        (void)snprintf(text, sizeof(text),
            "POST /v1/chunks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n%s",
            bodies[i]);
        status = try(text, strlen(text), HALF_CLOSE);
        if (!is_refusal(status))
            print_error("case %zu: %d\n", i, status);
        assert_true(is_refusal(status));
        waiting[i] = raw_connect(server.address);
        assert_true(waiting[i] >= 0);
        (void)raw_send_text(waiting[i], text);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bodies); i++) { /* by --timeout, all together */
        assert_true(is_refusal(raw_read_end(waiting[i], PATIENCE_S, NULL, 0)));
        raw_close(waiting[i]);
    }
    check_unharmed();
}

/* ---- those who do not go on ---- */

static const char *const halves[] = {
    "G",
    "GET /v1/st",
    "GET /v1/status HTTP/1.1\r",
    "GET /v1/status HTTP/1.1\r\nHost: local",
    "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n",
    "PUT /v1/chunks/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 HTTP/1.1\r\n"
    "Host: localhost\r\nContent-Length: 5\r\n\r\n",
    "PUT /v1/chunks/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 HTTP/1.1\r\n"
    "Host: localhost\r\nContent-Length: 5\r\n\r\nhell",
    "POST /v1/chunks/stat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{\"keys\":[\"",
    "POST /v1/chunks/insert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\nsome/file",
    "POST /v1/sync HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"tickets\"",
};

/* Half a request and then the end, or a reset, or nothing more at all. */
static void test_half_requests(void **state)
{
    int waiting[ARRAY_COUNT(halves)];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(halves); i++) {
        const struct linger reset = {.l_onoff = 1, .l_linger = 0};
        int fd = raw_connect(server.address);

        assert_true(is_refusal(try(halves[i], strlen(halves[i]), HALF_CLOSE)));
        assert_true(raw_send_text(fd, halves[i]));
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        raw_close(fd);
        waiting[i] = raw_connect(server.address);
        assert_true(waiting[i] >= 0);
        assert_true(raw_send_text(waiting[i], halves[i]));
    }
    for (size_t i = 0; i < ARRAY_COUNT(halves); i++) { /* ended by --timeout, all together */
        int status = raw_read_end(waiting[i], PATIENCE_S, NULL, 0);

        assert_true(is_refusal(status));
        raw_close(waiting[i]);
    }
    check_unharmed();
}

/* One byte at a time is slow, but it is HTTP. */
static void test_dribble(void **state)
{
    static const char text[] =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const struct timespec pause = clock_timespec(3 * NS_PER_MS);
    int fd = raw_connect(server.address);

    (void)state;
    assert_true(fd >= 0);
    for (size_t i = 0; text[i] != '\0'; i++) {
        assert_true(raw_send(fd, text + i, 1));
        (void)nanosleep(&pause, NULL); /* poll: none, a client that takes its time */
    }
    assert_int_equal(raw_read_end(fd, PATIENCE_S, NULL, 0), 200);
    raw_close(fd);
}

/* A client that hangs up in the middle of a large body frees its bytes at once, not when the
 * connection would time out (here: never); also one whose sending is being held back for want of
 * memory, and one that only half closes. */
static void test_hang_up_in_mid_body(void **state)
{
    enum { COUNT = 12, PART = 3 << 20 };
    struct server patient;
    struct http_client *other;
    char *body = malloc(PART);
    int fds[COUNT];

    (void)state;
    assert_non_null(body);
    seed_fill(body, PART, 4);
    server_init(&patient, (const char *const[]){"--timeout", "24h", "--memory-limit", "32MiB",
                              "--buffer-size", "1MiB", NULL});
    server_start(&patient);
    other = http_client_create(patient.address);
    for (size_t i = 0; i < COUNT; i++) {
        fds[i] = raw_connect(patient.address);
        assert_true(fds[i] >= 0);
        assert_true(raw_send_text(fds[i], "POST /v1/chunks HTTP/1.1\r\nHost: localhost\r\n"
                                          "Content-Length: 8000000\r\n\r\n"));
        (void)send(fds[i], body, PART, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    assert_true(status_number(other, "memory_used") > 0);
    for (size_t i = 0; i < COUNT; i++) {
        if (i % 3 == 0)
            (void)shutdown(fds[i], SHUT_WR);
        else
            raw_close(fds[i]);
    }
    check_status_becomes(other, "memory_used", 0);
    assert_int_equal(status_number(other, "chunks"), 0);
    for (size_t i = 0; i < COUNT; i += 3)
        raw_close(fds[i]);
    http_client_destroy(other);
    assert_int_equal(server_end(&patient, 0), 0);
    free(body);
}

/* Several requests in one piece are answered one after the other. */
static void test_pipeline(void **state)
{
    static const char text[] =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "PUT /v1/chunks/bad HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc"
        "GET /v1/none HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "HEAD /v1/chunks HTTP/1.1\r\nHost: localhost\r\n\r\n"
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    static const char *const order[] = {
        "HTTP/1.1 200", "HTTP/1.1 400", "HTTP/1.1 404", "HTTP/1.1 200", "HTTP/1.1 200"};
    char answer[8000];
    const char *at = answer;
    int fd = raw_connect(server.address);

    (void)state;
    assert_true(raw_send_text(fd, text));
    assert_int_equal(raw_read_end(fd, PATIENCE_S, answer, sizeof(answer)), 200);
    for (size_t i = 0; i < ARRAY_COUNT(order); i++) {
        at = strstr(at, "HTTP/1.1 ");
        assert_non_null(at);
        assert_memory_equal(at, order[i], strlen(order[i]));
        at++;
    }
    assert_null(strstr(at, "HTTP/1.1 "));
    raw_close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_http),
        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_bad_heads),
        cmocka_unit_test(test_lone_lf),
        cmocka_unit_test(test_too_much),
        cmocka_unit_test(test_bad_lengths),
        cmocka_unit_test(test_bad_chunked_bodies),
        cmocka_unit_test(test_half_requests),
        cmocka_unit_test(test_dribble),
        cmocka_unit_test(test_hang_up_in_mid_body),
        cmocka_unit_test(test_pipeline),
    };
    int failed;

    http_client_global();
    server_init(&server, (const char *const[]){"--timeout", "1s", NULL});
    server_start(&server);
    failed = cmocka_run_group_tests(tests, connect_client, drop_client);
    return server_end(&server, failed);
}
