#include "storage/maintain/job_set.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"
#include "storage/maintain/job_log.h"
#include "storage/maintain/job_parts.h"

/* ---- the set ---- */

size_t job_set_place(const struct job_set *set, uint64_t id)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->jobs[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct job *job_set_find(struct job_set *set, uint64_t id)
{
    size_t at = job_set_place(set, id);

    return at < set->count && set->jobs[at]->id == id && !set->jobs[at]->saving ? set->jobs[at]
                                                                                : NULL;
}

void job_set_add(struct job_set *set, struct job *job)
{
    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 64 : 2 * set->capacity;
        set->jobs = realloc(set->jobs, set->capacity * sizeof(struct job *));
        invariant(set->jobs != NULL);
    }
    set->jobs[set->count++] = job;
    set->live += !job_state_is_end(job->state);
    if (job->id >= set->next_id)
        set->next_id = job->id + 1;
}

static void free_job(struct job *job)
{
    free(job->result);
    free(job);
}

void job_set_take_out(struct job_set *set, struct job *job)
{
    size_t at = job_set_place(set, job->id);

    set->live -= !job_state_is_end(job->state);
    memmove(&set->jobs[at], &set->jobs[at + 1], (set->count - at - 1) * sizeof(struct job *));
    set->count--;
    free_job(job);
}

uint64_t job_set_make_room(struct job_set *set)
{
    if (set->count - set->live < JOBS_HISTORY_MAX)
        return 0;
    for (size_t i = 0; i < set->count; i++) {
        uint64_t id = set->jobs[i]->id;

        if (job_state_is_end(set->jobs[i]->state)) {
            job_set_take_out(set, set->jobs[i]);
            return id;
        }
    }
    return 0;
}

bool job_set_thread(struct job_set *set, void *(*main)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    bool started;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    started = pthread_create(&thread, &attributes, main, argument) == 0;
    pthread_attr_destroy(&attributes);
    set->threads += started;
    return started;
}

void job_set_thread_ends(struct job_set *set)
{
    set->threads--;
    pthread_cond_signal(&set->ended); /* under the lock: destroy frees it */
}

/* ---- from start to stop of the store ---- */

static void load_text(struct slice from, char *to)
{
    memcpy(to, from.data, from.size);
    to[from.size] = '\0';
}

static void load_job(void *context, uint64_t id, const struct job_row *row)
{
    struct job_set *set = context;
    struct job *job;

    if (id >= set->next_id)
        set->next_id = id + 1;
    if (row == NULL)
        return;
    job = calloc(1, sizeof(*job));
    invariant(job != NULL);
    job->set = set;
    job->id = id;
    job->kind = row->kind;
    job->resume = row->resume;
    job->created_ns = row->created_ns;
    job->started_ns = row->started_ns;
    job->ended_ns = row->ended_ns;
    job->state = row->state;
    job->status = row->status;
    job->revision = 1;
    load_text(row->subject, job->subject);
    load_text(row->key, job->key);
    load_text(row->text, job->text);
    if (row->result.size > 0) {
        job->result = strndup(row->result.data, row->result.size);
        invariant(job->result != NULL);
    }
    job_set_add(set, job);
}

/* No other thread is there yet. */
static enum coffer_status fail_cut_jobs(struct job_set *set, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < set->count && status == COFFER_OK; i++) {
        struct job *job = set->jobs[i];
        struct job_row row;

        if (job_state_is_end(job->state) || job->resume)
            continue;
        job->state = JOB_FAILED;
        job->status = COFFER_DRAINING;
        (void)snprintf(job->text, sizeof(job->text), "the server stopped");
        job->ended_ns = clock_wall_ns();
        set->live--;
        job_fill_row(job, &row);
        status = job_log_save(set->store, &row, NULL, 0, err);
    }
    return status;
}

enum coffer_status job_set_create(struct store *store, struct job_set **out, struct error *err)
{
    struct job_set *set = calloc(1, sizeof(*set));
    enum coffer_status status;

    invariant(set != NULL);
    set->store = store;
    set->next_id = 1;
    lock_init(&set->lock, LOCK_JOB_SET);
    condition_init(&set->stop);
    condition_init(&set->tick);
    condition_init(&set->ended);
    status = job_log_load(store, load_job, set, err);
    if (status == COFFER_OK)
        status = fail_cut_jobs(set, err);
    if (status == COFFER_OK)
        *out = set;
    else
        job_set_destroy(set);
    return status;
}

void job_set_destroy(struct job_set *set)
{
    if (set == NULL)
        return;
    lock_take(&set->lock);
    atomic_store(&set->stopping, true);
    pthread_cond_broadcast(&set->stop);
    pthread_cond_signal(&set->tick);
    while (set->threads > 0)
        lock_wait(&set->lock, &set->ended);
    lock_drop(&set->lock);
    invariant(set->watches == NULL);
    for (size_t i = 0; i < set->count; i++)
        free_job(set->jobs[i]);
    free(set->jobs);
    pthread_cond_destroy(&set->ended);
    pthread_cond_destroy(&set->tick);
    pthread_cond_destroy(&set->stop);
    lock_release(&set->lock);
    free(set);
}
