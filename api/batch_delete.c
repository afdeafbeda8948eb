/*
 * POST /v1/chunks/delete: all of the keys that exist, with one record; or none of them.
 *
 * A few keys are looked up by the thread of the connection, as those of other requests are; many by
 * a bulk thread, which then goes on to the end even if nobody waits for it any more.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "api/bulk.h"
#include "api/item_stream.h"
#include "api/key_body.h"
#include "api/pipe.h"
#include "storage/base/invariant.h"

extern const struct resource chunks_delete_resource;

enum { INLINE_KEYS_MAX = 1000, LATCH_SIZE = 1 };

struct deletion {
    struct bulk_task task;
    _Atomic int references; /* the exchange, and the task once it is submitted */
    struct key_body body;   /* constant once the removal has begun */
    struct removal *removal;
    struct pipe *latch; /* of the task: carries no bytes, only how it ended; NULL: inline */
    struct gate gate;   /* the task's */
    struct key_window window;
    uint64_t at;
    bool begun;
};

static void deletion_unref(struct deletion *deletion, int references)
{
    if (atomic_fetch_sub(&deletion->references, references) != references)
        return;
    removal_close(deletion->removal);
    pipe_destroy(deletion->latch);
    gate_release(&deletion->gate);
    key_body_release(&deletion->body);
    free(deletion);
}

/* ---- the bulk thread ---- */

static void run_deletion(struct bulk_task *task)
{
    struct deletion *deletion = container_of(task, struct deletion, task);
    struct error err = {COFFER_OK, ""};
    enum coffer_status status;

    while ((status = removal_finish(deletion->removal, &err)) == COFFER_AGAIN)
        gate_wait(&deletion->gate);
    pipe_finish(deletion->latch, status, &err);
    deletion_unref(deletion, 1);
}

/* ---- the exchange ---- */

static enum coffer_status delete_start(struct exchange *exchange, struct error *err)
{
    struct deletion *deletion = calloc(1, sizeof(*deletion));

    if (deletion == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for a deletion; try again later");
    atomic_init(&deletion->references, 1);
    gate_init(&deletion->gate);
    deletion->task.run = run_deletion;
    exchange->state = deletion;
    return key_body_start(&deletion->body, exchange, err);
}

static enum coffer_status delete_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct deletion *deletion = exchange->state;

    return key_body_data(&deletion->body, exchange, data, size, taken, err);
}

static enum coffer_status write_next(
    struct deletion *deletion, struct json_out *out, struct error *err)
{
    const struct digest *key;
    enum coffer_status status;

    if (!removal_missing(deletion->removal, deletion->at))
        return COFFER_OK;
    status = key_body_key(&deletion->body, &deletion->window, deletion->at, &key, err);
    if (status == COFFER_OK)
        json_out_digest(out, key);
    return status;
}

static enum coffer_status fill(void *context, struct json_out *out, bool *done, struct error *err)
{
    struct deletion *deletion = context;
    uint64_t count = key_body_keys(&deletion->body).count;

    if (!deletion->begun) {
        json_out_object(out);
        json_out_member_u64(out, "deleted", removal_deleted(deletion->removal));
        json_out_name(out, "missing");
        json_out_array(out);
        deletion->begun = true;
    }
    for (;;) {
        struct json_out_mark mark = json_out_mark(out);
        bool last = deletion->at == count;
        enum coffer_status status = COFFER_OK;

        if (last) {
            json_out_array_end(out);
            json_out_object_end(out);
            json_out_line(out);
        } else {
            status = write_next(deletion, out, err);
        }
        if (status != COFFER_OK)
            return status;
        if (!json_out_ok(out)) {
            json_out_rewind(out, mark);
            return COFFER_OK;
        }
        if (last) {
            *done = true;
            return COFFER_OK;
        }
        deletion->at++;
    }
}

static enum coffer_status submit(
    struct exchange *exchange, struct deletion *deletion, struct error *err)
{
    enum coffer_status status = pipe_create(LATCH_SIZE, &deletion->latch, err);

    if (status != COFFER_OK)
        return status;
    atomic_store(&deletion->references, 2);
    status = bulk_pool_submit(exchange->service->bulk, &deletion->task, err);
    if (status != COFFER_OK)
        atomic_store(&deletion->references, 1);
    return status;
}

static enum coffer_status begin(
    struct exchange *exchange, struct deletion *deletion, struct error *err)
{
    struct key_source keys;
    bool many;
    enum coffer_status status = key_body_finish(&deletion->body, err);

    if (status != COFFER_OK)
        return status;
    keys = key_body_keys(&deletion->body);
    many = keys.count > INLINE_KEYS_MAX;
    status = removal_begin(exchange->service->store, keys,
        many ? gate_waker(&deletion->gate) : exchange_waker(exchange), &deletion->removal, err);
    if (status == COFFER_OK && many)
        status = submit(exchange, deletion, err);
    return status;
}

static enum coffer_status delete_finish(struct exchange *exchange, struct error *err)
{
    struct deletion *deletion = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (deletion->removal == NULL)
        status = begin(exchange, deletion, err);
    if (status == COFFER_OK)
        status = deletion->latch != NULL
                     ? pipe_try_wait(deletion->latch, exchange_waker(exchange), err)
                     : removal_finish(deletion->removal, err);
    if (status != COFFER_OK)
        return status;
    return item_stream_reply(exchange, "application/json", fill, deletion, err);
}

static void delete_release(struct exchange *exchange)
{
    struct deletion *deletion = exchange->state;
    bool withdrawn = false;

    if (deletion == NULL)
        return;
    if (deletion->latch != NULL) {
        pipe_cancel(deletion->latch);
        withdrawn = bulk_pool_withdraw(exchange->service->bulk, &deletion->task);
    }
    deletion_unref(deletion, withdrawn ? 2 : 1);
}

const struct resource chunks_delete_resource = {
    .start = delete_start, .data = delete_data, .finish = delete_finish, .release = delete_release};
