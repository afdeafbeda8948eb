/*
 * engine.h - what every storage engine promises, op by op; tests/contract runs one suite against
 * all of them. Everything above (chunk/, channel/) needs only this.
 *
 * An engine keeps chunks (immutable bytes named by SHA-256), the segments that large chunks are
 * cut into, partitions, and nothing that is not durable: commit() is the one way in, and what it
 * has stored is on stable storage and visible when it returns.
 *
 * A partition is a small database of rows (key, value; ordered by key as bytes) and of blocks
 * (bytes under a number). One ENGINE_BATCH changes it: at most one block, any number of rows, all
 * or nothing, also after a crash. A block that comes without rows is staged: nothing refers to it
 * until a later batch claims it, and what was not claimed is forgotten at the next start.
 *
 * Threads: any thread may call any op unless its comment says otherwise.
 * Memory:  no op keeps a pointer it is given past its return.
 * Order:   the caller never has two commits under way that name the same key (chunk/pending.h), so
 *          that operations on one key have one order; commits of different keys are free.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/codec_id.h"
#include "storage/base/digest.h"
#include "storage/base/engine_row.h"
#include "storage/base/key_source.h"
#include "storage/base/partition.h"
#include "storage/base/slice.h"
#include "storage/base/spill.h"
#include "storage/base/status.h"

enum {
    /* Writable bytes that a body has before and after its content, so that an engine can put its
     * record header and padding there instead of copying. */
    ENGINE_HEADROOM = 96,
    ENGINE_TAILROOM = 8,
    /* Keys of one DELETE: so many fit into one record of a pack. */
    ENGINE_DELETE_MAX = 1 << 25,
};

enum engine_op_kind {
    ENGINE_PUT,      /* a chunk that fits into one segment */
    ENGINE_SEGMENT,  /* segment `segment` of upload `upload`; invisible until its manifest */
    ENGINE_MANIFEST, /* a chunk made of the segments of `upload`, all committed before */
    ENGINE_DELETE,   /* all of `keys` at once; those that are not there count as deleted */
    ENGINE_BATCH,    /* a block, rows and claims of one partition, all or nothing */
    ENGINE_DROP,     /* a partition with all of its rows and blocks; its id is never used again */
};

struct engine_change { /* of one row */
    struct slice key, value;
    bool remove; /* the row goes; no value */
    bool fresh;  /* the caller knows that there is no such row: saves a lookup */
};

struct engine_op {
    enum engine_op_kind kind;
    struct digest key; /* PUT, MANIFEST */
    void *body;        /* PUT, SEGMENT, BATCH with a block: content, between ENGINE_HEADROOM and
                          ENGINE_TAILROOM, which is there also for no bytes */
    uint64_t size;     /* of the content; MANIFEST: of the whole chunk */
    bool replace;      /* PUT, MANIFEST: a copy is there and damaged; take its place */
    struct upload_id upload;       /* SEGMENT, MANIFEST */
    uint64_t segment;              /* SEGMENT: from 0 */
    uint64_t segment_size;         /* SEGMENT, MANIFEST: of all segments but the last */
    struct key_source keys;        /* DELETE; distinct, at most ENGINE_DELETE_MAX */
    struct partition_id partition; /* BATCH, DROP */
    bool frees;     /* BATCH of rows: it leads to more space: written also on a full disk */
    bool has_block; /* BATCH: `body` and `size` are block `block` */
    struct block_id block;
    enum codec block_codec;              /* CODEC_NONE: stored as it is; CODEC_ZSTD: if worth it */
    int block_level;                     /* of zstd; 0: the engine's own setting */
    const struct engine_change *changes; /* BATCH; distinct keys */
    size_t change_count;
    const struct block_id *claims; /* BATCH: staged blocks, durable before, that stay from now on */
    size_t claim_count;
    const struct block_id *drops; /* BATCH: claimed blocks that nothing refers to any more */
    size_t drop_count;
    /* Out: */
    uint64_t stored_size; /* PUT, SEGMENT, BATCH with a block: bytes as stored; MANIFEST: in, the
                             sum of its segments */
    uint64_t deleted;     /* DELETE: how many were there */
    enum coffer_status status;
};

struct engine_source {  /* the stored payload of one row, pinned */
    const void *memory; /* all of it, or NULL: */
    int fd;             /* read it here, */
    uint64_t offset;    /* from here on */
    /* Remembers, until the process ends, that the payload was verified; NULL: not remembered. */
    _Atomic uint8_t *verified;
    uint8_t verified_mask;
    void *pin;
};

