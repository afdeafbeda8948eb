/*
 * lane_parts.h - what lane.c (one lane's queue), lane_worker.c (its thread) and lane_set.c (all
 * lanes and threads) share. Nobody else includes it.
 */
#pragma once

#include <pthread.h>

#include "storage/base/lock.h"
#include "storage/channel/lane.h"

struct lane {
    struct lane_set *set;
    char name[LANE_NAME_SIZE];
    unsigned number;  /* of the engine's lane */
    unsigned holders; /* (set.lock) */
    uint64_t used_at; /* (set.lock) for choosing whom to forget */
    struct lock lock;
    pthread_cond_t work;
    /* All below: (lock) */
    struct lane_op *first, *last; /* queued */
    uint64_t queued_bytes, queued_count, flushing_bytes, flushing_count;
    unsigned urgent;    /* queued operations that somebody waits for, and hurries */
    uint64_t urgent_ns; /* since when */
    bool staffed;       /* a worker serves it, or is on its way */
    bool sleeping;      /* the worker waits for `work` */
    bool settling;      /* a batch is committed, and its makers are being told */
    uint64_t last_seq, durable_seq;
    struct lane_waiter *room_waiters, **last_room_waiter; /* in order */
    uint64_t granted_bytes;           /* set aside for waiters that were woken */
    struct lane_waiter *sync_waiters; /* in no order */
    struct lane_failure *failures;
    size_t failure_count;
    uint64_t flushed_bytes, flushed_records, syncs, last_sync_ns;
};

struct worker {
    struct lane_set *set;
    pthread_t thread;
    pthread_cond_t call;
    struct lane *lane;   /* (set.lock) what it was called for */
    struct worker *next; /* (set.lock) parked below it, or ended */
    bool called;         /* (set.lock) */
};

struct lane_set {
    struct engine *engine;
    struct lane_settings settings;
    _Atomic uint64_t next_seq;
    _Atomic unsigned turn; /* of the default lanes */
    _Atomic bool draining;
    struct lock lock;
    pthread_cond_t ended;
    struct lane **lanes; /* (lock) sorted by name; the default ones too */
    size_t count;        /* (lock) */
    bool *numbers;       /* (lock) engine lanes in use */
    struct lane **defaults;
    struct worker *parked;   /* (lock) last in, first out */
    struct worker *over;     /* (lock) threads that have ended and wait to be joined */
    unsigned workers;        /* (lock) threads that exist */
    struct lane **unstaffed; /* (lock) lanes for which no thread could be made */
    size_t unstaffed_count;
    uint64_t clock; /* (lock) */
};

enum { FAILURES_MAX = 10000, LARGE_OPERATION = 16 * 1024 /* bytes */ };
#define LANE_LINGER_NS ((uint64_t)1000000000)
#define WORKER_PARKED_NS ((uint64_t)10 * 1000000000)
/* One commit: bounds what a batch needs in memory and how long others wait for it. */
#define BATCH_OPS_MAX ((uint64_t)8192)
#define BATCH_BYTES_MAX ((uint64_t)64 << 20)

/* lane_worker.c: serve the lane until it has had no work for a while. */
void lane_serve(struct lane *lane);
/* lane_set.c: find a worker for a lane that is marked as staffed. */
void lane_set_call_worker(struct lane_set *set, struct lane *lane);
/* lane.c: wake those who wait for room, as far as it goes: links them before `ready`. */
struct lane_waiter *lane_grant_room(struct lane *lane, struct lane_waiter *ready);
/* lane.c: detach the waiters that have what they wait for, room or durability; with the lock. */
struct lane_waiter *lane_ready_waiters(struct lane *lane);
void lane_wake_all(struct lane_waiter *waiter);
/* lane.c: whether the queue is to be flushed now; else *deadline_ns is when it will be. */
bool lane_is_due(const struct lane *lane, uint64_t now_ns, uint64_t *deadline_ns);
