/*
 * What starts jobs, looks at them and stops them. A job is seen when its row is durable.
 */
#include "storage/jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"
#include "storage/maintain/job_log.h"
#include "storage/maintain/job_parts.h"

const char *job_kind_name(enum job_kind kind)
{
    static const char *const names[] = {
#define JOB_KIND(kind, name, at_once, summary) [JOB_##kind] = (name),
#include "storage/job_kinds.def"
#undef JOB_KIND
    };

    return names[kind];
}

const char *job_state_name(enum job_state state)
{
    static const char *const names[] = {"queued", "running", "done", "failed", "cancelled"};

    return names[state];
}

void job_info_release(struct job_info *info)
{
    free(info->result);
    info->result = NULL;
}

/* ---- starting ---- */

/* With the lock: the last job of the kind and key, or NULL; one that is being saved, too. */
static struct job *last_of(struct job_set *set, enum job_kind kind, const char *key)
{
    for (size_t i = set->count; i-- > 0;)
        if (set->jobs[i]->kind == kind && strcmp(set->jobs[i]->key, key) == 0)
            return set->jobs[i];
    return NULL;
}

/* With the lock. */
static enum coffer_status may_start(
    struct job_set *set, const struct job_options *options, uint64_t *id, struct error *err)
{
    const struct job *last = last_of(set, options->kind, options->key);

    if (last != NULL && !job_state_is_end(last->state)) {
        *id = last->id;
        return error_set(err, COFFER_JOB_CONFLICT, "job %llu (%s %s) is %s already",
            (unsigned long long)last->id, job_kind_name(last->kind), last->subject,
            job_state_name(last->state));
    }
    if (atomic_load(&set->stopping))
        return error_set(err, COFFER_DRAINING, "the server is shutting down");
    if (set->live >= JOBS_LIVE_MAX)
        return error_set(err, COFFER_OVERLOADED,
            "%d jobs are queued or running: come again when some are done", JOBS_LIVE_MAX);
    return COFFER_OK;
}

static struct job *make_job(struct job_set *set, const struct job_options *options)
{
    struct job *job = calloc(1, sizeof(*job));

    invariant(job != NULL);
    job->set = set;
    job->kind = options->kind;
    job->resume = options->resume;
    job->revision = 1;
    job->created_ns = clock_wall_ns();
    (void)snprintf(job->subject, sizeof(job->subject), "%s", options->subject);
    (void)snprintf(job->key, sizeof(job->key), "%s", options->key);
    return job;
}

enum coffer_status job_start(
    struct store *store, const struct job_options *options, uint64_t *id, struct error *err)
{
    struct job_set *set = store->jobs;
    enum coffer_status status;
    struct job *job;
    struct job_row row;

    lock_take(&set->lock);
    status = may_start(set, options, id, err);
    if (status != COFFER_OK) {
        lock_drop(&set->lock);
        return status;
    }
    job = make_job(set, options);
    job->id = set->next_id;
    job->saving = true;
    job_set_add(set, job);
    job_fill_row(job, &row);
    lock_drop(&set->lock);
    status = job_log_save(store, &row, NULL, 0, err);
    *id = job->id; /* before it may be over and out of the history */
    lock_take(&set->lock);
    if (status == COFFER_OK) {
        job->saving = false;
        job_set_call_worker(set, job->kind);
    } else {
        job_set_take_out(set, job);
    }
    lock_drop(&set->lock);
    return status;
}

/* ---- looking and stopping ---- */

static char *copy_text(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);

    invariant(text == NULL || copy != NULL);
    return copy;
}

static void describe_rate(const struct job *job, struct job_info *info)
{
    uint64_t elapsed_ms = (clock_monotonic_ns() - job->stage_ns) / NS_PER_MS;

    if (job->state != JOB_RUNNING || elapsed_ms == 0 || info->done == 0)
        return;
    info->rate = (uint64_t)((double)info->done * 1000 / (double)elapsed_ms);
    if (info->rate > 0 && info->total > info->done)
        info->eta_s = (info->total - info->done) / info->rate;
}

void job_describe(const struct job *job, struct job_info *info)
{
    *info = (struct job_info){.id = job->id,
        .kind = job->kind,
        .state = job->state,
        .cancelling = atomic_load(&job->cancelled) && !job_state_is_end(job->state),
        .created_ns = job->created_ns,
        .started_ns = job->started_ns,
        .ended_ns = job->ended_ns,
        .stage = job->stage,
        .unit = job->unit,
        .done = atomic_load_explicit(&job->done, memory_order_relaxed),
        .total = atomic_load_explicit(&job->total, memory_order_relaxed),
        .status = job->status,
        .result = copy_text(job->result)};
    memcpy(info->subject, job->subject, sizeof(info->subject));
    memcpy(info->text, job->text, sizeof(info->text));
    if (info->stage != NULL)
        describe_rate(job, info);
}

static enum coffer_status no_such_job(uint64_t id, struct error *err)
{
    return error_set(
        err, COFFER_NO_SUCH_JOB, "there is no job %llu (any more)", (unsigned long long)id);
}

enum coffer_status job_find(
    struct store *store, uint64_t id, struct job_info *info, struct error *err)
{
    struct job_set *set = store->jobs;
    struct job *job;

    lock_take(&set->lock);
    job = job_set_find(set, id);
    if (job != NULL)
        job_describe(job, info);
    lock_drop(&set->lock);
    return job != NULL ? COFFER_OK : no_such_job(id, err);
}

uint64_t job_find_last(struct store *store, enum job_kind kind, const char *key, bool *live)
{
    struct job_set *set = store->jobs;
    uint64_t id = 0;
    struct job *job;

    *live = false;
    lock_take(&set->lock);
    job = last_of(set, kind, key);
    if (job != NULL) {
        id = job->id;
        *live = !job_state_is_end(job->state);
    }
    lock_drop(&set->lock);
    return id;
}

size_t store_jobs(struct store *store, uint64_t after, struct job_info *infos, size_t count)
{
    struct job_set *set = store->jobs;
    size_t found = 0;

    lock_take(&set->lock);
    for (size_t i = after == UINT64_MAX ? set->count : job_set_place(set, after + 1);
         i < set->count && found < count; i++)
        if (!set->jobs[i]->saving)
            job_describe(set->jobs[i], &infos[found++]);
    lock_drop(&set->lock);
    return found;
}

enum coffer_status job_cancel(struct store *store, uint64_t id, bool *ended, struct error *err)
{
    struct job_set *set = store->jobs;
    struct job_watch *ready = NULL;
    struct job *job;

    lock_take(&set->lock);
    job = job_set_find(set, id);
    *ended = job != NULL && job_state_is_end(job->state);
    if (job != NULL && !*ended && !atomic_exchange(&job->cancelled, true)) {
        job->revision++;
        pthread_cond_broadcast(&set->stop);
        ready = job_watches_ready(set);
    }
    lock_drop(&set->lock);
    job_watches_wake(ready);
    return job != NULL ? COFFER_OK : no_such_job(id, err);
}

void store_jobs_drain(struct store *store)
{
    struct job_set *set = store->jobs;
    struct job_watch *ready;

    lock_take(&set->lock);
    atomic_store(&set->stopping, true);
    pthread_cond_broadcast(&set->stop);
    pthread_cond_signal(&set->tick);
    ready = job_watches_ready(set);
    lock_drop(&set->lock);
    job_watches_wake(ready);
}
