/*
 * Goal: a job goes through its states as jobs.h says, is told of while it does, and outlives a
 * restart. Method: a store in memory, with work that waits for the test at gates; a restart takes
 * down the registry and makes it again over the same rows.
 */
#include "storage/jobs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"
#include "storage/maintain/job_set.h"

enum { AT_ONCE = 4, LONG_NS = 1000000000 };
#define FOREVER_NS (UINT64_C(3600) * NS_PER_S)

/* ---- work ---- */

/* What the handler does, by the job's subject: "waits" for job_wait(), "held" for the test's gate,
 * all others end at once with `status`. */
struct bench {
    struct store *store;
    enum coffer_status status;
    struct gate begun, go, ended; /* of "held" */
    _Atomic unsigned running, most;
};

static void note_running(struct bench *bench)
{
    unsigned now = atomic_fetch_add(&bench->running, 1) + 1;
    unsigned most = atomic_load(&bench->most);

    while (now > most && !atomic_compare_exchange_weak(&bench->most, &most, now))
        ;
}

static enum coffer_status work(struct job *job, void *context, struct error *err)
{
    struct bench *bench = context;
    const char *subject = job_subject(job);
    enum coffer_status status = bench->status;

    note_running(bench);
    if (strcmp(subject, "waits") == 0) {
        waker_wake(gate_waker(&bench->begun));
        assert_false(job_wait(job, FOREVER_NS));
        status = error_set(err, COFFER_DRAINING, "asked to stop");
    } else if (strcmp(subject, "held") == 0) {
        job_stage(job, "counting", "sheep");
        job_progress(job, 0, 10);
        waker_wake(gate_waker(&bench->begun));
        gate_wait(&bench->go);
        job_progress(job, 7, 10);
        gate_wait(&bench->go);
        job_result(job, slice_from_text("{\"sheep\":7}"));
        job_result(job, slice_from_text("{\"sheep\":10}"));
    }
    if (status != COFFER_OK && status != COFFER_DRAINING)
        (void)error_set(err, status, "this job fails");
    atomic_fetch_sub(&bench->running, 1);
    return status;
}

static int setup(void **state)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    struct store_options options;

    assert_non_null(bench);
    gate_init(&bench->begun);
    gate_init(&bench->go);
    gate_init(&bench->ended);
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &bench->store, NULL), COFFER_OK);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *bench = *state;

    assert_int_equal(store_close(bench->store, NULL), COFFER_OK);
    gate_release(&bench->ended);
    gate_release(&bench->go);
    gate_release(&bench->begun);
    free(bench);
    return 0;
}

static void handle(struct bench *bench)
{
    store_jobs_handle(bench->store, JOB_CLOSE, work, bench);
}

static void restart(struct bench *bench)
{
    job_set_destroy(bench->store->jobs);
    assert_int_equal(job_set_create(bench->store, &bench->store->jobs, NULL), COFFER_OK);
}

static uint64_t start(struct bench *bench, const char *subject, const char *key, bool resume)
{
    const struct job_options options = {JOB_CLOSE, subject, key, resume};
    uint64_t id = 0;

    assert_int_equal(job_start(bench->store, &options, &id, NULL), COFFER_OK);
    assert_true(id > 0);
    return id;
}

/* Ask one that has not ended to stop. */
static void stop(struct bench *bench, uint64_t id)
{
    bool ended = true;

    assert_int_equal(job_cancel(bench->store, id, &ended, NULL), COFFER_OK);
    assert_false(ended);
}

/* The next news of a job; fails if it is a heartbeat. */
static void next_news(struct job_watch *watch, struct gate *gate, struct job_info *info)
{
    enum coffer_status status;
    bool news;

    while ((status = job_watch_next(watch, info, &news, NULL)) == COFFER_AGAIN)
        gate_wait(gate);
    assert_int_equal(status, COFFER_OK);
    assert_true(news);
}

/* Wait for its end; what it came to. */
static void wait_end(struct bench *bench, uint64_t id, struct job_info *info)
{
    struct job_watch *watch;
    struct gate gate;

    gate_init(&gate);
    assert_int_equal(
        job_watch_open(bench->store, id, FOREVER_NS, gate_waker(&gate), &watch, NULL), COFFER_OK);
    next_news(watch, &gate, info);
    while (!job_state_is_end(info->state)) {
        job_info_release(info);
        next_news(watch, &gate, info);
    }
    job_watch_close(watch);
    gate_release(&gate);
}

static void expect_end(struct bench *bench, uint64_t id, enum job_state state)
{
    struct job_info info;

    wait_end(bench, id, &info);
    assert_int_equal(info.state, state);
    assert_true(info.ended_ns >= info.started_ns && info.started_ns >= info.created_ns);
    job_info_release(&info);
}

static enum job_state state_of(struct bench *bench, uint64_t id)
{
    struct job_info info;

