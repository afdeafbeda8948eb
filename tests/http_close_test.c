/*
 * Goal: a dataset that is closing gets closed, whatever happens to the server meanwhile, and who
 * follows the job sees it. Method: a real cofferd whose close job hangs in a notify action, at a
 * server of the test, and is killed, stopped, asked to stop, there.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/hook_server.h"
#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

static const char *const arguments[] = {"--notify-delay", "1ms", NULL};

static struct server server;
static struct http_client *client;
static struct hook_server hook;

static int start(void **state)
{
    (void)state;
    server_init(&server, arguments);
    server_start(&server);
    client = http_client_create(server.address);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    http_client_destroy(client);
    return server_end(&server, 0);
}

static void restart(void)
{
    http_client_destroy(client);
    server_start(&server);
    client = http_client_create(server.address);
}

static json_t *get_json(const char *path)
{
    struct http_answer answer;
    json_t *body;

    CHECK_SEND(client, 200, &answer, .path = path);
    body = check_json(&answer);
    http_answer_release(&answer);
    return body;
}

static void expect_text(const char *path, const char *name, const char *value)
{
    json_t *body = get_json(path);

    assert_string_equal(json_string_value(json_object_get(body, name)), value);
    json_decref(body);
}

static void create(const char *actions)
{
    char body[400];

    (void)snprintf(body, sizeof(body), "{\"on_close\":[%s{\"do\":\"notify\",\"url\":\"%s\"}]}",
        actions, hook.url);
    CHECK_STATUS(client, 201, .method = "PUT", .path = "/v1/datasets/run-7", .body = body,
        .size = strlen(body));
    CHECK_STATUS(client, 201, .method = "POST", .path = "/v1/datasets/run-7/channels/a",
        .body = "alpha", .size = 5);
}

/* Close it, and come back when the job hangs in its first notification. */
static void close_until_notify(void)
{
    struct http_answer answer;

    CHECK_SEND(client, 202, &answer, .method = "POST", .path = "/v1/datasets/run-7/close");
    check_header(&answer, "Location", "/v1/jobs/1");
    http_answer_release(&answer);
    hook_wait(&hook, 1);
    expect_text("/v1/datasets/run-7", "state", "closing");
}

/* The events of job 1 to its end: each is a progress, but for the last. */
static void follow_to_the_end(const char *end)
{
    struct http_answer answer;
    const char *at;
    json_t *job;

    CHECK_SEND(client, 200, &answer, .path = "/v1/jobs/1/events");
    at = answer.body;
    while (strncmp(at, "event: progress\ndata: ", 22) == 0) {
        at = strstr(at, "\n\n");
        assert_non_null(at);
        at += 2;
    }
    assert_memory_equal(at, "event: done\ndata: ", 18);
    job = json_loads(at + 18, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(job);
    assert_string_equal(json_string_value(json_object_get(job, "state")), end);
    json_decref(job);
    at = strstr(at, "\n\n");
    assert_non_null(at);
    assert_string_equal(at, "\n\n");
    http_answer_release(&answer);
}

static void test_killed_while_closing(void **state)
{
    json_t *summary;

    (void)state;
    hook_start(&hook, (const int[]){HOOK_HOLD, 500, 200, 0});
    create("{\"do\":\"verify\"},{\"do\":\"package\",\"format\":\"tar\"},");
    close_until_notify();
    server_kill(&server);
    restart();
    follow_to_the_end("done");
    assert_int_equal(hook_count(&hook), 3);
    expect_text("/v1/datasets/run-7", "state", "closed");
    summary = json_loads(hook_body(&hook, 2), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(summary, "job")), "1");
    assert_int_equal(json_array_size(json_object_get(summary, "actions")), 2);
    json_decref(summary);
    /* And nothing comes of it again. */
    server_kill(&server);
    restart();
    expect_text("/v1/jobs/1", "state", "done");
    expect_text("/v1/datasets/run-7", "state", "closed");
    assert_int_equal(hook_count(&hook), 3);
    hook_stop(&hook);
}

static void test_stopped_while_closing(void **state)
{
    (void)state;
    hook_start(&hook, (const int[]){HOOK_HOLD, 200, 0});
    create("");
    close_until_notify();
    assert_int_equal(server_stop(&server), 0); /* although the other server does not answer */
    restart();
    follow_to_the_end("done");
    expect_text("/v1/datasets/run-7", "state", "closed");
    hook_stop(&hook);
}

/* Read on until `text` is there, or the end. */
static bool read_until(int fd, char *got, size_t size, const char *text)
{
    size_t used = strlen(got);

    while (strstr(got, text) == NULL) {
        ssize_t more = read(fd, got + used, size - 1 - used);

        if (more <= 0)
            return false;
        used += (size_t)more;
        got[used] = '\0';
    }
    return true;
}