struct engine_status {
    const char *name;
    uint64_t chunks, used_space, live_bytes, dead_bytes, packs, damaged_records, syncs;
    bool failed; /* no more writes until a restart; reason says why */
    bool full;   /* the last write found no space */
    char reason[128];
};

struct engine_pack {
    uint64_t id;
    const char *state;
    uint64_t bytes, live_bytes, dead_bytes, records, damaged;
};

/* What compact() is to do, and what it did. */
struct engine_compaction {
    double dead_ratio; /* rewrite packs of which so much is dead and can be given back; < 0: none */
    bool look_only;    /* only say how much there is to do: bytes_worth */
    bool seal_idle;    /* seal open packs that nobody writes to: with merge_small all of them, else
                          those of which dead_ratio is dead */
    bool merge_small;  /* make one pack of several small ones */
    int compression_level;     /* of what is rewritten: encode it again; 0: as it is */
    uint64_t bytes_per_second; /* of packs read; 0: as fast as it goes */
    /* Called often; false: stop soon. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    /* Out: */
    uint64_t packs_sealed, packs_rewritten, packs_written, packs_kept; /* kept: not emptied */
    uint64_t bytes_read, bytes_written, bytes_removed, records_moved;
    uint64_t bytes_worth; /* look_only: of packs with that dead_ratio */
};

/* What backup() is to do, and what it did. */
struct engine_backup {
    const char *to;      /* a folder that is there: gets, or has some of, the packs */
    const char *earlier; /* such a folder of a backup before, to take sealed packs from; or NULL */
    uint64_t bytes_per_second; /* of packs copied; 0: as fast as it goes */
    /* Called often; false: stop soon. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    /* Out: */
    uint64_t packs, bytes;               /* of the backup; */
    uint64_t bytes_linked, bytes_copied; /* of those, what was put there now */
};

enum engine_owner { /* what something damaged belongs to */
    OWNER_NONE,     /* not known, or nothing refers to it */
    OWNER_CHUNK,    /* `key` */
    OWNER_SEGMENT,  /* of an upload: of a large chunk, which is reported by its own key as well */
    OWNER_PARTITION /* `partition` */
};

struct engine_damage {
    uint64_t pack, offset; /* offset 0: of the whole pack */
    enum engine_owner owner;
    struct digest key;
    struct partition_id partition;
    bool missing;     /* a row leads to no record */
    const char *what; /* in words; a constant */
};

/* What validate() is to do, and what it found. */
struct engine_validation {
    uint64_t bytes_per_second; /* of packs read; 0: as fast as it goes */
    struct spill_place place;  /* for temporary files: some 50 bytes a chunk */
    /* Called often; false: stop soon. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void (*damage)(void *context, const struct engine_damage *damage);
    /* The chunk's records have their checksums, but nobody has hashed its content: it is in
     * segments, or large. Not COFFER_OK: validate() ends with it. */
    enum coffer_status (*hash_later)(
        void *context, const struct digest *key, const struct engine_row *row, struct error *err);
    void *context; /* of the three */
    /* Out: */
    uint64_t records, bytes_read; /* looked at */
    uint64_t chunks;              /* rows that lead to where they should, or are reported */
    uint64_t unreferenced_bytes;  /* of good records, or parts of them */
};

struct engine {
    const struct engine_ops *ops; /* first member of local_engine and memory_engine */
};