    assert_int_equal(job_find(bench->store, id, &info, NULL), COFFER_OK);
    job_info_release(&info);
    return info.state;
}

/* ---- the tests ---- */

static void test_life_and_news(void **state)
{
    struct bench *bench = *state;
    struct job_watch *watch;
    struct job_info info;
    struct gate gate;
    uint64_t id = start(bench, "held", "k", false);

    gate_init(&gate);
    assert_int_equal(
        job_watch_open(bench->store, id, FOREVER_NS, gate_waker(&gate), &watch, NULL), COFFER_OK);
    next_news(watch, &gate, &info); /* nobody does this kind yet */
    assert_int_equal(info.state, JOB_QUEUED);
    assert_null(info.stage);
    handle(bench);
    do /* the start and the stage may be told together */
        next_news(watch, &gate, &info);
    while (info.stage == NULL);
    assert_int_equal(info.state, JOB_RUNNING);
    assert_string_equal(info.stage, "counting");
    assert_string_equal(info.unit, "sheep");
    gate_wait(&bench->begun);
    waker_wake(gate_waker(&bench->go));
    do
        next_news(watch, &gate, &info);
    while (info.done == 0);
    assert_int_equal(info.done, 7);
    assert_int_equal(info.total, 10);
    assert_null(info.result);
    waker_wake(gate_waker(&bench->go));
    do {
        next_news(watch, &gate, &info);
        assert_true(info.state == JOB_RUNNING || info.result != NULL);
        if (info.state == JOB_RUNNING)
            job_info_release(&info);
    } while (info.state == JOB_RUNNING);
    assert_int_equal(info.state, JOB_DONE);
    assert_string_equal(info.result, "{\"sheep\":10}");
    assert_string_equal(info.subject, "held");
    job_info_release(&info);
    job_watch_close(watch);
    gate_release(&gate);
}

static void test_failure_is_told(void **state)
{
    struct bench *bench = *state;
    struct job_info info;
    uint64_t id;

    bench->status = COFFER_DATA_CORRUPT;
    handle(bench);
    id = start(bench, "fails", "k", true);
    wait_end(bench, id, &info);
    assert_int_equal(info.state, JOB_FAILED);
    assert_int_equal(info.status, COFFER_DATA_CORRUPT);
    assert_string_equal(info.text, "this job fails");
    restart(bench);
    assert_int_equal(job_find(bench->store, id, &info, NULL), COFFER_OK);
    assert_int_equal(info.state, JOB_FAILED);
    assert_int_equal(info.status, COFFER_DATA_CORRUPT);
    assert_string_equal(info.text, "this job fails");
}

static void test_conflict_and_queue(void **state)
{
    struct bench *bench = *state;
    const struct job_options again = {JOB_CLOSE, "waits", "key 2", false};
    uint64_t ids[AT_ONCE + 2], other = 0;
    struct error err;
    bool live;

    handle(bench);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        char key[16];

        (void)snprintf(key, sizeof(key), "key %u", i);
        ids[i] = start(bench, "waits", key, false);
        gate_wait(&bench->begun);
    }
    ids[AT_ONCE] = start(bench, "waits", "one more", false);
    assert_int_equal(state_of(bench, ids[AT_ONCE]), JOB_QUEUED);
    assert_int_equal(job_start(bench->store, &again, &other, &err), COFFER_JOB_CONFLICT);
    assert_int_equal(other, ids[2]);
    assert_int_equal(job_find_last(bench->store, JOB_CLOSE, "key 2", &live), ids[2]);
    assert_true(live);
    assert_int_equal(job_find_last(bench->store, JOB_CLOSE, "another", &live), 0);

    stop(bench, ids[2]);
    expect_end(bench, ids[2], JOB_CANCELLED);
    gate_wait(&bench->begun); /* of the one that was queued */
    ids[AT_ONCE + 1] = start(bench, "waits", "key 2", false);
    assert_int_equal(job_find_last(bench->store, JOB_CLOSE, "key 2", &live), ids[AT_ONCE + 1]);
    /* Stopped before it began: it runs, and sees at once that it is to stop. */
    stop(bench, ids[AT_ONCE + 1]);
    for (unsigned i = 0; i < AT_ONCE + 1; i++)
        if (i != 2)
            stop(bench, ids[i]);
    for (unsigned i = 0; i < AT_ONCE + 2; i++)
        expect_end(bench, ids[i], JOB_CANCELLED);
    assert_int_equal(bench->most, AT_ONCE);
    assert_int_equal(job_cancel(bench->store, 4711, &live, &err), COFFER_NO_SUCH_JOB);
}

