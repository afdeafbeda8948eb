/*
 * Goal: closing a dataset runs its actions in their order, whatever becomes of them, and closes it;
 * its archive is the dataset as of a version. Method: requests are driven over a store in memory;
 * what is notified is a server of the test.
 */
#include "api/close_job.h"

#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/bulk.h"
#include "storage/base/clock.h"
#include "tests/support/exchange_driver.h"
#include "tests/support/hook_server.h"

enum { BIG = 3 << 20 };

struct fixture {
    struct service service;
    struct close_jobs *jobs;
};

static int start_with(void **state, uint64_t notify_delay_ns)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct store_options options;

    assert_non_null(fixture);
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &fixture->service.store, NULL), COFFER_OK);
    fixture->service.bulk = bulk_pool_create(4, NS_PER_S);
    fixture->service.state = SERVICE_READY;
    fixture->service.collect_max = 1 << 20;
    fixture->service.memory_max = 64 << 20;
    fixture->jobs = close_jobs_create(fixture->service.store, notify_delay_ns);
    *state = fixture;
    return 0;
}

static int setup(void **state)
{
    return start_with(state, NS_PER_MS);
}

static int setup_patient(void **state)
{
    return start_with(state, UINT64_C(3600) * NS_PER_S);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fixture->service.memory_used, 0);
    bulk_pool_destroy(fixture->service.bulk);
    assert_int_equal(store_close(fixture->service.store, NULL), COFFER_OK);
    close_jobs_destroy(fixture->jobs);
    free(fixture);
    exchange_thread_end();
    return 0;
}

/* ---- requests ---- */

static int ask(struct fixture *fixture, const char *method, const char *target, json_t **body)
{
    return driver_ask(
        &fixture->service, (struct driver_request){.method = method, .target = target}, body);
}

static void create(struct fixture *fixture, const char *target, const char *settings)
{
    assert_int_equal(
        driver_ask(&fixture->service,
            (struct driver_request){
                .method = "PUT", .target = target, .body = settings, .body_size = strlen(settings)},
            NULL),
        201);
}

/* The version it got. */
static uint64_t append(struct fixture *fixture, const char *target, const void *data, size_t size)
{
    json_t *body = NULL;
    uint64_t version;

    assert_int_equal(driver_ask(&fixture->service,
                         (struct driver_request){
                             .method = "POST", .target = target, .body = data, .body_size = size},
                         &body),
        201);
    version = (uint64_t)json_number_of(body, "version");
    json_decref(body);
    return version;
}

static uint64_t append_text(struct fixture *fixture, const char *target, const char *text)
{
    return append(fixture, target, text, strlen(text));
}

static void get(struct fixture *fixture, const char *target, int status, struct driven *driven)
{
    driver_run(driven, &fixture->service, &(struct driver_request){.target = target});
    assert_int_equal(driven->status, status);
    assert_int_equal(driven->body_status, COFFER_OK);
}

/* Close it and wait for the end of the job, which the caller drops. */
static json_t *close_and_wait(struct fixture *fixture, const char *target)
{
    struct driven driven;
    char path[64];
    json_t *job = NULL;

    driver_run(
        &driven, &fixture->service, &(struct driver_request){.method = "POST", .target = target});
    assert_int_equal(driven.status, 202);
    (void)snprintf(path, sizeof(path), "%.40s/events", driver_header(&driven, "Location"));
    driver_release(&driven);
    get(fixture, path, 200, &driven);
    path[strlen(path) - strlen("/events")] = '\0';
    driver_release(&driven);
    assert_int_equal(ask(fixture, "GET", path, &job), 200);
    return job;
}

static const json_t *action_of(const json_t *job, size_t number)
{
    return json_array_get(json_object_get(json_object_get(job, "result"), "actions"), number);
}

static void expect_action(const json_t *job, size_t number, const char *what, const char *state)
{
    assert_string_equal(json_text_of(action_of(job, number), "do"), what);
    assert_string_equal(json_text_of(action_of(job, number), "state"), state);
}

