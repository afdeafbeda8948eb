/*
 * GET /v1/datasets/{ds}/versions: the commit log, ascending. `after` is the number of a version.
 *
 * A version may have many channels, so it is written when the store shows it: a page is the text of
 * some versions, and where each of them ends.
 */
#include "api/dataset_use.h"
#include "api/item_list.h"
#include "storage/base/invariant.h"

extern const struct resource versions_list_resource;

enum {
    PAGE = 256,
    PAGE_TEXT = 32 << 10, /* bytes; no other version is begun past it */
    PAGE_TEXT_MAX = PAGE_TEXT + ITEM_LARGE_MAX,
};

struct list_state {
    struct item_list list;
    struct dataset *dataset;
    uint64_t after; /* the page goes on behind it */
    size_t found, wanted;
    struct json_out text;
    struct {
        uint64_t version;
        size_t end; /* in text */
    } page[PAGE];
};

static void write_version(struct json_out *out, const struct version_info *info)
{
    json_out_object(out);
    json_out_member_u64(out, "version", info->version);
    json_out_member_time(out, "time", info->time_ns);
    if (info->transaction != NULL)
        json_out_member_text(out, "transaction", info->transaction);
    json_out_name(out, "channels");
    json_out_object(out);
    for (size_t i = 0; i < info->part_count; i++) {
        const struct version_part *part = &info->parts[i];

        json_out_name(out, part->name);
        json_out_object(out);
        json_out_member_u64(out, "offset", part->offset);
        json_out_member_u64(out, "length", part->length);
        json_out_object_end(out);
    }
    json_out_object_end(out);
    json_out_object_end(out);
}

static bool visit(void *context, const struct version_info *info)
{
    struct list_state *state = context;

    state->text.comma = false;
    write_version(&state->text, info);
    state->page[state->found].version = info->version;
    state->page[state->found].end = json_out_text(&state->text).size;
    state->found++;
    return state->found < state->wanted && state->page[state->found - 1].end < PAGE_TEXT;
}

static enum coffer_status fetch(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct list_state *state = context;
    enum coffer_status status;
    bool more = false;

    state->wanted = wanted;
    state->found = 0;
    json_out_reset(&state->text);
    status = dataset_versions(state->dataset, state->after, visit, state, &more, err);
    if (status != COFFER_OK)
        return status;
    if (!json_out_ok(&state->text))
        return error_set(
            err, COFFER_OVERLOADED, "no memory for a version of the list; try again later");
    *last = !more;
    *found = state->found;
    if (state->found > 0)
        state->after = state->page[state->found - 1].version;
    return COFFER_OK;
}

static void write_item(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;
    size_t start = at == 0 ? 0 : state->page[at - 1].end;
    const char *text = json_out_text(&state->text).data;

    json_out_raw(out, slice_of(text + start, state->page[at].end - start));
}

static void write_next(void *context, size_t at, struct json_out *out)
{
    struct list_state *state = context;

    json_out_number_text(out, state->page[at].version);
}

static const struct item_source versions = {.name = "versions",
    .page = PAGE,
    .fetch = fetch,
    .write = write_item,
    .write_next = write_next};

static enum coffer_status list_finish(struct exchange *exchange, struct error *err)
{
    struct list_state *state = exchange_alloc(exchange, sizeof(*state));
    struct slice after;
    enum coffer_status status = item_list_start(&state->list, exchange, err);

    exchange->state = state;
    json_out_growable(&state->text, PAGE_TEXT_MAX);
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    if (status != COFFER_OK)
        return status;
    after = state->list.query.after;
    if (after.data != NULL && !query_number(after, 0, UINT64_MAX, &state->after))
        return error_set(err, COFFER_BAD_REQUEST, "after is the number of a version, not \"%.80s\"",
            (const char *)after.data);
    return item_list_reply(&state->list, exchange, &versions, state, err);
}

static void list_release(struct exchange *exchange)
{
    struct list_state *state = exchange->state;

    if (state == NULL)
        return;
    item_list_release(&state->list);
    json_out_release(&state->text);
    dataset_drop(state->dataset);
}

const struct resource versions_list_resource = {.finish = list_finish, .release = list_release};