struct engine_ops {
    const char *name;
    /* Store all ops: each op's status says whether it is durable and visible. The result is the
     * first failure, for the log. They take effect in their order; each of them, not all together,
     * is whole or not at all. COFFER_CONTENT_TOO_LARGE: a batch of more than an engine can write
     * at once (1 GiB), and only that. A lane is a number below the engine's lane count; one thread
     * at a time uses a lane, different lanes run in parallel. Either all keys of a DELETE are gone
     * after a crash, or none. */
    enum coffer_status (*commit)(struct engine *engine, unsigned lane, struct engine_op **ops,
        size_t count, struct error *err);
    /* Nothing will come on this lane for a while: let go of what it holds open. Quick. */
    void (*lane_idle)(struct engine *engine, unsigned lane);
    /* COFFER_OK or COFFER_NO_SUCH_CHUNK. */
    enum coffer_status (*find)(
        struct engine *engine, const struct digest *key, struct engine_row *row, struct error *err);
    /* Many at once, best in ascending order, and past any cache: found[i] says whether there is
     * keys[i], and its row is then in rows[i]; `rows` may be NULL. */
    enum coffer_status (*find_many)(struct engine *engine, const struct digest *keys, size_t count,
        struct engine_row *rows, bool *found, struct error *err);
    enum coffer_status (*find_segment)(struct engine *engine, const struct upload_id *upload,
        uint64_t segment, struct engine_row *row, struct error *err);
    /* The payload of a row stays readable until unpin(), also when it is deleted or moved
     * meanwhile. COFFER_NO_SUCH_CHUNK (err not filled): it was moved or deleted since the row was
     * looked up, look again. COFFER_DATA_CORRUPT when the row's pack is gone. */
    enum coffer_status (*pin)(struct engine *engine, const struct engine_row *row,
        struct engine_source *source, struct error *err);
    void (*unpin)(struct engine *engine, struct engine_source *source);
    /* Up to count chunks with a key > *after (NULL: all), ascending. */
    enum coffer_status (*scan)(struct engine *engine, const struct digest *after,
        struct digest *keys, struct engine_row *rows, size_t count, size_t *found,
        struct error *err);
    /* The row's value, malloced with a NUL after it; the caller frees it. *found false: none. */
    enum coffer_status (*row_get)(struct engine *engine, const struct partition_id *partition,
        struct slice key, void **value, size_t *size, bool *found, struct error *err);
    /* Visit the partition's rows whose key begins with `prefix`, ascending from the first key >=
     * `from` (empty: the first), or with `backwards` descending from the last key <= `from` (empty:
     * the last); until visit answers false. All of it is as at one moment, however long it takes.
     * Key and value are borrowed for the call, which must not call the engine. */
    enum coffer_status (*row_scan)(struct engine *engine, const struct partition_id *partition,
        struct slice prefix, struct slice from, bool backwards,
        bool (*visit)(void *context, struct slice key, struct slice value), void *context,
        struct error *err);
    /* A number that no call has returned before, in this run or in an earlier one of which
     * anything durable came: for block numbers. */
    uint64_t (*next_number)(struct engine *engine);
    /* Where a block lies, claimed or staged. COFFER_OK or COFFER_NO_SUCH_CHUNK. */
    enum coffer_status (*find_block)(struct engine *engine, const struct partition_id *partition,
        const struct block_id *block, struct engine_row *row, struct error *err);
    /* Forget staged blocks that will not be claimed (those that are stay); no commit that names
     * them is under way. */
    enum coffer_status (*drop_blocks)(struct engine *engine, const struct partition_id *partition,
        const struct block_id *blocks, size_t count, struct error *err);
    /* Forget segments 0 .. count - 1 of an upload that will have no manifest. */
    enum coffer_status (*drop_upload)(
        struct engine *engine, const struct upload_id *upload, uint64_t count, struct error *err);
    /* A read found the payload of this row damaged: count it, once. */
    void (*note_damage)(
        struct engine *engine, const struct engine_row *row, const struct digest *key);
    /* Give back the space of what is dead, while reads and commits go on; NULL: there is never
     * any. What was done so far stays, whatever it returns. Blocking. COFFER_JOB_CONFLICT: one is
     * under way; COFFER_DRAINING: stopped by progress(); COFFER_DISK_FULL. */
    enum coffer_status (*compact)(
        struct engine *engine, struct engine_compaction *compaction, struct error *err);
    /* Read all packs as they are at the call, compare checksums and hashes, and the index with
     * them both ways; goes on after damage; reads and commits go on meanwhile. NULL: there is
     * nothing that could be damaged. Blocking. COFFER_DRAINING: stopped by progress(). */
    enum coffer_status (*validate)(
        struct engine *engine, struct engine_validation *validation, struct error *err);
    /* The packs as they are at one moment, all of them, durably in another folder: sealed ones as
     * hard links where that goes, others as copies that were read again. A store that has them and
     * no index is the store of that moment. Reads and commits go on, a compaction does not. NULL:
     * there are none. Blocking. COFFER_JOB_CONFLICT: a compaction is under way; COFFER_DRAINING:
     * stopped by progress(); COFFER_DISK_FULL; COFFER_DATA_CORRUPT: a pack is missing. */
    enum coffer_status (*backup)(
        struct engine *engine, struct engine_backup *backup, struct error *err);
    void (*status)(struct engine *engine, struct engine_status *status);
    size_t (*packs)(struct engine *engine, uint64_t after, struct engine_pack *packs, size_t count);
    /* Release everything; no other op may be running. */
    enum coffer_status (*close)(struct engine *engine, struct error *err);
};