static void expect_dataset(struct fixture *fixture, const char *target, const char *state)
{
    json_t *body = NULL;

    assert_int_equal(ask(fixture, "GET", target, &body), 200);
    assert_string_equal(json_text_of(body, "state"), state);
    json_decref(body);
}

/* ---- archives ---- */

static struct archive *open_tar(const struct driven *driven)
{
    struct archive *tar = archive_read_new();

    assert_non_null(tar);
    assert_int_equal(archive_read_support_format_tar(tar), ARCHIVE_OK);
    assert_int_equal(archive_read_support_filter_zstd(tar), ARCHIVE_OK);
    assert_int_equal(archive_read_open_memory(tar, driven->body, driven->body_size), ARCHIVE_OK);
    return tar;
}

/* The next file is of this name and size; its bytes, with a NUL behind them, are the caller's. */
static char *next_file(struct archive *tar, const char *name)
{
    struct archive_entry *entry;
    size_t size;
    char *text;

    assert_int_equal(archive_read_next_header(tar, &entry), ARCHIVE_OK);
    assert_string_equal(archive_entry_pathname(entry), name);
    assert_int_equal(archive_entry_filetype(entry), AE_IFREG);
    size = (size_t)archive_entry_size(entry);
    text = malloc(size + 1);
    assert_non_null(text);
    assert_int_equal(archive_read_data(tar, text, size), size);
    text[size] = '\0';
    return text;
}

static void expect_file(struct archive *tar, const char *name, const char *text)
{
    char *got = next_file(tar, name);

    assert_string_equal(got, text);
    free(got);
}

static void expect_end(struct archive *tar)
{
    struct archive_entry *entry;

    assert_int_equal(archive_read_next_header(tar, &entry), ARCHIVE_EOF);
    archive_read_free(tar);
}

static json_t *next_description(struct archive *tar)
{
    char *text = next_file(tar, "dataset.json");
    json_t *description = driver_parse(text, strlen(text));

    free(text);
    return description;
}

/* ---- the tests ---- */

static void test_archive_of_versions(void **state)
{
    struct fixture *fixture = *state;
    uint64_t versions[3];
    struct driven driven;
    struct archive *tar;
    json_t *description, *channel;
    char path[80];

    create(fixture, "/v1/datasets/run-7", "{\"metadata\":{\"who\":\"me\"}}");
    get(fixture, "/v1/datasets/run-7/archive", 200, &driven); /* there is nothing yet */
    tar = open_tar(&driven);
    description = next_description(tar);
    assert_int_equal(json_array_size(json_object_get(description, "channels")), 0);
    json_decref(description);
    expect_end(tar);
    driver_release(&driven);

    versions[0] = append_text(fixture, "/v1/datasets/run-7/channels/b", "one\n");
    versions[1] = append_text(fixture, "/v1/datasets/run-7/channels/a", "alpha");
    versions[2] = append_text(fixture, "/v1/datasets/run-7/channels/b", "two\n");
    (void)append_text(fixture, "/v1/datasets/run-7/channels/dataset.json", "a trap");

    (void)snprintf(path, sizeof(path), "/v1/datasets/run-7/archive?version=%llu",
        (unsigned long long)versions[1]);
    get(fixture, path, 200, &driven);
    tar = open_tar(&driven);
    description = next_description(tar);
    assert_string_equal(json_text_of(description, "name"), "run-7");
    assert_int_equal(json_number_of(description, "version"), versions[1]);
    assert_string_equal(json_text_of(json_object_get(description, "metadata"), "who"), "me");
    channel = json_array_get(json_object_get(description, "channels"), 1);
    assert_string_equal(json_text_of(channel, "name"), "b");
    assert_int_equal(json_number_of(channel, "size"), 4);
    assert_int_equal(json_number_of(channel, "records"), 1);
    assert_int_equal(json_array_size(json_object_get(description, "channels")), 2);
    json_decref(description);
    expect_file(tar, "a", "alpha");
    expect_file(tar, "b", "one\n");
    expect_end(tar);
    driver_release(&driven);

    get(fixture, "/v1/datasets/run-7/archive?format=tar.zst", 200, &driven);
    assert_string_equal(driver_header(&driven, "Content-Type"), "application/zstd");
    tar = open_tar(&driven);
    description = next_description(tar);
    channel = json_array_get(json_object_get(description, "channels"), 2);
    assert_string_equal(json_text_of(channel, "file"), "channel:dataset.json");
    json_decref(description);
    expect_file(tar, "a", "alpha");
    expect_file(tar, "b", "one\ntwo\n");
    expect_file(tar, "channel:dataset.json", "a trap");
    expect_end(tar);
    driver_release(&driven);
}

