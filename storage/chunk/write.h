/*
 * write.h - one chunk on its way through a lane: its operation, its content, its entry in the
 * pending table. Outlives the upload that made it when that is answered before it is durable.
 *
 * Threads: any; reference counted.
 */
#pragma once

#include <stdatomic.h>

#include "storage/channel/lane.h"
#include "storage/chunk/body.h"
#include "storage/chunk/pending.h"

struct store;

struct chunk_write {
    struct lane_op lane_op;
    struct pending_entry entry;
    struct store *store;
    struct lane *lane; /* held */
    struct body *body; /* NULL for a manifest */
    uint64_t size;     /* of the chunk */
    _Atomic unsigned references;
    /* Set by the uploader before the write is queued; called once when it is settled. */
    struct waker waker;
    _Atomic bool settled;
    enum coffer_status status; /* valid once settled */
};

/* Takes over one reference each to lane and body. */
struct chunk_write *write_create(
    struct store *store, struct lane *lane, struct body *body, const struct digest *key);
struct chunk_write *write_ref(struct chunk_write *write);
void write_unref(struct chunk_write *write);
/* The done() of its lane_op, and what a deletion calls for a write that it dropped. */
void write_settle(struct chunk_write *write, enum coffer_status status);
/* The state that a reader sees: buffered or flushing. */
int write_is_flushing(const struct chunk_write *write);
