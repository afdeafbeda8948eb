#include "storage/base/lock.h"

#include <errno.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"

#ifndef NDEBUG
enum { HELD_MAX = 8 };
static _Thread_local struct {
    enum lock_rank ranks[HELD_MAX];
    int count;
} held;

static void note_taken(const struct lock *lock)
{
    invariant(held.count < HELD_MAX);
    invariant(held.count == 0 || held.ranks[held.count - 1] < lock->rank);
    held.ranks[held.count++] = lock->rank;
}

static void note_dropped(const struct lock *lock)
{
    invariant(held.count > 0 && held.ranks[held.count - 1] == lock->rank);
    held.count--;
}
#else
#define note_taken(lock) ((void)(lock))
#define note_dropped(lock) ((void)(lock))
#endif

void lock_init(struct lock *lock, enum lock_rank rank)
{
    invariant(pthread_mutex_init(&lock->mutex, NULL) == 0);
    lock->rank = rank;
}

void lock_release(struct lock *lock)
{
    pthread_mutex_destroy(&lock->mutex);
}

void lock_take(struct lock *lock)
{
    note_taken(lock);
    pthread_mutex_lock(&lock->mutex);
}

void lock_drop(struct lock *lock)
{
    note_dropped(lock); /* first: whoever takes it next may free what it is a part of */
    pthread_mutex_unlock(&lock->mutex);
}

void condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;

    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    invariant(pthread_cond_init(condition, &attributes) == 0);
    pthread_condattr_destroy(&attributes);
}

void lock_wait(struct lock *lock, pthread_cond_t *condition)
{
    pthread_cond_wait(condition, &lock->mutex);
}

bool lock_wait_until(struct lock *lock, pthread_cond_t *condition, uint64_t deadline_ns)
{
    struct timespec deadline = clock_timespec(deadline_ns);

    return pthread_cond_timedwait(condition, &lock->mutex, &deadline) != ETIMEDOUT;
}
