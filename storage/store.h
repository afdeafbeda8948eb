/*
 * store.h - the store: chunks named by the SHA-256 of their bytes, written behind by channels,
 * kept by an engine. The public face of storage/, and all of it that api/ and cli/ may use
 * beside storage/base.
 *
 * Blocking: calls that may have to wait (for memory, for a sync, for a cold disk) never block the
 *           caller. They answer COFFER_AGAIN and call the given waker once when it is worth
 *           calling the same function with the same object again (waker.h). A thread of its own
 *           uses a gate: while ((status = f(...)) == COFFER_AGAIN) gate_wait(&gate). Calls that
 *           say "blocking" may wait inside and are not for HTTP threads.
 * Threads:  a store may be used by any number of threads; an upload, reader, removal, barrier or
 *           bulk object by one at a time.
 * Memory:   slices are borrowed for the call. *_begin/_open and *_close pair up; close(NULL) is a
 *           no-op; close is legal at any time except between COFFER_AGAIN and its wake.
 * Order:    a write that was answered is seen by every later read. Durability: see enum
 *           durability, and ARCHITECTURE.md.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/codec_id.h"
#include "storage/base/digest.h"
#include "storage/base/key_source.h"
#include "storage/base/slice.h"
#include "storage/base/status.h"
#include "storage/base/waker.h"

struct store;

enum durability {
    DURABILITY_SYNCED,   /* done when the bytes and their index are on stable storage */
    DURABILITY_BUFFERED, /* done when the write-behind buffer holds them */
};

enum chunk_state { CHUNK_BUFFERED, CHUNK_FLUSHING, CHUNK_DURABLE };
enum engine_kind { ENGINE_LOCAL, ENGINE_MEMORY };
enum io_method { IO_AUTO, IO_URING, IO_SYNC };

const char *chunk_state_name(enum chunk_state state); /* "buffered", "flushing", "durable" */
const char *codec_name(enum codec codec);             /* "none", "zstd", "zlib" */

struct store_options {
    enum engine_kind engine;
    const char *data_dir; /* made if missing; unused by the memory engine */
    uint64_t buffer_size; /* bytes of one channel's write-behind buffer; 0: all writes are synced */
    uint64_t memory_limit; /* bytes of all buffers and bodies under way together */
    uint64_t sync_delay_ns;
    uint64_t flush_interval_ns;
    uint64_t pack_size;
    uint64_t segment_size;
    enum codec compression; /* CODEC_NONE or CODEC_ZSTD */
    int compression_level;
    uint64_t compression_min_size; /* bytes below which a record is not worth compressing */
    uint64_t max_space;            /* bytes; 0: the disk */
    uint64_t reserve_space;    /* bytes of disk that puts leave free for deletions and the index */
    unsigned default_channels; /* lanes that unnamed writes are spread over; 0: by processors */
    unsigned channels_max;     /* named channels known at once */
    unsigned datasets_kept;    /* in memory, beyond those that are in use */
    uint64_t index_cache_size; /* bytes of RocksDB's block cache */
    enum io_method io_method;  /* for cold reads */
    double repack_dead_ratio;  /* of a pack, from which on it is repacked unasked; 0: never */
    uint64_t repack_rate;      /* bytes of packs that a repack reads a second; 0: unlimited */
    uint64_t repack_interval_ns; /* between two looks at what is dead */
};
void store_options_default(struct store_options *options);

/* Open or make a store: takes the lock on the data folder, recovers what a crash left and rebuilds
 * a missing index before it returns (blocking). COFFER_LOCKED, COFFER_FORMAT_UNKNOWN,
 * COFFER_BAD_OPTION, COFFER_IO and COFFER_DISK_FULL leave the folder as it was. */
MUST_USE enum coffer_status store_open(
    const struct store_options *options, struct store **out, struct error *err);
/* Sync everything accepted, and close (blocking). No object of the store may be open any more.
 * Not COFFER_OK: something accepted could not be made durable. */
enum coffer_status store_close(struct store *store, struct error *err);
/* Sixteen lower-case hexadecimal digits that name this run, the BOOT of tickets. */
const char *store_boot(const struct store *store);
const struct store_options *store_options_of(const struct store *store);
/* The folder for files that a request needs beyond memory (temp_file.h): DATA/tmp, empty for the
 * memory engine. */
const char *store_temp_folder(const struct store *store);
/* A spill of `record_size` bytes a record there, which leaves what the store has in reserve. */
struct spill *store_spill_create(const struct store *store, size_t record_size);

/* ---- writing one chunk ---- */

struct upload;

struct upload_options {
    struct slice channel; /* a legal name, or empty: one of the default channels */
    enum durability durability;
    uint64_t size;               /* of the body in bytes; UPLOAD_SIZE_UNKNOWN if not announced */
    const struct digest *key;    /* the bytes must have this SHA-256, else COFFER_DIGEST_MISMATCH */
    const struct digest *digest; /* the same, from a digest header; both may be NULL */
};
#define UPLOAD_SIZE_UNKNOWN UINT64_MAX

