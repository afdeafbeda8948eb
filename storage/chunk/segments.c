#include "storage/chunk/segments.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"
#include "storage/base/log.h"

struct segment_sender {
    struct store *store;
    struct lane *lane;
    struct upload_id upload;
    uint64_t segment_size, sent;
    bool kept;
    struct lane_waiter room;
    struct lock lock;
    struct waker waker;        /* (lock) */
    bool waiting;              /* (lock) the waker is to be called when one is done */
    unsigned in_flight;        /* (lock) */
    bool abandoned;            /* (lock) the last one done frees the sender */
    uint64_t stored;           /* (lock) bytes as stored */
    enum coffer_status status; /* (lock) the first failure */
};

struct segment_write {
    struct lane_op lane_op;
    struct segment_sender *sender;
    struct body *body;
};

struct segment_sender *segments_create(
    struct store *store, struct lane *lane, uint64_t segment_size)
{
    struct segment_sender *sender = calloc(1, sizeof(*sender));

    invariant(sender != NULL);
    sender->store = store;
    sender->lane = lane;
    sender->segment_size = segment_size;
    lock_init(&sender->lock, LOCK_PENDING);
    random_bytes(sender->upload.bytes, UPLOAD_ID_SIZE);
    return sender;
}

static void free_sender(struct segment_sender *sender)
{
    struct engine *engine = sender->store->engine;
    struct error error;

    if (!sender->kept && sender->sent > 0 &&
        engine->ops->drop_upload(engine, &sender->upload, sender->sent, &error) != COFFER_OK)
        log_write(LOG_WARN, "segments_left", "%s", error.text); /* the next start forgets them */
    lock_release(&sender->lock);
    free(sender);
}

static void segment_done(struct lane_op *op)
{
    struct segment_write *write = container_of(op, struct segment_write, lane_op);
    struct segment_sender *sender = write->sender;
    struct waker waker = {NULL, NULL};
    bool last;

    body_unref(write->body);
    lock_take(&sender->lock);
    if (sender->status == COFFER_OK)
        sender->status = op->op.status;
    sender->stored += op->op.stored_size;
    sender->in_flight--;
    if (sender->waiting)
        waker = sender->waker;
    sender->waiting = false;
    last = sender->abandoned && sender->in_flight == 0;
    lock_drop(&sender->lock);
    free(write);
    if (last)
        free_sender(sender);
    else
        waker_wake(waker);
}

/* At most `limit` segments are in flight, or COFFER_AGAIN; or the failure of one. */
static enum coffer_status wait_below(
    struct segment_sender *sender, unsigned limit, struct waker waker, struct error *err)
{
    enum coffer_status status;
    bool busy;

    lock_take(&sender->lock);
    busy = sender->in_flight > limit;
    lock_drop(&sender->lock);
    if (busy)
        lane_hurry(sender->lane); /* or we would wait for the flush timer */
    lock_take(&sender->lock);
    status = sender->status;
    if (sender->in_flight > limit && status == COFFER_OK) {
        sender->waker = waker;
        sender->waiting = true;
        status = COFFER_AGAIN;
    }
    lock_drop(&sender->lock);
    if (status != COFFER_OK && status != COFFER_AGAIN)
        return error_set(err, status, "a part of the chunk could not be written");
    return status;
}

enum coffer_status segments_send(
    struct segment_sender *sender, struct body **body, struct waker waker, struct error *err)
{
    enum coffer_status status = wait_below(sender, SEGMENTS_IN_FLIGHT - 1, waker, err);
    struct segment_write *write;

    if (status != COFFER_OK)
        return status;
    write = calloc(1, sizeof(*write));
    invariant(write != NULL);
    write->sender = sender;
    write->body = *body;
    write->lane_op.bytes = (*body)->size;
    write->lane_op.done = segment_done;
    write->lane_op.awaited = true;
    write->lane_op.op = (struct engine_op){.kind = ENGINE_SEGMENT,
        .body = (*body)->content,
        .size = (*body)->size,
        .upload = sender->upload,
        .segment = sender->sent,
        .segment_size = sender->segment_size};
    lock_take(&sender->lock);
    sender->in_flight++;
    lock_drop(&sender->lock);
    sender->room.waker = waker;
    if (!lane_push(sender->lane, &write->lane_op, &sender->room)) {
        lock_take(&sender->lock);
        sender->in_flight--;
        lock_drop(&sender->lock);
        free(write);
        return COFFER_AGAIN;
    }
    *body = NULL;
    sender->sent++;
    return COFFER_OK;
}

enum coffer_status segments_finish(
    struct segment_sender *sender, struct body **body, struct waker waker, struct error *err)
{
    if (*body != NULL) {
        enum coffer_status status = segments_send(sender, body, waker, err);

        if (status != COFFER_OK)
            return status;
    }
    return wait_below(sender, 0, waker, err);
}

void segments_fill_manifest(
    const struct segment_sender *sender, uint64_t size, struct engine_op *op)
{
    op->kind = ENGINE_MANIFEST;
    op->size = size;
    op->upload = sender->upload;
    op->segment_size = sender->segment_size;
    op->stored_size = sender->stored; /* no segment is in flight any more */
}

void segments_keep(struct segment_sender *sender)
{
    sender->kept = true;
}

void segments_destroy(struct segment_sender *sender)
{
    bool last;

    if (sender == NULL)
        return;
    lane_give_room(sender->lane, &sender->room);
    lock_take(&sender->lock);
    sender->abandoned = true;
    last = sender->in_flight == 0;
    lock_drop(&sender->lock);
    if (last)
        free_sender(sender);
}
