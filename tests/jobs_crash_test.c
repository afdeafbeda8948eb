/*
 * Goal: what was told of a job is true after a crash and without an index, and a job whose start
 * could not be made durable does not exist. Method: a store on disk, crashed by copying its folder
 * while it is open; a disk that fails is a fault point.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/jobs.h"
#include "tests/support/store_fixture.h"

static struct gate begun;

/* "waits" until it is stopped; all others are done at once. */
static enum coffer_status work(struct job *job, void *context, struct error *err)
{
    (void)context;
    if (strcmp(job_subject(job), "waits") != 0) {
        job_result(job, slice_from_text("{\"n\":1}"));
        return COFFER_OK;
    }
    waker_wake(gate_waker(&begun));
    while (job_wait(job, NS_PER_S))
        ;
    return error_set(err, COFFER_DRAINING, "stopped");
}

static int setup(void **state)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    gate_init(&begun);
    fixture_init(fixture, ENGINE_LOCAL);
    fixture_open(fixture);
    store_jobs_handle(fixture->store, JOB_CLOSE, work, NULL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct store_fixture *fixture = *state;

    fault_disarm_all();
    fixture_release(fixture);
    gate_release(&begun);
    free(fixture);
    return 0;
}

static uint64_t start(struct store_fixture *fixture, const char *subject, const char *key)
{
    const struct job_options options = {JOB_CLOSE, subject, key, strcmp(key, "fails") != 0};
    uint64_t id = 0;

    assert_int_equal(job_start(fixture->store, &options, &id, NULL), COFFER_OK);
    return id;
}

static void stop(struct store_fixture *fixture, uint64_t id)
{
    bool ended = true;

    assert_int_equal(job_cancel(fixture->store, id, &ended, NULL), COFFER_OK);
    assert_false(ended);
}

static void wait_end(struct store_fixture *fixture, uint64_t id)
{
    struct job_watch *watch;
    struct job_info info;
    struct gate gate;
    bool news, end = false;

    gate_init(&gate);
    assert_int_equal(
        job_watch_open(fixture->store, id, NS_PER_S, gate_waker(&gate), &watch, NULL), COFFER_OK);
    while (!end) {
        enum coffer_status status = job_watch_next(watch, &info, &news, NULL);

        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            continue;
        }
        assert_int_equal(status, COFFER_OK);
        end = news && job_state_is_end(info.state);
        if (news)
            job_info_release(&info);
    }
    job_watch_close(watch);
    gate_release(&gate);
}

static void expect_state(struct store_fixture *fixture, uint64_t id, enum job_state state)
{
    struct job_info info;

    assert_int_equal(job_find(fixture->store, id, &info, NULL), COFFER_OK);
    assert_int_equal(info.state, state);
    if (state == JOB_DONE)
        assert_string_equal(info.result, "{\"n\":1}");
    job_info_release(&info);
}

static void test_crash(void **state)
{
    struct store_fixture *fixture = *state;
    uint64_t done = start(fixture, "quick", "a"), resumes, fails;

    wait_end(fixture, done);
    resumes = start(fixture, "waits", "b");
    gate_wait(&begun);
    fails = start(fixture, "waits", "fails");
    gate_wait(&begun);
    for (int round = 0; round < 2; round++) {
        fixture_crash(fixture);
        if (round == 1)
            fixture_remove_index(fixture);
        fixture_open(fixture);
        expect_state(fixture, done, JOB_DONE);
        expect_state(fixture, resumes, JOB_QUEUED);
        expect_state(fixture, fails, JOB_FAILED);
    }
    store_jobs_handle(fixture->store, JOB_CLOSE, work, NULL);
    gate_wait(&begun);
    stop(fixture, resumes);
    wait_end(fixture, resumes);
    expect_state(fixture, resumes, JOB_CANCELLED);
    fixture_crash(fixture);
    fixture_open(fixture);
    expect_state(fixture, resumes, JOB_CANCELLED);
}

static void test_clean_stop(void **state)
{
    struct store_fixture *fixture = *state;
    uint64_t resumes = start(fixture, "waits", "b"), fails;

    gate_wait(&begun);
    fails = start(fixture, "waits", "fails");
    gate_wait(&begun);
    fixture_reopen(fixture);
    expect_state(fixture, resumes, JOB_QUEUED);
    expect_state(fixture, fails, JOB_FAILED);
}

static void test_start_that_is_not_durable(void **state)
{
    struct store_fixture *fixture = *state;
    const struct job_options options = {JOB_CLOSE, "quick", "a", true};
    struct job_info info;
    uint64_t id;

    fault_arm(FAULT_PACK_WRITE, ENOSPC, 1, 0);
    assert_int_equal(job_start(fixture->store, &options, &id, NULL), COFFER_DISK_FULL);
    assert_int_not_equal(fault_hits(FAULT_PACK_WRITE), 0);
    fault_disarm_all();
    assert_int_equal(store_jobs(fixture->store, 0, &info, 1), 0);
    id = start(fixture, "quick", "a");
    wait_end(fixture, id);
    fixture_reopen(fixture);
    expect_state(fixture, id, JOB_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_clean_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_start_that_is_not_durable, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
