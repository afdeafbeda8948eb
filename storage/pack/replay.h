/*
 * replay.h - the middle part of recovery.h: scan packs from their watermarks, and apply their
 * records to the index in LSN order. Only recovery.c uses it.
 */
#pragma once

#include "storage/pack/local_parts.h"
#include "storage/pack/pack_scan.h"

enum { BATCH_RECORDS_MAX = 2000 }; /* and rows */

struct replay { /* one pack that is scanned */
    struct pack *pack;
    char name[PACK_NAME_SIZE];
    uint64_t base_lsn;
    struct index_pack row; /* the watermark so far */
    uint64_t file_size;
    uint64_t good_end;      /* behind the last whole record */
    struct pack_scan *scan; /* NULL: not begun, or at its end */
    struct pack_scan_item item;
    bool begun, ended;
    bool torn;         /* a bad place that was never durable was seen */
    bool holed;        /* and a whole record behind it */
    uint32_t *offsets; /* of all records, for going on with the pack */
    size_t offset_count, offset_capacity;
};

struct recovery {
    struct local_engine *engine;
    struct applier applier;
    struct replay *replays; /* by base LSN */
    size_t count;
    size_t batched;  /* records and rows in the batch */
    bool copies_cut; /* of a pack that is open again */
    struct touched touched;
    uint64_t last_lsn, applied;
};

/* Bring all records behind the watermarks into the index. recovery->replays are sorted by base LSN
 * and have their watermark in `row`; afterwards `row` says how far each pack was read, and good_end
 * where its last whole record ends. */
MUST_USE enum coffer_status replay_all(struct recovery *recovery, struct error *err);
/* Note the place of one more record of the pack. */
void replay_remember(struct replay *replay, uint64_t offset);
