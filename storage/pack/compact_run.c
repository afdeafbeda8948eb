/*
 * One run of a repack: victims in, one new pack out.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/io/file.h"
#include "storage/pack/compact_parts.h"

enum { PAUSE_MAX_NS = 20000000 };

/* ---- being watched ---- */

static bool goes_on(const struct compact_run *run)
{
    struct engine_compaction *compaction = run->compaction;

    return compaction->progress == NULL ||
           compaction->progress(compaction->context, run->before + run->read, run->total);
}

/* COFFER_DRAINING when it is to stop; waits where it is faster than asked. */
static enum coffer_status keep_pace(const struct compact_run *run, struct error *err)
{
    uint64_t rate = run->compaction->bytes_per_second;

    if (run->engine->failed)
        return error_set(err, COFFER_IO, "the engine has failed");
    while (goes_on(run)) {
        uint64_t elapsed = clock_monotonic_ns() - run->started_ns, due;
        struct timespec pause;

        due = rate == 0 ? 0 : (uint64_t)((double)run->read * (double)NS_PER_S / (double)rate);
        if (due <= elapsed)
            return COFFER_OK;
        pause = clock_timespec(min_u64(due - elapsed, PAUSE_MAX_NS));
        (void)nanosleep(&pause, NULL);
    }
    return error_set(err, COFFER_DRAINING, "it was stopped");
}

/* ---- scanning ---- */

/* The next record of the victim, or its end. */
static enum coffer_status advance(struct compact_run *run, struct victim *victim, struct error *err)
{
    for (;;) {
        enum coffer_status status = pack_scan_next(victim->scan, &victim->item, err);

        if (status != COFFER_OK)
            return status;
        run->read += victim->item.size;
        if (victim->item.kind == PACK_SCAN_RECORD)
            return COFFER_OK;
        if (victim->item.kind == PACK_SCAN_END) {
            pack_scan_end(victim->scan);
            victim->scan = NULL;
            return COFFER_OK;
        }
        if (victim->gap == 0)
            victim->gap = victim->item.offset;
    }
}

static enum coffer_status begin_scans(struct compact_run *run, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < run->victim_count && status == COFFER_OK; i++) {
        struct victim *victim = &run->victims[i];

        victim->scan = pack_scan_begin(victim->pack->fd, victim->name, victim->pack->nonce,
            PACK_HEADER_SIZE, victim->pack->end, SCAN_PAYLOADS_ALL);
        status = advance(run, victim, err);
    }
    return status;
}

static struct victim *lowest(struct compact_run *run)
{
    struct victim *found = NULL;

    for (size_t i = 0; i < run->victim_count; i++) {
        struct victim *victim = &run->victims[i];

        if (victim->scan != NULL &&
            (found == NULL || victim->item.header.lsn < found->item.header.lsn))
            found = victim;
    }
    return found;
}

static enum coffer_status copy_all(struct compact_run *run, struct error *err)
{
    enum coffer_status status = begin_scans(run, err);

    while (status == COFFER_OK) {
        struct victim *victim = lowest(run);

        if (victim == NULL)
            return compact_settle(run, err);
        status = keep_pace(run, err);
        if (status == COFFER_OK)
            status = compact_copy(run, victim, err);
        if (status == COFFER_OK)
            status = advance(run, victim, err);
    }
    return status;
}

/* ---- after the copying ---- */

/* All of the victim was copied that can be, but it cannot go. */
static void keep(const struct compact_run *run, const struct victim *victim)
{
    atomic_store(&victim->pack->kept, true);
    run->compaction->packs_kept++;
    if (pack_live_bytes(victim->pack) == 0)
        return;
    /* What somebody refers to could not be read: it stays for who reads it. */
    if (victim->gap != 0)
        local_count_damage(
            run->engine, victim->pack->id, victim->gap, "no record can be read here");
    log_write(LOG_WARN, "pack_kept", "pack %" PRIu64 " has %" PRIu64 " bytes that cannot be moved",
        victim->pack->id, pack_live_bytes(victim->pack));
}

/* No pack gets a number for the second time: the next one follows the highest there is. */
static bool may_go(const struct compact_run *run, const struct victim *victim)
{
    return victim->pack->id != pack_set_last_id(run->engine->packs);
}

/* Victims that nothing refers to, by number; and in the index, durably, as those to be removed. */
static enum coffer_status mark_removed(
    struct compact_run *run, bool whole, struct victim **emptied, size_t *count, struct error *err)
{
    struct local_engine *engine = run->engine;
    enum coffer_status status;

