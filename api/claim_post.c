/*
 * POST /v1/datasets/{ds}/channels/{ch}/claim: a new writer owns the channel from now on.
 */
#include "api/dataset_use.h"
#include "api/json_body.h"
#include "api/json_in.h"

extern const struct resource stream_claim_resource;

enum { BODY_MAX = 1024 };

struct claim_state {
    struct json_body body;
    struct dataset *dataset;
    struct slice channel;
    struct change *change;
};

static enum coffer_status claim_start(struct exchange *exchange, struct error *err)
{
    struct claim_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = stream_name_of(exchange, "channel", &state->channel, err);
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    return status == COFFER_OK ? json_body_start(&state->body, exchange, BODY_MAX, err) : status;
}

static enum coffer_status claim_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct claim_state *state = exchange->state;

    return json_body_data(&state->body, exchange, data, size, taken, err);
}

static enum coffer_status begin(
    struct exchange *exchange, struct claim_state *state, struct error *err)
{
    enum coffer_status status = json_body_finish(&state->body, err);

    if (status == COFFER_OK)
        status = json_in_read(state->body.root, "the body", NULL, 0, err);
    if (status != COFFER_OK)
        return status;
    return stream_claim(
        state->dataset, state->channel, exchange_waker(exchange), &state->change, err);
}

static enum coffer_status claim_finish(struct exchange *exchange, struct error *err)
{
    struct claim_state *state = exchange->state;
    enum coffer_status status = COFFER_OK;
    uint64_t epoch = 0, offset = 0;
    const char *text;

    if (state->change == NULL)
        status = begin(exchange, state, err);
    if (status == COFFER_OK)
        status = change_finish(state->change, err);
    if (status != COFFER_OK)
        return status;
    change_claim(state->change, &epoch, &offset);
    text = exchange_format(exchange, "{\"channel\":\"%.*s\",\"epoch\":%llu,\"offset\":%llu}\n",
        (int)state->channel.size, (const char *)state->channel.data, (unsigned long long)epoch,
        (unsigned long long)offset);
    exchange_reply(exchange, 200);
    exchange_reply_header(exchange, "Content-Type", "application/json");
    exchange_reply_memory(exchange, text, strlen(text));
    return COFFER_OK;
}

static void claim_release(struct exchange *exchange)
{
    struct claim_state *state = exchange->state;

    change_close(state->change);
    dataset_drop(state->dataset);
    json_body_release(&state->body);
}

const struct resource stream_claim_resource = {
    .start = claim_start, .data = claim_data, .finish = claim_finish, .release = claim_release};
