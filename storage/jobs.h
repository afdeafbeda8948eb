/*
 * jobs.h - long work on a store, with a number, progress, a result and a history that outlives a
 * restart: the third public face of the store, beside store.h and datasets.h.
 *
 * A job's states, and who moves it:
 *
 *     queued --a worker--> running --job_run's result--> done, failed
 *                                  --cancelled, and job_run saw it--> cancelled
 *     the server stopped in queued or running: at the next start queued again if the job resumes,
 *     else failed
 *
 * The work of a kind is a function that somebody gives with store_jobs_handle(); until then its
 * jobs wait. What maintains the store needs no server, what closes a dataset comes from api/.
 *
 * Order:   a job is durable before job_start() returns; its end, before anybody is told.
 * Threads: any, unless it says otherwise. Each running job has a thread of the store's, which
 *          exists only while there is work.
 * Memory:  the last JOBS_HISTORY_MAX that ended are kept. struct job_info is the caller's:
 *          job_info_release().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/slice.h"
#include "storage/base/status.h"
#include "storage/base/waker.h"
#include "storage/store.h"

enum {
    JOB_SUBJECT_SIZE = 128, /* each with its NUL */
    JOB_KEY_SIZE = 64,
    JOB_RESULT_MAX = 24 * 1024, /* bytes of a result's text */
    JOBS_LIVE_MAX = 4096,       /* queued and running: COFFER_OVERLOADED past it */
    JOBS_HISTORY_MAX = 1000,
};
#define JOB_NEWS_INTERVAL_NS (UINT64_C(250) * 1000000) /* between two news of progress alone */

enum job_kind {
#define JOB_KIND(kind, name, at_once, summary) JOB_##kind,
#include "storage/job_kinds.def"
#undef JOB_KIND
    JOB_KIND_COUNT
};
const char *job_kind_name(enum job_kind kind);

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED };
const char *job_state_name(enum job_state state); /* "queued", ... */

static inline bool job_state_is_end(enum job_state state)
{
    return state >= JOB_DONE;
}

struct job_info {
    uint64_t id; /* from 1, never used again */
    enum job_kind kind;
    enum job_state state;
    bool cancelling; /* was asked to stop, and has not ended */
    char subject[JOB_SUBJECT_SIZE];
    uint64_t created_ns, started_ns, ended_ns; /* wall clock; 0: not yet */
    const char *stage, *unit;                  /* of the numbers below; NULL: there are none */
    uint64_t done, total;                      /* total 0: not known */
    uint64_t rate;                             /* units a second; 0: not known, or it is over */
    uint64_t eta_s;                            /* seconds left; only with a rate and a total */
    enum coffer_status status;                 /* why it failed, and in words: */
    char text[ERROR_TEXT_SIZE];
    char *result; /* JSON text that the job gave, or NULL */
};
void job_info_release(struct job_info *info);

/* ---- what a job is made of ---- */

struct job; /* as its run() sees it */

/*
 * The work, on a thread that may block. Called again from the start after a stop of the server, if
 * the job resumes: so what is done twice must do no harm. It looks at job_stopping() now and then
 * (also before it begins) and then returns COFFER_DRAINING soon. It may finish what must not stay
 * half done: job_cancelled() tells whether the job will not come again.
 * COFFER_OK: done. COFFER_DRAINING after job_stopping(): cancelled or to be resumed. All others:
 * failed, with the text of err.
 */
typedef enum coffer_status job_run(struct job *job, void *context, struct error *err);

/* `context` lives until the store is closed. Once a kind. */
void store_jobs_handle(struct store *store, enum job_kind kind, job_run *run, void *context);

uint64_t job_id(const struct job *job);
const char *job_subject(const struct job *job);
const char *job_key(const struct job *job);
/* What the following numbers are about: both texts are constants. The numbers begin at 0. */
void job_stage(struct job *job, const char *stage, const char *unit);
/* Cheap enough for an inner loop: two stores. */
void job_progress(struct job *job, uint64_t done, uint64_t total);
bool job_stopping(const struct job *job);
bool job_cancelled(const struct job *job);
/* Wait; false: the job is to stop. */
bool job_wait(struct job *job, uint64_t ns);
/* JSON text, copied; cut off it would not be JSON, so at most JOB_RESULT_MAX bytes. The last one
 * counts, also for a job that fails. */
void job_result(struct job *job, struct slice json);

/* ---- starting, looking, stopping ---- */

struct job_options {
    enum job_kind kind;
    const char *subject; /* what it is about, for people */
    const char *key;     /* at most one of a kind and key is queued or running */
    bool resume;         /* begin again when the server stopped before the end */
};

/* Blocking. COFFER_JOB_CONFLICT, *id is then the one that is queued or running; COFFER_OVERLOADED;
 * COFFER_DRAINING; or the job could not be made durable. */
MUST_USE enum coffer_status job_start(
    struct store *store, const struct job_options *options, uint64_t *id, struct error *err);
/* COFFER_NO_SUCH_JOB. */
MUST_USE enum coffer_status job_find(
    struct store *store, uint64_t id, struct job_info *info, struct error *err);
/* The last one of a kind and key, queued, running or ended; 0: there is none. *live: not ended. */
uint64_t job_find_last(struct store *store, enum job_kind kind, const char *key, bool *live);
/* Up to count jobs with a number > after, ascending. Each is to be released. */
size_t store_jobs(struct store *store, uint64_t after, struct job_info *infos, size_t count);
/* Ask it to stop; one that had ended (*ended) stays as it is. COFFER_NO_SUCH_JOB. */
MUST_USE enum coffer_status job_cancel(
    struct store *store, uint64_t id, bool *ended, struct error *err);
/* The store is about to be closed: running jobs are asked to stop, queued ones do not begin,
 * watches end. store_close() waits for them. */
void store_jobs_drain(struct store *store);

/* ---- watching one ---- */

struct job_watch;

/* COFFER_NO_SUCH_JOB. `heartbeat_ns`: the longest silence. */
MUST_USE enum coffer_status job_watch_open(struct store *store, uint64_t id, uint64_t heartbeat_ns,
    struct waker waker, struct job_watch **out, struct error *err);
/* *news true: the job as it is now, at once the first time, then when its state changes, and for
 * progress at most once in JOB_NEWS_INTERVAL_NS. *news false: nothing changed, but the heartbeat is
 * due. COFFER_AGAIN; COFFER_DRAINING; COFFER_NO_SUCH_JOB when it left the history. */
MUST_USE enum coffer_status job_watch_next(
    struct job_watch *watch, struct job_info *info, bool *news, struct error *err);
/* Nobody looks at it any more: job_watch_next() wakes, and answers COFFER_DRAINING from now on. Any
 * thread, until job_watch_close() is called. */
void job_watch_cancel(struct job_watch *watch);
void job_watch_close(struct job_watch *watch); /* NULL is a no-op */
