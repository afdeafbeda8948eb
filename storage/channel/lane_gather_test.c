/*
 * Goal: operations that gather content until a worker takes them do it within the lane's bounds,
 * and nobody is left waiting. Method: the engine of lane_suite.h, so that each moment of a flush
 * can be looked at; a prepare hook that notes what the operation has become.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/channel/lane_parts.h"
#include "tests/support/lane_suite.h"
#include "tests/support/store_fixture.h"

enum { KIB = 1024 };

/* ---- preparing ---- */

struct gathered { /* an operation that counts what it was given */
    struct suite_op *op;
    struct lane_suite *suite;
    _Atomic uint64_t content; /* bytes that its maker has put into it */
    uint64_t prepared_with;   /* of these when it was prepared */
    unsigned commits_before;
    enum coffer_status answer;
    struct gate prepared;
};
static struct gathered gathered[SUITE_OPS];

static enum coffer_status prepare(struct lane_op *lane_op)
{
    struct gathered *at = &gathered[lane_op->op.size];

    assert_int_equal(atomic_load(&lane_op->state), LANE_OP_FLUSHING);
    pthread_mutex_lock(&at->suite->fake.lock);
    at->commits_before = at->suite->fake.commits;
    pthread_mutex_unlock(&at->suite->fake.lock);
    at->prepared_with = at->content;
    waker_wake(gate_waker(&at->prepared));
    return at->answer;
}

static int set_up(void **state)
{
    int result = lanes_set_up(state);
    struct lane_suite *suite = *state;

    for (size_t i = 0; i < SUITE_OPS; i++) {
        gathered[i] = (struct gathered){.op = &suite->ops[i], .suite = suite};
        gate_init(&gathered[i].prepared);
    }
    return result;
}

static int tear_down(void **state)
{
    int result = lanes_tear_down(state);

    for (size_t i = 0; i < SUITE_OPS; i++)
        gate_release(&gathered[i].prepared);
    return result;
}

static void push(struct lane_suite *suite, size_t number, uint64_t bytes, bool urgent)
{
    struct lane_op *op = &suite->ops[number].lane_op;

    op->prepare = prepare;
    op->bytes = bytes;
    gathered[number].content = bytes;
    lanes_push(suite, number, urgent);
}

static bool grow(struct lane_suite *suite, size_t number, uint64_t bytes, bool urgent)
{
    /* The content is there before the operation can be taken with it; here, as nobody takes it
     * meanwhile, also after. */
    if (!lane_grow(suite->lane, &suite->ops[number].lane_op, bytes, urgent, &suite->waiter))
        return false;
    gathered[number].content += bytes;
    return true;
}

/* What was gathered until the worker came is in the commit, and counts for the lane. */
static void test_prepared_right_before_the_commit(void **state)
{
    struct lane_suite *suite = *state;

    lanes_hold(&suite->fake, true);
    push(suite, 0, 100, true);
    lanes_wait_committing(&suite->fake);
    push(suite, 1, 100, false);
    for (int i = 0; i < 50; i++)
        assert_true(grow(suite, 1, 10 * KIB, false));
    assert_int_equal(lanes_info(suite).buffered_bytes, 100 + 100 + 500 * KIB);
    assert_int_equal(lanes_info(suite).buffered_records, 2);
    assert_int_equal(gathered[1].prepared_with, 0);
    assert_int_equal(suite->ops[1].lane_op.bytes, 100 + 500 * KIB);
    assert_true(grow(suite, 1, 1, true)); /* now somebody waits for it */
    lanes_hold(&suite->fake, false);
    gate_wait(&suite->ops[1].done);
    assert_int_equal(gathered[1].prepared_with, 101 + 500 * KIB);
    assert_int_equal(gathered[1].commits_before, 1);
    lanes_wait_durable(suite, suite->ops[1].lane_op.seq);
    assert_int_equal(lanes_info(suite).buffered_bytes, 0);
    assert_int_equal(suite->fake.commits, 2);
}

