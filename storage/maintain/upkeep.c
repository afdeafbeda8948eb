/*
 * The thread that looks whether a repack is worth it: a look at two counters, and at the packs only
 * when more has died since the last time.
 */
#include "storage/maintain/upkeep.h"

#include <pthread.h>
#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"
#include "storage/base/log.h"
#include "storage/chunk/store_parts.h"
#include "storage/maintain/backups.h"
#include "storage/maintain/repack.h"
#include "storage/maintain/validation.h"
#include "storage/maintenance.h"

enum { LOOK_SHARE = 64 /* the part of a pack that must have died before packs are looked at */ };

struct upkeep {
    struct store *store;
    pthread_t thread;
    bool has_thread;
    struct lock lock;
    bool stopping; /* (lock) */
    pthread_cond_t stop;
    uint64_t dead_seen; /* bytes, at the last look; the thread's own */
};

/* Bytes of packs that a repack would rewrite. */
static uint64_t bytes_worth(struct store *store)
{
    struct engine_compaction look = {
        .dead_ratio = store->options.repack_dead_ratio, .seal_idle = true, .look_only = true};

    return store->engine->ops->compact(store->engine, &look, NULL) == COFFER_OK ? look.bytes_worth
                                                                                : 0;
}

static void look(struct upkeep *upkeep)
{
    struct store *store = upkeep->store;
    struct repack_options options;
    struct engine_status status;
    struct error err;
    uint64_t id;

    store->engine->ops->status(store->engine, &status);
    if (status.dead_bytes < upkeep->dead_seen) /* given back meanwhile */
        upkeep->dead_seen = status.dead_bytes;
    if (status.failed ||
        status.dead_bytes - upkeep->dead_seen < store->options.pack_size / LOOK_SHARE)
        return;
    upkeep->dead_seen = status.dead_bytes;
    if (bytes_worth(store) == 0)
        return;
    repack_options_default(store, &options);
    switch (store_repack_start(store, &options, &id, &err)) {
    case COFFER_OK:
        log_write(LOG_INFO, "repack", "job %llu gives back what is dead", (unsigned long long)id);
        break;
    case COFFER_JOB_CONFLICT:
    case COFFER_DRAINING:
        break;
    default:
        log_write(LOG_WARN, "repack_not_started", "%s", err.text);
        break;
    }
}

static void *watch_main(void *argument)
{
    struct upkeep *upkeep = argument;
    uint64_t interval = upkeep->store->options.repack_interval_ns;

    (void)pthread_setname_np(pthread_self(), "maintenance");
    lock_take(&upkeep->lock);
    while (!upkeep->stopping) {
        uint64_t due = clock_monotonic_ns() + interval;
        bool more = true;

        while (!upkeep->stopping && more)
            more = lock_wait_until(&upkeep->lock, &upkeep->stop, due);
        if (upkeep->stopping)
            break;
        lock_drop(&upkeep->lock);
        look(upkeep);
        lock_take(&upkeep->lock);
    }
    lock_drop(&upkeep->lock);
    return NULL;
}

struct upkeep *upkeep_create(struct store *store)
{
    struct upkeep *upkeep = calloc(1, sizeof(*upkeep));

    invariant(upkeep != NULL);
    upkeep->store = store;
    lock_init(&upkeep->lock, LOCK_MAINTENANCE);
    condition_init(&upkeep->stop);
    store_jobs_handle(store, JOB_REPACK, repack_job_run, store);
    store_jobs_handle(store, JOB_PACK, pack_job_run, store);
    store_jobs_handle(store, JOB_VALIDATE, validate_job_run, store);
    store_jobs_handle(store, JOB_BACKUP, backup_job_run, store);
    if (store->options.repack_dead_ratio > 0 && store->engine->ops->compact != NULL) {
        upkeep->has_thread = pthread_create(&upkeep->thread, NULL, watch_main, upkeep) == 0;
        if (!upkeep->has_thread)
            log_write(LOG_WARN, "no_thread", "repacks have to be asked for: no thread is left");
    }
    return upkeep;
}

void upkeep_destroy(struct upkeep *upkeep)
{
    if (upkeep == NULL)
        return;
    lock_take(&upkeep->lock);
    upkeep->stopping = true;
    pthread_cond_signal(&upkeep->stop);
    lock_drop(&upkeep->lock);
    if (upkeep->has_thread)
        pthread_join(upkeep->thread, NULL);
    pthread_cond_destroy(&upkeep->stop);
    lock_release(&upkeep->lock);
    free(upkeep);
}
