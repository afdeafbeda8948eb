/*
 * lane_suite.h - lanes over an engine whose commit() only notes what it is given, and can be held
 * or made to fail; and operations that note what became of them.
 *
 * Threads: the suite belongs to the test's thread; commit() and done() run on the lanes' threads.
 */
#pragma once

#include <pthread.h>

#include "storage/channel/lane.h"

enum { SUITE_OPS = 64, SUITE_LANES = 8 };

struct fake_engine {
    struct engine base;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool held;
    unsigned committing;     /* threads inside commit() */
    unsigned commits, idles; /* calls so far */
    enum coffer_status status;
    uint64_t order[4 * SUITE_OPS]; /* sizes of the operations, in the order of their commits */
    size_t count;
    size_t batch[SUITE_OPS]; /* operations in each commit */
};

struct suite_op {
    struct lane_op lane_op; /* op.size: its position in suite.ops */
    struct gate done;
    _Atomic unsigned done_count;
};

struct lane_suite {
    struct fake_engine fake;
    struct lane_settings settings;
    struct lane_set *set;
    struct lane *lane; /* "one" */
    struct suite_op ops[SUITE_OPS];
    struct gate gate; /* of the one waiter */
    struct lane_waiter waiter;
};

/* Commits wait, from now on or no more. */
void lanes_hold(struct fake_engine *fake, bool held);
void lanes_wait_committing(struct fake_engine *fake);

/* For cmocka: a buffer of 1 MiB, a flush interval of an hour, operations of 100 bytes. */
int lanes_set_up(void **state);
int lanes_tear_down(void **state);
void lanes_open(struct lane_suite *suite); /* with its settings */
bool lanes_close(struct lane_suite *suite);

void lanes_push(struct lane_suite *suite, size_t number, bool urgent);
void lanes_wait_durable(struct lane_suite *suite, uint64_t seq);
struct lane_info lanes_info(struct lane_suite *suite); /* of lane "one" */