/* Who is not prepared fails alone, and is told; the others of the batch are committed. */
static void test_refused_when_prepared(void **state)
{
    struct lane_suite *suite = *state;
    struct lane_failure failure;

    for (size_t i = 0; i < 4; i++) {
        gathered[i].answer = i == 1 || i == 2 ? COFFER_TRANSACTION_ABORTED : COFFER_OK;
        suite->ops[i].lane_op.awaited = i == 1;
        push(suite, i, 100, false);
    }
    lanes_wait_durable(suite, suite->ops[3].lane_op.seq);
    assert_int_equal(suite->fake.commits, 1);
    assert_int_equal(suite->fake.count, 2);
    assert_int_equal(suite->fake.order[0], 0);
    assert_int_equal(suite->fake.order[1], 3);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(suite->ops[i].lane_op.op.status, gathered[i].answer);
        assert_int_equal(suite->ops[i].done_count, 1);
    }
    assert_int_equal(lanes_info(suite).flushed_records, 2);
    /* Nobody has been told of the one that no maker awaits. */
    assert_int_equal(lane_failures(suite->lane, 0, UINT64_MAX, true, &failure, 1), 1);
    assert_int_equal(failure.seq, suite->ops[2].lane_op.seq);
    assert_int_equal(lane_failures(suite->lane, 0, UINT64_MAX, true, &failure, 1), 0);
}

/* A batch of which nothing is left is no commit and no sync. */
static void test_all_refused(void **state)
{
    struct lane_suite *suite = *state;

    for (size_t i = 0; i < 3; i++) {
        gathered[i].answer = COFFER_NO_SUCH_DATASET;
        suite->ops[i].lane_op.awaited = true;
        push(suite, i, 100, i == 2);
    }
    for (size_t i = 0; i < 3; i++)
        gate_wait(&suite->ops[i].done);
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_int_equal(suite->fake.commits, 0);
    assert_int_equal(lanes_info(suite).syncs, 0);
    assert_int_equal(lanes_info(suite).flushed_records, 0);
    assert_true(lanes_close(suite));
}

/* ---- room ---- */

/* An operation that is full makes its maker wait, hurries, and gives its room back when it is done,
 * first come, first served. */
static void test_growing_waits_for_room(void **state)
{
    struct lane_suite *suite = *state;
    struct gate second_gate;
    struct lane_waiter second = {0};

    gate_init(&second_gate);
    second.waker = gate_waker(&second_gate);
    lanes_hold(&suite->fake, true);
    push(suite, 0, 700 * KIB, true);
    lanes_wait_committing(&suite->fake);
    push(suite, 1, 200 * KIB, false);
    assert_false(grow(suite, 1, 200 * KIB, false));
    assert_true(suite->ops[1].lane_op.urgent); /* the one who waits waits for it, too */
    assert_false(lane_grow(suite->lane, &suite->ops[1].lane_op, 1, false, &second));
    assert_int_equal(lanes_info(suite).buffered_bytes, 900 * KIB); /* neither was added */
    lanes_hold(&suite->fake, false);
    gate_wait(&suite->gate);
    gate_wait(&second_gate);
    gate_wait(&suite->ops[1].done);
    assert_int_equal(gathered[1].prepared_with, 200 * KIB);
    /* The operation is over: the room that was granted goes to another, or back. */
    suite->ops[2].lane_op.bytes = 200 * KIB;
    suite->ops[2].lane_op.urgent = true;
    assert_true(lane_push(suite->lane, &suite->ops[2].lane_op, &suite->waiter));
    lane_give_room(suite->lane, &second);
    gate_wait(&suite->ops[2].done);
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_int_equal(lanes_info(suite).buffered_bytes, 0);
    lanes_push(suite, 3, false); /* all of the buffer is free again: nothing is kept aside */
    suite->ops[4].lane_op.bytes = KIB * KIB - 100;
    lanes_push(suite, 4, false);
    gate_wait(&suite->ops[4].done); /* half of it was used: due */
    gate_release(&second_gate);
}

/* What is granted may be used up by a growing operation. */
static void test_granted_room_is_for_growing_too(void **state)
{
    struct lane_suite *suite = *state;

    lanes_hold(&suite->fake, true);
    push(suite, 0, KIB * KIB, true);
    lanes_wait_committing(&suite->fake);
    suite->ops[1].lane_op.bytes = 500 * KIB;
    assert_false(lane_push(suite->lane, &suite->ops[1].lane_op, &suite->waiter));
    lanes_hold(&suite->fake, false);
    gate_wait(&suite->gate);
    gate_wait(&suite->ops[0].done);
    /* Another one was first to push: ours is added to his. */
    suite->ops[2].lane_op.bytes = 100;
    assert_true(lane_push(suite->lane, &suite->ops[2].lane_op, NULL));
    assert_true(lane_grow(suite->lane, &suite->ops[2].lane_op, 500 * KIB, true, &suite->waiter));
    gate_wait(&suite->ops[2].done);
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_int_equal(lanes_info(suite).buffered_bytes, 0);
}

