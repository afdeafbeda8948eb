#include "storage/channel/lane.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/channel/lane_parts.h"

/* A buffer of no size still lets operations queue up while the one before is being flushed. */
enum { ROOM_MIN = 1 << 20 };

const char *lane_name(const struct lane *lane)
{
    return lane->name;
}

static uint64_t room_of(const struct lane *lane)
{
    return max_u64(lane->set->settings.buffer_size, ROOM_MIN);
}

bool lane_is_due(const struct lane *lane, uint64_t now_ns, uint64_t *deadline_ns)
{
    const struct lane_settings *settings = &lane->set->settings;

    invariant(lane->first != NULL);
    if (lane->queued_bytes >= room_of(lane) / 2 || lane->room_waiters != NULL ||
        atomic_load(&lane->set->draining))
        return true;
    if (lane->urgent > 0) {
        *deadline_ns = lane->urgent_ns + settings->sync_delay_ns;
        return settings->sync_delay_ns == 0 || now_ns >= *deadline_ns;
    }
    *deadline_ns = lane->first->pushed_ns + settings->flush_interval_ns;
    return now_ns >= *deadline_ns;
}

/* Whether so many bytes more are within the bound. */
static bool has_room(const struct lane *lane, uint64_t bytes)
{
    uint64_t used = lane->queued_bytes + lane->flushing_bytes + lane->granted_bytes;

    return used == 0 || used + bytes <= room_of(lane);
}

struct lane_waiter *lane_grant_room(struct lane *lane, struct lane_waiter *ready)
{
    while (lane->room_waiters != NULL && has_room(lane, lane->room_waiters->bytes)) {
        struct lane_waiter *waiter = lane->room_waiters;

        lane->room_waiters = waiter->next;
        if (lane->room_waiters == NULL)
            lane->last_room_waiter = &lane->room_waiters;
        waiter->granted = true;
        lane->granted_bytes += waiter->bytes;
        waiter->next = ready;
        ready = waiter;
    }
    return ready;
}

/* Nothing is queued, being flushed, or flushed and not told yet. */
static bool is_empty(const struct lane *lane)
{
    return lane->first == NULL && lane->flushing_count == 0 && !lane->settling;
}

struct lane_waiter *lane_ready_waiters(struct lane *lane)
{
    struct lane_waiter *ready = lane_grant_room(lane, NULL);
    struct lane_waiter **at = &lane->sync_waiters;

    /* An empty lane says more than the last operation: those behind it were dropped. */
    if (is_empty(lane))
        lane->durable_seq = lane->last_seq;
    while (*at != NULL) {
        struct lane_waiter *waiter = *at;

        if (waiter->seq <= lane->durable_seq) {
            *at = waiter->next;
            waiter->next = ready;
            ready = waiter;
        } else {
            at = &waiter->next;
        }
    }
    return ready;
}

void lane_wake_all(struct lane_waiter *waiter)
{
    while (waiter != NULL) {
        struct lane_waiter *next = waiter->next; /* it may be gone once it is woken */

        waker_wake(waiter->waker);
        waiter = next;
    }
}

void lane_give_room(struct lane *lane, struct lane_waiter *waiter)
{
    struct lane_waiter *ready = NULL;

    lock_take(&lane->lock);
    if (waiter->granted) {
        waiter->granted = false;
        lane->granted_bytes -= waiter->bytes;
        ready = lane_grant_room(lane, NULL);
    }
    lock_drop(&lane->lock);
    lane_wake_all(ready);
}

/* Room for the operation, now or granted before; else it waits. */
static bool take_room(struct lane *lane, uint64_t bytes, struct lane_waiter *waiter)
{
    if (waiter->granted) {
        waiter->granted = false;
        lane->granted_bytes -= waiter->bytes;
        return true;
    }
    if (lane->room_waiters == NULL && has_room(lane, bytes))
        return true;
    waiter->bytes = bytes;
    waiter->next = NULL;
    *lane->last_room_waiter = waiter;
    lane->last_room_waiter = &waiter->next;
    return false;
}

static void append(struct lane *lane, struct lane_op *op)
{
    op->next = NULL;
    op->previous = lane->last;
    if (lane->last != NULL)
        lane->last->next = op;
    else
        lane->first = op;
    lane->last = op;
    lane->queued_bytes += op->bytes;
    lane->queued_count++;
}

static void note_urgent(struct lane *lane)
{
    if (lane->urgent++ == 0 && lane->set->settings.sync_delay_ns > 0)
        lane->urgent_ns = clock_monotonic_ns();
}

/* Wake the worker, or find one; drops the lane's lock. */
static void wake_worker(struct lane *lane, bool needed)
{
    bool call = needed && !lane->staffed;

    if (call)
        lane->staffed = true;
    else if (needed && lane->sleeping)
        pthread_cond_signal(&lane->work);
    lock_drop(&lane->lock);
    if (call)
        lane_set_call_worker(lane->set, lane);
}

