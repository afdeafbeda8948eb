/*
 * PUT /v1/datasets/{ds}: make a dataset, or find that it is there just so.
 */
#include <stdlib.h>

#include "api/dataset_settings.h"
#include "api/dataset_use.h"
#include "api/dataset_view.h"
#include "api/json_body.h"
#include "api/json_value.h"

extern const struct resource dataset_put_resource;

enum { BODY_MAX = 2 * DATASET_METADATA_MAX + 64 * 1024 }; /* metadata may come indented */

struct put_state {
    struct json_body body;
    struct change *change;
    struct dataset *dataset;
    struct dataset_view view;
};

static enum coffer_status put_start(struct exchange *exchange, struct error *err)
{
    struct put_state *state = exchange_alloc(exchange, sizeof(*state));
    struct slice name = exchange->params[0];

    exchange->state = state;
    if (!dataset_name_is_legal(name))
        return error_set(err, COFFER_BAD_NAME,
            "the name of a dataset has 3 to %d lower-case letters, digits, dots, hyphens and "
            "underscores and begins with a letter or digit; this has %zu bytes: \"%.*s\"",
            DATASET_NAME_SIZE - 1, name.size, (int)(name.size < 80 ? name.size : 80),
            (const char *)name.data);
    return json_body_start(&state->body, exchange, BODY_MAX, err);
}

static enum coffer_status put_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct put_state *state = exchange->state;

    return json_body_data(&state->body, exchange, data, size, taken, err);
}

/* If-Match and If-None-Match, when there are any. */
static enum coffer_status check_conditions(struct exchange *exchange, struct error *err)
{
    struct dataset *dataset = NULL;
    struct dataset_info info;
    enum coffer_status status;

    if (!exchange_has(exchange, HEADER_IF_MATCH) && !exchange_has(exchange, HEADER_IF_NONE_MATCH))
        return COFFER_OK;
    status = dataset_of(exchange, &dataset, err);
    if (status == COFFER_NO_SUCH_DATASET)
        return dataset_check_conditions(exchange, NULL, err);
    if (status != COFFER_OK)
        return status;
    dataset_info(dataset, &info);
    status = dataset_check_conditions(exchange, &info, err);
    dataset_drop(dataset);
    return status;
}

static enum coffer_status begin(
    struct exchange *exchange, struct put_state *state, struct error *err)
{
    struct dataset_settings *settings = exchange_alloc(exchange, sizeof(*settings));
    struct json_out text;
    json_t *metadata;
    enum coffer_status status = json_body_finish(&state->body, err);

    if (status == COFFER_OK)
        status = dataset_settings_read(
            state->body.root, exchange->service->store, settings, &metadata, err);
    if (status == COFFER_OK)
        status = check_conditions(exchange, err);
    if (status != COFFER_OK)
        return status;
    json_out_growable(&text, DATASET_METADATA_MAX);
    if (metadata == NULL)
        json_out_raw(&text, slice_of("{}", 2));
    else
        json_value_write(&text, metadata);
    if (json_out_ok(&text))
        status = dataset_create(exchange->service->store, exchange->params[0], settings,
            json_out_text(&text), exchange_waker(exchange), &state->change, err);
    else
        status = error_set(err, COFFER_CONTENT_TOO_LARGE,
            "the metadata of a dataset may have %d bytes", DATASET_METADATA_MAX);
    json_out_release(&text);
    json_body_drop(&state->body);
    return status;
}

static enum coffer_status reply(
    struct exchange *exchange, struct put_state *state, struct error *err)
{
    bool created = change_created(state->change);
    enum coffer_status status;

    if (!created && exchange_has(exchange, HEADER_IF_NONE_MATCH)) {
        status = check_conditions(exchange, err); /* somebody made it meanwhile */
        if (status != COFFER_OK)
            return status;
    }
    status = dataset_of(exchange, &state->dataset, err);
    if (status == COFFER_OK)
        status =
            dataset_view_reply(&state->view, exchange, state->dataset, created ? 201 : 200, err);
    if (status == COFFER_OK)
        exchange_reply_header(exchange, "Location",
            exchange_format(exchange, "/v1/datasets/%s", state->view.info.name));
    return status;
}

static enum coffer_status put_finish(struct exchange *exchange, struct error *err)
{
    struct put_state *state = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (state->change == NULL)
        status = begin(exchange, state, err);
    if (status == COFFER_OK)
        status = change_finish(state->change, err);
    return status == COFFER_OK ? reply(exchange, state, err) : status;
}

static void put_release(struct exchange *exchange)
{
    struct put_state *state = exchange->state;

    dataset_view_release(&state->view);
    change_close(state->change);
    dataset_drop(state->dataset);
    json_body_release(&state->body);
}

const struct resource dataset_put_resource = {
    .start = put_start, .data = put_data, .finish = put_finish, .release = put_release};
