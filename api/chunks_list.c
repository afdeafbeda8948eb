/*
 * GET /v1/chunks: in key order, as a page of JSON or all of it as NDJSON, a page of the index at a
 * time. Chunks that come or go while the list is sent may or may not be in it.
 */
#include "api/item_list.h"

extern const struct resource chunks_list_resource;

enum { PAGE = 512 };

struct list_state {
    struct item_list list;
    struct store *store;
    struct digest after; /* the page goes on behind it */
    bool has_after;
    struct chunk_info page[PAGE];
};

static enum coffer_status fetch(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct list_state *state = context;
    enum coffer_status status = store_list(state->store, state->has_after ? &state->after : NULL,
        state->list.query.prefix, state->page, wanted, found, err);

    if (status != COFFER_OK)
        return status;
    *last = *found < wanted;
    if (*found > 0) {
        state->after = state->page[*found - 1].key;
        state->has_after = true;
    }
    return COFFER_OK;
}

static void write_item(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;
    const struct chunk_info *info = &state->page[at];

    json_out_object(out);
    json_out_member_digest(out, "key", &info->key);
    json_out_member_u64(out, "size", info->size);
    json_out_member_u64(out, "stored_size", info->stored_size);
    json_out_object_end(out);
}

static void write_next(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;

    json_out_digest(out, &state->page[at].key);
}

static const struct item_source chunks = {
    .name = "chunks", .page = PAGE, .fetch = fetch, .write = write_item, .write_next = write_next};

static bool is_hex(struct slice text)
{
    const char *at = text.data;

    for (size_t i = 0; i < text.size; i++)
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
            return false;
    return text.size <= DIGEST_HEX_SIZE;
}

static enum coffer_status list_finish(struct exchange *exchange, struct error *err)
{
    struct list_state *state = exchange_alloc(exchange, sizeof(*state));
    const struct list_query *query = &state->list.query;
    enum coffer_status status = item_list_start(&state->list, exchange, err);

    exchange->state = state;
    if (status != COFFER_OK)
        return status;
    if (!is_hex(query->prefix))
        return error_set(err, COFFER_BAD_REQUEST,
            "prefix is up to 64 lower-case hexadecimal digits, not \"%.80s\"",
            (const char *)query->prefix.data);
    state->has_after = query->after.data != NULL;
    if (state->has_after && !digest_from_hex(query->after, &state->after))
        return error_set(err, COFFER_BAD_KEY,
            "after is a key, 64 lower-case hexadecimal digits, not \"%.80s\"",
            (const char *)query->after.data);
    state->store = exchange->service->store;
    return item_list_reply(&state->list, exchange, &chunks, state, err);
}

static void list_release(struct exchange *exchange)
{
    struct list_state *state = exchange->state;

    if (state != NULL)
        item_list_release(&state->list);
}

const struct resource chunks_list_resource = {.finish = list_finish, .release = list_release};
