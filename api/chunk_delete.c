/*
 * DELETE /v1/chunks/{key}: answered when the deletion is durable.
 */
#include "api/chunk_key.h"

extern const struct resource chunk_delete_resource;

struct delete_state {
    struct removal *removal;
    struct digest key;
};

static enum coffer_status delete_start(struct exchange *exchange, struct error *err)
{
    struct delete_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = chunk_key_of(exchange, true, &state->key, err);
    if (status == COFFER_OK)
        status = chunk_check_conditions(exchange, &state->key, err);
    if (status == COFFER_OK)
        status = removal_begin(exchange->service->store, key_source_array(&state->key, 1),
            exchange_waker(exchange), &state->removal, err);
    return status;
}

static enum coffer_status delete_finish(struct exchange *exchange, struct error *err)
{
    struct delete_state *state = exchange->state;
    enum coffer_status status = removal_finish(state->removal, err);

    if (status != COFFER_OK)
        return status;
    if (removal_deleted(state->removal) == 0)
        return error_set(err, COFFER_NO_SUCH_CHUNK, "no chunk is stored under this key");
    exchange_reply(exchange, 204);
    return COFFER_OK;
}

static void delete_release(struct exchange *exchange)
{
    struct delete_state *state = exchange->state;

    removal_close(state->removal);
}

const struct resource chunk_delete_resource = {
    .start = delete_start, .finish = delete_finish, .release = delete_release};
