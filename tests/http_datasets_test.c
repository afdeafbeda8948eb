/*
 * Goal: datasets work over real sockets, with either engine: what was answered is read back, also
 * after a restart; refusals come before the body; HEAD, OPTIONS and wrong methods are right on
 * every path; who follows a channel gets what is appended at once, and is let go when the dataset
 * is closed, the server stops, or the follower itself hangs up. Method: libcurl and raw sockets
 * against a real cofferd, once with each engine.
 */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

enum { PATIENCE_S = 60, TEXT_SIZE = 64 << 10 };

static struct server server;
static struct http_client *client;

#define DATASET "/v1/datasets/run.1"
#define CHANNEL DATASET "/channels/a"

static int setup(void **state)
{
    (void)state;
    client = http_client_create(server.address);
    CHECK_STATUS(client, 201, .method = "PUT", .path = DATASET);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    CHECK_STATUS(client, 204, .method = "DELETE", .path = DATASET);
    http_client_destroy(client);
    return 0;
}

static void post(const char *path, const char *body, int status)
{
    CHECK_STATUS(
        client, status, .method = "POST", .path = path, .body = body, .size = strlen(body));
}

static void append(const char *header, const char *body, int status)
{
    CHECK_STATUS(client, status, .method = "POST", .path = CHANNEL, .headers = {header},
        .body = body, .size = strlen(body));
}

static void check_text(const char *path, const char *header, int status, const char *text)
{
    struct http_answer answer;

    CHECK_SEND(client, status, &answer, .path = path, .headers = {header});
    assert_string_equal(answer.body, text);
    http_answer_release(&answer);
}

/* ---- a life ---- */

static void test_append_and_read(void **state)
{
    struct http_answer answer;
    json_t *json;

    (void)state;
    CHECK_SEND(client, 201, &answer, .method = "POST", .path = CHANNEL, .body = "hello", .size = 5,
        .headers = {"Coffer-Offset: 0"});
    check_header(&answer, "Coffer-State", "durable");
    http_answer_release(&answer);
    append("Coffer-Offset: 0", "hello", 200);
    CHECK_SEND(client, 201, &answer, .method = "POST", .path = CHANNEL, .body = "1\n22\n",
        .size = 5, .chunked = true, .headers = {"Content-Type: application/x-ndjson"});
    json = check_json(&answer);
    assert_int_equal(json_integer_value(json_object_get(json, "records")), 2);
    json_decref(json);
    http_answer_release(&answer);
    check_text(CHANNEL, NULL, 200, "hello1\n22\n");
    check_text(CHANNEL, "Range: bytes=-5", 206, "1\n22\n");

    CHECK_SEND(client, 409, &answer, .method = "POST", .path = CHANNEL, .body = "x", .size = 1,
        .headers = {"Coffer-Offset: 3"});
    check_problem(&answer, 409, "offset_mismatch");
    json = check_json(&answer);
    assert_int_equal(json_integer_value(json_object_get(json, "offset")), 10);
    json_decref(json);
    http_answer_release(&answer);
}

static void test_transaction(void **state)
{
    static const char open[] =
        "{\"id\":\"t\",\"channels\":[\"a\",\"b\"],\"commit_when_ready\":true}";
    struct http_answer answer;
    json_t *json;

    (void)state;
    CHECK_SEND(client, 201, &answer, .method = "POST", .path = DATASET "/transactions",
        .body = open, .size = sizeof(open) - 1);
    check_header(&answer, "Location", DATASET "/transactions/t");
    http_answer_release(&answer);
    append("Coffer-Transaction: t", "one", 202);
    CHECK_STATUS(client, 202, .method = "POST", .path = DATASET "/channels/b", .body = "two",
        .size = 3, .headers = {"Coffer-Transaction: t"});
    CHECK_PROBLEM(client, 404, "no_such_channel", .path = CHANNEL);
    post(DATASET "/transactions/t/ready", "{\"channel\":\"a\"}", 200);
    CHECK_SEND(client, 200, &answer, .method = "POST", .path = DATASET "/transactions/t/ready",
        .body = "{\"channel\":\"b\"}", .size = 15);
    json = check_json(&answer);
    assert_string_equal(json_string_value(json_object_get(json, "state")), "committed");
    json_decref(json);
    http_answer_release(&answer);
    check_text(CHANNEL, NULL, 200, "one");
    check_text(DATASET "/channels/b", NULL, 200, "two");
}

