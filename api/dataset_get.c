/*
 * GET and HEAD /v1/datasets/{ds}.
 */
#include "api/conditions.h"
#include "api/dataset_use.h"
#include "api/dataset_view.h"

extern const struct resource dataset_get_resource;

struct get_state {
    struct dataset *dataset;
    struct dataset_view view;
};

static enum coffer_status get_finish(struct exchange *exchange, struct error *err)
{
    struct get_state *state = exchange_alloc(exchange, sizeof(*state));
    struct dataset_info info;
    const char *etag;
    enum coffer_status status;

    exchange->state = state;
    status = dataset_of(exchange, &state->dataset, err);
    if (status != COFFER_OK)
        return status;
    dataset_info(state->dataset, &info);
    etag = dataset_etag(exchange, &info);
    switch (conditions_check(exchange_header(exchange, HEADER_IF_MATCH),
        exchange_header(exchange, HEADER_IF_NONE_MATCH), slice_from_text(etag), true)) {
    case CONDITION_FAILED:
        return error_set(err, COFFER_PRECONDITION_FAILED, "the dataset's entity tag is %s", etag);
    case CONDITION_NOT_MODIFIED:
        exchange_reply(exchange, 304);
        exchange_reply_header(exchange, "ETag", etag);
        return COFFER_OK;
    case CONDITION_PROCEED:
    default:
        return dataset_view_reply(&state->view, exchange, state->dataset, 200, err);
    }
}

static void get_release(struct exchange *exchange)
{
    struct get_state *state = exchange->state;

    if (state == NULL)
        return;
    dataset_view_release(&state->view);
    dataset_drop(state->dataset);
}

const struct resource dataset_get_resource = {.finish = get_finish, .release = get_release};