/* An operation that is being flushed already, but not prepared, still takes more. */
static void test_growing_while_it_is_taken(void **state)
{
    struct lane_suite *suite = *state;

    gathered[0].answer = COFFER_OK;
    lanes_hold(&suite->fake, true);
    push(suite, 0, 100, true);
    gate_wait(&gathered[0].prepared); /* its worker is about to commit */
    lanes_wait_committing(&suite->fake);
    assert_true(grow(suite, 0, 1000, true));
    assert_int_equal(lanes_info(suite).buffered_bytes, 1100);
    lanes_hold(&suite->fake, false);
    gate_wait(&suite->ops[0].done);
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_int_equal(lanes_info(suite).buffered_bytes, 0);
}

/* Without a waiter an operation is always taken, however full the buffer is; others then wait. */
static void test_pushed_without_a_waiter(void **state)
{
    struct lane_suite *suite = *state;

    lanes_hold(&suite->fake, true);
    push(suite, 0, KIB * KIB, true);
    lanes_wait_committing(&suite->fake);
    for (size_t i = 1; i < 20; i++) {
        suite->ops[i].lane_op.bytes = 100 * KIB;
        assert_true(lane_push(suite->lane, &suite->ops[i].lane_op, NULL));
    }
    assert_false(lane_push(suite->lane, &suite->ops[20].lane_op, &suite->waiter));
    suite->ops[21].lane_op.urgent = true;
    assert_true(lane_push(suite->lane, &suite->ops[21].lane_op, NULL)); /* overtakes who waits */
    lanes_hold(&suite->fake, false);
    gate_wait(&suite->gate);
    suite->ops[20].lane_op.urgent = true;
    assert_true(lane_push(suite->lane, &suite->ops[20].lane_op, &suite->waiter));
    gate_wait(&suite->ops[20].done);
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_int_equal(suite->fake.count, 22);
    assert_int_equal(suite->fake.order[20], 21);
    assert_int_equal(suite->fake.order[21], 20);
    assert_int_equal(lanes_info(suite).buffered_bytes, 0);
}

/* ---- hurrying ---- */

/* One that is hurried is due, and everything queued goes with it; again or too late is nothing. */
static void test_hurried(void **state)
{
    struct lane_suite *suite = *state;

    for (size_t i = 0; i < 3; i++)
        push(suite, i, 100, false);
    assert_int_equal(suite->fake.commits, 0);
    lane_hurry_op(suite->lane, &suite->ops[1].lane_op);
    gate_wait(&suite->ops[2].done);
    lanes_wait_durable(suite, suite->ops[2].lane_op.seq);
    assert_int_equal(suite->fake.commits, 1);
    lane_hurry_op(suite->lane, &suite->ops[1].lane_op);
    lanes_hold(&suite->fake, true);
    push(suite, 3, 100, true);
    lanes_wait_committing(&suite->fake);
    lane_hurry_op(suite->lane, &suite->ops[3].lane_op); /* it is on its way */
    push(suite, 4, 100, false);
    lane_hurry_op(suite->lane, &suite->ops[4].lane_op);
    lane_hurry_op(suite->lane, &suite->ops[4].lane_op); /* counts once */
    lanes_hold(&suite->fake, false);
    gate_wait(&suite->ops[4].done);
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    push(suite, 5, 100, false); /* nobody waits any more: this one is not due */
    assert_string_equal(lanes_info(suite).state, "buffering");
    lane_hurry_op(suite->lane, &suite->ops[5].lane_op);
    assert_true(lane_drop_op(suite->lane, &suite->ops[5].lane_op) ||
                (gate_wait(&suite->ops[5].done), true));
}

/* With a sync delay an urgent operation waits for company, which growing is. */
static void test_company(void **state)
{
    struct lane_suite *suite = *state;
    uint64_t before;

    assert_true(lanes_close(suite));
    suite->settings.sync_delay_ns = 20 * NS_PER_MS;
    lanes_open(suite);
    before = clock_monotonic_ns();
    push(suite, 0, 100, false);
    assert_true(grow(suite, 0, 100, true));
    gate_wait(&suite->ops[0].done);
    assert_true(clock_monotonic_ns() - before >= 20 * NS_PER_MS);
    assert_int_equal(gathered[0].prepared_with, 200);
}

/* ---- lanes by number ---- */

static void test_steady_lanes(void **state)
{
    struct lane_suite *suite = *state;
    struct lane *first = lane_set_steady(suite->set, 0), *second = lane_set_steady(suite->set, 1);

    assert_ptr_not_equal(first, second);
    for (unsigned i = 0; i < 20; i++)
        assert_ptr_equal(lane_set_steady(suite->set, i), i % 2 == 0 ? first : second);
    assert_ptr_equal(lane_set_steady(suite->set, UINT32_MAX), second);
    assert_string_equal(lane_name(first), "default-0");
}