static void test_restart(void **state)
{
    struct bench *bench = *state;
    struct job_info infos[8];
    uint64_t resumes, ends, done;

    handle(bench);
    done = start(bench, "quick", "a", false);
    expect_end(bench, done, JOB_DONE);
    resumes = start(bench, "waits", "b", true);
    gate_wait(&bench->begun);
    ends = start(bench, "waits", "c", false);
    gate_wait(&bench->begun);
    restart(bench);
    assert_int_equal(store_jobs(bench->store, 0, infos, 8), 3);
    assert_int_equal(infos[0].state, JOB_DONE);
    assert_int_equal(infos[1].id, resumes);
    assert_int_equal(infos[1].state, JOB_QUEUED);
    assert_int_equal(infos[2].id, ends);
    assert_int_equal(infos[2].state, JOB_FAILED);
    assert_string_equal(infos[2].text, "the server stopped");
    assert_int_equal(store_jobs(bench->store, resumes, infos, 1), 1);
    assert_int_equal(infos[0].id, ends);
    assert_int_equal(store_jobs(bench->store, UINT64_MAX, infos, 1), 0);
    handle(bench);
    gate_wait(&bench->begun);
    stop(bench, resumes);
    expect_end(bench, resumes, JOB_CANCELLED);
    assert_int_equal(start(bench, "quick", "d", false), ends + 1);
    restart(bench);
    assert_int_equal(state_of(bench, resumes), JOB_CANCELLED);
    assert_int_equal(state_of(bench, ends), JOB_FAILED);
}

static void test_history_is_bounded(void **state)
{
    enum { MORE = 5 };
    struct bench *bench = *state;
    struct job_info *infos = calloc(JOBS_HISTORY_MAX + MORE, sizeof(*infos));
    uint64_t first, last = 0, held;
    size_t found;

    assert_non_null(infos);
    handle(bench);
    held = start(bench, "waits", "held", true); /* is no history */
    gate_wait(&bench->begun);
    first = start(bench, "quick", "k", false);
    expect_end(bench, first, JOB_DONE);
    for (unsigned i = 1; i < JOBS_HISTORY_MAX + MORE; i++) {
        last = start(bench, "quick", "k", false);
        expect_end(bench, last, JOB_DONE);
    }
    for (unsigned round = 0; round < 2; round++) {
        found = store_jobs(bench->store, 0, infos, JOBS_HISTORY_MAX + MORE);
        assert_int_equal(found, JOBS_HISTORY_MAX + 1);
        assert_int_equal(infos[0].id, held);
        assert_int_equal(infos[1].id, first + MORE);
        assert_int_equal(infos[found - 1].id, last);
        assert_int_equal(job_find(bench->store, first, &infos[0], NULL), COFFER_NO_SUCH_JOB);
        restart(bench);
    }
    free(infos);
}

static void test_heartbeat_and_drain(void **state)
{
    struct bench *bench = *state;
    struct job_watch *watch, *other;
    struct job_info info;
    enum coffer_status status;
    struct gate gate;
    bool news;
    uint64_t id = start(bench, "waits", "k", false);

    gate_init(&gate);
    assert_int_equal(
        job_watch_open(bench->store, id, NS_PER_MS, gate_waker(&gate), &watch, NULL), COFFER_OK);
    assert_int_equal(job_watch_open(bench->store, id + 1, 1, gate_waker(&gate), &other, NULL),
        COFFER_NO_SUCH_JOB);
    next_news(watch, &gate, &info);
    while ((status = job_watch_next(watch, &info, &news, NULL)) == COFFER_AGAIN)
        gate_wait(&gate);
    assert_int_equal(status, COFFER_OK);
    assert_false(news);
    job_watch_cancel(watch);
    while ((status = job_watch_next(watch, &info, &news, NULL)) == COFFER_OK)
        assert_false(news);
    assert_int_equal(status, COFFER_DRAINING);
    job_watch_close(watch);

    assert_int_equal(
        job_watch_open(bench->store, id, FOREVER_NS, gate_waker(&gate), &watch, NULL), COFFER_OK);
    next_news(watch, &gate, &info);
    assert_int_equal(job_watch_next(watch, &info, &news, NULL), COFFER_AGAIN);
    store_jobs_drain(bench->store);
    gate_wait(&gate);
    assert_int_equal(job_watch_next(watch, &info, &news, NULL), COFFER_DRAINING);
    job_watch_close(watch);
    gate_release(&gate);
}

static void test_stopping_set_takes_nothing(void **state)
{
    struct bench *bench = *state;
    const struct job_options options = {JOB_CLOSE, "late", "late", true};
    uint64_t id, queued = start(bench, "waits", "k", true);

    store_jobs_drain(bench->store);
    handle(bench);
    assert_int_equal(job_start(bench->store, &options, &id, NULL), COFFER_DRAINING);
    assert_int_equal(state_of(bench, queued), JOB_QUEUED);
    assert_int_equal(bench->most, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life_and_news, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(test_conflict_and_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_history_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_heartbeat_and_drain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopping_set_takes_nothing, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
