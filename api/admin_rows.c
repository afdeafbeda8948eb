/*
 * GET /v1/packs and GET /v1/channels: pages, or all of it as NDJSON.
 */
#include "api/admin_rows.h"

#include "api/item_list.h"

extern const struct resource packs_list_resource, channels_list_resource;

enum { PAGE = 128 };

struct rows_state {
    struct item_list list;
    struct store *store;
    uint64_t after_pack;
    char after_channel[CHANNEL_NAME_SIZE];
    bool has_after;
    union {
        struct pack_info packs[PAGE];
        struct channel_info channels[PAGE];
    } page;
};

void pack_row_write(struct json_out *out, const struct pack_info *info)
{
    json_out_object(out);
    json_out_member_u64(out, "id", info->id);
    json_out_member_text(out, "state", info->state);
    json_out_member_u64(out, "bytes", info->bytes);
    json_out_member_u64(out, "live_bytes", info->live_bytes);
    json_out_member_u64(out, "dead_bytes", info->dead_bytes);
    json_out_member_u64(out, "records", info->records);
    json_out_member_u64(out, "damaged", info->damaged);
    json_out_object_end(out);
}

void channel_row_write(struct json_out *out, const struct channel_info *info)
{
    json_out_object(out);
    json_out_member_text(out, "name", info->name);
    json_out_member_text(out, "state", info->state);
    json_out_member_u64(out, "buffered_bytes", info->buffered_bytes);
    json_out_member_u64(out, "buffered_records", info->buffered_records);
    json_out_member_u64(out, "flushed_bytes", info->flushed_bytes);
    json_out_member_u64(out, "flushed_records", info->flushed_records);
    json_out_member_u64(out, "syncs", info->syncs);
    json_out_member_time(out, "last_sync", info->last_sync_ns);
    json_out_object_end(out);
}

/* ---- packs ---- */

static enum coffer_status fetch_packs(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct rows_state *state = context;

    (void)err;
    *found = store_packs(state->store, state->after_pack, state->page.packs, wanted);
    *last = *found < wanted;
    if (*found > 0)
        state->after_pack = state->page.packs[*found - 1].id;
    return COFFER_OK;
}

static void write_pack(void *context, size_t at, struct json_out *out)
{
    struct rows_state *state = context;

    pack_row_write(out, &state->page.packs[at]);
}

static void write_next_pack(void *context, size_t at, struct json_out *out)
{
    struct rows_state *state = context;

    json_out_number_text(out, state->page.packs[at].id);
}

static const struct item_source packs = {.name = "packs",
    .page = PAGE,
    .fetch = fetch_packs,
    .write = write_pack,
    .write_next = write_next_pack};

/* ---- channels ---- */

static enum coffer_status fetch_channels(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct rows_state *state = context;

    (void)err;
    *found = store_channels(
        state->store, state->has_after ? state->after_channel : NULL, state->page.channels, wanted);
    *last = *found < wanted;
    if (*found > 0)
        memcpy(state->after_channel, state->page.channels[*found - 1].name, CHANNEL_NAME_SIZE);
    state->has_after |= *found > 0;
    return COFFER_OK;
}

static bool channel_matches(void *context, size_t at)
{
    struct rows_state *state = context;
    struct slice prefix = state->list.query.prefix;

    return prefix.size == 0 ||
           strncmp(state->page.channels[at].name, prefix.data, prefix.size) == 0;
}

static void write_channel(void *context, size_t at, struct json_out *out)
{
    struct rows_state *state = context;

    channel_row_write(out, &state->page.channels[at]);
}

static void write_next_channel(void *context, size_t at, struct json_out *out)
{
    struct rows_state *state = context;

    json_out_string(out, slice_from_text(state->page.channels[at].name));
}

static const struct item_source channels = {.name = "channels",
    .page = PAGE,
    .fetch = fetch_channels,
    .matches = channel_matches,
    .write = write_channel,
    .write_next = write_next_channel};

/* ---- both ---- */

static enum coffer_status rows_reply(
    struct exchange *exchange, const struct item_source *source, struct error *err)
{
    struct rows_state *state = exchange_alloc(exchange, sizeof(*state));
    const struct list_query *query = &state->list.query;
    enum coffer_status status = item_list_start(&state->list, exchange, err);

    exchange->state = state;
    if (status != COFFER_OK)
        return status;
    state->store = exchange->service->store;
    state->has_after = query->after.data != NULL;
    if (state->has_after && source == &packs &&
        !query_number(query->after, 0, UINT64_MAX, &state->after_pack))
        return error_set(err, COFFER_BAD_REQUEST, "after is the number of a pack, not \"%.80s\"",
            (const char *)query->after.data);
    if (state->has_after && source == &channels) {
        if (query->after.size >= CHANNEL_NAME_SIZE)
            return error_set(err, COFFER_BAD_NAME, "after is not the name of a channel");
        memcpy(state->after_channel, query->after.data, query->after.size);
    }
    return item_list_reply(&state->list, exchange, source, state, err);
}

static enum coffer_status packs_finish(struct exchange *exchange, struct error *err)
{
    return rows_reply(exchange, &packs, err);
}

static enum coffer_status channels_finish(struct exchange *exchange, struct error *err)
{
    return rows_reply(exchange, &channels, err);
}

static void rows_release(struct exchange *exchange)
{
    struct rows_state *state = exchange->state;

    if (state != NULL)
        item_list_release(&state->list);
}

const struct resource packs_list_resource = {.finish = packs_finish, .release = rows_release};
const struct resource channels_list_resource = {.finish = channels_finish, .release = rows_release};
