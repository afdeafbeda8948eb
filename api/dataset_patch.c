/*
 * PATCH /v1/datasets/{ds}: the body is a merge patch (RFC 7396) of the metadata.
 *
 * With If-Match it is applied to the dataset that has this entity tag or not at all. Without, it is
 * applied to whatever metadata there is: if another change comes in between, it is merged again.
 */
#include <stdlib.h>
#include <string.h>

#include "api/dataset_use.h"
#include "api/dataset_view.h"
#include "api/json_body.h"
#include "api/json_value.h"

extern const struct resource dataset_patch_resource;

enum { BODY_MAX = 2 * DATASET_METADATA_MAX, MERGES_MAX = 16 };

struct patch_state {
    struct dataset *dataset;
    struct json_body body;
    bool complete;    /* the body is parsed */
    bool conditional; /* If-Match or If-None-Match */
    unsigned merges;  /* tried so far */
    struct change *change;
    struct dataset_view view;
};

static enum coffer_status patch_start(struct exchange *exchange, struct error *err)
{
    struct patch_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    state->conditional =
        exchange_has(exchange, HEADER_IF_MATCH) || exchange_has(exchange, HEADER_IF_NONE_MATCH);
    status = json_body_start(&state->body, exchange, BODY_MAX, err);
    return status == COFFER_OK ? dataset_of(exchange, &state->dataset, err) : status;
}

static enum coffer_status patch_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct patch_state *state = exchange->state;

    return json_body_data(&state->body, exchange, data, size, taken, err);
}

/* The text that `metadata` becomes. */
static enum coffer_status merge(
    json_t *patch, struct slice metadata, struct json_out *out, struct error *err)
{
    json_error_t where;
    json_t *target = json_loadb(metadata.data, metadata.size, 0, &where);
    json_t *merged = target == NULL ? NULL : merge_patch(target, patch);
    enum coffer_status status = COFFER_OK;

    if (merged == NULL) {
        status = error_set(err, COFFER_OVERLOADED, "no memory for the metadata; try again later");
    } else {
        json_value_write(out, merged);
        if (!json_out_ok(out))
            status = error_set(err, COFFER_CONTENT_TOO_LARGE,
                "the metadata of a dataset may have %d bytes, and would have more",
                DATASET_METADATA_MAX);
    }
    json_decref(merged);
    json_decref(target);
    return status;
}

static enum coffer_status begin(
    struct exchange *exchange, struct patch_state *state, struct error *err)
{
    struct dataset_info info;
    struct json_out text;
    size_t size = 0;
    char *metadata;
    enum coffer_status status;

    dataset_info(state->dataset, &info);
    status = state->conditional ? dataset_check_conditions(exchange, &info, err) : COFFER_OK;
    if (status != COFFER_OK)
        return status;
    state->merges++;
    metadata = dataset_metadata(state->dataset, &size);
    json_out_growable(&text, DATASET_METADATA_MAX);
    status = merge(state->body.root, slice_of(metadata, size), &text, err);
    if (status == COFFER_OK)
        status = dataset_set_metadata(state->dataset, state->conditional ? info.tag : 0,
            slice_of(metadata, size), json_out_text(&text), exchange_waker(exchange),
            &state->change, err);
    json_out_release(&text);
    free(metadata);
    return status;
}

static enum coffer_status apply(
    struct exchange *exchange, struct patch_state *state, struct error *err)
{
    enum coffer_status status;

    do {
        status = state->change == NULL ? begin(exchange, state, err) : COFFER_OK;
        if (status == COFFER_OK)
            status = change_finish(state->change, err);
        if (status != COFFER_PRECONDITION_FAILED)
            return status;
        change_close(state->change);
        state->change = NULL;
    } while (!state->conditional && state->merges < MERGES_MAX);
    if (!state->conditional)
        return error_set(
            err, COFFER_OVERLOADED, "others change the metadata all the time; send it again later");
    return status;
}

static enum coffer_status patch_finish(struct exchange *exchange, struct error *err)
{
    struct patch_state *state = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (!state->complete)
        status = json_body_finish(&state->body, err);
    state->complete = true;
    if (status == COFFER_OK)
        status = apply(exchange, state, err);
    if (status != COFFER_OK)
        return status;
    return dataset_view_reply(&state->view, exchange, state->dataset, 200, err);
}

static void patch_release(struct exchange *exchange)
{
    struct patch_state *state = exchange->state;

    dataset_view_release(&state->view);
    change_close(state->change);
    dataset_drop(state->dataset);
    json_body_release(&state->body);
}

const struct resource dataset_patch_resource = {
    .start = patch_start, .data = patch_data, .finish = patch_finish, .release = patch_release};
