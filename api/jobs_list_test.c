/*
 * Goal: jobs are listed, shown, stopped and followed as API.md section 5 says. Method: each request
 * is driven over a store in memory, whose jobs count when the test tells them to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/jobs.h"
#include "tests/support/exchange_driver.h"

struct fixture {
    struct service service;
    struct gate begun, go; /* of a job that counts */
    _Atomic unsigned goal;
    char event[4096]; /* the last one read */
    size_t event_size;
};

/* "fails" and "quick" end at once; all others count to `goal`, again after each `go`, until that is
 * 0, or wait to be stopped when it is. */
static enum coffer_status work(struct job *job, void *context, struct error *err)
{
    struct fixture *fixture = context;
    unsigned goal = atomic_load(&fixture->goal);

    if (strcmp(job_subject(job), "fails") == 0)
        return error_set(err, COFFER_DATA_CORRUPT, "2 of 3 blocks");
    if (strcmp(job_subject(job), "secret") == 0)
        return error_set(err, COFFER_IO, "open /some/file");
    if (strcmp(job_subject(job), "quick") == 0)
        return COFFER_OK;
    job_stage(job, "count", "sheep");
    waker_wake(gate_waker(&fixture->begun));
    while (goal > 0) {
        job_progress(job, goal, 100);
        gate_wait(&fixture->go);
        goal = atomic_load(&fixture->goal);
    }
    job_result(job, slice_from_text("{\"sheep\":[1,2]}"));
    if (strcmp(job_subject(job), "waits") != 0)
        return COFFER_OK;
    while (job_wait(job, NS_PER_S))
        ;
    return error_set(err, COFFER_DRAINING, "stopped");
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct store_options options;

    assert_non_null(fixture);
    gate_init(&fixture->begun);
    gate_init(&fixture->go);
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &fixture->service.store, NULL), COFFER_OK);
    fixture->service.state = SERVICE_READY;
    fixture->service.memory_max = 64 << 20;
    store_jobs_handle(fixture->service.store, JOB_CLOSE, work, fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fixture->service.memory_used, 0);
    assert_int_equal(store_close(fixture->service.store, NULL), COFFER_OK);
    gate_release(&fixture->go);
    gate_release(&fixture->begun);
    free(fixture);
    exchange_thread_end();
    return 0;
}

static uint64_t start(struct fixture *fixture, const char *subject)
{
    const struct job_options options = {JOB_CLOSE, subject, subject, true};
    uint64_t id = 0;

    assert_int_equal(job_start(fixture->service.store, &options, &id, NULL), COFFER_OK);
    return id;
}

static void go_on(struct fixture *fixture, unsigned goal)
{
    atomic_store(&fixture->goal, goal);
    waker_wake(gate_waker(&fixture->go));
}

static void open_events(struct fixture *fixture, struct driven *driven, const char *path)
{
    driver_open(driven, &fixture->service, &(struct driver_request){.target = path});
    assert_int_equal(driven->status, 200);
    assert_string_equal(driver_header(driven, "Content-Type"), "text/event-stream");
    assert_string_equal(driver_header(driven, "Cache-Control"), "no-store");
}

/* The next event, to its blank line; false: the end of the stream. */
static bool next_event(struct fixture *fixture, struct driven *driven)
{
    fixture->event_size = 0;
    for (;;) {
        char *at = fixture->event + fixture->event_size;
        size_t size = driver_read(driven, at, 7); /* in odd pieces */

        assert_int_equal(driven->body_status, COFFER_OK);
        fixture->event_size += size;
        assert_true(fixture->event_size < sizeof(fixture->event) - 7);
        fixture->event[fixture->event_size] = '\0';
        if (size == 0)
            return false;
        if (fixture->event_size > 2 && strcmp(at + size - 2, "\n\n") == 0)
            return true;
    }
}