/* A body that is not wanted is not asked for. */
static void test_refused_before_the_body(void **state)
{
    static const struct {
        const char *path, *header;
        int status;
    } cases[] = {{CHANNEL, "Coffer-Offset: 7", 409}, {CHANNEL, "Coffer-Offset: -7", 400},
        {CHANNEL, "Coffer-Epoch: 7", 409}, {CHANNEL, "Coffer-Transaction: none", 404},
        {CHANNEL, "Content-Encoding: br", 415}, {DATASET "/channels/a%20b", NULL, 400},
        {"/v1/datasets/none/channels/a", NULL, 404}};
    static char body[2 << 20];

    (void)state;
    append(NULL, "x", 201);
    post(CHANNEL "/claim", "{}", 200);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct http_answer answer;

        http_send(client,
            &(struct http_request){.method = "POST",
                .path = cases[i].path,
                .headers = {i == 2 ? "Coffer-Epoch: 0" : cases[i].header},
                .body = body,
                .size = sizeof(body),
                .expect = true},
            &answer);
        if (answer.status != cases[i].status)
            fail_msg("case %zu: %d", i, answer.status);
        assert_false(answer.continued);
        assert_int_equal(answer.body_sent, 0);
        http_answer_release(&answer);
    }
    check_text(CHANNEL, NULL, 200, "x");
}

/* ---- every path ---- */

static char *stable_head(const struct http_answer *answer)
{
    char *copy = calloc(1, strlen(answer->head) + 1);
    size_t used = 0;

    assert_non_null(copy);
    for (const char *line = answer->head; *line != '\0';) {
        const char *next = strchr(line, '\n');

        next = next == NULL ? line + strlen(line) : next + 1;
        if (strncasecmp(line, "Date:", 5) != 0 && strncasecmp(line, "X-Request-Id:", 13) != 0) {
            memcpy(copy + used, line, (size_t)(next - line));
            used += (size_t)(next - line);
        }
        line = next;
    }
    return copy;
}

static void check_head_is_get(const char *path, const char *header)
{
    struct http_answer get, head;
    char *get_head, *head_head;

    http_send(client, &(struct http_request){.path = path, .headers = {header}}, &get);
    http_send(
        client, &(struct http_request){.method = "HEAD", .path = path, .headers = {header}}, &head);
    get_head = stable_head(&get);
    head_head = stable_head(&head);
    assert_string_equal(get_head, head_head);
    assert_int_equal(head.size, 0);
    free(get_head);
    free(head_head);
    http_answer_release(&get);
    http_answer_release(&head);
}

static void test_methods(void **state)
{
    static const struct {
        const char *path, *allow;
    } cases[] = {{"/v1/datasets", "GET, HEAD, OPTIONS"},
        {DATASET, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"},
        {DATASET "/versions", "GET, HEAD, OPTIONS"}, {DATASET "/channels", "GET, HEAD, OPTIONS"},
        {CHANNEL, "GET, HEAD, POST, OPTIONS"}, {CHANNEL "/claim", "POST, OPTIONS"},
        {CHANNEL "/records", "GET, HEAD, OPTIONS"}, {DATASET "/transactions", "POST, OPTIONS"},
        {DATASET "/transactions/t", "GET, HEAD, OPTIONS"},
        {DATASET "/transactions/t/ready", "POST, OPTIONS"},
        {DATASET "/transactions/t/commit", "POST, OPTIONS"},
        {DATASET "/transactions/t/abort", "POST, OPTIONS"}};
    static const char *const methods[] = {"GET", "PUT", "POST", "PATCH", "DELETE", "BREW"};

    (void)state;
    append(NULL, "hello", 201);
    post(DATASET "/transactions", "{\"id\":\"t\",\"channels\":[\"z\"]}", 201);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct http_answer answer;

        CHECK_SEND(client, 204, &answer, .method = "OPTIONS", .path = cases[i].path);
        check_header(&answer, "Allow", cases[i].allow);
        http_answer_release(&answer);
        for (size_t m = 0; m < ARRAY_COUNT(methods); m++) {
            if (strstr(cases[i].allow, methods[m]) != NULL)
                continue;
            CHECK_SEND(client, 405, &answer, .method = methods[m], .path = cases[i].path);
            check_header(&answer, "Allow", cases[i].allow);
            check_problem(&answer, 405, "method_not_allowed");
            http_answer_release(&answer);
        }
        if (strstr(cases[i].allow, "HEAD") != NULL)
            check_head_is_get(cases[i].path, NULL);
    }
    check_head_is_get(CHANNEL, "Range: bytes=1-2");
    check_head_is_get(CHANNEL, "Range: bytes=5-");
    check_head_is_get(CHANNEL, "If-None-Match: *");
    check_head_is_get(DATASET, "If-None-Match: *");
    check_head_is_get(CHANNEL "?version=99", NULL);
    check_head_is_get(DATASET "/channels/none", NULL);
    check_head_is_get("/v1/datasets/none", NULL);
    CHECK_PROBLEM(client, 404, "no_such_path", .path = DATASET "/nothing");
    CHECK_PROBLEM(client, 404, "no_such_path", .path = DATASET "/");
}