struct ticket {
    char text[128]; /* BOOT:CHANNEL:SEQ */
};

struct upload_result {
    struct digest key;
    uint64_t size;
    bool created; /* false: the content was there, nothing was written */
    enum chunk_state state;
    struct ticket ticket; /* empty text unless the state is not durable */
};

/* Refused at once: COFFER_BAD_NAME, COFFER_CAPACITY_EXCEEDED, COFFER_DISK_FULL, COFFER_OVERLOADED
 * (too many channels). Needs no memory yet. */
MUST_USE enum coffer_status upload_begin(struct store *store, const struct upload_options *options,
    struct waker waker, struct upload **out, struct error *err);
/* Take the next bytes of the body; *taken says how many (also with COFFER_AGAIN, which means: the
 * memory limit or the channel's buffer is used up; come again with the rest when woken).
 * COFFER_CONTENT_TOO_LARGE past the announced size. */
MUST_USE enum coffer_status upload_data(
    struct upload *upload, const void *data, size_t size, size_t *taken, struct error *err);
/* The body is complete: store it. COFFER_AGAIN until it is as durable as asked, or refused.
 * COFFER_BAD_REQUEST when fewer bytes came than announced. */
MUST_USE enum coffer_status upload_finish(
    struct upload *upload, struct upload_result *result, struct error *err);
/* Frees what it holds at once; what was not finished leaves no trace. */
void upload_close(struct upload *upload);

/* ---- looking ---- */

struct chunk_info {
    struct digest key;
    uint64_t size;        /* bytes of content */
    uint64_t stored_size; /* bytes of content as stored, without record headers */
    enum codec codec;
    enum chunk_state state;
    uint64_t pack; /* 0 while not durable, and in the memory engine */
    uint64_t offset;
    bool segmented;
};

/* COFFER_OK or COFFER_NO_SUCH_CHUNK (err is not filled for it), or a failure of the index. */
MUST_USE enum coffer_status store_stat(
    struct store *store, const struct digest *key, struct chunk_info *info, struct error *err);

/* Chunks in key order, buffered ones included: up to `count` with key > *after (after NULL: from
 * the start) whose hexadecimal form begins with `prefix` (may be empty; lower-case hexadecimal).
 * *found < count means that there are no more. count <= STORE_LIST_MAX. */
enum { STORE_LIST_MAX = 10000 };
MUST_USE enum coffer_status store_list(struct store *store, const struct digest *after,
    struct slice prefix, struct chunk_info *infos, size_t count, size_t *found, struct error *err);

/* ---- reading one chunk ---- */

struct reader;

/* What a reader has to give. Exactly one of the three forms. */
enum reader_form {
    READER_MEMORY, /* data, size: the whole range; valid until reader_close() */
    READER_FILE,   /* fd (borrowed until reader_close()), offset, size: verified bytes in a file */
    READER_STREAM, /* call reader_read() */
};
struct reader_content {
    enum reader_form form;
    const void *data;
    int fd;
    uint64_t offset;
    uint64_t size; /* bytes of the range, in every form */
};

/* COFFER_OK or COFFER_NO_SUCH_CHUNK. The chunk stays readable through the reader when it is
 * deleted meanwhile. */
MUST_USE enum coffer_status reader_open(struct store *store, const struct digest *key,
    struct waker waker, struct reader **out, struct error *err);
const struct chunk_info *reader_info(const struct reader *reader);
/* Whether reader_select_encoded() may be used: the stored form is one valid zstd stream. */
bool reader_has_encoded(const struct reader *reader);
/* Choose bytes [offset, offset + size) of the content, within its size; or the whole stored zstd
 * form, whose size is reader_info()->stored_size. Once, before reader_content(). */
void reader_select(struct reader *reader, uint64_t offset, uint64_t size);
void reader_select_encoded(struct reader *reader);
/* COFFER_AGAIN while bytes come from a cold disk; COFFER_DATA_CORRUPT if they fail their check. */
MUST_USE enum coffer_status reader_content(
    struct reader *reader, struct reader_content *content, struct error *err);
/* Only READER_STREAM: the next bytes of the range, *size 0 at the end. COFFER_AGAIN as above. */
MUST_USE enum coffer_status reader_read(
    struct reader *reader, void *out, size_t max, size_t *size, struct error *err);
/* All stored bytes of the chunk have their checksums (they are read if need be). COFFER_AGAIN. */
MUST_USE enum coffer_status reader_verify(struct reader *reader, struct error *err);
void reader_close(struct reader *reader);

/* ---- many chunks (bulk.h of api runs these on threads of its own) ---- */

struct bulk_reader;
enum bulk_order { BULK_REQUEST_ORDER, BULK_STORAGE_ORDER };

struct bulk_options {
    struct key_source keys; /* borrowed until close; they may repeat */
    enum bulk_order order;
    bool (*cancelled)(void *context); /* NULL, or asked now and then whether to give up */
    void *context;
};