    *count = 0;
    if (!whole) /* deletions of each of them may be missing in the new pack */
        return COFFER_OK;
    for (size_t i = 0; i < run->victim_count; i++) {
        struct victim *victim = &run->victims[i];
        struct index_pack row = {.state = PACK_REMOVED,
            .end = victim->pack->end,
            .records = victim->pack->records,
            .last_lsn = run->last_lsn};

        if (pack_live_bytes(victim->pack) > 0 || !may_go(run, victim)) {
            keep(run, victim);
            continue;
        }
        index_batch_put_pack(run->lane.batch, victim->pack->id, &row);
        emptied[(*count)++] = victim;
    }
    if (*count == 0)
        return COFFER_OK;
    status = index_write(engine->index, run->lane.batch, err);
    index_batch_clear(run->lane.batch);
    if (status != COFFER_OK)
        local_fail(engine, err->text);
    else
        status = index_flush(engine->index, true, err);
    (void)fault_errno(FAULT_REPACK_FLUSHED);
    return status;
}

/* A file that cannot be unlinked now is by the next start. */
static void unlink_pack(const struct local_engine *engine, const struct victim *victim)
{
    char path[PATH_MAX + PACK_NAME_SIZE];
    struct error error;

    (void)snprintf(path, sizeof(path), "%s/%s", engine->packs_dir, victim->name);
    if (unlink(path) != 0) {
        (void)error_errno(&error, "remove pack %s", path);
        log_write(LOG_WARN, "pack_not_removed", "%s", error.text);
    }
    (void)fault_errno(FAULT_REPACK_REMOVED);
}

static enum coffer_status remove_emptied(
    struct compact_run *run, struct victim *const *emptied, size_t count, struct error *err)
{
    struct local_engine *engine = run->engine;
    enum coffer_status status;

    for (size_t i = 0; i < count; i++) {
        pack_set_remove(engine->packs, emptied[i]->pack);
        unlink_pack(engine, emptied[i]);
        run->compaction->packs_rewritten++;
        run->compaction->bytes_removed += emptied[i]->pack->end;
    }
    status = dir_sync(engine->packs_dir, err);
    if (status != COFFER_OK)
        return status; /* their rows stay: the next start looks for the files */
    for (size_t i = 0; i < count; i++)
        index_batch_delete_pack(run->lane.batch, emptied[i]->pack->id);
    status = index_write(engine->index, run->lane.batch, err);
    index_batch_clear(run->lane.batch);
    if (status != COFFER_OK)
        local_fail(engine, err->text);
    return status;
}

/* The new pack is complete, with all or a part of what was to be copied. */
static void seal(struct compact_run *run)
{
    if (run->lane.writer == NULL)
        return;
    gate_enter(&run->engine->gate);
    local_seal(run->engine, &run->lane, run->fixed);
    gate_leave(&run->engine->gate);
    run->compaction->packs_written++;
}

enum coffer_status compact_run(struct compact_run *run, struct error *err)
{
    struct victim *emptied[COMPACT_VICTIMS_MAX];
    struct error later;
    size_t count;
    enum coffer_status status, ended;

    run->copied = calloc(COPY_RECORDS_MAX, sizeof(struct copied));
    run->sizes = calloc(COPY_RECORDS_MAX, sizeof(uint64_t));
    invariant(run->copied != NULL && run->sizes != NULL);
    run->lane.batch = index_batch_create();
    run->started_ns = clock_monotonic_ns();
    run->size_max =
        (size_t)min_u64(COPY_BYTES_MAX, run->engine->options.pack_size / COPY_PACK_SHARE);
    status = copy_all(run, err);
    if (!run->engine->failed) {
        seal(run);
        ended = mark_removed(run, status == COFFER_OK, emptied, &count, &later);
        if (ended == COFFER_OK && count > 0)
            ended = remove_emptied(run, emptied, count, &later);
        if (status == COFFER_OK && ended != COFFER_OK) {
            *err = later;
            status = ended;
        }
    }
    for (size_t i = 0; i < run->victim_count; i++)
        pack_scan_end(run->victims[i].scan);
    run->compaction->bytes_read += run->read;
    local_lane_release(&run->lane);
    free(run->buffer);
    free(run->copied);
    free(run->sizes);
    free(run->raw);
    return status;
}
