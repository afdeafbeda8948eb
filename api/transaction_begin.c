/*
 * POST /v1/datasets/{ds}/transactions: open one, or find that one of this id is open.
 */
#include <stdlib.h>

#include "api/dataset_use.h"
#include "api/json_body.h"
#include "api/json_in.h"
#include "api/transaction_json.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"

extern const struct resource transaction_open_resource;

enum { BODY_MAX = 1 << 20 }; /* as many channels as there may be */

struct open_state {
    struct dataset *dataset;
    struct json_body body;
    struct slice *channels; /* names in the body, in order */
    struct change *change;
};

static enum coffer_status open_start(struct exchange *exchange, struct error *err)
{
    struct open_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = dataset_of(exchange, &state->dataset, err);
    return status == COFFER_OK ? json_body_start(&state->body, exchange, BODY_MAX, err) : status;
}

static enum coffer_status open_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct open_state *state = exchange->state;

    return json_body_data(&state->body, exchange, data, size, taken, err);
}

static int compare(const void *left, const void *right)
{
    const struct slice *a = left, *b = right;
    int order = memcmp(a->data, b->data, a->size < b->size ? a->size : b->size);

    return order != 0 ? order : (a->size > b->size) - (a->size < b->size);
}

/* Each name once, and legal. */
static enum coffer_status read_channels(
    struct open_state *state, json_t *list, size_t *count, struct error *err)
{
    *count = json_array_size(list);
    if (*count == 0 || *count > TRANSACTION_CHANNELS_MAX)
        return error_set(err, COFFER_BAD_REQUEST,
            "\"channels\" has 1 to %d names, not %zu; without it a transaction is of the whole "
            "dataset",
            TRANSACTION_CHANNELS_MAX, *count);
    state->channels = calloc(*count, sizeof(*state->channels));
    if (state->channels == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for the channels; try again later");
    for (size_t i = 0; i < *count; i++) {
        json_t *name = json_array_get(list, i);
        enum coffer_status status;

        if (!json_is_string(name))
            return error_set(err, COFFER_BAD_JSON, "name %zu of \"channels\" is not a text", i + 1);
        state->channels[i] = slice_of(json_string_value(name), json_string_length(name));
        status = stream_name_check(state->channels[i], "channel", err);
        if (status != COFFER_OK)
            return status;
    }
    qsort(state->channels, *count, sizeof(*state->channels), compare);
    for (size_t i = 1; i < *count; i++)
        if (slice_equal(state->channels[i - 1], state->channels[i]))
            return error_set(err, COFFER_BAD_REQUEST, "\"channels\" has \"%.*s\" twice",
                (int)state->channels[i].size, (const char *)state->channels[i].data);
    return COFFER_OK;
}

static enum coffer_status begin(
    struct exchange *exchange, struct open_state *state, struct error *err)
{
    struct transaction_options options = {.ttl_ns = (uint64_t)TRANSACTION_TTL_DEFAULT * NS_PER_S};
    json_t *channels = NULL;
    const struct json_field fields[] = {JSON_TEXT("id", &options.id),
        JSON_LIST("channels", &channels),
        JSON_SECONDS("ttl", &options.ttl_ns, NS_PER_MS, (uint64_t)TRANSACTION_TTL_MAX * NS_PER_S),
        JSON_BOOL("barrier", &options.barrier),
        JSON_BOOL("commit_when_ready", &options.commit_when_ready)};
    enum coffer_status status = json_body_finish(&state->body, err);

    if (status == COFFER_OK)
        status = json_in_read(state->body.root, "the body", fields, ARRAY_COUNT(fields), err);
    if (status == COFFER_OK && options.id.data != NULL)
        status = stream_name_check(options.id, "transaction", err);
    if (status == COFFER_OK && channels != NULL)
        status = read_channels(state, channels, &options.channel_count, err);
    if (status == COFFER_OK && options.commit_when_ready && channels == NULL)
        status = error_set(err, COFFER_BAD_REQUEST,
            "\"commit_when_ready\" needs \"channels\": the last of them to be ready commits, and "
            "of "
            "a whole dataset nobody knows which is the last");
    if (status != COFFER_OK)
        return status;
    options.channels = state->channels;
    status =
        transaction_open(state->dataset, &options, exchange_waker(exchange), &state->change, err);
    json_body_drop(&state->body);
    return status;
}

static enum coffer_status open_finish(struct exchange *exchange, struct error *err)
{
    struct open_state *state = exchange->state;
    struct transaction_info info;
    struct dataset_info dataset;
    enum coffer_status status = COFFER_OK;

    if (state->change == NULL)
        status = begin(exchange, state, err);
    if (status == COFFER_OK)
        status = change_finish(state->change, err);
    if (status != COFFER_OK)
        return status;
    change_transaction(state->change, &info);
    status = transaction_reply(exchange, state->dataset, &info, info.created ? 201 : 200, err);
    if (status != COFFER_OK)
        return status;
    dataset_info(state->dataset, &dataset);
    exchange_reply_header(exchange, "Location",
        exchange_format(exchange, "/v1/datasets/%s/transactions/%s", dataset.name, info.id));
    return COFFER_OK;
}

static void open_release(struct exchange *exchange)
{
    struct open_state *state = exchange->state;

    change_close(state->change);
    free(state->channels);
    dataset_drop(state->dataset);
    json_body_release(&state->body);
}

const struct resource transaction_open_resource = {
    .start = open_start, .data = open_data, .finish = open_finish, .release = open_release};
