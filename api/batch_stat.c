/*
 * POST /v1/chunks/stat: a HEAD for many. One pass over the keys writes those that exist, as the
 * reply is sent, and marks the others in a bit for each key; a second pass writes those. The thread
 * is a connection's: after some lookups others have their turn, even if nothing came of them.
 */
#include <stdlib.h>

#include "api/item_stream.h"
#include "api/key_body.h"

extern const struct resource chunks_stat_resource;

enum { LOOKUPS_AT_ONCE = 1024 };

struct stat_state {
    struct key_body body;
    struct store *store;
    struct key_window window;
    uint8_t *missing; /* a bit for each key */
    uint64_t at;
    bool begun, in_missing;
};

static enum coffer_status stat_start(struct exchange *exchange, struct error *err)
{
    struct stat_state *state = exchange_alloc(exchange, sizeof(*state));

    exchange->state = state;
    state->store = exchange->service->store;
    return key_body_start(&state->body, exchange, err);
}

static enum coffer_status stat_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct stat_state *state = exchange->state;

    return key_body_data(&state->body, exchange, data, size, taken, err);
}

static void write_item(struct json_out *out, const struct chunk_info *info)
{
    json_out_object(out);
    json_out_member_digest(out, "key", &info->key);
    json_out_member_u64(out, "size", info->size);
    json_out_member_u64(out, "stored_size", info->stored_size);
    json_out_member_text(out, "codec", codec_name(info->codec));
    json_out_member_text(out, "state", chunk_state_name(info->state));
    json_out_member_u64(out, "pack", info->pack);
    json_out_member_u64(out, "offset", info->offset);
    json_out_object_end(out);
}

static enum coffer_status write_next(
    struct stat_state *state, struct json_out *out, struct error *err)
{
    const struct digest *key;
    struct chunk_info info;
    enum coffer_status status;

    if (state->in_missing && (state->missing[state->at / 8] >> state->at % 8 & 1) == 0)
        return COFFER_OK;
    status = key_body_key(&state->body, &state->window, state->at, &key, err);
    if (status != COFFER_OK)
        return status;
    if (state->in_missing) {
        json_out_digest(out, key);
        return COFFER_OK;
    }
    status = store_stat(state->store, key, &info, err);
    if (status == COFFER_OK) {
        write_item(out, &info);
    } else if (status == COFFER_NO_SUCH_CHUNK) {
        state->missing[state->at / 8] |= (uint8_t)(1u << state->at % 8);
        status = COFFER_OK;
    }
    return status;
}

static enum coffer_status fill(void *context, struct json_out *out, bool *done, struct error *err)
{
    struct stat_state *state = context;
    uint64_t count = key_body_keys(&state->body).count;

    if (!state->begun) {
        json_out_object(out);
        json_out_name(out, "chunks");
        json_out_array(out);
        state->begun = true;
    }
    for (unsigned lookups = 0;; lookups += !state->in_missing) {
        struct json_out_mark mark = json_out_mark(out);
        bool last = state->at == count;
        enum coffer_status status = COFFER_OK;

        if (lookups == LOOKUPS_AT_ONCE) {
            json_out_space(out);
            if (json_out_ok(out))
                return COFFER_OK;
        } else if (!last) {
            status = write_next(state, out, err);
        } else if (!state->in_missing) {
            json_out_array_end(out);
            json_out_name(out, "missing");
            json_out_array(out);
        } else {
            json_out_array_end(out);
            json_out_object_end(out);
            json_out_line(out);
        }
        if (status != COFFER_OK)
            return status;
        if (!json_out_ok(out)) {
            json_out_rewind(out, mark);
            return COFFER_OK;
        }
        if (last && state->in_missing) {
            *done = true;
            return COFFER_OK;
        }
        state->at = last ? 0 : state->at + 1;
        state->in_missing |= last;
    }
}

static enum coffer_status stat_finish(struct exchange *exchange, struct error *err)
{
    struct stat_state *state = exchange->state;
    enum coffer_status status = key_body_finish(&state->body, err);
    uint64_t count = key_body_keys(&state->body).count;
    size_t size = (size_t)(count / 8 + 1);

    if (status == COFFER_OK)
        status = exchange_charge(exchange, size, err);
    if (status != COFFER_OK)
        return status;
    state->missing = calloc(1, size);
    if (state->missing == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for %llu keys; try again later",
            (unsigned long long)count);
    return item_stream_reply(exchange, "application/json", fill, state, err);
}

static void stat_release(struct exchange *exchange)
{
    struct stat_state *state = exchange->state;

    if (state == NULL)
        return;
    free(state->missing);
    key_body_release(&state->body);
}

const struct resource chunks_stat_resource = {
    .start = stat_start, .data = stat_data, .finish = stat_finish, .release = stat_release};
