/*
 * DELETE /v1/datasets/{ds}: answered when it is gone for good.
 */
#include "api/dataset_use.h"

extern const struct resource dataset_delete_resource;

struct delete_state {
    struct dataset *dataset;
    struct change *change;
};

static enum coffer_status delete_start(struct exchange *exchange, struct error *err)
{
    struct delete_state *state = exchange_alloc(exchange, sizeof(*state));
    struct dataset_info info;
    enum coffer_status status;

    exchange->state = state;
    status = dataset_of(exchange, &state->dataset, err);
    if (status != COFFER_OK)
        return status;
    dataset_info(state->dataset, &info);
    return dataset_check_conditions(exchange, &info, err);
}

static enum coffer_status delete_finish(struct exchange *exchange, struct error *err)
{
    struct delete_state *state = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (state->change == NULL)
        status = dataset_delete(state->dataset, exchange_waker(exchange), &state->change, err);
    if (status == COFFER_OK)
        status = change_finish(state->change, err);
    if (status == COFFER_OK)
        exchange_reply(exchange, 204);
    return status;
}

static void delete_release(struct exchange *exchange)
{
    struct delete_state *state = exchange->state;

    change_close(state->change);
    dataset_drop(state->dataset);
}

const struct resource dataset_delete_resource = {
    .start = delete_start, .finish = delete_finish, .release = delete_release};
