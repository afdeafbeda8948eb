/*
 * Rules:
 * 1. A kind has a worker for each job of it that may run; it takes the oldest, and ends when none
 *    is queued. A job whose thread could not be started waits for the next worker of its kind.
 * 2. An end is saved, then shown.
 * 3. A stop leaves running and queued jobs as they are on disk. The next start decides.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/chunk/store_parts.h"
#include "storage/maintain/job_log.h"
#include "storage/maintain/job_parts.h"

static const unsigned at_once_of[] = {
#define JOB_KIND(kind, name, at_once, summary) [JOB_##kind] = (at_once),
#include "storage/job_kinds.def"
#undef JOB_KIND
};

/* With the lock: the oldest job that waits, or NULL. */
static struct job *next_job(struct job_set *set, enum job_kind kind)
{
    if (set->work[kind].run == NULL || atomic_load(&set->stopping))
        return NULL;
    for (size_t i = 0; i < set->count; i++)
        if (set->jobs[i]->kind == kind && set->jobs[i]->state == JOB_QUEUED &&
            !set->jobs[i]->saving)
            return set->jobs[i];
    return NULL;
}

void job_fill_row(const struct job *job, struct job_row *row)
{
    *row = (struct job_row){.id = job->id,
        .kind = job->kind,
        .state = job->state,
        .resume = job->resume,
        .created_ns = job->created_ns,
        .started_ns = job->started_ns,
        .ended_ns = job->ended_ns,
        .status = job->status,
        .subject = slice_from_text(job->subject),
        .key = slice_from_text(job->key),
        .text = slice_from_text(job->text),
        .result = slice_from_text(job->result == NULL ? "" : job->result)};
}

static enum job_state end_state(const struct job *job, enum coffer_status status)
{
    if (status == COFFER_OK)
        return JOB_DONE;
    return status == COFFER_DRAINING && atomic_load(&job->cancelled) ? JOB_CANCELLED : JOB_FAILED;
}

static void end_job(struct job *job, enum coffer_status status, const struct error *why)
{
    struct job_set *set = job->set;
    enum job_state state = end_state(job, status);
    struct job_watch *ready;
    struct error err;
    struct job_row row;
    uint64_t gone;

    lock_take(&set->lock);
    gone = job_set_make_room(set);
    job_fill_row(job, &row);
    lock_drop(&set->lock);
    row.state = state;
    row.ended_ns = clock_wall_ns();
    if (state == JOB_FAILED) {
        row.status = status;
        row.text = slice_from_text(why->text);
        log_write(LOG_WARN, "job_failed", "job %llu (%s %s): %s: %s", (unsigned long long)job->id,
            job_kind_name(job->kind), job->subject, status_code(status), why->text);
    }
    /* Not saved, it is what it is, until a restart finds it without its end. */
    if (job_log_save(set->store, &row, &gone, gone != 0, &err) != COFFER_OK)
        log_write(LOG_ERROR, "job_not_saved", "the end of job %llu (%s %s): %s",
            (unsigned long long)job->id, job_kind_name(job->kind), job->subject, err.text);
    lock_take(&set->lock);
    job->state = state;
    job->ended_ns = row.ended_ns;
    job->status = row.status;
    if (state == JOB_FAILED)
        memcpy(job->text, why->text, sizeof(job->text));
    job->revision++;
    set->live--;
    ready = job_watches_ready(set);
    lock_drop(&set->lock);
    job_watches_wake(ready);
}

static void run_job(struct job *job, const struct job_work *work)
{
    struct error err = {COFFER_OK, ""};
    enum coffer_status status = work->run(job, work->context, &err);

    if (status == COFFER_DRAINING && !atomic_load(&job->cancelled) && job_stopping(job))
        return; /* see rule 3 */
    end_job(job, status, &err);
}

/* With the lock: the job is this thread's. */
static void begin_job(struct job *job)
{
    job->state = JOB_RUNNING;
    job->started_ns = clock_wall_ns();
    job->revision++;
}

