/*
 * Goal: every task runs exactly once, unless it was withdrawn, never more than threads_max at a
 * time, and idle threads go. Method: tasks that count, and one that is held at a gate.
 */
#include "api/bulk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/waker.h"

static _Atomic unsigned runs, at_once, at_once_most;

struct counted {
    struct bulk_task task;
    struct gate *started, *go;
};

static void run_counted(struct bulk_task *task)
{
    struct counted *counted = container_of(task, struct counted, task);
    unsigned now = atomic_fetch_add(&at_once, 1) + 1;
    unsigned most = atomic_load(&at_once_most);

    while (now > most && !atomic_compare_exchange_weak(&at_once_most, &most, now))
        ;
    if (counted->started != NULL)
        waker_wake(gate_waker(counted->started));
    if (counted->go != NULL)
        gate_wait(counted->go);
    atomic_fetch_sub(&at_once, 1);
    atomic_fetch_add(&runs, 1);
    free(counted);
}

static struct counted *counted_new(struct gate *started, struct gate *go)
{
    struct counted *counted = calloc(1, sizeof(*counted));

    counted->task.run = run_counted;
    counted->started = started;
    counted->go = go;
    return counted;
}

static int setup(void **state)
{
    (void)state;
    runs = at_once = at_once_most = 0;
    return 0;
}

static void test_all_run_and_never_too_many(void **state)
{
    struct bulk_pool *pool = bulk_pool_create(3, BULK_IDLE_DEFAULT_NS);

    (void)state;
    for (int i = 0; i < 2000; i++)
        assert_int_equal(bulk_pool_submit(pool, &counted_new(NULL, NULL)->task, NULL), COFFER_OK);
    bulk_pool_destroy(pool);
    assert_int_equal(runs, 2000);
    assert_in_range(at_once_most, 1, 3);
}

static void test_one_waits_and_is_withdrawn(void **state)
{
    struct bulk_pool *pool = bulk_pool_create(1, BULK_IDLE_DEFAULT_NS);
    struct counted *held, *second, *third;
    struct bulk_pool_state look;
    struct gate started, go;

    (void)state;
    gate_init(&started);
    gate_init(&go);
    held = counted_new(&started, &go);
    second = counted_new(NULL, NULL);
    third = counted_new(NULL, NULL);
    assert_int_equal(bulk_pool_submit(pool, &held->task, NULL), COFFER_OK);
    gate_wait(&started);
    assert_int_equal(bulk_pool_submit(pool, &second->task, NULL), COFFER_OK);
    assert_int_equal(bulk_pool_submit(pool, &third->task, NULL), COFFER_OK);
    bulk_pool_look(pool, &look);
    assert_int_equal(look.threads, 1);
    assert_int_equal(look.running, 1);
    assert_int_equal(look.waiting, 2);
    assert_true(bulk_pool_withdraw(pool, &third->task));
    assert_false(bulk_pool_withdraw(pool, &third->task));
    assert_false(bulk_pool_withdraw(pool, &held->task));
    free(third);
    waker_wake(gate_waker(&go));
    bulk_pool_destroy(pool);
    assert_int_equal(runs, 2);
    gate_release(&started);
    gate_release(&go);
}

static void test_idle_threads_end(void **state)
{
    struct bulk_pool *pool = bulk_pool_create(4, NS_PER_MS);
    struct bulk_pool_state look;

    (void)state;
    for (int round = 0; round < 20; round++) {
        assert_int_equal(bulk_pool_submit(pool, &counted_new(NULL, NULL)->task, NULL), COFFER_OK);
        do
            bulk_pool_look(pool, &look);
        while (look.threads > 0);
        assert_int_equal(runs, round + 1);
    }
    bulk_pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_all_run_and_never_too_many, setup),
        cmocka_unit_test_setup(test_one_waits_and_is_withdrawn, setup),
        cmocka_unit_test_setup(test_idle_threads_end, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
