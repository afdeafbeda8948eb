/*
 * One chunk coming in. Its course:
 *
 *   TAKING ---- upload_finish() ----> CHECKED --> CHARGED --> RESERVED --> COMPARED --> QUEUED
 *     |  bytes, into a body that       digest      memory      entry in     no good      on its
 *     |  is charged to the budget      compared    charged     pending      copy is      lane;
 *     |  before it is filled                                   table        stored       settled
 *     +-- more than a segment: segments go to the lane as they fill, a manifest at the end
 *
 * Each step that has to wait returns COFFER_AGAIN and is entered again at the next call.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/chunk/segments.h"
#include "storage/chunk/write.h"

enum {
    SMALL_BODY = 64 * 1024, /* of unknown size: taken without a charge, bounded by connections */
    HASH_AT_ONCE_MAX = SMALL_BODY,
};

enum upload_step {
    STEP_TAKING,
    STEP_CHECKED,
    STEP_CHARGED,
    STEP_RESERVED,
    STEP_COMPARED,
    STEP_QUEUED,
    STEP_DONE
};

struct upload {
    struct store *store;
    struct waker waker;
    enum durability durability;
    uint64_t announced, received;
    bool has_key, has_digest, failed;
    struct digest key, digest;
    enum upload_step step;
    struct lane *lane;
    struct body *body;
    uint64_t body_wanted; /* capacity that a charge is being waited for; 0: none */
    struct budget_request request;
    bool requested; /* the request waits, or was granted and not used yet */
    struct sha256 sha;
    bool hashing;
    struct segment_sender *segments; /* NULL until the body is larger than one segment */
    struct chunk_write *write;
    struct pending_waiter pending_waiter;
    struct lane_waiter lane_waiter;
    bool reserved; /* write->entry is in the pending table */
    bool replace;
    bool looked;         /* for a stored copy, before the first segment was sent */
    bool there;          /* and found a good one: the body is only hashed */
    struct reader *copy; /* a stored copy that is being verified */
    struct upload_result result;
};

enum coffer_status upload_begin(struct store *store, const struct upload_options *options,
    struct waker waker, struct upload **out, struct error *err)
{
    struct upload *upload;
    struct lane *lane;
    enum coffer_status status =
        store_check_space(store, options->size == UPLOAD_SIZE_UNKNOWN ? 0 : options->size, err);

    if (status == COFFER_OK && options->channel.size == 0)
        lane = lane_set_default(store->lanes, options->size); /* of unknown size: as if large */
    else if (status == COFFER_OK)
        status = lane_set_get(store->lanes, options->channel, &lane, err);
    if (status != COFFER_OK)
        return status;
    upload = calloc(1, sizeof(*upload));
    invariant(upload != NULL);
    upload->store = store;
    upload->waker = waker;
    upload->durability = options->durability;
    upload->announced = options->size;
    upload->lane = lane;
    upload->has_key = options->key != NULL;
    if (upload->has_key)
        upload->key = *options->key;
    upload->has_digest = options->digest != NULL;
    if (upload->has_digest)
        upload->digest = *options->digest;
    *out = upload;
    return COFFER_OK;
}

/* ---- taking the body ---- */

static void hurry(void *context, struct lane *lane)
{
    (void)context;
    lane_hurry(lane);
}

/* Charge `bytes` to the budget, or wait for them. */
static bool charge(struct upload *upload, uint64_t bytes)
{
    if (!upload->requested) {
        /* What fills the memory may be buffered writes that nobody waits for yet. */
        if (!budget_has_room(&upload->store->budget, bytes))
            lane_set_each(upload->store->lanes, hurry, NULL);
        upload->request = (struct budget_request){.bytes = bytes, .waker = upload->waker};
        upload->requested = true;
        if (!budget_take(&upload->store->budget, &upload->request))
            return false;
    } else if (!budget_granted(&upload->store->budget, &upload->request)) {
        return false;
    }
    upload->requested = false;
    return true;
}

/* A body of `capacity`; with what the present one holds, if any. */
static enum coffer_status make_body(
    struct upload *upload, size_t capacity, bool charged, struct error *err)
{
    struct body *body = body_create(capacity);