struct worker {
    struct job_set *set;
    enum job_kind kind;
};

static void *work_main(void *argument)
{
    struct worker *worker = argument;
    struct job_set *set = worker->set;
    struct job_work *work = &set->work[worker->kind];
    struct job *job;

    (void)pthread_setname_np(pthread_self(), "job");
    lock_take(&set->lock);
    while ((job = next_job(set, worker->kind)) != NULL) {
        const struct job_work mine = *work;
        struct job_watch *ready;

        begin_job(job);
        ready = job_watches_ready(set);
        lock_drop(&set->lock);
        job_watches_wake(ready);
        run_job(job, &mine);
        lock_take(&set->lock);
    }
    work->workers--;
    job_set_thread_ends(set);
    lock_drop(&set->lock);
    free(worker);
    return NULL;
}

void job_set_call_worker(struct job_set *set, enum job_kind kind)
{
    struct worker *worker;

    if (next_job(set, kind) == NULL || set->work[kind].workers == at_once_of[kind])
        return;
    worker = malloc(sizeof(*worker));
    invariant(worker != NULL);
    *worker = (struct worker){set, kind};
    if (job_set_thread(set, work_main, worker)) {
        set->work[kind].workers++;
        return;
    }
    free(worker);
    log_write(LOG_WARN, "job_waits", "no thread can be started for a job of the kind %s",
        job_kind_name(kind));
}

void store_jobs_handle(struct store *store, enum job_kind kind, job_run *run, void *context)
{
    struct job_set *set = store->jobs;

    lock_take(&set->lock);
    invariant(set->work[kind].run == NULL);
    set->work[kind].run = run;
    set->work[kind].context = context;
    for (unsigned i = 0; i < at_once_of[kind]; i++)
        job_set_call_worker(set, kind); /* a thread takes its job only after this */
    lock_drop(&set->lock);
}

/* ---- what a running job calls ---- */

uint64_t job_id(const struct job *job)
{
    return job->id;
}

const char *job_subject(const struct job *job)
{
    return job->subject;
}

const char *job_key(const struct job *job)
{
    return job->key;
}

void job_stage(struct job *job, const char *stage, const char *unit)
{
    struct job_set *set = job->set;
    struct job_watch *ready;

    lock_take(&set->lock);
    job->stage = stage;
    job->unit = unit;
    job->stage_ns = clock_monotonic_ns();
    job_progress(job, 0, 0);
    job->revision++;
    ready = job_watches_ready(set);
    lock_drop(&set->lock);
    job_watches_wake(ready);
}

void job_progress(struct job *job, uint64_t done, uint64_t total)
{
    atomic_store_explicit(&job->total, total, memory_order_relaxed);
    atomic_store_explicit(&job->done, done, memory_order_relaxed);
}

bool job_stopping(const struct job *job)
{
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed) ||
           atomic_load_explicit(&job->set->stopping, memory_order_relaxed);
}

bool job_cancelled(const struct job *job)
{
    return atomic_load_explicit(&job->cancelled, memory_order_relaxed);
}

bool job_wait(struct job *job, uint64_t ns)
{
    struct job_set *set = job->set;
    uint64_t deadline = clock_monotonic_ns() + ns;
    bool more = true;

    lock_take(&set->lock);
    while (!job_stopping(job) && more)
        more = lock_wait_until(&set->lock, &set->stop, deadline);
    lock_drop(&set->lock);
    return !job_stopping(job);
}

void job_result(struct job *job, struct slice json)
{
    char *copy = malloc(json.size + 1), *old;

    invariant(copy != NULL && json.size <= JOB_RESULT_MAX);
    memcpy(copy, json.data, json.size);
    copy[json.size] = '\0';
    lock_take(&job->set->lock);
    old = job->result;
    job->result = copy;
    lock_drop(&job->set->lock);
    free(old);
}
