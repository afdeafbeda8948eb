/*
 * compact_parts.h - what the files of repack share: compact.c (which packs), compact_run.c (one run
 * over some of them), compact_copy.c (a record into the buffer), compact_move.c (the buffer into
 * the new pack and the index). Nobody else includes it.
 */
#pragma once

#include "storage/pack/compact.h"
#include "storage/pack/local_parts.h"
#include "storage/pack/pack_scan.h"

struct victim {
    struct pack *pack; /* pinned */
    char name[PACK_NAME_SIZE];
    uint64_t oldest_elsewhere; /* the lowest base LSN of all other packs */
    struct pack_scan *scan;    /* NULL: at its end */
    struct pack_scan_item item;
    uint64_t gap; /* the first place without a record; 0: none */
};

struct copied { /* a record in the buffer */
    const struct victim *from;
    uint64_t original; /* its offset there */
    size_t at;         /* in the buffer */
};

struct compact_run {
    struct local_engine *engine;
    struct engine_compaction *compaction;
    struct victim victims[COMPACT_VICTIMS_MAX];
    size_t victim_count;
    struct local_lane lane; /* its writer is that of the new pack, NULL: not made yet */
    uint8_t *buffer;        /* records, one behind the other, as they are written */
    size_t size, capacity;
    size_t size_max; /* unless it is one record */
    struct copied *copied;
    uint64_t *sizes;
    size_t copied_count;
    uint8_t *raw; /* of what is encoded again */
    size_t raw_capacity;
    uint64_t fixed; /* dead bytes of the new pack that are no copy's fault */
    uint64_t last_lsn;
    uint64_t before, total; /* bytes: read by earlier runs, to be read by all */
    uint64_t read;
    uint64_t started_ns;
};

/* In the buffer at once, if it is not one record; of small packs a share. */
enum { COPY_RECORDS_MAX = 4096, COPY_BYTES_MAX = 4 << 20, COPY_PACK_SHARE = 8 };

/* compact_run.c: one run over pinned victims, of which those that are empty afterwards are gone. */
enum coffer_status compact_run(struct compact_run *run, struct error *err);

/* compact_copy.c: what of the victim's current record is needed goes into the buffer. What is
 * damaged is counted and left where it is. */
enum coffer_status compact_copy(
    struct compact_run *run, const struct victim *victim, struct error *err);

/* compact_move.c: write the buffer to the new pack, sync it and move the rows; the buffer is empty
 * afterwards. After a failure the new pack is poisoned, or the engine has failed. */
enum coffer_status compact_settle(struct compact_run *run, struct error *err);
