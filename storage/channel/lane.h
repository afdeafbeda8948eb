/*
 * lane.h - the write-behind part of a channel: a bounded queue, and a thread while there is work.
 *
 * A lane's states, and who moves it (all under lane.lock):
 *
 *     idle --lane_push()--> buffering --its worker, when due--> flushing --its worker--> idle
 *      ^                        ^                                  |                      or
 *      |                        +----------------------------------+-- buffering (more came)
 *      +-- the worker leaves after LANE_LINGER without work and is parked for the next lane
 *
 * Due is: somebody waits for durability, half of the buffer is used, the oldest operation is older
 * than the flush interval, or the set is draining.
 *
 * Order:   operations of a lane are committed in the order of their sequence numbers, which grow
 *          over all lanes and never repeat in a run of the process. Commits are durable.
 * Threads: any; done() of an operation is called by the lane's worker, with no lock held.
 * Memory:  a lane lives while somebody holds it (lane_set_get/lane_put) or it has work, and is
 *          kept for its counters until room for another name is needed. Operations belong to
 *          their maker; between lane_push() and done() the lane uses them.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/base/slice.h"
#include "storage/base/status.h"
#include "storage/base/waker.h"
#include "storage/engine.h"

struct lane;
struct lane_set;

enum { LANE_NAME_SIZE = 64 }; /* with its NUL */

enum lane_op_state { LANE_OP_QUEUED, LANE_OP_FLUSHING, LANE_OP_DONE };

struct lane_op {
    struct engine_op op;
    uint64_t bytes; /* of memory that it holds, for the buffer's bound */
    bool urgent;    /* somebody waits: do not wait for company longer than sync_delay */
    bool awaited;   /* its maker is told of a failure himself, by done() */
    void (*done)(struct lane_op *op); /* op.status is set */
    /* Or NULL: called by lane_push() when it takes the operation, under the lane's lock, so before
     * anything can happen to it. May take a lock of the rank PENDING, and make it urgent. */
    void (*queued)(struct lane_op *op);
    /* Or NULL: called by the worker right before the commit, with no lock held: the operation is
     * completed only now (lane_grow()). Not COFFER_OK: it fails with that, and is not committed. */
    enum coffer_status (*prepare)(struct lane_op *op);

    uint64_t seq;                    /* set by lane_push() */
    uint64_t pushed_ns;              /* the lane's own */
    _Atomic int state;               /* enum lane_op_state */
    struct lane_op *next, *previous; /* (lane.lock) */
};

struct lane_waiter { /* waits for room, or for a sequence number to be durable */
    struct waker waker;
    uint64_t seq;
    uint64_t bytes; /* (lane.lock) of room that is waited for, or was granted */
    bool granted;   /* (lane.lock) room is kept for the next lane_push() with this waiter */
    struct lane_waiter *next; /* the lane's own */
};

struct lane_failure { /* an operation that could not be made durable */
    uint64_t seq;
    /* Usually seq. When there are more failures than a lane keeps, its last entry stands for all
     * from here to seq: rather one too many is told than one too few. */
    uint64_t first_seq;
    struct digest key;
    bool told; /* to somebody */
};

struct lane_settings {
    uint64_t buffer_size; /* bytes; 0: every operation is urgent */
    uint64_t sync_delay_ns;
    uint64_t flush_interval_ns;
    unsigned lanes_max; /* the engine's number of lanes */
    unsigned default_lanes;
};

MUST_USE enum coffer_status lane_set_create(struct engine *engine,
    const struct lane_settings *settings, struct lane_set **out, struct error *err);
/* Commit all that is queued, end the threads. False: something could not be made durable, and
 * nobody was told of it. */
bool lane_set_destroy(struct lane_set *set);

/* The default lane for an operation of so many bytes: large ones take all of them in turn, small
 * ones the first half, so that they share their syncs, and some are never behind a large one. */
struct lane *lane_set_default(struct lane_set *set, uint64_t bytes);
/* The default lane of something that always takes the same one, by its number. */
struct lane *lane_set_steady(struct lane_set *set, unsigned number);
/* The lane of this name, made if missing; an empty name: lane_set_default() for a small operation.
 * COFFER_BAD_NAME; COFFER_OVERLOADED when all names are in use. */
MUST_USE enum coffer_status lane_set_get(
    struct lane_set *set, struct slice name, struct lane **out, struct error *err);
/* The lane of this name, or NULL: then everything it ever had is durable. */
struct lane *lane_set_find(struct lane_set *set, struct slice name);
void lane_put(struct lane *lane);
const char *lane_name(const struct lane *lane);

/* Queue the operation, or answer false: the buffer is full. Then waiter->waker is called when room
 * has been set aside for it, first come first served; call again with the same waiter, or give
 * the room back with lane_give_room(). An empty buffer takes an operation of any size. Without a
 * waiter it is always taken: for small operations of which there is one a request. */
bool lane_push(struct lane *lane, struct lane_op *op, struct lane_waiter *waiter);
/* The same for `bytes` more of an operation that was pushed before and is not done: how an
 * operation gathers content until it is prepared. `urgent`: from now on somebody waits for it. */
bool lane_grow(
    struct lane *lane, struct lane_op *op, uint64_t bytes, bool urgent, struct lane_waiter *waiter);
/* Somebody waits for this operation from now on. */
void lane_hurry_op(struct lane *lane, struct lane_op *op);
void lane_give_room(
    struct lane *lane, struct lane_waiter *waiter); /* a no-op if none was granted */
/* Take an operation that is still queued out again; its done() is not called. */
bool lane_drop_op(struct lane *lane, struct lane_op *op);
/* True: everything up to seq is durable, or failed. False: the waker is called when it is. The
 * lane hurries. */
bool lane_wait_durable(struct lane *lane, uint64_t seq, struct lane_waiter *waiter);
/* Make the lane flush now, as if somebody waited. */
void lane_hurry(struct lane *lane);
/* The sequence number of the last operation taken so far (0: none). */
uint64_t lane_last_seq(struct lane *lane);

/* Failures with first <= seq <= last; up to count. `once`: only those that nobody was told of
 * before. They stay: who asks for one by its number is told as often as he asks. */
size_t lane_failures(struct lane *lane, uint64_t first, uint64_t last, bool once,
    struct lane_failure *failures, size_t count);

struct lane_info {
    char name[LANE_NAME_SIZE];
    const char *state;
    uint64_t buffered_bytes, buffered_records; /* queued and being flushed */
    uint64_t flushed_bytes, flushed_records, syncs;
    uint64_t last_sync_ns;
};
/* Up to count lanes with a name > after (NULL: all), in name order. */
size_t lane_set_list(
    struct lane_set *set, const char *after, struct lane_info *infos, size_t count);
/* Lanes that have nothing to do let go of what they hold in the engine now, and not only after a
 * while without work. */
void lane_set_let_go(struct lane_set *set);
/* Call `visit` for every lane, held while it is visited. */
void lane_set_each(
    struct lane_set *set, void (*visit)(void *context, struct lane *lane), void *context);
