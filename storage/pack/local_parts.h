/*
 * local_parts.h - what the files of the local engine share: local_engine.c (lookups, opening),
 * local_commit.c (the write path), recovery.c (what a crash left). Nobody else includes it.
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>

#include "storage/base/lock.h"
#include "storage/codec/codec.h"
#include "storage/index/row_cache.h"
#include "storage/pack/index_apply.h"
#include "storage/pack/local_engine.h"
#include "storage/pack/pack_writer.h"

struct local_lane {             /* used by one thread at a time */
    struct pack_writer *writer; /* NULL: takes a free pack or makes one at its next commit */
    struct index_batch *batch;
    struct encoder *encoder;
    struct lane_record *records; /* of the commit under way */
    struct iovec *vectors;
    uint64_t *sizes;
    size_t capacity;
    void *scratch; /* what the encoder writes to, for scratch_size bytes of content */
    size_t scratch_size;
};

struct local_engine {
    struct engine base;
    struct local_engine_options options;
    char packs_dir[PATH_MAX];
    struct index *index;
    struct row_cache *rows; /* in front of the index; set before the first commit or find */
    struct pack_set *packs;
    struct local_lane *lanes;
    _Atomic uint64_t next_lsn, next_pack;
    _Atomic uint64_t chunks, syncs;
    /* Since the index was flushed last, so that a start has little to replay. */
    _Atomic uint64_t unflushed_records, unflushed_bytes, flushed_at_ns;
    _Atomic bool failed, full;
    struct lock lock;
    char failure[128];                 /* (lock) */
    struct pack_writer **free_writers; /* (lock) open packs without a lane */
    size_t free_count, free_capacity;  /* (lock) */
    struct damage_place {
        uint64_t pack, offset;
    } * damaged; /* (lock) counted already; bounded */
    size_t damaged_count;
};

enum {
    FLUSH_RECORDS_MAX = 200000,
    DAMAGED_PLACES_MAX = 10000,
    ROW_CACHE_SHARE = 8, /* the part of index_cache_size that is for rows looked up lately */
};
#define FLUSH_BYTES_MAX ((uint64_t)1 << 30)
#define FLUSH_INTERVAL_NS ((uint64_t)60 * 1000000000)

/* local_commit.c */
enum coffer_status local_commit(
    struct engine *base, unsigned lane, struct engine_op **ops, size_t count, struct error *err);
void local_lane_idle(struct engine *base, unsigned lane);
enum coffer_status local_drop_upload(
    struct engine *base, const struct upload_id *upload, uint64_t count, struct error *err);
/* Give a writer to whichever lane needs one next. */
void local_free_writer(struct local_engine *engine, struct pack_writer *writer);
void local_fail(struct local_engine *engine, const char *reason);

/* local_engine.c: one damaged place, counted and logged once. */
void local_count_damage(
    struct local_engine *engine, uint64_t pack, uint64_t offset, const char *what);
