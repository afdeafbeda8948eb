/*
 * Goal: a lane commits in order, when it should, and leaves nobody waiting. Method: the engine of
 * lane_suite.h, so that each moment of a flush can be looked at.
 */
#include "storage/channel/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "storage/channel/lane_parts.h"
#include "tests/support/lane_suite.h"

/* ---- tests ---- */

static void test_order_and_numbers(void **state)
{
    struct lane_suite *suite = *state;
    uint64_t last = 0;

    assert_int_equal(lane_last_seq(suite->lane), 0);
    for (size_t i = 0; i < 20; i++) {
        lanes_push(suite, i, false);
        assert_true(suite->ops[i].lane_op.seq > last);
        last = suite->ops[i].lane_op.seq;
    }
    assert_int_equal(lane_last_seq(suite->lane), last);
    assert_int_equal(suite->fake.commits, 0); /* nobody waits for them */
    assert_string_equal(lanes_info(suite).state, "buffering");
    assert_int_equal(lanes_info(suite).buffered_records, 20);
    assert_int_equal(lanes_info(suite).buffered_bytes, 2000);
    lanes_push(suite, 20, true);
    gate_wait(&suite->ops[20].done);
    lanes_wait_durable(suite, last);
    assert_int_equal(suite->fake.count, 21);
    for (size_t i = 0; i < 21; i++) {
        assert_int_equal(suite->fake.order[i], i);
        assert_int_equal(suite->ops[i].done_count, 1);
    }
    assert_int_equal(suite->fake.commits, 1); /* one sync for all of them */
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_string_equal(lanes_info(suite).state, "idle");
    assert_int_equal(lanes_info(suite).flushed_records, 21);
    assert_int_equal(lanes_info(suite).syncs, 1);
}

/* While one group is written, the next one gathers. */
static void test_group_commit(void **state)
{
    struct lane_suite *suite = *state;

    lanes_hold(&suite->fake, true);
    lanes_push(suite, 0, true);
    lanes_wait_committing(&suite->fake);
    for (size_t i = 1; i < 30; i++)
        lanes_push(suite, i, true);
    assert_string_equal(lanes_info(suite).state, "flushing");
    assert_int_equal(suite->ops[0].done_count, 0);
    lanes_hold(&suite->fake, false);
    lanes_wait_durable(suite, suite->ops[29].lane_op.seq);
    assert_int_equal(suite->fake.commits, 2);
    assert_int_equal(suite->fake.batch[0], 1);
    assert_int_equal(suite->fake.batch[1], 29);
}

static void test_flush_is_due(void **state)
{
    struct lane_suite *suite = *state;

    suite->ops[0].lane_op.bytes = 600 * 1024; /* more than half of the buffer */
    lanes_push(suite, 0, false);
    gate_wait(&suite->ops[0].done);
    lanes_push(suite, 1, false);
    lane_hurry(suite->lane);
    gate_wait(&suite->ops[1].done);
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_true(lanes_close(suite));
    suite->settings.flush_interval_ns = 1000;
    lanes_open(suite);
    lanes_push(suite, 2, false);
    gate_wait(&suite->ops[2].done); /* the timer */
    assert_true(lanes_close(suite));
    suite->settings.flush_interval_ns = (uint64_t)3600 * 1000000000;
    suite->settings.buffer_size = 0;
    lanes_open(suite);
    lanes_push(suite, 3, false);
    gate_wait(&suite->ops[3].done);
    assert_true(lanes_close(suite));
    lanes_open(suite);
    suite->settings.buffer_size = 1 << 20;
    lanes_push(suite, 4, false);
    assert_true(lanes_close(suite)); /* the end flushes, too */
    assert_int_equal(suite->ops[4].done_count, 1);
}

static void test_room_is_given_in_order(void **state)
{
    struct lane_suite *suite = *state;
    struct gate gates[3];
    struct lane_waiter waiters[3];

    lanes_hold(&suite->fake, true);
    suite->ops[0].lane_op.bytes = 3 << 20; /* an empty buffer takes it all the same */
    lanes_push(suite, 0, true);
    lanes_wait_committing(&suite->fake);
    for (size_t i = 0; i < 3; i++) {
        gate_init(&gates[i]);
        waiters[i] = (struct lane_waiter){.waker = gate_waker(&gates[i])};
        suite->ops[1 + i].lane_op.bytes = i == 0 ? 900 * 1024 : 400 * 1024;
        suite->ops[1 + i].lane_op.urgent = true;
        assert_false(lane_push(suite->lane, &suite->ops[1 + i].lane_op, &waiters[i]));
    }
    lanes_hold(&suite->fake, false);
    gate_wait(&gates[0]); /* the large one first; the others do not fit beside it */
    assert_false(waiters[1].granted);
    assert_false(lane_push(suite->lane, &suite->ops[10].lane_op, &suite->waiter));
    assert_true(lane_push(suite->lane, &suite->ops[1].lane_op, &waiters[0]));
    gate_wait(&gates[1]);
    gate_wait(&gates[2]);
    lane_give_room(suite->lane, &waiters[1]); /* he has thought better of it */
    lane_give_room(suite->lane, &waiters[1]);
    assert_true(lane_push(suite->lane, &suite->ops[3].lane_op, &waiters[2]));
    gate_wait(&suite->gate);
    assert_true(lane_push(suite->lane, &suite->ops[10].lane_op, &suite->waiter));
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_int_equal(suite->ops[2].done_count, 0);
    assert_int_equal(lanes_info(suite).buffered_bytes, 0);
    for (size_t i = 0; i < 3; i++)
        gate_release(&gates[i]);
}

