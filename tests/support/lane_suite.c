#include "tests/support/lane_suite.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/base/log.h"

/* ---- an engine to look at ---- */

static struct fake_engine *fake_of(struct engine *base)
{
    return container_of(base, struct fake_engine, base);
}

static enum coffer_status fake_commit(
    struct engine *base, unsigned lane, struct engine_op **ops, size_t count, struct error *err)
{
    struct fake_engine *fake = fake_of(base);
    enum coffer_status status;

    (void)lane;
    pthread_mutex_lock(&fake->lock);
    fake->committing++;
    pthread_cond_broadcast(&fake->changed);
    while (fake->held)
        pthread_cond_wait(&fake->changed, &fake->lock);
    for (size_t i = 0; i < count; i++) {
        if (fake->count < ARRAY_COUNT(fake->order))
            fake->order[fake->count++] = ops[i]->size;
        ops[i]->status = fake->status;
    }
    if (fake->commits < SUITE_OPS)
        fake->batch[fake->commits] = count;
    fake->commits++;
    fake->committing--;
    status = fake->status;
    pthread_mutex_unlock(&fake->lock);
    return status == COFFER_OK ? status : error_set(err, status, "told to fail");
}

static void fake_idle(struct engine *base, unsigned lane)
{
    (void)lane;
    pthread_mutex_lock(&fake_of(base)->lock);
    fake_of(base)->idles++;
    pthread_mutex_unlock(&fake_of(base)->lock);
}

static const struct engine_ops fake_ops = {
    .name = "fake", .commit = fake_commit, .lane_idle = fake_idle};

void lanes_hold(struct fake_engine *fake, bool held)
{
    pthread_mutex_lock(&fake->lock);
    fake->held = held;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

void lanes_wait_committing(struct fake_engine *fake)
{
    pthread_mutex_lock(&fake->lock);
    while (fake->committing == 0)
        pthread_cond_wait(&fake->changed, &fake->lock);
    pthread_mutex_unlock(&fake->lock);
}

/* ---- the suite ---- */

static void op_done(struct lane_op *lane_op)
{
    struct suite_op *op = container_of(lane_op, struct suite_op, lane_op);

    op->done_count++;
    waker_wake(gate_waker(&op->done));
}

void lanes_open(struct lane_suite *suite)
{
    assert_int_equal(
        lane_set_create(&suite->fake.base, &suite->settings, &suite->set, NULL), COFFER_OK);
    assert_int_equal(
        lane_set_get(suite->set, slice_from_text("one"), &suite->lane, NULL), COFFER_OK);
}

bool lanes_close(struct lane_suite *suite)
{
    bool good;

    lane_put(suite->lane);
    good = lane_set_destroy(suite->set);
    suite->set = NULL;
    return good;
}

int lanes_set_up(void **state)
{
    struct lane_suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    log_configure(LOG_ERROR + 1, false);
    suite->fake.base.ops = &fake_ops;
    pthread_mutex_init(&suite->fake.lock, NULL);
    pthread_cond_init(&suite->fake.changed, NULL);
    suite->settings = (struct lane_settings){.buffer_size = 1 << 20,
        .flush_interval_ns = (uint64_t)3600 * 1000000000,
        .lanes_max = SUITE_LANES,
        .default_lanes = 2};
    for (size_t i = 0; i < SUITE_OPS; i++) {
        suite->ops[i].lane_op.done = op_done;
        suite->ops[i].lane_op.op.size = i;
        suite->ops[i].lane_op.bytes = 100;
        gate_init(&suite->ops[i].done);
    }
    gate_init(&suite->gate);
    suite->waiter.waker = gate_waker(&suite->gate);
    lanes_open(suite);
    *state = suite;
    return 0;
}

int lanes_tear_down(void **state)
{
    struct lane_suite *suite = *state;

    if (suite->set != NULL) {
        lanes_hold(&suite->fake, false);
        (void)lanes_close(suite);
    }
    for (size_t i = 0; i < SUITE_OPS; i++)
        gate_release(&suite->ops[i].done);
    gate_release(&suite->gate);
    pthread_cond_destroy(&suite->fake.changed);
    pthread_mutex_destroy(&suite->fake.lock);
    free(suite);
    return 0;
}

void lanes_push(struct lane_suite *suite, size_t number, bool urgent)
{
    suite->ops[number].lane_op.urgent = urgent;
    assert_true(lane_push(suite->lane, &suite->ops[number].lane_op, &suite->waiter));
}

void lanes_wait_durable(struct lane_suite *suite, uint64_t seq)
{
    if (!lane_wait_durable(suite->lane, seq, &suite->waiter))
        gate_wait(&suite->gate);
}

struct lane_info lanes_info(struct lane_suite *suite)
{
    struct lane_info infos[SUITE_LANES];
    size_t count = lane_set_list(suite->set, "default-1", infos, SUITE_LANES);

    assert_true(count >= 1);
    assert_string_equal(infos[count - 1].name, "one");
    return infos[count - 1];
}
