/*
 * GET /v1/packs and GET /v1/channels: pages, or all of it as NDJSON.
 */
#include "api/admin_rows.h"

#include <stdio.h>
#include <time.h>

#include "api/item_stream.h"
#include "api/list_query.h"
#include "storage/base/clock.h"

extern const struct resource packs_list_resource, channels_list_resource;

enum { PAGE = 128 };

struct rows_state {
    struct store *store;
    struct list_query query;
    bool packs; /* else channels */
    bool begun, last_page;
    uint64_t left;
    uint64_t after_pack, last_pack;
    char after_channel[CHANNEL_NAME_SIZE], last_channel[CHANNEL_NAME_SIZE];
    bool has_after;
    size_t found, at;
    union {
        struct pack_info packs[PAGE];
        struct channel_info channels[PAGE];
    } page;
};

/* RFC 3339 in UTC, with milliseconds; null for never. */
static void write_time(struct json_out *out, const char *name, uint64_t wall_ns)
{
    char text[40];
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm utc;
    size_t used;

    json_out_name(out, name);
    if (wall_ns == 0 || gmtime_r(&seconds, &utc) == NULL) {
        json_out_null(out);
        return;
    }
    used = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(
        text + used, sizeof(text) - used, ".%03uZ", (unsigned)(wall_ns % NS_PER_S / NS_PER_MS));
    json_out_string(out, slice_from_text(text));
}

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
    write_time(out, "last_sync", info->last_sync_ns);
    json_out_object_end(out);
}

static void next_page(struct rows_state *state)
{
    if (state->packs) {
        state->found = store_packs(state->store, state->after_pack, state->page.packs, PAGE);
        if (state->found > 0)
            state->after_pack = state->page.packs[state->found - 1].id;
    } else {
        state->found = store_channels(state->store, state->has_after ? state->after_channel : NULL,
            state->page.channels, PAGE);
        if (state->found > 0)
            memcpy(state->after_channel, state->page.channels[state->found - 1].name,
                CHANNEL_NAME_SIZE);
    }
    state->has_after |= state->found > 0;
    state->last_page = state->found < PAGE;
    state->at = 0;
}

/* Channels have names, so `prefix` means something for them. */
static bool wanted(const struct rows_state *state)
{
    const char *name;

    if (state->packs || state->query.prefix.size == 0)
        return true;
    name = state->page.channels[state->at].name;
    return strncmp(name, state->query.prefix.data, state->query.prefix.size) == 0;
}

/* Go to the next row that is wanted; false: there is none. */
static bool find_row(struct rows_state *state)
{
    for (;; state->at++) {
        if (state->at >= state->found) {
            if (state->last_page)
                return false;
            next_page(state);
            if (state->found == 0)
                return false;
        }
        if (wanted(state))
            return true;
    }
}

static void write_row(struct rows_state *state, struct json_out *out)
{
    if (state->packs)
        pack_row_write(out, &state->page.packs[state->at]);
    else
        channel_row_write(out, &state->page.channels[state->at]);
}

static void note_written(struct rows_state *state)
{
    if (state->packs)
        state->last_pack = state->page.packs[state->at].id;
    else
        memcpy(state->last_channel, state->page.channels[state->at].name, CHANNEL_NAME_SIZE);
    state->at++;
    state->left--;
}

static void write_end(struct rows_state *state, struct json_out *out, bool more)
{
    char number[24];

    json_out_array_end(out);
    if (more && state->packs) {
        (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)state->last_pack);
        json_out_member_text(out, "next", number);
    } else if (more) {
        json_out_member_text(out, "next", state->last_channel);
    }
    json_out_object_end(out);
    json_out_line(out);
}

static enum coffer_status fill(void *context, struct json_out *out, bool *done, struct error *err)
{
    struct rows_state *state = context;
    bool lines = state->query.lines;

    (void)err;
    if (!state->begun && !lines) {
        json_out_object(out);
        json_out_name(out, state->packs ? "packs" : "channels");
        json_out_array(out);
    }
    state->begun = true;
    for (;;) {
        struct json_out_mark mark = json_out_mark(out);
        bool more = find_row(state);
        bool item = more && state->left > 0;

        if (item)
            write_row(state, out);
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
        note_written(state);
    }
}

static enum coffer_status rows_reply(struct exchange *exchange, bool packs, struct error *err)
{
    struct rows_state *state = exchange_alloc(exchange, sizeof(*state));
    struct list_query *query = &state->query;
    enum coffer_status status = list_query_read(exchange, query, err);

    if (status != COFFER_OK)
        return status;
    state->store = exchange->service->store;
    state->packs = packs;
    state->has_after = query->after.data != NULL;
    if (state->has_after && packs && !query_number(query->after, 0, UINT64_MAX, &state->after_pack))
        return error_set(err, COFFER_BAD_REQUEST, "after is the number of a pack, not \"%.80s\"",
            (const char *)query->after.data);
    if (state->has_after && !packs) {
        if (query->after.size >= CHANNEL_NAME_SIZE)
            return error_set(err, COFFER_BAD_NAME, "after is not the name of a channel");
        memcpy(state->after_channel, query->after.data, query->after.size);
    }
    state->left = query->lines && !query->has_limit ? UINT64_MAX : query->limit;
    return item_stream_reply(
        exchange, query->lines ? "application/x-ndjson" : "application/json", fill, state, err);
}

static enum coffer_status packs_finish(struct exchange *exchange, struct error *err)
{
    return rows_reply(exchange, true, err);
}

static enum coffer_status channels_finish(struct exchange *exchange, struct error *err)
{
    return rows_reply(exchange, false, err);
}

const struct resource packs_list_resource = {.finish = packs_finish};
const struct resource channels_list_resource = {.finish = channels_finish};
