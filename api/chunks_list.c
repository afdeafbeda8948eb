/*
 * GET /v1/chunks: in key order, as a page of JSON or all of it as NDJSON, a page of the index at a
 * time. Chunks that come or go while the list is sent may or may not be in it.
 */
#include "api/item_stream.h"
#include "api/list_query.h"

extern const struct resource chunks_list_resource;

enum { PAGE = 512 };

struct list_state {
    struct store *store;
    struct list_query query;
    struct digest after;
    bool has_after;
    struct digest last; /* of the items written */
    bool begun, ended;  /* the text around the items */
    bool last_page;
    uint64_t left; /* items that the limit still allows */
    size_t found, at;
    struct chunk_info page[PAGE];
};

static void write_item(struct json_out *out, const struct chunk_info *info)
{
    json_out_object(out);
    json_out_member_digest(out, "key", &info->key);
    json_out_member_u64(out, "size", info->size);
    json_out_member_u64(out, "stored_size", info->stored_size);
    json_out_object_end(out);
}

static enum coffer_status next_page(struct list_state *state, struct error *err)
{
    enum coffer_status status;
    size_t wanted = PAGE;

    if (state->left < PAGE)
        wanted = (size_t)state->left + 1; /* one more tells whether there is a next page */
    status = store_list(state->store, state->has_after ? &state->after : NULL, state->query.prefix,
        state->page, wanted, &state->found, err);
    if (status != COFFER_OK)
        return status;
    state->last_page = state->found < wanted;
    state->at = 0;
    if (state->found > 0) {
        state->after = state->page[state->found - 1].key;
        state->has_after = true;
    }
    return COFFER_OK;
}

/* Whether there is an item to write now; *more: whether there would be one without the limit. */
static enum coffer_status look(struct list_state *state, bool *item, bool *more, struct error *err)
{
    if (state->at == state->found && !state->last_page) {
        enum coffer_status status = next_page(state, err);

        if (status != COFFER_OK)
            return status;
    }
    *more = state->at < state->found;
    *item = *more && state->left > 0;
    return COFFER_OK;
}

static void write_end(struct list_state *state, struct json_out *out, bool more)
{
    json_out_array_end(out);
    if (more)
        json_out_member_digest(out, "next", &state->last);
    json_out_object_end(out);
    json_out_line(out);
}

static enum coffer_status fill(void *context, struct json_out *out, bool *done, struct error *err)
{
    struct list_state *state = context;
    bool lines = state->query.lines;

    if (!state->begun && !lines) {
        json_out_object(out);
        json_out_name(out, "chunks");
        json_out_array(out);
    }
    state->begun = true;
    for (;;) {
        struct json_out_mark mark = json_out_mark(out);
        bool item, more;
        enum coffer_status status = look(state, &item, &more, err);

        if (status != COFFER_OK)
            return status;
        if (item)
            write_item(out, &state->page[state->at]);
        else if (!lines)
            write_end(state, out, more);
        if (item && lines)
            json_out_line(out);
        if (!json_out_ok(out)) {
            json_out_rewind(out, mark);
            return COFFER_OK;
        }
        if (!item) {
            *done = true;
            return COFFER_OK;
        }
        state->last = state->page[state->at].key;
        state->at++;
        state->left--;
    }
}

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
    struct list_query *query = &state->query;
    enum coffer_status status = list_query_read(exchange, query, err);

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
    state->left = query->lines && !query->has_limit ? UINT64_MAX : query->limit;
    return item_stream_reply(
        exchange, query->lines ? "application/x-ndjson" : "application/json", fill, state, err);
}

const struct resource chunks_list_resource = {.finish = list_finish};