struct writer {
    struct fixture *fixture;
    _Atomic bool stop;
    _Atomic unsigned count;
};

static void *write_on(void *context)
{
    struct writer *writer = context;

    while (!atomic_load(&writer->stop)) {
        (void)append_text(writer->fixture, "/v1/datasets/run-7/channels/a", "ten bytes\n");
        (void)append_text(writer->fixture, "/v1/datasets/run-7/channels/b", "ten more.\n");
        atomic_fetch_add(&writer->count, 1);
    }
    return NULL;
}

/* What the archive has of a channel is what the channel has as of the archive's version. */
static void compare_channel(
    struct fixture *fixture, struct archive *tar, const json_t *description, size_t number)
{
    const json_t *channel = json_array_get(json_object_get(description, "channels"), number);
    const char *name = json_text_of(channel, "name");
    char *text = next_file(tar, name), path[80];
    struct driven driven;

    (void)snprintf(path, sizeof(path), "/v1/datasets/run-7/channels/%s?version=%lld", name,
        (long long)json_number_of(description, "version"));
    get(fixture, path, 200, &driven);
    assert_string_equal(text, driven.body);
    assert_int_equal(driven.body_size, json_number_of(channel, "size"));
    assert_int_equal(driven.body_size, 10 * json_number_of(channel, "records"));
    driver_release(&driven);
    free(text);
}

static void test_archive_while_it_grows(void **state)
{
    enum { ROUNDS = 30 };
    struct fixture *fixture = *state;
    struct writer writer = {.fixture = fixture};
    pthread_t thread;

    create(fixture, "/v1/datasets/run-7", "{}");
    assert_int_equal(pthread_create(&thread, NULL, write_on, &writer), 0);
    for (unsigned i = 0; i < ROUNDS || atomic_load(&writer.count) < ROUNDS; i++) {
        struct driven driven;
        struct archive *tar;
        json_t *description;

        get(fixture, "/v1/datasets/run-7/archive", 200, &driven);
        assert_int_equal(driven.exchange->reply.size, driven.body_size);
        tar = open_tar(&driven);
        description = next_description(tar);
        for (size_t j = 0; j < json_array_size(json_object_get(description, "channels")); j++)
            compare_channel(fixture, tar, description, j);
        json_decref(description);
        expect_end(tar);
        driver_release(&driven);
    }
    atomic_store(&writer.stop, true);
    pthread_join(thread, NULL);
}

