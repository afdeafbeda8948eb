/*
 * Goal: what a server does at its limits and at its end: the default durability, no buffer at all,
 * max_space, more connections than allowed, and requests under way when it is told to stop.
 * Method: one cofferd a case, with the option that makes the limit small.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum { PATIENCE_S = 60, CONNECTIONS_MAX = 8 };

static struct server server;
static struct http_client *client;

static int setup(void **state)
{
    (void)state;
    server_init(&server, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    http_client_destroy(client);
    client = NULL;
    return server_end(&server, 0);
}

static void start(const char *option, const char *value)
{
    server.args[0] = option;
    server.args[1] = value;
    server_start(&server);
    client = http_client_create(server.address);
}

static void test_default_durability(void **state)
{
    struct sample sample;

    (void)state;
    start("--durability", "buffered");
    sample_init(&sample, 100, 1);
    check_put(client, &sample, NULL, 202);
    sample_release(&sample);
    sample_init(&sample, 100, 2);
    check_put(client, &sample, "synced", 201);
    sample_release(&sample);
}

/* Without a buffer each write goes straight to its pack: it is durable when it is answered. */
static void test_no_buffer(void **state)
{
    struct sample sample;

    (void)state;
    start("--buffer-size", "0");
    sample_init(&sample, 70000, 1);
    check_put(client, &sample, "buffered", 201);
    check_put(client, &sample, NULL, 200);
    check_get(client, &sample);
    sample_release(&sample);
}

static void test_max_space(void **state)
{
    char paths[40][CHUNK_PATH_SIZE];
    size_t stored = 0;
    int status = 201;

    (void)state;
    start("--max-space", "2MiB");
    for (uint64_t seed = 2; status == 201; seed += 2) { /* even: noise */
        struct sample sample = {.size = 100000};
        struct http_answer answer;

        assert_true(stored < ARRAY_COUNT(paths));
        sample.content = seed_content(sample.size, seed, sample.key);
        (void)snprintf(paths[stored], CHUNK_PATH_SIZE, "/v1/chunks/%s", sample.key);
        http_send(client,
            &(struct http_request){.method = "PUT",
                .path = paths[stored],
                .body = sample.content,
                .size = sample.size,
                .expect = true},
            &answer);
        status = answer.status;
        if (status == 201) {
            stored++;
        } else {
            check_problem(&answer, 507, "capacity_exceeded");
            assert_false(answer.continued); /* told before the body */
        }
        http_answer_release(&answer);
        sample_release(&sample);
    }
    assert_true(stored > 10 && stored <= 20);
    for (size_t i = 0; i < stored; i++)
        CHECK_STATUS(client, 200, .path = paths[i]);
    CHECK_STATUS(client, 404, .path = paths[stored]);
    CHECK_STATUS(client, 204, .method = "DELETE", .path = paths[0]);
    CHECK_STATUS(client, 404, .path = paths[0]);
}

/* More connections than allowed wait; those that are served are served. */
static void test_connections_max(void **state)
{
    static const char get[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    int first[CONNECTIONS_MAX], later;

    (void)state;
    start("--connections-max", "8");
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        first[i] = raw_connect(server.address);
        assert_true(first[i] >= 0 && raw_send_text(first[i], get));
        assert_int_equal(raw_read_head(first[i], PATIENCE_S, NULL, 0), 200);
    }
    later = raw_connect(server.address);
    assert_true(later >= 0 && raw_send_text(later, get));
    assert_true(raw_send_text(first[0], get));
    assert_int_equal(raw_read_head(first[0], PATIENCE_S, NULL, 0), 200);
    raw_close(first[1]);
    assert_int_equal(raw_read_head(later, PATIENCE_S, NULL, 0), 200);
    raw_close(later);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (i != 1)
            raw_close(first[i]);
}

/* Told to stop, it finishes the request that is under way, refuses new ones on connections that
 * are open, and then ends; what was answered at the last moment is there after the next start. */
static void test_drain(void **state)
{
    const struct timespec pause = clock_timespec(2 * NS_PER_MS);
    struct sample sample;
    struct http_answer answer;
    char head[300];
    int fd, status = 200;

    (void)state;
    start("--drain-timeout", "60s");
    sample_init(&sample, 20000, 1);
    (void)snprintf(head, sizeof(head),
        "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n"
        "Expect: 100-continue\r\n\r\n",
        sample.path, sample.size);
    fd = raw_connect(server.address);
    assert_true(fd >= 0 && raw_send_text(fd, head));
    assert_int_equal(raw_read_head(fd, PATIENCE_S, NULL, 0), 100);
    CHECK_STATUS(client, 200, .path = "/readyz");
    assert_int_equal(kill(server.pid, SIGTERM), 0);
    while (status == 200) {
        http_send(client, &(struct http_request){.path = "/readyz"}, &answer);
        status = answer.status;
        if (status == 503)
            assert_non_null(strstr(answer.body, "draining"));
        http_answer_release(&answer);
        (void)nanosleep(&pause, NULL); /* poll: the signal has arrived */
    }
    /* 0: the signal came between a 200 and the `Connection: close` of its answer */
    assert_true(status == 503 || status == 0);
    assert_true(raw_send(fd, sample.content, sample.size));
    assert_int_equal(raw_read_head(fd, PATIENCE_S, NULL, 0), 201);
    assert_int_equal(server_wait(&server), 0);
    raw_close(fd);
    http_client_destroy(client);
    start(NULL, NULL);
    check_get(client, &sample);
    sample_release(&sample);
}

#define LIMITS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LIMITS_TEST(test_default_durability),
        LIMITS_TEST(test_no_buffer),
        LIMITS_TEST(test_max_space),
        LIMITS_TEST(test_connections_max),
        LIMITS_TEST(test_drain),
    };

    http_client_global();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