    if (body == NULL) {
        if (charged)
            budget_give(&upload->store->budget, capacity);
        return error_set(err, COFFER_OVERLOADED, "no memory for a body of %zu bytes", capacity);
    }
    if (charged) {
        body->budget = &upload->store->budget;
        body->charged = capacity;
    }
    if (upload->body != NULL) {
        memcpy(body->content, upload->body->content, upload->body->size);
        body->size = upload->body->size;
        body_unref(upload->body);
    }
    upload->body = body;
    return COFFER_OK;
}

static void hash(struct upload *upload, const void *data, size_t size)
{
    if (!upload->hashing) {
        sha256_init(&upload->sha);
        upload->hashing = true;
        if (upload->body != NULL) /* what came before, which was not hashed yet */
            sha256_update(&upload->sha, upload->body->content, upload->body->size);
    }
    if (size > 0)
        sha256_update(&upload->sha, data, size);
}

/* A large body whose key is known is not written at all if it is there, and good. */
static enum coffer_status look_for_copy(struct upload *upload, struct error *err)
{
    enum coffer_status status = COFFER_NO_SUCH_CHUNK;

    if (upload->has_key && upload->copy == NULL)
        status = reader_open(upload->store, &upload->key, upload->waker, &upload->copy, err);
    if (upload->copy != NULL)
        status = reader_verify(upload->copy, err);
    if (status == COFFER_AGAIN)
        return status;
    upload->looked = true;
    upload->there = status == COFFER_OK && reader_info(upload->copy)->state == CHUNK_DURABLE;
    reader_close(upload->copy);
    upload->copy = NULL;
    return COFFER_OK; /* if the look failed: the write will show what is wrong */
}

/* Room for at least one more byte in upload->body. */
static enum coffer_status make_room(struct upload *upload, struct error *err)
{
    uint64_t segment = upload->store->options.segment_size;
    enum coffer_status status;

    if (upload->body != NULL && upload->body->size < upload->body->capacity)
        return COFFER_OK;
    if (upload->body != NULL && upload->body->size == segment) {
        if (!upload->hashing)
            hash(upload, NULL, 0); /* its bytes are out of reach from now on */
        status = upload->looked ? COFFER_OK : look_for_copy(upload, err);
        if (status != COFFER_OK)
            return status;
        if (upload->there) { /* only to be hashed */
            upload->body->size = 0;
            return COFFER_OK;
        }
        if (upload->segments == NULL)
            upload->segments = segments_create(upload->store, upload->lane, segment);
        status = segments_send(upload->segments, &upload->body, upload->waker, err);
        if (status != COFFER_OK)
            return status;
    }
    if (upload->announced == UPLOAD_SIZE_UNKNOWN && upload->body == NULL &&
        upload->segments == NULL && segment > SMALL_BODY)
        return make_body(upload, SMALL_BODY, false, err);
    upload->body_wanted = min_u64(upload->announced == UPLOAD_SIZE_UNKNOWN
                                      ? segment
                                      : upload->announced - upload->received +
                                            (upload->body == NULL ? 0 : upload->body->size),
        segment);
    if (!charge(upload, upload->body_wanted))
        return COFFER_AGAIN;
    return make_body(upload, (size_t)upload->body_wanted, true, err);
}

enum coffer_status upload_data(
    struct upload *upload, const void *data, size_t size, size_t *taken, struct error *err)
{
    *taken = 0;
    if (upload->failed)
        return error_set(err, COFFER_INTERNAL, "the upload has failed");
    if (upload->announced != UPLOAD_SIZE_UNKNOWN && size > upload->announced - upload->received) {
        upload->failed = true;
        return error_set(err, COFFER_CONTENT_TOO_LARGE, "the body is longer than announced");
    }
    while (*taken < size) {
        const uint8_t *from = (const uint8_t *)data + *taken;
        enum coffer_status status = make_room(upload, err);
        size_t part;

        if (status != COFFER_OK) {
            upload->failed = status != COFFER_AGAIN;
            return status;
        }
        part = (size_t)min_u64(size - *taken, upload->body->capacity - upload->body->size);
        /* A small body is hashed at once at its end, without a context of its own. */
        if (upload->hashing || upload->body->size + part > HASH_AT_ONCE_MAX)
            hash(upload, from, part);
        memcpy(upload->body->content + upload->body->size, from, part);
        upload->body->size += part;
        upload->received += part;
        *taken += part;
    }
    return COFFER_OK;
}

/* ---- finishing ---- */

static void found_durable(struct upload *upload)
{
    upload->result.created = false;
    upload->result.state = CHUNK_DURABLE;
    upload->step = STEP_DONE;
}

