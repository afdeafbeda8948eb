/*
 * waker.h - how a call that answered COFFER_AGAIN says that it is worth calling again.
 *
 * wake() is called exactly once for each COFFER_AGAIN, from any thread, possibly before the call
 * that answered COFFER_AGAIN has returned. It must be quick, must not block and must not call
 * back into the object that wakes it: it resumes a connection, or posts to a condition.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

struct waker {
    void (*wake)(void *context);
    void *context;
};

static inline void waker_wake(struct waker waker)
{
    if (waker.wake != NULL)
        waker.wake(waker.context);
}

/* A waker for callers that have a thread to block: waits until it was woken once. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open; /* (lock) */
};

void gate_init(struct gate *gate);
void gate_wait(struct gate *gate); /* and close it again */
void gate_release(struct gate *gate);
struct waker gate_waker(struct gate *gate);
