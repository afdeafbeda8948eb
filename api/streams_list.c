/*
 * GET /v1/datasets/{ds}/channels: in name order.
 */
#include "api/dataset_use.h"
#include "api/dataset_view.h"
#include "api/item_list.h"

extern const struct resource streams_list_resource;

enum { PAGE = 128 };

struct list_state {
    struct item_list list;
    struct dataset *dataset;
    char after[STREAM_NAME_SIZE]; /* the page goes on behind it */
    bool has_after;
    struct stream_info page[PAGE];
};

static enum coffer_status fetch(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct list_state *state = context;

    (void)err;
    *found = dataset_streams(
        state->dataset, state->has_after ? state->after : NULL, state->page, wanted);
    *last = *found < wanted;
    if (*found > 0)
        memcpy(state->after, state->page[*found - 1].name, sizeof(state->after));
    state->has_after |= *found > 0;
    return COFFER_OK;
}

static bool matches(void *context, size_t at)
{
    struct list_state *state = context;
    struct slice prefix = state->list.query.prefix;

    return prefix.size == 0 || strncmp(state->page[at].name, prefix.data, prefix.size) == 0;
}

static void write_item(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;

    stream_info_write(out, &state->page[at]);
}

static void write_next(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;

    json_out_string(out, slice_from_text(state->page[at].name));
}

static const struct item_source channels = {.name = "channels",
    .page = PAGE,
    .fetch = fetch,
    .matches = matches,
    .write = write_item,
    .write_next = write_next};

static enum coffer_status list_finish(struct exchange *exchange, struct error *err)
{
    struct list_state *state = exchange_alloc(exchange, sizeof(*state));
    const struct list_query *query = &state->list.query;
    enum coffer_status status = item_list_start(&state->list, exchange, err);

    exchange->state = state;
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    if (status != COFFER_OK)
        return status;
    state->has_after = query->after.data != NULL;
    if (query->after.size >= sizeof(state->after))
        return error_set(err, COFFER_BAD_NAME, "after is not the name of a channel");
    if (state->has_after)
        memcpy(state->after, query->after.data, query->after.size);
    return item_list_reply(&state->list, exchange, &channels, state, err);
}

static void list_release(struct exchange *exchange)
{
    struct list_state *state = exchange->state;

    if (state == NULL)
        return;
    item_list_release(&state->list);
    dataset_drop(state->dataset);
}

const struct resource streams_list_resource = {.finish = list_finish, .release = list_release};
