/*
 * lock.h - mutexes with a rank. The order is written once, in lock.def, and asserted.
 *
 * Threads: any. lock_wait() and lock_wait_until() release the lock while they wait, as
 *          pthread_cond_wait() does; deadlines are CLOCK_MONOTONIC.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
    LOCK_RANK_NONE,
#define LOCK(rank, protects, taken_by) LOCK_##rank,
#include "storage/base/lock.def"
#undef LOCK
};

struct lock {
    pthread_mutex_t mutex;
    enum lock_rank rank;
};

void lock_init(struct lock *lock, enum lock_rank rank);
void lock_release(struct lock *lock);
void lock_take(struct lock *lock);
void lock_drop(struct lock *lock);

/* A condition on CLOCK_MONOTONIC. */
void condition_init(pthread_cond_t *condition);
void lock_wait(struct lock *lock, pthread_cond_t *condition);
/* False when deadline_ns (monotonic) passed. */
bool lock_wait_until(struct lock *lock, pthread_cond_t *condition, uint64_t deadline_ns);