static void make_urgent(struct lane_op *op)
{
    op->urgent = true;
}

/* Who queues it learns then that somebody waits: no timer would fire for an hour. */
static void test_urgent_when_queued(void **state)
{
    struct lane_suite *suite = *state;

    lanes_push(suite, 1, false);
    suite->ops[2].lane_op.queued = make_urgent;
    lanes_push(suite, 2, false);
    gate_wait(&suite->ops[1].done);
    gate_wait(&suite->ops[2].done);
    assert_int_equal(suite->fake.count, 2);
}

static void test_drop(void **state)
{
    struct lane_suite *suite = *state;

    for (size_t i = 0; i < 5; i++)
        lanes_push(suite, i, false);
    assert_true(lane_drop_op(suite->lane, &suite->ops[0].lane_op)); /* first, middle, last */
    assert_true(lane_drop_op(suite->lane, &suite->ops[2].lane_op));
    assert_true(lane_drop_op(suite->lane, &suite->ops[4].lane_op));
    assert_false(lane_drop_op(suite->lane, &suite->ops[4].lane_op));
    assert_int_equal(lanes_info(suite).buffered_records, 2);
    assert_int_equal(lanes_info(suite).buffered_bytes, 200);
    lanes_wait_durable(suite, suite->ops[4].lane_op.seq);
    assert_int_equal(suite->fake.count, 2);
    assert_int_equal(suite->fake.order[0], 1);
    assert_int_equal(suite->fake.order[1], 3);
    assert_int_equal(suite->ops[0].done_count, 0);
    lanes_hold(&suite->fake, true);
    lanes_push(suite, 6, true);
    lanes_wait_committing(&suite->fake);
    assert_false(lane_drop_op(suite->lane, &suite->ops[6].lane_op)); /* too late */
    lanes_hold(&suite->fake, false);
    gate_wait(&suite->ops[6].done);
}

/* Whoever waits for an operation, or for its room, is told when it is dropped. */
static void test_dropped_under_a_waiter(void **state)
{
    struct lane_suite *suite = *state;
    struct lane_waiter room = {.waker = gate_waker(&suite->ops[3].done)};

    for (int i = 0; i < 500; i++) {
        lanes_push(suite, 0, false);
        if (!lane_wait_durable(suite->lane, suite->ops[0].lane_op.seq, &suite->waiter)) {
            if (!lane_drop_op(suite->lane, &suite->ops[0].lane_op))
                gate_wait(&suite->ops[0].done);
            gate_wait(&suite->gate);
        }
    }
    suite->ops[1].lane_op.bytes = 1 << 20;
    suite->ops[2].lane_op.bytes = 1 << 20;
    for (int i = 0; i < 500; i++) {
        lanes_push(suite, 1, false);
        if (!lane_push(suite->lane, &suite->ops[2].lane_op, &room)) {
            if (!lane_drop_op(suite->lane, &suite->ops[1].lane_op))
                gate_wait(&suite->ops[1].done);
            gate_wait(&suite->ops[3].done);
            assert_true(lane_push(suite->lane, &suite->ops[2].lane_op, &room));
        } else if (!lane_drop_op(suite->lane, &suite->ops[1].lane_op)) {
            gate_wait(&suite->ops[1].done);
        }
        if (!lane_drop_op(suite->lane, &suite->ops[2].lane_op))
            gate_wait(&suite->ops[2].done);
        lanes_wait_durable(suite, lane_last_seq(suite->lane)); /* the buffer is empty again */
    }
}

static void test_numbers_that_never_were(void **state)
{
    struct lane_suite *suite = *state;

    assert_true(lane_wait_durable(suite->lane, UINT64_MAX, &suite->waiter)); /* nothing is there */
    lanes_push(suite, 0, false);
    lanes_wait_durable(suite, UINT64_MAX); /* and it comes back */
    assert_int_equal(suite->ops[0].done_count, 1);
    assert_true(lane_wait_durable(suite->lane, 0, &suite->waiter));
}