static void test_archive_head_and_size(void **state)
{
    struct fixture *fixture = *state;
    struct driven head, body, again;
    char *big = malloc(BIG);

    assert_non_null(big);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (char)(i * i >> 7);
    create(fixture, "/v1/datasets/run-7", "{}");
    (void)append(fixture, "/v1/datasets/run-7/channels/big", big, BIG);
    (void)append_text(fixture, "/v1/datasets/run-7/channels/small", "x");
    driver_run(&head, &fixture->service,
        &(struct driver_request){.method = "HEAD", .target = "/v1/datasets/run-7/archive"});
    assert_int_equal(head.status, 200);
    get(fixture, "/v1/datasets/run-7/archive", 200, &body);
    get(fixture, "/v1/datasets/run-7/archive?format=tar", 200, &again);
    assert_int_equal(body.exchange->reply.size, body.body_size);
    assert_int_equal(head.exchange->reply.size, body.body_size);
    assert_int_equal(again.body_size, body.body_size);
    assert_memory_equal(again.body, body.body, body.body_size);
    assert_string_equal(driver_header(&body, "Content-Type"), "application/x-tar");
    assert_string_equal(
        driver_header(&body, "Content-Disposition"), "attachment; filename=\"run-7.tar\"");
    driver_release(&again);
    driver_release(&body);
    driver_release(&head);
    driver_run(&head, &fixture->service,
        &(struct driver_request){
            .method = "HEAD", .target = "/v1/datasets/run-7/archive?format=tar.zst"});
    assert_int_equal(head.status, 200);
    assert_true(head.exchange->reply.size == REPLY_SIZE_UNKNOWN);
    driver_release(&head);
    free(big);
}

static void test_refused(void **state)
{
    struct fixture *fixture = *state;
    struct service *service = &fixture->service;

    driver_refused(service, (struct driver_request){.target = "/v1/datasets/none/archive"}, 404,
        "no_such_dataset");
    driver_refused(service,
        (struct driver_request){.method = "POST", .target = "/v1/datasets/none/close"}, 404,
        "no_such_dataset");
    create(fixture, "/v1/datasets/run-7", "{}");
    driver_refused(service,
        (struct driver_request){.target = "/v1/datasets/run-7/archive?format=zip"}, 400,
        "bad_request");
    driver_refused(service,
        (struct driver_request){.target = "/v1/datasets/run-7/archive?fromat=tar"}, 400,
        "bad_request");
    driver_refused(service,
        (struct driver_request){.target = "/v1/datasets/run-7/archive?version=99"}, 404,
        "no_such_version");
}

static void test_all_actions(void **state)
{
    struct fixture *fixture = *state;
    struct hook_server hook;
    struct driven before, after;
    char settings[400];
    json_t *job, *body = NULL, *summary;

    hook_start(&hook, (const int[]){500, 503, 200, 0});
    (void)snprintf(settings, sizeof(settings),
        "{\"on_close\":[{\"do\":\"verify\"},{\"do\":\"compress\",\"level\":3},"
        "{\"do\":\"package\",\"format\":\"tar\"},{\"do\":\"notify\",\"url\":\"%s\"}]}",
        hook.url);
    create(fixture, "/v1/datasets/run-7", settings);
    (void)append_text(fixture, "/v1/datasets/run-7/channels/a", "alpha");
    (void)append_text(fixture, "/v1/datasets/run-7/channels/b", "beta");
    get(fixture, "/v1/datasets/run-7/archive", 200, &before);
    assert_null(driver_header(&before, "ETag"));

    job = close_and_wait(fixture, "/v1/datasets/run-7/close");
    assert_string_equal(json_text_of(job, "state"), "done");
    assert_string_equal(json_text_of(job, "subject"), "run-7");
    expect_action(job, 0, "verify", "done");
    assert_int_equal(json_number_of(action_of(job, 0), "damaged"), 0);
    expect_action(job, 1, "compress", "done");
    expect_action(job, 2, "package", "done");
    assert_int_equal(json_number_of(action_of(job, 2), "size"), before.body_size);
    expect_action(job, 3, "notify", "done");
    assert_int_equal(json_number_of(action_of(job, 3), "tries"), 3);
    assert_int_equal(json_number_of(action_of(job, 3), "answer"), 200);
    expect_dataset(fixture, "/v1/datasets/run-7", "closed");

    summary = driver_parse(hook_body(&hook, 2), strlen(hook_body(&hook, 2)));
    assert_string_equal(json_text_of(summary, "event"), "dataset_close");
    assert_string_equal(json_text_of(summary, "name"), "run-7");
    assert_string_equal(json_text_of(summary, "job"), json_text_of(job, "id"));
    assert_int_equal(json_number_of(summary, "channels"), 2);
    assert_int_equal(json_number_of(summary, "bytes"), 9);
    assert_int_equal(json_number_of(summary, "records"), 2);
    assert_int_equal(json_array_size(json_object_get(summary, "actions")), 3);
    json_decref(summary);
    assert_int_equal(hook_count(&hook), 3);

    get(fixture, "/v1/datasets/run-7/archive?format=tar", 200, &after);
    assert_non_null(driver_header(&after, "ETag"));
    assert_int_equal(after.body_size, before.body_size);
    assert_memory_equal(after.body, before.body, before.body_size);
    driver_release(&before);
    driver_release(&after);

    assert_int_equal(ask(fixture, "POST", "/v1/datasets/run-7/close", &body), 409);
    assert_string_equal(json_text_of(body, "code"), "dataset_closed");
    assert_string_equal(json_text_of(body, "job"), json_text_of(job, "id"));
    json_decref(body);
    json_decref(job);
    driver_refused(&fixture->service, driver_post("/v1/datasets/run-7/channels/a", "more"), 409,
        "dataset_closed");
    hook_stop(&hook);
}