/* ---- many threads ---- */

enum { GROWERS = 4, GROWTHS = 3000 };

struct shared { /* as a channel of a dataset: at most one operation gathers */
    struct lane_suite *suite;
    pthread_mutex_t lock;
    struct lane_op *gathering; /* (lock) */
    uint64_t sum;              /* (lock) of what was committed */
};
static struct shared shared;

struct group_op {
    struct lane_op lane_op;
    uint64_t content; /* (shared.lock) */
};

static enum coffer_status group_prepare(struct lane_op *lane_op)
{
    pthread_mutex_lock(&shared.lock);
    invariant(shared.gathering == lane_op);
    shared.gathering = NULL;
    pthread_mutex_unlock(&shared.lock);
    return COFFER_OK;
}

static void group_done(struct lane_op *lane_op)
{
    struct group_op *group = container_of(lane_op, struct group_op, lane_op);

    pthread_mutex_lock(&shared.lock);
    shared.sum += group->content;
    pthread_mutex_unlock(&shared.lock);
    free(group);
}

/* With shared.lock: the bytes are taken, or the waker will be called. */
static bool add(uint64_t bytes, bool urgent, struct lane_waiter *waiter)
{
    struct group_op *group;
    bool taken;

    if (shared.gathering != NULL) {
        taken = lane_grow(shared.suite->lane, shared.gathering, bytes, urgent, waiter);
        if (taken)
            container_of(shared.gathering, struct group_op, lane_op)->content += bytes;
        return taken;
    }
    group = calloc(1, sizeof(*group));
    invariant(group != NULL);
    group->lane_op = (struct lane_op){
        .bytes = bytes, .urgent = urgent, .prepare = group_prepare, .done = group_done};
    group->content = bytes;
    shared.gathering = &group->lane_op;
    taken = lane_push(shared.suite->lane, &group->lane_op, waiter);
    if (!taken) {
        shared.gathering = NULL;
        free(group);
    }
    return taken;
}

struct grower {
    pthread_t thread;
    uint64_t random, sum;
};

static void *grow_often(void *context)
{
    struct grower *grower = context;
    struct lane_waiter waiter = {0};
    struct gate gate;

    gate_init(&gate);
    waiter.waker = gate_waker(&gate);
    for (int i = 0; i < GROWTHS; i++) {
        uint64_t bytes = 1 + random_below(&grower->random, 300 * KIB);
        bool urgent = random_below(&grower->random, 5) == 0, taken = false;

        while (!taken) {
            pthread_mutex_lock(&shared.lock);
            taken = add(bytes, urgent, &waiter);
            pthread_mutex_unlock(&shared.lock);
            if (!taken)
                gate_wait(&gate);
        }
        grower->sum += bytes;
    }
    gate_release(&gate);
    return NULL;
}

/* Whatever the order in which threads add, wait and are woken: every byte is committed once, and
 * the lane is empty in the end. */
static void test_many_add_to_one(void **state)
{
    struct lane_suite *suite = *state;
    struct grower growers[GROWERS];
    uint64_t sum = 0;

    shared = (struct shared){.suite = suite};
    pthread_mutex_init(&shared.lock, NULL);
    for (unsigned i = 0; i < GROWERS; i++) {
        growers[i] = (struct grower){.random = 77 + i};
        pthread_create(&growers[i].thread, NULL, grow_often, &growers[i]);
    }
    for (unsigned i = 0; i < GROWERS; i++) {
        pthread_join(growers[i].thread, NULL);
        sum += growers[i].sum;
    }
    lanes_wait_durable(suite, lane_last_seq(suite->lane));
    assert_int_equal(shared.sum, sum);
    assert_null(shared.gathering);
    assert_int_equal(lanes_info(suite).buffered_bytes, 0);
    assert_int_equal(lanes_info(suite).buffered_records, 0);
    pthread_mutex_destroy(&shared.lock);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_prepared_right_before_the_commit),
        CASE(test_refused_when_prepared),
        CASE(test_all_refused),
        CASE(test_growing_waits_for_room),
        CASE(test_granted_room_is_for_growing_too),
        CASE(test_growing_while_it_is_taken),
        CASE(test_pushed_without_a_waiter),
        CASE(test_hurried),
        CASE(test_company),
        CASE(test_steady_lanes),
        CASE(test_many_add_to_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