/* The stream of events ends well, but without `done`. */
static void test_followed_while_stopping(void **state)
{
    char got[16384] = "";
    int fd;

    (void)state;
    hook_start(&hook, (const int[]){HOOK_HOLD, 0});
    create("");
    close_until_notify();
    fd = raw_connect(server.address);
    assert_true(fd >= 0);
    assert_true(raw_send_text(fd, "GET /v1/jobs/1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_true(read_until(fd, got, sizeof(got), "event: progress"));
    assert_int_equal(server_stop(&server), 0);
    assert_true(read_until(fd, got, sizeof(got), "\r\n0\r\n\r\n"));
    assert_null(strstr(got, "event: done"));
    raw_close(fd);
    hook_stop(&hook);
}

static void test_cancelled(void **state)
{
    (void)state;
    hook_start(&hook, (const int[]){HOOK_HOLD, 0});
    create("");
    close_until_notify();
    CHECK_STATUS(client, 202, .method = "DELETE", .path = "/v1/jobs/1");
    follow_to_the_end("cancelled");
    expect_text("/v1/datasets/run-7", "state", "closed");
    CHECK_STATUS(client, 200, .method = "DELETE", .path = "/v1/jobs/1");
    server_kill(&server);
    restart();
    expect_text("/v1/jobs/1", "state", "cancelled");
    assert_int_equal(hook_count(&hook), 1);
    hook_stop(&hook);
}

/* Flip a bit where `text` lies in a pack; false: it is not in that one. */
static bool damage_pack(unsigned number, const char *text)
{
    char path[300], *pack, *at;
    off_t size;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/packs/%010u.pack", server.data_dir, number);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    size = lseek(fd, 0, SEEK_END);
    pack = malloc((size_t)size);
    assert_non_null(pack);
    assert_int_equal(pread(fd, pack, (size_t)size, 0), size);
    at = memmem(pack, (size_t)size, text, strlen(text));
    if (at != NULL) {
        *at ^= 1;
        assert_int_equal(pwrite(fd, at, 1, at - pack), 1);
    }
    free(pack);
    (void)close(fd);
    return at != NULL;
}

static void damage(const char *text)
{
    bool found = false;

    for (unsigned number = 1; number < 10 && !found; number++)
        found = damage_pack(number, text);
    assert_true(found);
}

static void test_damage_is_told_and_cuts_the_archive(void **state)
{
    enum { LARGE = 3 << 20 };
    char *large = malloc(LARGE);
    struct http_answer answer;
    json_t *job, *actions;

    (void)state;
    assert_non_null(large);
    for (size_t i = 0; i < LARGE; i++)
        large[i] = (char)(i * i * 31 >> 9);
    hook_start(&hook, (const int[]){200, 0});
    create("{\"do\":\"verify\"},{\"do\":\"package\",\"format\":\"tar\"},");
    CHECK_STATUS(client, 201, .method = "POST", .path = "/v1/datasets/run-7/channels/A",
        .body = large, .size = LARGE);
    CHECK_STATUS(client, 201, .method = "POST", .path = "/v1/datasets/run-7/channels/z",
        .body = "the bytes that are hit", .size = 22);
    damage("the bytes that are hit");
    http_send(client, &(struct http_request){.path = "/v1/datasets/run-7/archive"}, &answer);
    assert_int_equal(answer.status, 200); /* it was under way already */
    assert_string_not_equal(answer.error, "");
    http_answer_release(&answer);

    CHECK_STATUS(client, 202, .method = "POST", .path = "/v1/datasets/run-7/close");
    follow_to_the_end("failed");
    job = get_json("/v1/jobs/1");
    actions = json_object_get(json_object_get(job, "result"), "actions");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(actions, 0), "damaged")), 1);
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(actions, 0), "code")), "data_corrupt");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(actions, 1), "code")), "data_corrupt");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(actions, 2), "state")), "done");
    json_decref(job);
    assert_int_equal(hook_count(&hook), 1);
    expect_text("/v1/datasets/run-7", "state", "closed");
    hook_stop(&hook);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_killed_while_closing, start, stop),
        cmocka_unit_test_setup_teardown(test_stopped_while_closing, start, stop),
        cmocka_unit_test_setup_teardown(test_followed_while_stopping, start, stop),
        cmocka_unit_test_setup_teardown(test_cancelled, start, stop),
        cmocka_unit_test_setup_teardown(test_damage_is_told_and_cuts_the_archive, start, stop),
    };

    http_client_global();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