static void test_package_in_parts(void **state)
{
    struct fixture *fixture = *state;
    struct driven whole, part;
    const char *etag;
    char header[200];
    json_t *job;
    size_t size;

    create(fixture, "/v1/datasets/run-7",
        "{\"on_close\":[{\"do\":\"package\",\"format\":\"tar.zst\"}]}");
    (void)append_text(fixture, "/v1/datasets/run-7/channels/a", "alpha");
    job = close_and_wait(fixture, "/v1/datasets/run-7/close");
    json_decref(job);
    get(fixture, "/v1/datasets/run-7/archive?format=tar.zst", 200, &whole);
    etag = driver_header(&whole, "ETag");
    size = whole.body_size;
    assert_int_equal(whole.exchange->reply.size, size);
    driver_run(&part, &fixture->service,
        &(struct driver_request){.target = "/v1/datasets/run-7/archive?format=tar.zst",
            .headers = {"Range: bytes=10-19"}});
    assert_int_equal(part.status, 206);
    assert_int_equal(part.body_size, 10);
    assert_memory_equal(part.body, whole.body + 10, 10);
    (void)snprintf(header, sizeof(header), "bytes 10-19/%zu", size);
    assert_string_equal(driver_header(&part, "Content-Range"), header);
    driver_release(&part);
    (void)snprintf(header, sizeof(header), "If-None-Match: %s", etag);
    driver_run(&part, &fixture->service,
        &(struct driver_request){
            .target = "/v1/datasets/run-7/archive?format=tar.zst", .headers = {header}});
    assert_int_equal(part.status, 304);
    driver_release(&part);
    driver_run(&part, &fixture->service,
        &(struct driver_request){.target = "/v1/datasets/run-7/archive?format=tar.zst",
            .headers = {"Range: bytes=99999-"}});
    assert_int_equal(part.status, 416);
    driver_release(&part);
    driver_run(&part, &fixture->service,
        &(struct driver_request){
            .method = "HEAD", .target = "/v1/datasets/run-7/archive?format=tar.zst"});
    assert_int_equal(part.status, 200);
    assert_int_equal(part.exchange->reply.size, size);
    driver_release(&part);
    driver_release(&whole);
    get(fixture, "/v1/datasets/run-7/archive?format=tar", 200, &whole); /* made, not kept */
    assert_null(driver_header(&whole, "ETag"));
    driver_release(&whole);
}