bool lane_push(struct lane *lane, struct lane_op *op, struct lane_waiter *waiter)
{
    uint64_t deadline;
    bool was_empty;

    lock_take(&lane->lock);
    if (waiter != NULL && !take_room(lane, op->bytes, waiter)) {
        wake_worker(lane, lane->first != NULL);
        return false;
    }
    was_empty = lane->first == NULL;
    op->seq = lane->last_seq = atomic_fetch_add(&lane->set->next_seq, 1) + 1;
    op->pushed_ns = clock_monotonic_ns();
    atomic_store_explicit(&op->state, LANE_OP_QUEUED, memory_order_relaxed);
    op->urgent = op->urgent || lane->set->settings.buffer_size == 0;
    append(lane, op);
    if (op->queued != NULL)
        op->queued(op);
    if (op->urgent)
        note_urgent(lane);
    wake_worker(
        lane, was_empty || lane->urgent == 1 || lane_is_due(lane, op->pushed_ns, &deadline));
    return true;
}

/* Under the lane's lock; true: it was not yet, so the worker has another deadline. A lane that
 * buffers nothing has only urgent operations already. */
static bool make_urgent(struct lane *lane, struct lane_op *op)
{
    if (op->urgent || atomic_load(&op->state) != LANE_OP_QUEUED)
        return false;
    op->urgent = true;
    note_urgent(lane);
    return true;
}

bool lane_grow(
    struct lane *lane, struct lane_op *op, uint64_t bytes, bool urgent, struct lane_waiter *waiter)
{
    uint64_t deadline;
    bool room, queued, hurries = false;

    lock_take(&lane->lock);
    room = take_room(lane, bytes, waiter);
    queued = atomic_load(&op->state) == LANE_OP_QUEUED;
    if (room) {
        op->bytes += bytes;
        *(queued ? &lane->queued_bytes : &lane->flushing_bytes) += bytes;
    }
    if (urgent || !room)
        hurries = make_urgent(lane, op);
    wake_worker(lane,
        lane->first != NULL && (hurries || lane_is_due(lane, clock_monotonic_ns(), &deadline)));
    return room;
}

void lane_hurry_op(struct lane *lane, struct lane_op *op)
{
    lock_take(&lane->lock);
    (void)make_urgent(lane, op);
    wake_worker(lane, lane->first != NULL);
}

bool lane_drop_op(struct lane *lane, struct lane_op *op)
{
    struct lane_waiter *ready = NULL;
    bool queued;

    lock_take(&lane->lock);
    queued = atomic_load(&op->state) == LANE_OP_QUEUED;
    if (queued) {
        *(op->previous != NULL ? &op->previous->next : &lane->first) = op->next;
        *(op->next != NULL ? &op->next->previous : &lane->last) = op->previous;
        lane->queued_bytes -= op->bytes;
        lane->queued_count--;
        lane->urgent -= op->urgent;
        atomic_store(&op->state, LANE_OP_DONE);
        ready = lane_ready_waiters(lane); /* perhaps no flush will come that could tell them */
    }
    lock_drop(&lane->lock);
    lane_wake_all(ready);
    return queued;
}

void lane_hurry(struct lane *lane)
{
    lock_take(&lane->lock);
    if (lane->last != NULL && !lane->last->urgent) {
        lane->last->urgent = true; /* so that the count is right when it is taken or dropped */
        note_urgent(lane);
    }
    wake_worker(lane, lane->first != NULL);
}

bool lane_wait_durable(struct lane *lane, uint64_t seq, struct lane_waiter *waiter)
{
    lock_take(&lane->lock);
    if (lane->durable_seq >= seq || is_empty(lane)) {
        lock_drop(&lane->lock);
        return true;
    }
    waiter->seq = min_u64(seq, lane->last_seq); /* a number that was never given never comes */
    waiter->next = lane->sync_waiters;
    lane->sync_waiters = waiter;
    lock_drop(&lane->lock);
    lane_hurry(lane);
    return false;
}

uint64_t lane_last_seq(struct lane *lane)
{
    uint64_t seq;

    lock_take(&lane->lock);
    seq = lane->last_seq;
    lock_drop(&lane->lock);
    return seq;
}

size_t lane_failures(struct lane *lane, uint64_t first, uint64_t last, bool once,
    struct lane_failure *failures, size_t count)
{
    size_t found = 0;

    lock_take(&lane->lock);
    for (size_t i = 0; i < lane->failure_count && found < count; i++) {
        struct lane_failure *failure = &lane->failures[i];

        if (failure->seq < first || failure->first_seq > last || (once && failure->told))
            continue;
        failures[found++] = *failure;
        failure->told = true;
    }
    lock_drop(&lane->lock);
    return found;
}
