/*
 * Goal: POST /v1/jobs starts what API.md section 5 says, and refuses what it must; a repack also
 * comes by itself. Method: requests are driven over a store on disk with small packs; the end of a
 * job is waited for through its watch.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/bulk.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/jobs.h"
#include "tests/support/exchange_driver.h"
#include "tests/support/store_fixture.h"

enum { CHUNKS = 40, CHUNK_SIZE = 60000 };

struct fixture {
    struct service service;
    struct store_fixture folder;
};

static int set_up_with(void **state, double dead_ratio)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    fixture_init(&fixture->folder, ENGINE_LOCAL);
    fixture->folder.options.repack_dead_ratio = dead_ratio;
    fixture->folder.options.repack_interval_ns = NS_PER_MS;
    fixture_open(&fixture->folder);
    fixture->service.store = fixture->folder.store;
    fixture->service.bulk = bulk_pool_create(4, NS_PER_S);
    fixture->service.state = SERVICE_READY;
    fixture->service.collect_max = 1 << 20;
    fixture->service.memory_max = 64 << 20;
    *state = fixture;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, 0);
}

static int set_up_unasked(void **state)
{
    return set_up_with(state, 0.5);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    assert_int_equal(fixture->service.memory_used, 0);
    bulk_pool_destroy(fixture->service.bulk);
    fixture_release(&fixture->folder);
    free(fixture);
    exchange_thread_end();
    return 0;
}

/* Every chunk but each eighth is deleted; what is left of the packs is sealed by the next ones. */
static void fill(struct fixture *fixture)
{
    for (unsigned i = 0; i < CHUNKS; i++) {
        uint8_t *data = content_make(CHUNK_SIZE, i + 1, CONTENT_RANDOM);
        struct digest key = store_put_good(fixture->service.store, data, CHUNK_SIZE);

        if (i % 8 != 0)
            assert_int_equal(store_delete_one(fixture->service.store, &key), COFFER_OK);
        free(data);
    }
}

static void wait_end(struct fixture *fixture, uint64_t id)
{
    struct job_watch *watch;
    struct gate gate;
    bool ended = false;

    gate_init(&gate);
    assert_int_equal(job_watch_open(fixture->service.store, id, UINT64_C(60) * NS_PER_S,
                         gate_waker(&gate), &watch, NULL),
        COFFER_OK);
    while (!ended) {
        struct job_info info;
        bool news;
        enum coffer_status status = job_watch_next(watch, &info, &news, NULL);

        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            continue;
        }
        assert_int_equal(status, COFFER_OK);
        if (!news)
            continue;
        ended = job_state_is_end(info.state);
        if (ended)
            assert_int_equal(info.state, JOB_DONE);
        job_info_release(&info);
    }
    job_watch_close(watch);
    gate_release(&gate);
}

static uint64_t used_space(struct fixture *fixture)
{
    struct store_status status;

    store_status(fixture->service.store, &status);
    return status.used_space;
}

/* ---- repack and pack ---- */

/* The id of the job that the body starts. */
static uint64_t start(struct fixture *fixture, const char *kind, const char *body)
{
    struct driver_request request = driver_post("/v1/jobs", body);
    char location[64];
    struct driven driven;
    json_t *job;
    uint64_t id;

    driver_run(&driven, &fixture->service, &request);
    assert_int_equal(driven.status, 202);
    job = driver_parse(driven.body, driven.body_size);
    assert_string_equal(json_text_of(job, "kind"), kind);
    id = strtoull(json_text_of(job, "id"), NULL, 10);
    (void)snprintf(location, sizeof(location), "/v1/jobs/%llu", (unsigned long long)id);
    assert_string_equal(driver_header(&driven, "Location"), location);
    json_decref(job);
    driver_release(&driven);
    return id;
}

