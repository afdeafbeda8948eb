/*
 * GET /v1/datasets: in name order. What a dataset has many of (channels, metadata) is only in GET
 * of the dataset itself.
 */
#include "api/dataset_use.h"
#include "api/dataset_view.h"
#include "api/item_list.h"

extern const struct resource datasets_list_resource;

enum { PAGE = 128 };

struct list_state {
    struct item_list list;
    struct store *store;
    char after[DATASET_NAME_SIZE]; /* the page goes on behind it */
    bool has_after;
    struct dataset_info page[PAGE];
};

static enum coffer_status fetch(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct list_state *state = context;
    enum coffer_status status = store_datasets(state->store, state->has_after ? state->after : NULL,
        state->list.query.prefix, state->page, wanted, found, err);

    if (status != COFFER_OK)
        return status;
    *last = *found < wanted;
    if (*found > 0)
        memcpy(state->after, state->page[*found - 1].name, sizeof(state->after));
    state->has_after |= *found > 0;
    return COFFER_OK;
}

static void write_item(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;

    json_out_object(out);
    dataset_members_write(out, &state->page[at]);
    json_out_object_end(out);
}

static void write_next(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;

    json_out_string(out, slice_from_text(state->page[at].name));
}

static const struct item_source datasets = {.name = "datasets",
    .page = PAGE,
    .fetch = fetch,
    .write = write_item,
    .write_next = write_next};

static enum coffer_status list_finish(struct exchange *exchange, struct error *err)
{
    struct list_state *state = exchange_alloc(exchange, sizeof(*state));
    const struct list_query *query = &state->list.query;
    enum coffer_status status = item_list_start(&state->list, exchange, err);

    exchange->state = state;
    if (status != COFFER_OK)
        return status;
    state->store = exchange->service->store;
    state->has_after = query->after.data != NULL;
    if (query->after.size >= sizeof(state->after))
        return error_set(err, COFFER_BAD_NAME, "after is not the name of a dataset");
    if (state->has_after)
        memcpy(state->after, query->after.data, query->after.size);
    return item_list_reply(&state->list, exchange, &datasets, state, err);
}

static void list_release(struct exchange *exchange)
{
    struct list_state *state = exchange->state;

    if (state != NULL)
        item_list_release(&state->list);
}

const struct resource datasets_list_resource = {.finish = list_finish, .release = list_release};
