/*
 * Watches. A change of state wakes those of the job at once. Progress is only two stores of the
 * job, so a thread, while there is any watch, looks a few times a second for what has moved, and
 * for heartbeats that are due.
 */
#include <stdlib.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/chunk/store_parts.h"
#include "storage/maintain/job_parts.h"

enum watch_due { DUE_NOT, DUE_NEWS, DUE_BEAT };

/* With the lock. */
static enum watch_due watch_due(const struct job_watch *watch, const struct job *job, uint64_t now)
{
    if (job == NULL || job->revision != watch->revision)
        return DUE_NEWS;
    if (now >= watch->news_ns && atomic_load(&job->done) != watch->done)
        return DUE_NEWS;
    return now >= watch->beat_ns ? DUE_BEAT : DUE_NOT;
}

struct job_watch *job_watches_ready(struct job_set *set)
{
    struct job_watch *ready = NULL;
    uint64_t now = clock_monotonic_ns();

    for (struct job_watch *watch = set->watches; watch != NULL; watch = watch->next) {
        if (!watch->waiting)
            continue;
        if (atomic_load(&set->stopping) ||
            watch_due(watch, job_set_find(set, watch->id), now) != DUE_NOT) {
            watch->waiting = false;
            watch->next_ready = ready;
            ready = watch;
        }
    }
    return ready;
}

void job_watches_wake(struct job_watch *ready)
{
    while (ready != NULL) {
        struct job_watch *watch = ready;

        ready = watch->next_ready; /* first: who is woken may close it */
        waker_wake(watch->waker);
    }
}

static void *tick(void *argument)
{
    struct job_set *set = argument;

    (void)pthread_setname_np(pthread_self(), "job-watch");
    lock_take(&set->lock);
    while (set->watches != NULL && !atomic_load(&set->stopping)) {
        struct job_watch *ready = job_watches_ready(set);

        if (ready != NULL) {
            lock_drop(&set->lock);
            job_watches_wake(ready);
            lock_take(&set->lock);
        } else {
            (void)lock_wait_until(
                &set->lock, &set->tick, clock_monotonic_ns() + JOB_NEWS_INTERVAL_NS / 2);
        }
    }
    set->ticking = false;
    job_set_thread_ends(set);
    lock_drop(&set->lock);
    return NULL;
}

enum coffer_status job_watch_open(struct store *store, uint64_t id, uint64_t heartbeat_ns,
    struct waker waker, struct job_watch **out, struct error *err)
{
    struct job_set *set = store->jobs;
    struct job_watch *watch = calloc(1, sizeof(*watch));
    enum coffer_status status = COFFER_OK;

    invariant(watch != NULL);
    watch->set = set;
    watch->id = id;
    watch->heartbeat_ns = heartbeat_ns;
    watch->waker = waker;
    lock_take(&set->lock);
    if (job_set_find(set, id) == NULL)
        status = COFFER_NO_SUCH_JOB;
    else if (!set->ticking && !atomic_load(&set->stopping))
        status = job_set_thread(set, tick, set) ? COFFER_OK : COFFER_OVERLOADED;
    if (status == COFFER_OK) {
        set->ticking = !atomic_load(&set->stopping);
        watch->next = set->watches;
        set->watches = watch;
        *out = watch;
    }
    lock_drop(&set->lock);
    if (status == COFFER_OK)
        return COFFER_OK;
    free(watch);
    if (status == COFFER_OVERLOADED)
        return error_set(err, status, "no thread can be started to watch a job");
    return error_set(err, status, "there is no job %llu (any more)", (unsigned long long)id);
}

enum coffer_status job_watch_next(
    struct job_watch *watch, struct job_info *info, bool *news, struct error *err)
{
    struct job_set *set = watch->set;
    uint64_t now = clock_monotonic_ns();
    enum coffer_status status = COFFER_OK;
    enum watch_due due;
    struct job *job;

    lock_take(&set->lock);
    job = job_set_find(set, watch->id);
    due = watch_due(watch, job, now);
    *news = due == DUE_NEWS;
    if (job == NULL) {
        status = COFFER_NO_SUCH_JOB;
    } else if (due != DUE_NOT) {
        watch->revision = job->revision;
        watch->done = atomic_load(&job->done);
        watch->news_ns = now + JOB_NEWS_INTERVAL_NS;
        watch->beat_ns = now + watch->heartbeat_ns;
        if (*news)
            job_describe(job, info);
    } else if (watch->cancelled || atomic_load(&set->stopping)) {
        status = COFFER_DRAINING;
    } else {
        watch->waiting = true;
        status = COFFER_AGAIN;
    }
    lock_drop(&set->lock);
    if (status == COFFER_NO_SUCH_JOB)
        return error_set(err, status, "the job has left the history");
    if (status == COFFER_DRAINING)
        return error_set(err, status, "nobody waits any more, or the server is shutting down");
    return status;
}

void job_watch_cancel(struct job_watch *watch)
{
    struct job_set *set = watch->set;
    bool waiting;

    lock_take(&set->lock);
    waiting = watch->waiting;
    watch->waiting = false;
    watch->cancelled = true;
    lock_drop(&set->lock);
    if (waiting)
        waker_wake(watch->waker);
}

void job_watch_close(struct job_watch *watch)
{
    struct job_watch **link;
    struct job_set *set;

    if (watch == NULL)
        return;
    set = watch->set;
    lock_take(&set->lock);
    invariant(!watch->waiting);
    for (link = &set->watches; *link != watch; link = &(*link)->next)
        ;
    *link = watch->next;
    if (set->watches == NULL)
        pthread_cond_signal(&set->tick);
    lock_drop(&set->lock);
    free(watch);
}