struct bulk_item {
    uint64_t position; /* in the keys given */
    struct chunk_info info;
    const void *data;      /* the whole content, valid until the next call; or NULL: */
    struct reader *reader; /* a large chunk: read it as READER_STREAM; the bulk reader closes it */
    enum coffer_status status; /* COFFER_OK, COFFER_NO_SUCH_CHUNK (also: deleted meanwhile),
                                  COFFER_DATA_CORRUPT */
};

/* Looks up all of the keys, once. Memory: a bit a key and a fixed window of content; some 120 bytes
 * a key go to temporary files meanwhile. COFFER_DRAINING: cancelled. All of these are blocking. */
MUST_USE enum coffer_status bulk_open(struct store *store, const struct bulk_options *options,
    struct bulk_reader **out, struct error *err);
/* How many of the keys are not stored, and whether the one at this position is. */
uint64_t bulk_missing_count(const struct bulk_reader *bulk);
bool bulk_is_missing(const struct bulk_reader *bulk, uint64_t position);
/* COFFER_OK with *item, and *more false after the last one. */
MUST_USE enum coffer_status bulk_next(
    struct bulk_reader *bulk, struct bulk_item *item, bool *more, struct error *err);
/* Bytes of a large item (blocking): *size 0 at its end. */
MUST_USE enum coffer_status bulk_read(
    struct bulk_reader *bulk, void *out, size_t max, size_t *size, struct error *err);
void bulk_close(struct bulk_reader *bulk);

/* ---- deleting ---- */

struct removal;

/* Delete all of `keys` (borrowed until close; they may repeat and be unknown): all those that
 * exist disappear together, durably, with one record. Memory: some two bytes a key; 100 bytes a key
 * go to temporary files until it is finished. COFFER_CONTENT_TOO_LARGE beyond 2^25 keys. */
MUST_USE enum coffer_status removal_begin(struct store *store, struct key_source keys,
    struct waker waker, struct removal **out, struct error *err);
/* COFFER_AGAIN until done. COFFER_OK also when none of them exists. Looks up all of the keys in
 * between: with many of them not for an HTTP thread. */
MUST_USE enum coffer_status removal_finish(struct removal *removal, struct error *err);
uint64_t removal_deleted(const struct removal *removal);
/* Whether keys[position] was not there. */
bool removal_missing(const struct removal *removal, uint64_t position);
void removal_close(struct removal *removal);

/* ---- waiting for durability ---- */

struct barrier;

struct barrier_failure { /* one write that could not be made durable */
    struct ticket ticket;
    struct digest key;
};

/* Wait for the tickets, or with count 0 for everything accepted so far. COFFER_TICKET_LOST names
 * in err the first ticket that is of an earlier run (ticket_check() finds all of them);
 * COFFER_BAD_REQUEST one that is no ticket. */
MUST_USE enum coffer_status barrier_begin(struct store *store, const struct slice *tickets,
    size_t count, struct waker waker, struct barrier **out, struct error *err);
/* COFFER_AGAIN; COFFER_OK; COFFER_SYNC_FAILED with *failures (borrowed until close). */
MUST_USE enum coffer_status barrier_finish(struct barrier *barrier,
    const struct barrier_failure **failures, size_t *count, struct error *err);
void barrier_close(struct barrier *barrier);
/* Parse only: COFFER_OK, COFFER_TICKET_LOST or COFFER_BAD_REQUEST. */
MUST_USE enum coffer_status ticket_check(struct store *store, struct slice ticket);

/* ---- status ---- */

struct store_status {
    const char *engine;
    uint64_t chunks;
    uint64_t used_space; /* bytes of the packs */
    uint64_t max_space;
    uint64_t live_bytes, dead_bytes;           /* of records in packs */
    uint64_t buffered_bytes, buffered_records; /* accepted, not durable yet */
    uint64_t memory_used, memory_limit;
    uint64_t packs, channels, damaged_records;
    uint64_t syncs; /* fdatasync calls on packs since the start */
    bool writable;  /* false: the disk is full or failed; reason says which */
    char reason[128];
};
void store_status(struct store *store, struct store_status *status);

struct pack_info {
    uint64_t id;
    const char *state; /* "open", "sealed", "poisoned" */
    uint64_t bytes, live_bytes, dead_bytes, records, damaged;
};
/* Up to count packs with id > after, ascending. */
size_t store_packs(struct store *store, uint64_t after, struct pack_info *infos, size_t count);

enum { CHANNEL_NAME_SIZE = 64 };
struct channel_info {
    char name[CHANNEL_NAME_SIZE];
    const char *state; /* "idle", "buffering", "flushing" */
    uint64_t buffered_bytes, buffered_records;
    uint64_t flushed_bytes, flushed_records, syncs;
    uint64_t last_sync_ns; /* wall clock; 0: never */
};
/* Up to count channels with a name > after (NULL: from the start), in name order. */
size_t store_channels(
    struct store *store, const char *after, struct channel_info *infos, size_t count);