static enum coffer_status check(struct upload *upload, struct error *err)
{
    struct digest actual;
    char wanted[DIGEST_HEX_SIZE + 1], got[DIGEST_HEX_SIZE + 1];
    const struct digest *mismatch = NULL;

    if (upload->failed)
        return error_set(err, COFFER_INTERNAL, "the upload has failed");
    if (upload->announced != UPLOAD_SIZE_UNKNOWN && upload->received != upload->announced)
        return error_set(err, COFFER_BAD_REQUEST, "the body has %llu bytes of the %llu announced",
            (unsigned long long)upload->received, (unsigned long long)upload->announced);
    if (upload->hashing)
        sha256_final(&upload->sha, &actual);
    else
        sha256_once(upload->body == NULL ? NULL : upload->body->content,
            upload->body == NULL ? 0 : upload->body->size, &actual);
    if (upload->has_key && !digest_equal(&actual, &upload->key))
        mismatch = &upload->key;
    else if (upload->has_digest && !digest_equal(&actual, &upload->digest))
        mismatch = &upload->digest;
    upload->key = actual;
    if (mismatch == NULL && upload->there)
        found_durable(upload);
    else if (mismatch == NULL)
        upload->step = STEP_CHECKED;
    if (mismatch == NULL)
        return COFFER_OK;
    upload->failed = true;
    digest_to_hex(mismatch, wanted);
    digest_to_hex(&actual, got);
    return error_set(err, COFFER_DIGEST_MISMATCH,
        "the SHA-256 of the body is %s, not %s: nothing was kept", got, wanted);
}

/* A body that came without a charge gets one (or a copy of its own size that has one). */
static enum coffer_status settle_memory(struct upload *upload, struct error *err)
{
    enum coffer_status status;

    if (upload->body == NULL && upload->segments == NULL) {
        status = make_body(upload, 0, false, err);
        if (status != COFFER_OK)
            return status;
    }
    if (upload->body != NULL) /* of unknown length, it was made for as much as may come */
        upload->body = body_shrink(upload->body);
    if (upload->body != NULL && upload->body->budget == NULL && upload->body->size > 0) {
        uint64_t size = upload->body->size;

        if (!charge(upload, size))
            return COFFER_AGAIN;
        upload->body->budget = &upload->store->budget;
        upload->body->charged = size;
    }
    status = store_check_space(upload->store, upload->received, err);
    if (status == COFFER_OK && upload->segments != NULL)
        status = segments_finish(upload->segments, &upload->body, upload->waker, err);
    if (status != COFFER_OK)
        return status;
    upload->write = write_create(upload->store, upload->lane, upload->body, &upload->key);
    upload->lane = NULL; /* the write has them now */
    upload->body = NULL;
    upload->step = STEP_CHARGED;
    return COFFER_OK;
}

/* Get the key for ourselves, or find that its content is in the buffer already. */
static enum coffer_status reserve(struct upload *upload)
{
    struct chunk_write *other;
    enum pending_found found;

    upload->pending_waiter.waker = upload->waker;
    found = pending_insert(upload->store->pending, &upload->write->entry,
        upload->durability == DURABILITY_SYNCED, &upload->pending_waiter, &other);
    if (found == PENDING_INSERTED) {
        upload->reserved = true;
        upload->step = STEP_RESERVED;
        return COFFER_OK;
    }
    if (found == PENDING_BUFFERED && upload->durability == DURABILITY_SYNCED) {
        /* Durable only when that copy is: hurry it, and look again when it is settled. */
        lane_hurry(other->lane);
        write_unref(other);
        return COFFER_AGAIN;
    }
    if (found == PENDING_BUFFERED) {
        upload->result.created = false;
        upload->result.state = write_is_flushing(other) ? CHUNK_FLUSHING : CHUNK_BUFFERED;
        ticket_format(
            upload->store, lane_name(other->lane), other->lane_op.seq, &upload->result.ticket);
        write_unref(other);
        upload->step = STEP_DONE;
        return COFFER_OK;
    }
    return COFFER_AGAIN;
}