/* ---- following ---- */

struct tail {
    int fd;
    size_t used;
    char text[TEXT_SIZE]; /* all that came, with a NUL */
};

/* `who` only shows in the log. */
static void tail_open(struct tail *tail, const char *range, size_t who)
{
    char request[256];

    memset(tail, 0, sizeof(*tail));
    tail->fd = raw_connect(server.address);
    assert_true(tail->fd >= 0);
    (void)snprintf(request, sizeof(request),
        "GET " CHANNEL "?follow=true&who=%zu HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n", who,
        range == NULL ? "" : range, range == NULL ? "" : "\r\n");
    assert_true(raw_send_text(tail->fd, request));
}

/* Read until `text` is there, or, for NULL, until the connection ends. */
static void tail_until(struct tail *tail, const char *text)
{
    while (text == NULL || strstr(tail->text, text) == NULL) {
        struct pollfd wait = {.fd = tail->fd, .events = POLLIN};
        ssize_t got;

        if (poll(&wait, 1, PATIENCE_S * 1000) <= 0)
            fail_msg("%s did not come after %s", text == NULL ? "the end" : text, tail->text);
        got = recv(tail->fd, tail->text + tail->used, TEXT_SIZE - 1 - tail->used, 0);
        if (got <= 0 && text == NULL)
            return;
        if (got <= 0)
            fail_msg("the end came, and not %s, after %s", text, tail->text);
        tail->used += (size_t)got;
        tail->text[tail->used] = '\0';
    }
}