static void test_failures(void **state)
{
    struct lane_suite *suite = *state;
    struct lane_failure failures[8];
    uint64_t first, second;

    suite->fake.status = COFFER_IO;
    suite->ops[1].lane_op.awaited = true; /* its maker hears of it himself */
    lanes_push(suite, 0, false);
    lanes_push(suite, 1, false);
    first = suite->ops[0].lane_op.seq;
    second = suite->ops[1].lane_op.seq;
    lanes_wait_durable(suite, second);
    assert_int_equal(lane_failures(suite->lane, second + 1, UINT64_MAX, false, failures, 8), 0);
    assert_int_equal(lane_failures(suite->lane, 0, UINT64_MAX, true, failures, 8), 1);
    assert_int_equal(failures[0].seq, first);
    assert_int_equal(lane_failures(suite->lane, 0, UINT64_MAX, true, failures, 8), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(lane_failures(suite->lane, first, second, false, failures, 8), 2);
    assert_int_equal(lane_failures(suite->lane, first, second, false, failures, 1), 1);
    assert_true(lanes_close(suite)); /* all have been told */
    lanes_open(suite);
    lanes_push(suite, 2, false);
    assert_false(lanes_close(suite)); /* nobody has */
}

/* Goal: a failure is told however many there were before. Method: more of them than a lane keeps.
 */
static void test_many_failures(void **state)
{
    enum { MANY = FAILURES_MAX + 10 };
    struct lane_suite *suite = *state;
    struct lane_failure failure;
    uint64_t first = 0, last = 0;

    suite->fake.status = COFFER_IO;
    for (int i = 0; i < MANY; i++) {
        lanes_push(suite, 0, true);
        last = suite->ops[0].lane_op.seq;
        first = first == 0 ? last : first;
        gate_wait(&suite->ops[0].done);
    }
    lanes_wait_durable(suite, last);
    assert_int_equal(lane_failures(suite->lane, first, first, false, &failure, 1), 1);
    for (uint64_t seq = last - 20; seq <= last; seq++)
        assert_int_equal(lane_failures(suite->lane, seq, seq, false, &failure, 1), 1);
    assert_int_equal(lane_failures(suite->lane, last + 1, last + 9, false, &failure, 1), 0);
}

static void test_names(void **state)
{
    struct lane_suite *suite = *state;
    struct lane *lanes[SUITE_LANES], *again;
    char name[8] = "lane-0";

    assert_int_equal(lane_set_get(suite->set, slice_from_text("one"), &again, NULL), COFFER_OK);
    assert_ptr_equal(again, suite->lane);
    lane_put(again);
    assert_int_equal(lane_set_get(suite->set, slice_from_text("/"), &again, NULL), COFFER_BAD_NAME);
    assert_null(lane_set_find(suite->set, slice_from_text("two")));
    for (size_t i = 0; i < SUITE_LANES - 3; i++) {
        name[5] = (char)('0' + i);
        assert_int_equal(
            lane_set_get(suite->set, slice_from_text(name), &lanes[i], NULL), COFFER_OK);
        assert_string_equal(lane_name(lanes[i]), name);
    }
    assert_int_equal(
        lane_set_get(suite->set, slice_from_text("more"), &again, NULL), COFFER_OVERLOADED);
    lane_put(lanes[1]);
    assert_int_equal(lane_set_get(suite->set, slice_from_text("more"), &again, NULL), COFFER_OK);
    assert_null(lane_set_find(suite->set, slice_from_text("lane-1")));
    lane_put(again);
    again = lane_set_find(suite->set, slice_from_text("lane-0"));
    assert_ptr_equal(again, lanes[0]);
    lane_put(again);
    for (size_t i = 0; i < SUITE_LANES - 3; i++)
        if (i != 1)
            lane_put(lanes[i]);
    assert_int_equal(lane_set_get(suite->set, slice_of(NULL, 0), &again, NULL), COFFER_OK);
    assert_int_equal(strncmp(lane_name(again), "default-", 8), 0);
    lane_put(again);
}

/* Many lanes, each with little to do: threads come, serve one lane after the other, and go. */
static void test_threads_are_found(void **state)
{
    struct lane_suite *suite = *state;
    char name[8] = "lane-0";

    for (int round = 0; round < 20; round++)
        for (size_t i = 0; i < 5; i++) {
            struct lane *lane;

            name[5] = (char)('0' + i);
            assert_int_equal(
                lane_set_get(suite->set, slice_from_text(name), &lane, NULL), COFFER_OK);
            suite->ops[i].lane_op.urgent = true;
            assert_true(lane_push(lane, &suite->ops[i].lane_op, &suite->waiter));
            gate_wait(&suite->ops[i].done);
            lane_put(lane);
        }
    assert_true(lanes_close(suite)); /* every thread ends */
    assert_int_equal(suite->fake.commits, 100);
    assert_true(suite->fake.idles >= 5);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, lanes_set_up, lanes_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_order_and_numbers),
        CASE(test_group_commit),
        CASE(test_flush_is_due),
        CASE(test_room_is_given_in_order),
        CASE(test_urgent_when_queued),
        CASE(test_drop),
        CASE(test_dropped_under_a_waiter),
        CASE(test_numbers_that_never_were),
        CASE(test_failures),
        CASE(test_many_failures),
        CASE(test_names),
        CASE(test_threads_are_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