/* Verify the stored copy before believing that nothing needs to be written. */
static enum coffer_status compare(struct upload *upload, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    if (upload->copy == NULL)
        status = reader_open(upload->store, &upload->key, upload->waker, &upload->copy, err);
    if (status == COFFER_NO_SUCH_CHUNK) {
        upload->step = STEP_COMPARED;
        return COFFER_OK;
    }
    if (status == COFFER_OK)
        status = reader_verify(upload->copy, err);
    if (status == COFFER_AGAIN)
        return status;
    reader_close(upload->copy);
    upload->copy = NULL;
    if (status == COFFER_DATA_CORRUPT) {
        upload->replace = true;
        upload->step = STEP_COMPARED;
        return COFFER_OK;
    }
    if (status == COFFER_OK)
        found_durable(upload);
    return status;
}

static void unreserve(struct upload *upload)
{
    if (!upload->reserved)
        return;
    upload->reserved = false;
    pending_remove(upload->store->pending, &upload->write->entry);
}

static enum coffer_status queue(struct upload *upload)
{
    struct chunk_write *write = upload->write;
    struct lane_op *lane_op = &write->lane_op;
    bool synced = upload->durability == DURABILITY_SYNCED || upload->segments != NULL ||
                  upload->store->options.buffer_size == 0;

    lane_op->bytes = sizeof(*write) + (write->body == NULL ? 0 : write->body->size);
    lane_op->awaited = synced;
    lane_op->urgent = synced || !budget_has_room(&upload->store->budget, 0); /* some wait for it */
    lane_op->op.replace = upload->replace;
    if (upload->segments != NULL)
        segments_fill_manifest(upload->segments, upload->received, &lane_op->op);
    write->waker = synced ? upload->waker : (struct waker){NULL, NULL};
    upload->lane_waiter.waker = upload->waker;
    (void)write_ref(write); /* the lane's; before the push, for the write may settle at once */
    if (!lane_push(write->lane, lane_op, &upload->lane_waiter)) {
        write_unref(write);
        return COFFER_AGAIN;
    }
    upload->reserved = false; /* the settling removes the entry */
    upload->result.created = true;
    atomic_fetch_add_explicit(
        &upload->store->written_since_seen, upload->received, memory_order_relaxed);
    if (synced) {
        upload->step = STEP_QUEUED;
        return COFFER_AGAIN;
    }
    upload->result.state = CHUNK_BUFFERED;
    ticket_format(upload->store, lane_name(write->lane), lane_op->seq, &upload->result.ticket);
    upload->step = STEP_DONE;
    return COFFER_OK;
}

static enum coffer_status settled(struct upload *upload, struct error *err)
{
    struct chunk_write *write = upload->write;

    invariant(atomic_load_explicit(&write->settled, memory_order_acquire));
    if (write->status == COFFER_DISK_FULL)
        return error_set(err, COFFER_DISK_FULL, "the disk has no space left for new data");
    if (write->status != COFFER_OK)
        return error_set(
            err, write->status, "the write failed and was not stored; the log has the reason");
    if (upload->segments != NULL)
        segments_keep(upload->segments);
    upload->result.state = CHUNK_DURABLE;
    upload->step = STEP_DONE;
    return COFFER_OK;
}

enum coffer_status upload_finish(
    struct upload *upload, struct upload_result *result, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    while (status == COFFER_OK && upload->step != STEP_DONE) {
        switch (upload->step) {
        case STEP_TAKING:
            status = check(upload, err);
            break;
        case STEP_CHECKED:
            status = settle_memory(upload, err);
            break;
        case STEP_CHARGED:
            status = reserve(upload);
            break;
        case STEP_RESERVED:
            status = compare(upload, err);
            break;
        case STEP_COMPARED:
            status = queue(upload);
            break;
        case STEP_QUEUED:
            status = settled(upload, err);
            break;
        case STEP_DONE:
            break;
        }
    }
    if (status != COFFER_AGAIN)
        unreserve(upload);
    if (status == COFFER_OK) {
        upload->result.key = upload->key;
        upload->result.size = upload->received;
        *result = upload->result;
    }
    return status;
}

void upload_close(struct upload *upload)
{
    if (upload == NULL)
        return;
    if (upload->requested && budget_cancel(&upload->store->budget, &upload->request))
        budget_give(&upload->store->budget, upload->request.bytes);
    unreserve(upload);
    if (upload->write != NULL)
        lane_give_room(upload->write->lane, &upload->lane_waiter);
    reader_close(upload->copy);
    segments_destroy(upload->segments);
    write_unref(upload->write);
    body_unref(upload->body);
    lane_put(upload->lane);
    if (upload->hashing)
        sha256_release(&upload->sha);
    free(upload);
}