/* The job of an event; NULL when it is of another kind. The caller drops it. */
static json_t *event_job(const struct fixture *fixture, const char *kind)
{
    size_t size = strlen(kind);
    const char *data = fixture->event + 7 + size + 7;

    if (strncmp(fixture->event, "event: ", 7) != 0 || strncmp(fixture->event + 7, kind, size) != 0)
        return NULL;
    assert_memory_equal(fixture->event + 7 + size, "\ndata: ", 7);
    return driver_parse(data, strlen(data));
}

/* Read events until the job's progress is so far. */
static void wait_progress(struct fixture *fixture, struct driven *driven, json_int_t done)
{
    json_int_t got;

    do {
        json_t *job, *progress;

        assert_true(next_event(fixture, driven));
        job = event_job(fixture, "progress");
        assert_non_null(job);
        progress = json_object_get(job, "progress");
        got = progress == NULL ? -1 : json_number_of(progress, "done");
        assert_true(got <= done);
        if (got >= 0) {
            assert_string_equal(json_text_of(progress, "stage"), "count");
            assert_string_equal(json_text_of(progress, "unit"), "sheep");
            assert_string_equal(json_text_of(job, "state"), "running");
        }
        json_decref(job);
    } while (got != done);
}

static void wait_end(struct fixture *fixture, const char *path)
{
    struct driven driven;

    open_events(fixture, &driven, path);
    while (next_event(fixture, &driven))
        ;
    driver_release(&driven);
}

/* ---- the tests ---- */

static void test_events(void **state)
{
    struct fixture *fixture = *state;
    struct driven driven;
    json_t *job;

    fixture->goal = 10;
    start(fixture, "run-7");
    open_events(fixture, &driven, "/v1/jobs/1/events");
    wait_progress(fixture, &driven, 10);
    go_on(fixture, 40);
    wait_progress(fixture, &driven, 40);
    go_on(fixture, 0);
    while (next_event(fixture, &driven) && (job = event_job(fixture, "done")) == NULL)
        ;
    assert_string_equal(json_text_of(job, "id"), "1");
    assert_string_equal(json_text_of(job, "kind"), "close");
    assert_string_equal(json_text_of(job, "state"), "done");
    assert_string_equal(json_text_of(job, "subject"), "run-7");
    assert_non_null(json_text_of(job, "created"));
    assert_non_null(json_text_of(job, "started"));
    assert_non_null(json_text_of(job, "ended"));
    assert_int_equal(json_array_size(json_object_get(json_object_get(job, "result"), "sheep")), 2);
    assert_null(json_object_get(job, "error"));
    json_decref(job);
    assert_false(next_event(fixture, &driven));
    driver_release(&driven);

    open_events(fixture, &driven, "/v1/jobs/1/events"); /* one that is over */
    assert_true(next_event(fixture, &driven));
    job = event_job(fixture, "done");
    assert_non_null(job);
    json_decref(job);
    assert_false(next_event(fixture, &driven));
    driver_release(&driven);
}

static void test_heartbeat_and_end_of_the_server(void **state)
{
    struct fixture *fixture = *state;
    struct driven driven;

    fixture->service.heartbeat_ns = NS_PER_MS;
    start(fixture, "waits");
    open_events(fixture, &driven, "/v1/jobs/1/events");
    do
        assert_true(next_event(fixture, &driven));
    while (strncmp(fixture->event, "event: progress\n", 16) == 0);
    assert_string_equal(fixture->event, ": waiting\n\n");
    store_jobs_drain(fixture->service.store);
    while (next_event(fixture, &driven))
        assert_null(event_job(fixture, "done"));
    driver_release(&driven);
}

