/*
 * client_clock.h - a clock for the retries of a client: pauses are counted, not made.
 */
#pragma once

#include "client/client_parts.h"
#include "storage/base/invariant.h"

enum { PAUSES_MAX = 64 };

struct fake_clock {
    pthread_mutex_t lock;
    uint64_t now_ms;
    uint64_t pauses[PAUSES_MAX]; /* ms; the first ones */
    unsigned count;
};

static inline uint64_t fake_now_ms(void *context)
{
    struct fake_clock *clock = context;
    uint64_t now;

    pthread_mutex_lock(&clock->lock);
    now = clock->now_ms;
    pthread_mutex_unlock(&clock->lock);
    return now;
}

static inline void fake_pause_ms(void *context, uint64_t ms)
{
    struct fake_clock *clock = context;

    pthread_mutex_lock(&clock->lock);
    if (clock->count < PAUSES_MAX)
        clock->pauses[clock->count] = ms;
    clock->count++;
    clock->now_ms += ms;
    pthread_mutex_unlock(&clock->lock);
}

static inline void fake_clock_set(struct fake_clock *clock, struct coffer_client *client)
{
    *clock = (struct fake_clock){.lock = PTHREAD_MUTEX_INITIALIZER};
    client->clock = (struct client_clock){clock, fake_now_ms, fake_pause_ms};
}