static void test_failed_notify_closes_all_the_same(void **state)
{
    struct fixture *fixture = *state;
    struct hook_server hook;
    char settings[200];
    json_t *job;

    hook_start(&hook, (const int[]){500, 0});
    (void)snprintf(settings, sizeof(settings),
        "{\"on_close\":[{\"do\":\"notify\",\"url\":\"%s\"},{\"do\":\"verify\"}]}", hook.url);
    create(fixture, "/v1/datasets/run-7", settings);
    job = close_and_wait(fixture, "/v1/datasets/run-7/close");
    assert_string_equal(json_text_of(job, "state"), "failed");
    assert_string_equal(json_text_of(json_object_get(job, "error"), "code"), "notify_failed");
    expect_action(job, 0, "notify", "failed");
    assert_string_equal(json_text_of(action_of(job, 0), "code"), "notify_failed");
    expect_action(job, 1, "verify", "done");
    json_decref(job);
    expect_dataset(fixture, "/v1/datasets/run-7", "closed");
    hook_stop(&hook);
}

static void test_cancelled(void **state)
{
    struct fixture *fixture = *state;
    struct hook_server hook;
    struct driven driven;
    char settings[200];
    json_t *job = NULL, *body = NULL;

    hook_start(&hook, (const int[]){500, 0});
    (void)snprintf(settings, sizeof(settings),
        "{\"on_close\":[{\"do\":\"notify\",\"url\":\"%s\"},{\"do\":\"verify\"}]}", hook.url);
    create(fixture, "/v1/datasets/run-7", settings);
    assert_int_equal(ask(fixture, "POST", "/v1/datasets/run-7/close", &job), 202);
    assert_string_equal(json_text_of(job, "id"), "1");
    json_decref(job);
    hook_wait(&hook, 1); /* the pause that follows is an hour */
    expect_dataset(fixture, "/v1/datasets/run-7", "closing");
    assert_int_equal(ask(fixture, "POST", "/v1/datasets/run-7/close", &body), 409);
    assert_string_equal(json_text_of(body, "code"), "dataset_closed");
    assert_string_equal(json_text_of(body, "job"), "1");
    json_decref(body);
    assert_int_equal(ask(fixture, "DELETE", "/v1/jobs/1", NULL), 202);
    get(fixture, "/v1/jobs/1/events", 200, &driven);
    driver_release(&driven);
    assert_int_equal(ask(fixture, "GET", "/v1/jobs/1", &job), 200);
    assert_string_equal(json_text_of(job, "state"), "cancelled");
    expect_action(job, 0, "notify", "cancelled");
    expect_action(job, 1, "verify", "cancelled");
    json_decref(job);
    expect_dataset(fixture, "/v1/datasets/run-7", "closed");
    hook_stop(&hook);
}

/* The name is taken by another dataset while the job of the first is at work. */
static void test_deleted_while_it_closes(void **state)
{
    struct fixture *fixture = *state;
    struct hook_server hook;
    struct driven driven;
    char settings[200];
    json_t *job = NULL;

    hook_start(&hook, (const int[]){500, 0});
    (void)snprintf(settings, sizeof(settings),
        "{\"on_close\":[{\"do\":\"notify\",\"url\":\"%s\"}]}", hook.url);
    create(fixture, "/v1/datasets/run-7", settings);
    assert_int_equal(ask(fixture, "POST", "/v1/datasets/run-7/close", NULL), 202);
    hook_wait(&hook, 1);
    assert_int_equal(ask(fixture, "DELETE", "/v1/datasets/run-7", NULL), 204);
    create(fixture, "/v1/datasets/run-7", "{}");
    job = close_and_wait(fixture, "/v1/datasets/run-7/close"); /* has a job of its own */
    assert_string_equal(json_text_of(job, "id"), "2");
    assert_string_equal(json_text_of(job, "state"), "done");
    json_decref(job);
    assert_int_equal(ask(fixture, "DELETE", "/v1/jobs/1", NULL), 202);
    get(fixture, "/v1/jobs/1/events", 200, &driven);
    driver_release(&driven);
    hook_stop(&hook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_archive_of_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_archive_while_it_grows, setup, teardown),
        cmocka_unit_test_setup_teardown(test_archive_head_and_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_actions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_package_in_parts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_notify_closes_all_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancelled, setup_patient, teardown),
        cmocka_unit_test_setup_teardown(test_deleted_while_it_closes, setup_patient, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