static void test_stop(void **state)
{
    struct fixture *fixture = *state;
    json_t *job = NULL;

    start(fixture, "waits");
    gate_wait(&fixture->begun);
    assert_int_equal(driver_ask(&fixture->service,
                         (struct driver_request){.method = "DELETE", .target = "/v1/jobs/1"}, &job),
        202);
    assert_string_equal(json_text_of(job, "id"), "1");
    json_decref(job);
    wait_end(fixture, "/v1/jobs/1/events");
    for (int i = 0; i < 2; i++) { /* over: it is shown as it is */
        assert_int_equal(driver_ask(&fixture->service,
                             (struct driver_request){
                                 .method = i == 0 ? "DELETE" : "GET", .target = "/v1/jobs/1"},
                             &job),
            200);
        assert_string_equal(json_text_of(job, "state"), "cancelled");
        assert_null(json_object_get(job, "cancelling"));
        json_decref(job);
    }
}

static void test_failures(void **state)
{
    struct fixture *fixture = *state;
    json_t *job = NULL, *error;

    start(fixture, "fails");
    wait_end(fixture, "/v1/jobs/1/events");
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = "/v1/jobs/1"}, &job), 200);
    error = json_object_get(job, "error");
    assert_string_equal(json_text_of(job, "state"), "failed");
    assert_string_equal(json_text_of(error, "code"), "data_corrupt");
    assert_string_equal(json_text_of(error, "detail"), "2 of 3 blocks");
    json_decref(job);
    /* What may name files of the server is not shown. */
    start(fixture, "secret");
    wait_end(fixture, "/v1/jobs/2/events");
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = "/v1/jobs/2"}, &job), 200);
    error = json_object_get(job, "error");
    assert_string_equal(json_text_of(error, "code"), "internal");
    assert_null(strstr(json_text_of(error, "detail"), "/some"));
    json_decref(job);
}

static void test_list(void **state)
{
    enum { COUNT = 40 };
    struct fixture *fixture = *state;
    struct driven driven;
    json_t *page = NULL;
    unsigned lines = 0;

    for (unsigned i = 0; i < COUNT; i++) {
        char path[40];

        (void)snprintf(path, sizeof(path), "/v1/jobs/%llu/events",
            (unsigned long long)start(fixture, "quick"));
        wait_end(fixture, path);
    }
    assert_int_equal(driver_ask(&fixture->service,
                         (struct driver_request){.target = "/v1/jobs?limit=30&after=5"}, &page),
        200);
    assert_int_equal(json_array_size(json_object_get(page, "jobs")), 30);
    assert_string_equal(json_text_of(json_array_get(json_object_get(page, "jobs"), 0), "id"), "6");
    assert_string_equal(json_text_of(page, "next"), "35");
    json_decref(page);
    assert_int_equal(driver_ask(&fixture->service,
                         (struct driver_request){.target = "/v1/jobs?after=35"}, &page),
        200);
    assert_int_equal(json_array_size(json_object_get(page, "jobs")), COUNT - 35);
    assert_null(json_object_get(page, "next"));
    json_decref(page);
    driver_run(&driven, &fixture->service,
        &(struct driver_request){
            .target = "/v1/jobs", .headers = {"Accept: application/x-ndjson"}});
    assert_int_equal(driven.status, 200);
    for (const char *at = driven.body; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, COUNT);
    driver_release(&driven);
}

static void test_refused(void **state)
{
    struct fixture *fixture = *state;
    static const char *const unknown[] = {"/v1/jobs/1", "/v1/jobs/0", "/v1/jobs/x",
        "/v1/jobs/1/events", "/v1/jobs/18446744073709551616"};

    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++)
        driver_refused(
            &fixture->service, (struct driver_request){.target = unknown[i]}, 404, "no_such_job");
    driver_refused(&fixture->service,
        (struct driver_request){.method = "DELETE", .target = "/v1/jobs/7"}, 404, "no_such_job");
    driver_refused(&fixture->service, (struct driver_request){.target = "/v1/jobs?after=x"}, 400,
        "bad_request");
    driver_refused(&fixture->service,
        (struct driver_request){.method = "PUT", .target = "/v1/jobs"}, 405, "method_not_allowed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heartbeat_and_end_of_the_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_list, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
