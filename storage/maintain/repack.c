/*
 * Repack: the call, and the jobs "repack" and "pack". A job's subject is its options as text, so
 * that it can begin again after a stop of the server.
 */
#include "storage/maintain/repack.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"
#include "storage/jobs.h"
#include "storage/maintenance.h"

enum { RESULT_SIZE = 512 };
#define REPACK_KEY "store" /* there is one to repack */
#define CONFLICT_WAIT_NS (UINT64_C(200) * NS_PER_MS)

void repack_options_default(const struct store *store, struct repack_options *options)
{
    *options = (struct repack_options){.dead_ratio = store->options.repack_dead_ratio,
        .bytes_per_second = store->options.repack_rate,
        .seal_idle = true};
}

void pack_options_default(const struct store *store, struct repack_options *options)
{
    *options = (struct repack_options){.dead_ratio = -1,
        .bytes_per_second = store->options.repack_rate,
        .merge_small = true,
        .seal_idle = true};
}

enum coffer_status store_repack(struct store *store, const struct repack_options *options,
    const struct maintenance_watch *watch, struct repack_result *result, struct error *err)
{
    struct engine_compaction compaction = {.dead_ratio = options->dead_ratio,
        .seal_idle = options->seal_idle,
        .merge_small = options->merge_small,
        .compression_level = options->compression_level,
        .bytes_per_second = options->bytes_per_second};
    enum coffer_status status = COFFER_OK;

    if (watch != NULL) {
        compaction.progress = watch->progress;
        compaction.context = watch->context;
    }
    if (options->seal_idle)
        lane_set_let_go(store->lanes);
    if (store->engine->ops->compact != NULL)
        status = store->engine->ops->compact(store->engine, &compaction, err);
    /* Writes that were refused for want of space are to see what there is now. */
    atomic_store(&store->used_space_seen, 0);
    *result = (struct repack_result){.packs_sealed = compaction.packs_sealed,
        .packs_rewritten = compaction.packs_rewritten,
        .packs_written = compaction.packs_written,
        .packs_kept = compaction.packs_kept,
        .records_moved = compaction.records_moved,
        .bytes_read = compaction.bytes_read,
        .bytes_written = compaction.bytes_written,
        .bytes_freed = compaction.bytes_removed > compaction.bytes_written
                           ? compaction.bytes_removed - compaction.bytes_written
                           : 0};
    return status;
}

/* ---- the jobs ---- */

static void write_subject(const struct repack_options *options, char subject[JOB_SUBJECT_SIZE])
{
    (void)snprintf(subject, JOB_SUBJECT_SIZE,
        "dead_ratio=%.6g compression_level=%d bytes_per_second=%" PRIu64, options->dead_ratio,
        options->compression_level, options->bytes_per_second);
}

/* The number behind NAME= in the subject, or `otherwise`. */
static double number_of(const char *subject, const char *name, double otherwise)
{
    const char *at = strstr(subject, name);

    return at == NULL ? otherwise : strtod(at + strlen(name), NULL);
}

static void read_subject(const char *subject, struct repack_options *options)
{
    options->dead_ratio = number_of(subject, "dead_ratio=", options->dead_ratio);
    options->compression_level = (int)number_of(subject, "compression_level=", 0);
    options->bytes_per_second =
        (uint64_t)number_of(subject, "bytes_per_second=", (double)options->bytes_per_second);
}

static void give_result(struct job *job, const struct repack_result *result)
{
    char text[RESULT_SIZE];
    int size = snprintf(text, sizeof(text),
        "{\"packs_sealed\":%" PRIu64 ",\"packs_rewritten\":%" PRIu64 ",\"packs_written\":%" PRIu64
        ",\"packs_kept\":%" PRIu64 ",\"records_moved\":%" PRIu64 ",\"bytes_read\":%" PRIu64
        ",\"bytes_written\":%" PRIu64 ",\"bytes_freed\":%" PRIu64 "}",
        result->packs_sealed, result->packs_rewritten, result->packs_written, result->packs_kept,
        result->records_moved, result->bytes_read, result->bytes_written, result->bytes_freed);

    invariant(size > 0 && size < RESULT_SIZE);
    job_result(job, slice_of(text, (size_t)size));
}

static bool show_progress(void *context, uint64_t done, uint64_t total)
{
    struct job *job = context;

    job_progress(job, done, total);
    return !job_stopping(job);
}

/* One of the other kind may be at work: it is waited for. */
static enum coffer_status run_repack(
    struct store *store, struct job *job, const struct repack_options *options, struct error *err)
{
    const struct maintenance_watch watch = {show_progress, job};
    struct repack_result result;
    enum coffer_status status;

    job_stage(job, "repack", "bytes");
    do {
        if (job_stopping(job))
            return error_set(err, COFFER_DRAINING, "it was stopped");
        status = store_repack(store, options, &watch, &result, err);
    } while (status == COFFER_JOB_CONFLICT && job_wait(job, CONFLICT_WAIT_NS));
    if (status == COFFER_JOB_CONFLICT)
        return error_set(err, COFFER_DRAINING, "it was stopped");
    give_result(job, &result);
    return status;
}

enum coffer_status repack_job_run(struct job *job, void *context, struct error *err)
{
    struct store *store = context;
    struct repack_options options;

    repack_options_default(store, &options);
    read_subject(job_subject(job), &options);
    return run_repack(store, job, &options, err);
}

enum coffer_status write_out_buffers(struct store *store, struct error *err)
{
    const struct barrier_failure *failures;
    struct barrier *barrier = NULL;
    size_t count;
    struct gate gate;
    enum coffer_status status;

    gate_init(&gate);
    status = barrier_begin(store, NULL, 0, gate_waker(&gate), &barrier, err);
    while (status == COFFER_OK &&
           (status = barrier_finish(barrier, &failures, &count, err)) == COFFER_AGAIN) {
        gate_wait(&gate);
        status = COFFER_OK;
    }
    barrier_close(barrier);
    gate_release(&gate);
    return status == COFFER_SYNC_FAILED ? COFFER_OK : status;
}

enum coffer_status pack_job_run(struct job *job, void *context, struct error *err)
{
    struct store *store = context;
    struct repack_options options;
    enum coffer_status status;

    pack_options_default(store, &options);
    read_subject(job_subject(job), &options);
    status = write_out_buffers(store, err);
    return status == COFFER_OK ? run_repack(store, job, &options, err) : status;
}

static enum coffer_status start(struct store *store, enum job_kind kind,
    const struct repack_options *options, uint64_t *id, struct error *err)
{
    char subject[JOB_SUBJECT_SIZE];
    const struct job_options job = {kind, subject, REPACK_KEY, true};

    write_subject(options, subject);
    return job_start(store, &job, id, err);
}

enum coffer_status store_repack_start(
    struct store *store, const struct repack_options *options, uint64_t *id, struct error *err)
{
    return start(store, JOB_REPACK, options, id, err);
}

enum coffer_status store_pack_start(
    struct store *store, const struct repack_options *options, uint64_t *id, struct error *err)
{
    return start(store, JOB_PACK, options, id, err);
}
