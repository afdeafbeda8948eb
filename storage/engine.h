/*
 * engine.h - what every storage engine promises, op by op; tests/contract runs one suite against
 * all of them. Everything above (chunk/, channel/) needs only this.
 *
 * An engine keeps chunks (immutable bytes named by SHA-256), the segments that large chunks are
 * cut into, and nothing that is not durable: commit() is the one way in, and what it has stored
 * is on stable storage and visible when it returns.
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

#include "storage/base/digest.h"
#include "storage/base/engine_row.h"
#include "storage/base/status.h"

enum {
    /* Writable bytes that a body has before and after its content, so that an engine can put its
     * record header and padding there instead of copying. */
    ENGINE_HEADROOM = 96,
    ENGINE_TAILROOM = 8,
};

enum engine_op_kind {
    ENGINE_PUT,      /* a chunk that fits into one segment */
    ENGINE_SEGMENT,  /* segment `segment` of upload `upload`; invisible until its manifest */
    ENGINE_MANIFEST, /* a chunk made of the segments of `upload`, all committed before */
    ENGINE_DELETE,   /* all of `keys` at once; those that are not there count as deleted */
};

struct engine_op {
    enum engine_op_kind kind;
    struct digest key; /* PUT, MANIFEST */
    void *body;        /* PUT, SEGMENT: content, between ENGINE_HEADROOM and ENGINE_TAILROOM */
    uint64_t size;     /* of the content; MANIFEST: of the whole chunk */
    bool replace;      /* PUT, MANIFEST: a copy is there and damaged; take its place */
    struct upload_id upload;   /* SEGMENT, MANIFEST */
    uint64_t segment;          /* SEGMENT: from 0 */
    uint64_t segment_size;     /* SEGMENT, MANIFEST: of all segments but the last */
    const struct digest *keys; /* DELETE; distinct */
    size_t key_count;
    /* Out: */
    uint64_t stored_size; /* PUT, SEGMENT: bytes as stored; MANIFEST: in, the sum of its segments */
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

struct engine {
    const struct engine_ops *ops; /* first member of local_engine and memory_engine */
};

struct engine_ops {
    const char *name;
    /* Store all ops: each op's status says whether it is durable and visible. The result is the
     * first failure, for the log. A lane is a number below the engine's lane count; one thread at
     * a time uses a lane, different lanes run in parallel. Either all keys of a DELETE are gone
     * after a crash, or none. */
    enum coffer_status (*commit)(struct engine *engine, unsigned lane, struct engine_op **ops,
        size_t count, struct error *err);
    /* Nothing will come on this lane for a while: let go of what it holds open. */
    void (*lane_idle)(struct engine *engine, unsigned lane);
    /* COFFER_OK or COFFER_NO_SUCH_CHUNK. */
    enum coffer_status (*find)(
        struct engine *engine, const struct digest *key, struct engine_row *row, struct error *err);
    enum coffer_status (*find_segment)(struct engine *engine, const struct upload_id *upload,
        uint64_t segment, struct engine_row *row, struct error *err);
    /* The payload of a row stays readable until unpin(), also when it is deleted meanwhile.
     * COFFER_DATA_CORRUPT when the row's pack is gone. */
    enum coffer_status (*pin)(struct engine *engine, const struct engine_row *row,
        struct engine_source *source, struct error *err);
    void (*unpin)(struct engine *engine, struct engine_source *source);
    /* Up to count chunks with a key > *after (NULL: all), ascending. */
    enum coffer_status (*scan)(struct engine *engine, const struct digest *after,
        struct digest *keys, struct engine_row *rows, size_t count, size_t *found,
        struct error *err);
    /* Forget segments 0 .. count - 1 of an upload that will have no manifest. */
    enum coffer_status (*drop_upload)(
        struct engine *engine, const struct upload_id *upload, uint64_t count, struct error *err);
    /* A read found the payload of this row damaged: count it, once. */
    void (*note_damage)(
        struct engine *engine, const struct engine_row *row, const struct digest *key);
    void (*status)(struct engine *engine, struct engine_status *status);
    size_t (*packs)(struct engine *engine, uint64_t after, struct engine_pack *packs, size_t count);
    /* Release everything; no other op may be running. */
    enum coffer_status (*close)(struct engine *engine, struct error *err);
};