/* Head and data come as soon as they are there, with nothing in between. */
static void test_follow(void **state)
{
    struct tail all, rest, next;

    (void)state;
    append(NULL, "first", 201);
    tail_open(&all, NULL, 0);
    tail_until(&all, "first");
    assert_non_null(strstr(all.text, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(all.text, "\r\nCoffer-Offset: 0\r\n"));
    assert_non_null(strstr(all.text, "\r\nTransfer-Encoding: chunked\r\n"));
    tail_open(&rest, "Range: bytes=3-", 0);
    tail_until(&rest, "st");
    tail_open(&next, "Range: bytes=5-", 0);
    tail_until(&next, "\r\n\r\n"); /* the head, before there is anything else */
    assert_non_null(strstr(next.text, "\r\nCoffer-Offset: 5\r\n"));
    append(NULL, " second", 201);
    tail_until(&all, " second");
    tail_until(&rest, " second");
    tail_until(&next, " second");
    for (int i = 0; i < 50; i++) {
        char record[32];

        (void)snprintf(record, sizeof(record), " record-%d.", i);
        append(i % 2 == 0 ? NULL : "Coffer-Durability: buffered", record, i % 2 == 0 ? 201 : 202);
        tail_until(&next, record);
    }
    post(DATASET "/close", "", 202);
    tail_until(&all, "\r\n0\r\n\r\n");
    tail_until(&rest, "\r\n0\r\n\r\n");
    tail_until(&next, "\r\n0\r\n\r\n");
    /* The connection is as good as before. */
    assert_true(raw_send_text(next.fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    tail_until(&next, "\r\n\r\n{\"");
    raw_close(all.fd);
    raw_close(rest.fd);
    raw_close(next.fd);
}

/* A follower that hangs up, in whatever way, is noticed though nothing is sent to it: its request
 * is over, which the log says. */
static void test_hang_up(void **state)
{
    struct tail tails[3];

    (void)state;
    append(NULL, "hello", 201);
    for (size_t i = 0; i < ARRAY_COUNT(tails); i++) {
        tail_open(&tails[i], NULL, 100 + i);
        tail_until(&tails[i], "hello");
    }
    for (size_t i = 0; i < ARRAY_COUNT(tails); i++) {
        char line[64];

        if (i == 1) /* the next request was sent already */
            assert_true(
                raw_send_text(tails[i].fd, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        if (i == 2) /* with a reset, not with a goodbye */
            (void)setsockopt(tails[i].fd, SOL_SOCKET, SO_LINGER,
                &(struct linger){.l_onoff = 1, .l_linger = 0}, sizeof(struct linger));
        (void)snprintf(line, sizeof(line), "&who=%zu\" 200 ", 100 + i);
        assert_false(server_log_has(&server, line));
        raw_close(tails[i].fd);
        assert_true(server_wait_log(&server, line));
    }
}

struct crowd {
    struct tail tail;
    pthread_t thread;
};

static void *crowd_main(void *context)
{
    struct crowd *one = context;

    tail_until(&one->tail, "0\r\n\r\n");
    return NULL;
}

/* Many followers of one channel cost no threads, and all get all of it. */
static void test_crowd(void **state)
{
    enum { FOLLOWERS = 64, RECORDS = 40 };
    struct crowd *crowd = calloc(FOLLOWERS, sizeof(*crowd));
    char record[64];

    (void)state;
    assert_non_null(crowd);
    append(NULL, "start.", 201);
    for (int i = 0; i < FOLLOWERS; i++) {
        tail_open(&crowd[i].tail, NULL, 0);
        assert_int_equal(pthread_create(&crowd[i].thread, NULL, crowd_main, &crowd[i]), 0);
    }
    for (int i = 0; i < RECORDS; i++) {
        (void)snprintf(record, sizeof(record), "record %d of %d.", i + 1, RECORDS);
        append(NULL, record, 201);
    }
    post(DATASET "/close", "", 202);
    for (int i = 0; i < FOLLOWERS; i++) {
        pthread_join(crowd[i].thread, NULL);
        assert_non_null(strstr(crowd[i].tail.text, "start."));
        assert_non_null(strstr(crowd[i].tail.text, record));
        raw_close(crowd[i].tail.fd);
    }
    free(crowd);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_append_and_read, setup, teardown),
    cmocka_unit_test_setup_teardown(test_transaction, setup, teardown),
    cmocka_unit_test_setup_teardown(test_refused_before_the_body, setup, teardown),
    cmocka_unit_test_setup_teardown(test_methods, setup, teardown),
    cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
    cmocka_unit_test_setup_teardown(test_hang_up, setup, teardown),
    cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
};

/* ---- stopping ---- */

/* Who follows when the server stops is cut off, without a last chunk, and holds nothing up. What
 * was answered is there after the restart. */
static void test_stop(void **state)
{
    struct tail tail;

    (void)state;
    client = http_client_create(server.address);
    CHECK_STATUS(client, 201, .method = "PUT", .path = DATASET);
    append(NULL, "kept", 201);
    tail_open(&tail, NULL, 0);
    tail_until(&tail, "kept");
    assert_int_equal(server_stop(&server), 0);
    tail_until(&tail, NULL);
    assert_null(strstr(tail.text, "0\r\n\r\n"));
    assert_false(server_log_has(&server, "requests_cut"));
    raw_close(tail.fd);
    http_client_destroy(client);

    server_start(&server);
    client = http_client_create(server.address);
    check_text(CHANNEL, NULL, 200, "kept");
    append("Coffer-Offset: 4", " on", 201);
    check_text(CHANNEL, NULL, 200, "kept on");
    CHECK_STATUS(client, 204, .method = "DELETE", .path = DATASET);
    http_client_destroy(client);
}

static const struct CMUnitTest last_tests[] = {cmocka_unit_test(test_stop)};

/* A stop lets a follower go also where nothing else happens: with one worker, which would look at
 * idle connections after an hour. */
static void test_let_go(void **state)
{
    struct tail tail;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        server_start(&server);
        client = http_client_create(server.address);
        CHECK_STATUS(client, i == 0 ? 201 : 200, .method = "PUT", .path = DATASET);
        append(NULL, "kept", 201);
        http_client_destroy(client);
        tail_open(&tail, NULL, 0);
        tail_until(&tail, "kept");
        assert_int_equal(server_stop(&server), 0);
        tail_until(&tail, NULL);
        raw_close(tail.fd);
    }
}

static const struct CMUnitTest quiet_tests[] = {cmocka_unit_test(test_let_go)};

int main(void)
{
    static const char *const engines[] = {"local", "memory"};
    int failed = 0;

    http_client_global();
    for (size_t i = 0; i < ARRAY_COUNT(engines); i++) {
        server_init(&server, (const char *const[]){"--engine", engines[i], "--flush-interval",
                                 "10ms", "--log-level", "debug", NULL});
        server_start(&server);
        failed += cmocka_run_group_tests_name(engines[i], tests, NULL, NULL);
        if (i == 0)
            failed += cmocka_run_group_tests(last_tests, NULL, NULL);
        failed += server_end(&server, failed);
    }
    server_init(&server, (const char *const[]){"--http-threads", "1", "--timeout", "1h", NULL});
    failed += cmocka_run_group_tests(quiet_tests, NULL, NULL);
    return failed + server_end(&server, failed);
}
