/*
 * GET /v1/datasets/{ds}/channels/{ch}/records: where each record lies, by number. `after` is the
 * number of a record; ?version=V is the channel as of that version.
 */
#include "api/dataset_use.h"
#include "api/item_list.h"

extern const struct resource records_list_resource;

enum { PAGE = 512 };

struct list_state {
    struct item_list list;
    struct dataset *dataset;
    struct slice channel;
    uint64_t version;
    uint64_t first; /* of the next page */
    struct record_place page[PAGE];
};

static enum coffer_status fetch(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct list_state *state = context;
    enum coffer_status status = stream_records(state->dataset, state->channel, state->version,
        state->first, state->page, wanted, found, err);

    if (status != COFFER_OK)
        return status;
    *last = *found < wanted;
    if (*found > 0)
        state->first = state->page[*found - 1].record + 1;
    return COFFER_OK;
}

static void write_item(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;
    const struct record_place *place = &state->page[at];

    json_out_object(out);
    json_out_member_u64(out, "record", place->record);
    json_out_member_u64(out, "offset", place->offset);
    json_out_member_u64(out, "length", place->length);
    json_out_object_end(out);
}

static void write_next(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;

    json_out_number_text(out, state->page[at].record);
}

static const struct item_source records = {
    .name = "records", .page = PAGE, .fetch = fetch, .write = write_item, .write_next = write_next};

static enum coffer_status list_finish(struct exchange *exchange, struct error *err)
{
    struct list_state *state = exchange_alloc(exchange, sizeof(*state));
    struct slice after;
    enum coffer_status status = item_list_start(&state->list, exchange, err);

    exchange->state = state;
    if (status == COFFER_OK)
        status = stream_name_of(exchange, "channel", &state->channel, err);
    if (status == COFFER_OK)
        status = version_of(exchange, &state->version, err);
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    if (status != COFFER_OK)
        return status;
    after = state->list.query.after;
    if (after.data != NULL) {
        if (!query_number(after, 0, UINT64_MAX - 1, &state->first))
            return error_set(err, COFFER_BAD_REQUEST,
                "after is the number of a record, not \"%.80s\"", (const char *)after.data);
        state->first++;
    }
    return item_list_reply(&state->list, exchange, &records, state, err);
}

static void list_release(struct exchange *exchange)
{
    struct list_state *state = exchange->state;

    if (state == NULL)
        return;
    item_list_release(&state->list);
    dataset_drop(state->dataset);
}

const struct resource records_list_resource = {.finish = list_finish, .release = list_release};