/* A number of the result of a job that has ended. */
static json_int_t result_of(struct fixture *fixture, uint64_t id, const char *name)
{
    char request[64];
    json_t *job = NULL;
    json_int_t number;

    (void)snprintf(request, sizeof(request), "GET /v1/jobs/%llu", (unsigned long long)id);
    assert_int_equal(driver_call(&fixture->service, request, NULL, NULL, &job), 200);
    number = json_number_of(json_object_get(job, "result"), name);
    json_decref(job);
    return number;
}

static void test_repack(void **state)
{
    struct fixture *fixture = *state;
    uint64_t before, id;

    fill(fixture);
    before = used_space(fixture);
    id = start(
        fixture, "repack", "{\"kind\":\"repack\",\"dead_ratio\":0.3,\"compression_level\":3}");
    wait_end(fixture, id);
    assert_true(result_of(fixture, id, "packs_rewritten") > 0);
    assert_true(result_of(fixture, id, "bytes_freed") > 0);
    assert_true(used_space(fixture) < before);
    /* Done, the same may be asked for again. */
    wait_end(fixture, start(fixture, "repack", "{\"kind\":\"repack\"}"));
}

static void test_pack(void **state)
{
    struct fixture *fixture = *state;
    uint64_t id;

    fill(fixture);
    fixture_reopen(&fixture->folder); /* its packs are nobody's then */
    fixture->service.store = fixture->folder.store;
    id = start(fixture, "pack", "{\"kind\":\"pack\"}");
    wait_end(fixture, id);
    assert_true(result_of(fixture, id, "packs_sealed") > 0);
}

static void test_refused(void **state)
{
    static const struct {
        const char *body, *code;
    } wrong[] = {
        {"{}", "bad_request"},
        {"{\"kind\":\"nothing\"}", "bad_request"},
        {"{\"kind\":7}", "bad_json"},
        {"{\"kind\":\"close\"}", "bad_request"}, /* a job, but started otherwise */
        {"{\"kind\":\"repack\",\"ratio\":1}", "unknown_field"},
        {"{\"kind\":\"repack\",\"dead_ratio\":1.5}", "bad_request"},
        {"{\"kind\":\"repack\",\"dead_ratio\":\"x\"}", "bad_json"},
        {"{\"kind\":\"repack\",\"compression_level\":40}", "bad_request"},
        {"{\"kind\":\"pack\",\"dead_ratio\":0.5}", "unknown_field"},
    };
    struct fixture *fixture = *state;
    char *text;

    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        driver_refused(
            &fixture->service, driver_post("/v1/jobs", wrong[i].body), 400, wrong[i].code);
    text = driver_call_text(&fixture->service, "POST /v1/jobs", NULL, 400);
    assert_non_null(strstr(text, "pack, repack"));
    free(text);
}

/* One of a kind at a time; the answer names the one that is at work. */
static void test_conflict(void **state)
{
    struct fixture *fixture = *state;
    bool ended;
    uint64_t id;

    fill(fixture);
    id = start(fixture, "repack", "{\"kind\":\"repack\",\"bytes_per_second\":1}"); /* for days */
    driver_refused(
        &fixture->service, driver_post("/v1/jobs", "{\"kind\":\"repack\"}"), 409, "job_conflict");
    assert_int_equal(job_cancel(fixture->service.store, id, &ended, NULL), COFFER_OK);
}

static void test_unasked(void **state)
{
    struct fixture *fixture = *state;
    struct job_info info;
    uint64_t id = 0;

    fill(fixture);
    while (id == 0) { /* it looks every millisecond */
        if (store_jobs(fixture->service.store, 0, &info, 1) == 1) {
            id = info.id;
            assert_int_equal(info.kind, JOB_REPACK);
            job_info_release(&info);
        }
    }
    wait_end(fixture, id);
    assert_true(result_of(fixture, id, "packs_rewritten") > 0);
}

#define CASE(test, set) cmocka_unit_test_setup_teardown(test, set, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_repack, set_up),
        CASE(test_pack, set_up),
        CASE(test_refused, set_up),
        CASE(test_conflict, set_up),
        CASE(test_unasked, set_up_unasked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
