/*
 * POST /v1/chunks/delete: all of the keys that exist, with one record; or none of them.
 */
#include "api/item_stream.h"
#include "api/key_body.h"

extern const struct resource chunks_delete_resource;

struct delete_state {
    struct key_body body;
    struct removal *removal;
    size_t at;
    bool begun;
};

static enum coffer_status delete_start(struct exchange *exchange, struct error *err)
{
    struct delete_state *state = exchange_alloc(exchange, sizeof(*state));

    exchange->state = state;
    return key_body_start(&state->body, exchange, err);
}

static enum coffer_status delete_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct delete_state *state = exchange->state;

    return key_body_data(&state->body, exchange, data, size, taken, err);
}

static enum coffer_status fill(void *context, struct json_out *out, bool *done, struct error *err)
{
    struct delete_state *state = context;
    const struct key_list *list = &state->body.list;

    (void)err;
    if (!state->begun) {
        json_out_object(out);
        json_out_member_u64(out, "deleted", removal_deleted(state->removal));
        json_out_name(out, "missing");
        json_out_array(out);
        state->begun = true;
    }
    for (;;) {
        struct json_out_mark mark = json_out_mark(out);
        bool last = state->at == list->count;

        if (last) {
            json_out_array_end(out);
            json_out_object_end(out);
            json_out_line(out);
        } else if (removal_missing(state->removal, state->at)) {
            json_out_digest(out, &list->keys[state->at]);
        }
        if (!json_out_ok(out)) {
            json_out_rewind(out, mark);
            return COFFER_OK;
        }
        if (last) {
            *done = true;
            return COFFER_OK;
        }
        state->at++;
    }
}

static enum coffer_status delete_finish(struct exchange *exchange, struct error *err)
{
    struct delete_state *state = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (state->removal == NULL) {
        status = key_body_finish(&state->body, err);
        if (status == COFFER_OK)
            status = removal_begin(exchange->service->store, state->body.list.keys,
                state->body.list.count, exchange_waker(exchange), &state->removal, err);
    }
    if (status == COFFER_OK)
        status = removal_finish(state->removal, err);
    if (status != COFFER_OK)
        return status;
    return item_stream_reply(exchange, "application/json", fill, state, err);
}

static void delete_release(struct exchange *exchange)
{
    struct delete_state *state = exchange->state;

    if (state == NULL)
        return;
    removal_close(state->removal);
    key_body_release(&state->body);
}

const struct resource chunks_delete_resource = {
    .start = delete_start, .data = delete_data, .finish = delete_finish, .release = delete_release};
