/*
 * job_parts.h - what the files of the registry of jobs share. Nobody else includes it.
 *
 * Every field of a job and of the set that names no lock is constant, or the running job's own
 * until it has ended.
 */
#pragma once

#include <stdatomic.h>

#include "storage/base/lock.h"
#include "storage/jobs.h"
#include "storage/maintain/job_row.h"
#include "storage/maintain/job_set.h"

struct job {
    struct job_set *set;
    uint64_t id;
    enum job_kind kind;
    bool resume;
    char subject[JOB_SUBJECT_SIZE], key[JOB_KEY_SIZE];
    uint64_t created_ns;

    enum job_state state;          /* (set.lock) */
    bool saving;                   /* (set.lock) not durable yet: only a conflict sees it */
    uint64_t revision;             /* (set.lock) one more with each change but progress */
    uint64_t started_ns, ended_ns; /* (set.lock) */
    enum coffer_status status;     /* (set.lock) */
    char text[ERROR_TEXT_SIZE];    /* (set.lock) */
    char *result;                  /* (set.lock) */
    const char *stage, *unit;      /* (set.lock) */
    uint64_t stage_ns;             /* (set.lock) when it began; monotonic */
    _Atomic uint64_t done, total;
    _Atomic bool cancelled;
};

struct job_watch {
    struct job_set *set;
    uint64_t id;
    uint64_t heartbeat_ns;
    struct waker waker;
    uint64_t revision, done;   /* (set.lock) as last told */
    uint64_t news_ns, beat_ns; /* (set.lock) when progress may be told, a heartbeat must be */
    bool waiting, cancelled;   /* (set.lock) */
    struct job_watch *next;    /* (set.lock) of all that are open */
    struct job_watch *next_ready;
};

struct job_work {     /* of one kind */
    job_run *run;     /* (set.lock) NULL: nobody does it yet */
    void *context;    /* (set.lock) */
    unsigned workers; /* (set.lock) */
};

struct job_set {
    struct store *store;
    struct lock lock;
    struct job **jobs;      /* (lock) ascending by id */
    size_t count, capacity; /* (lock) */
    size_t live;            /* (lock) of them, those that have not ended */
    uint64_t next_id;       /* (lock) */
    struct job_work work[JOB_KIND_COUNT];
    struct job_watch *watches; /* (lock) */
    bool ticking;              /* (lock) there is a thread that looks after the watches */
    unsigned threads;          /* (lock) workers and the ticker */
    pthread_cond_t stop;       /* a job was cancelled, or the set is stopping */
    pthread_cond_t tick;       /* the last watch was closed, or the set is stopping */
    pthread_cond_t ended;      /* a thread ended */
    _Atomic bool stopping;     /* changed under the lock */
};

/* With the lock: where `id` is or would be. */
size_t job_set_place(const struct job_set *set, uint64_t id);
/* With the lock; NULL: there is none, or it is being saved. */
struct job *job_set_find(struct job_set *set, uint64_t id);
/* With the lock: taken; it has the highest number so far. */
void job_set_add(struct job_set *set, struct job *job);
/* With the lock; frees it. */
void job_set_take_out(struct job_set *set, struct job *job);
/* With the lock: the oldest that has ended leaves the history if one more is to come. Its number,
 * for its row is still to go; 0: there is room. */
uint64_t job_set_make_room(struct job_set *set);
/* With the lock, or by the running job's thread; borrows the job's texts. */
void job_fill_row(const struct job *job, struct job_row *row);
/* With the lock: a copy for somebody. */
void job_describe(const struct job *job, struct job_info *info);
/* With the lock: take out the watches that have something to be told now, for job_watches_wake()
 * without it. */
struct job_watch *job_watches_ready(struct job_set *set);
void job_watches_wake(struct job_watch *ready);
/* With the lock: one worker more, if there is work for it. */
void job_set_call_worker(struct job_set *set, enum job_kind kind);
/* With the lock. False: the system gives no thread. */
MUST_USE bool job_set_thread(struct job_set *set, void *(*main)(void *), void *argument);
/* With the lock: the calling thread is about to end. */
void job_set_thread_ends(struct job_set *set);
