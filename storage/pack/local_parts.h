/*
 * local_parts.h - what the files of the local engine share: local_engine.c (lookups, opening), the
 * write path (local_records.c: bytes of records; local_commit.c: into a pack; local_index.c: into
 * the index), recovery.c (what a crash left), compact*.c (repack). Nobody else includes it.
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "storage/base/lock.h"
#include "storage/codec/codec.h"
#include "storage/index/row_cache.h"
#include "storage/pack/batch_format.h"
#include "storage/pack/gate.h"
#include "storage/pack/index_apply.h"
#include "storage/pack/local_engine.h"
#include "storage/pack/pack_writer.h"
#include "storage/pack/touched.h"

struct lane_record {
    struct engine_op *op;
    struct record_header header; /* nonce, lsn and durable come with the place in a pack */
    uint64_t offset;
    uint8_t *start;         /* where the header goes: before the payload, or own_header */
    const uint8_t *payload; /* its first payload_size bytes; `rest` are the others. NULL: keys of
                               the operation, too many to be in memory */
    uint64_t payload_size;
    struct slice rest;
    struct slice section; /* BATCH: the rows section, which is `rest` or the payload */
    bool in_place;        /* there is room for header and padding around the bytes */
    void *owned;          /* encoded content, to be freed */
    void *section_owned;
    uint8_t own_header[RECORD_HEADER_SIZE];
    uint8_t manifest[MANIFEST_SIZE];
};

enum { VECTORS_PER_RECORD = 3 };

struct local_lane {             /* used by one thread at a time */
    struct pack_writer *writer; /* NULL: takes a free pack or makes one at its next commit */
    struct index_batch *batch;
    struct encoder *encoder;
    struct touched touched;      /* what `batch` changes, if that matters */
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
    struct gate_lock gate; /* around all that changes rows; see gate.h */
    _Atomic uint64_t next_lsn, next_pack;
    _Atomic uint64_t chunks, syncs;
    /* Since the index was flushed last, so that a start has little to replay. */
    _Atomic uint64_t unflushed_records, unflushed_bytes, flushed_at_ns;
    _Atomic bool failed, full;
    _Atomic bool compacting;
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

/* local_records.c */
void local_lane_grow(struct local_lane *lane, size_t count);
void local_lane_release(struct local_lane *lane);
/* Only makes room: what goes on when the disk is full. */
bool local_is_deletion(const struct engine_op *op);
/* Make the operations of one sort (all, or on a full disk the deletions) the lane's records: so
 * many, which take so many bytes. One that is too large, or whose keys cannot be read, gets its
 * status, which is also the result, and no record. */
enum coffer_status local_gather(struct local_engine *engine, struct local_lane *lane,
    struct engine_op **ops, size_t count, bool only_deletions, size_t *gathered, uint64_t *bytes,
    struct error *err);
/* Encode the header; fill up to VECTORS_PER_RECORD vectors, and tell how many. */
size_t local_lay_out(struct lane_record *record, struct iovec *vectors);
void local_release_records(struct local_lane *lane, size_t count);

/* local_index.c */
void local_put_pack_row(struct index_batch *batch, const struct pack *pack, uint64_t last_lsn);
/* The lane's records are durable: bring them into the index. */
enum coffer_status local_publish(
    struct local_engine *engine, struct local_lane *lane, size_t count, struct error *err);
/* Keep what a start would have to replay small. */
void local_flush_index_sometimes(struct local_engine *engine, uint64_t records, uint64_t bytes);
enum coffer_status local_drop_upload(
    struct engine *base, const struct upload_id *upload, uint64_t count, struct error *err);
enum coffer_status local_drop_blocks(struct engine *base, const struct partition_id *partition,
    const struct block_id *blocks, size_t count, struct error *err);

/* local_commit.c */
enum coffer_status local_commit(
    struct engine *base, unsigned lane, struct engine_op **ops, size_t count, struct error *err);
void local_lane_idle(struct engine *base, unsigned lane);
/* Give a writer to whichever lane needs one next; take one that was given, or NULL. */
void local_free_writer(struct local_engine *engine, struct pack_writer *writer);
struct pack_writer *local_take_free_writer(struct local_engine *engine);
enum coffer_status local_new_writer(struct local_engine *engine, uint64_t base_lsn,
    uint64_t reserve, struct pack_writer **out, struct error *err);
/* Seal the lane's pack and let it go. Without success it stays as it is, whole and unsealed:
 * recovery reads it like any open pack. `fixed`: see pack_writer_seal(). */
void local_seal(struct local_engine *engine, struct local_lane *lane, uint64_t fixed);
/* The lane's pack has become useless: forget it, and let the index know how far it counts. */
void local_drop_poisoned(struct local_engine *engine, struct local_lane *lane);
void local_fail(struct local_engine *engine, const char *reason);

/* local_engine.c: one damaged place, counted and logged once. */
void local_count_damage(
    struct local_engine *engine, uint64_t pack, uint64_t offset, const char *what);
