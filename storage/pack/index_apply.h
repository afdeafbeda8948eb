/*
 * index_apply.h - what a record does to the index: one place for the write path and for recovery.
 *
 * Order:   with `look` set, an existing row wins if its LSN is higher: applying the same records
 *          again, or from several packs in LSN order, gives the same index. Without it the caller
 *          knows that there is no row (chunk/pending.h). A batch must not look at a key that the
 *          same batch changed: the caller writes the batch first (touched.h).
 * Threads: an applier belongs to one thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/status.h"
#include "storage/engine.h"
#include "storage/index/index.h"
#include "storage/index/row_cache.h"
#include "storage/pack/pack_set.h"

enum {
    APPLY_AT_ONCE = 512, /* deletions */
    APPLY_PACKS = 16,    /* whose dead bytes are added up before they go into the batch */
};

struct applier {
    struct index *index;
    struct index_batch *batch;
    struct pack_set *packs;
    struct row_cache *rows; /* of the index, or NULL */
    int64_t chunks;         /* change of the number of chunks in the batch */
    int64_t written_chunks; /* the same, of batches that were written */
    struct {
        uint64_t pack, bytes;
    } dead[APPLY_PACKS]; /* not in the batch yet */
    unsigned dead_count;
};

/* Write the batch, with all that was counted, and clear it. */
MUST_USE enum coffer_status apply_write(struct applier *applier, struct error *err);

MUST_USE enum coffer_status apply_chunk(struct applier *applier, const struct digest *key,
    const struct engine_row *row, bool look, struct error *err);
MUST_USE enum coffer_status apply_segment(struct applier *applier, const struct upload_id *upload,
    uint64_t segment, const struct engine_row *row, bool look, struct error *err);
/* A segmented chunk: its segments belong to it from now on. */
MUST_USE enum coffer_status apply_manifest(struct applier *applier, const struct digest *key,
    const struct engine_row *row, bool look, struct error *err);
/* Delete all of `keys` (distinct) whose rows are older than `lsn`. Up to APPLY_AT_ONCE of them stay
 * in the batch. More are written in parts, so that memory does not grow with their number, and
 * dropped from the row cache; a crash in the middle is made good by replaying the record, which is
 * durable already. */
MUST_USE enum coffer_status apply_delete_all(struct applier *applier, const struct key_source *keys,
    uint64_t lsn, uint64_t *deleted, struct error *err);
/* Forget the segments 0 .. count - 1 of an upload. */
MUST_USE enum coffer_status apply_drop_segments(
    struct applier *applier, const struct upload_id *upload, uint64_t count, struct error *err);
void apply_dead(struct applier *applier, uint64_t pack, uint64_t bytes);
/* For apply_drop() and its like: one more step is done; writes the batch sometimes. What is
 * written so has no watermark: a replay would apply it again. */
enum { APPLY_STEPS_AT_ONCE = 8192 };
MUST_USE enum coffer_status apply_step(struct applier *applier, size_t *steps, struct error *err);
