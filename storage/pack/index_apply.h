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
#include "storage/pack/pack_set.h"

struct applier {
    struct index *index;
    struct index_batch *batch;
    struct pack_set *packs;
    int64_t chunks;                 /* change of the number of chunks in the batch */
    int64_t written_chunks;         /* the same, of batches that were written */
    uint64_t dead_pack, dead_bytes; /* not in the batch yet */
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
/* Delete `key` if its row is older than `lsn`; *deleted says whether. */
MUST_USE enum coffer_status apply_delete(struct applier *applier, const struct digest *key,
    uint64_t lsn, bool *deleted, struct error *err);
/* Delete all of `keys`, with batches written in between so that memory stays bounded for any number
 * of them. A crash in the middle is made good by replaying the record, which is durable already. */
MUST_USE enum coffer_status apply_delete_all(struct applier *applier, const uint8_t *keys,
    size_t count, uint64_t lsn, uint64_t *deleted, struct error *err);
/* Forget the segments 0 .. count - 1 of an upload. */
MUST_USE enum coffer_status apply_drop_segments(
    struct applier *applier, const struct upload_id *upload, uint64_t count, struct error *err);
void apply_dead(struct applier *applier, uint64_t pack, uint64_t bytes);
/* For apply_delete_all() and its like: one more step is done; writes the batch sometimes. What is
 * written so has no watermark: a replay would apply it again. */
enum { APPLY_STEPS_AT_ONCE = 8192 };
MUST_USE enum coffer_status apply_step(struct applier *applier, size_t *steps, struct error *err);
