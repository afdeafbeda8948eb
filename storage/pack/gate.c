#include "storage/pack/gate.h"

#include "storage/base/invariant.h"

void gate_lock_init(struct gate_lock *gate)
{
    pthread_rwlockattr_t attributes;

    invariant(pthread_rwlockattr_init(&attributes) == 0);
    /* Commits follow one another without a pause: a reader preference would never let him in. */
    invariant(pthread_rwlockattr_setkind_np(
                  &attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
    invariant(pthread_rwlock_init(&gate->lock, &attributes) == 0);
    pthread_rwlockattr_destroy(&attributes);
}

void gate_lock_release(struct gate_lock *gate)
{
    pthread_rwlock_destroy(&gate->lock);
}

void gate_enter(struct gate_lock *gate)
{
    invariant(pthread_rwlock_rdlock(&gate->lock) == 0);
}

void gate_close(struct gate_lock *gate)
{
    invariant(pthread_rwlock_wrlock(&gate->lock) == 0);
}

void gate_leave(struct gate_lock *gate)
{
    pthread_rwlock_unlock(&gate->lock);
}
