/*
 * GET /v1/datasets/{ds}/transactions/{id}, and POST of its ready, commit and abort.
 *
 * A client that hangs up while its commit waits does not stop it: the answer is for asking again.
 */
#include "api/dataset_use.h"
#include "api/json_body.h"
#include "api/json_in.h"
#include "api/transaction_json.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"

extern const struct resource transaction_get_resource, transaction_ready_resource,
    transaction_commit_resource, transaction_abort_resource;

enum { BODY_MAX = 4096, COMMIT_WAIT_MAX = 300 /* seconds */ };

struct step_state {
    struct dataset *dataset;
    struct json_body body;
    struct slice id;
    struct change *change;
};

static enum coffer_status step_start(struct exchange *exchange, struct error *err)
{
    struct step_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = stream_name_of(exchange, "transaction", &state->id, err);
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    return status == COFFER_OK ? json_body_start(&state->body, exchange, BODY_MAX, err) : status;
}

static enum coffer_status step_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct step_state *state = exchange->state;

    return json_body_data(&state->body, exchange, data, size, taken, err);
}

static enum coffer_status read_body(
    struct step_state *state, const struct json_field *fields, size_t count, struct error *err)
{
    enum coffer_status status = json_body_finish(&state->body, err);

    return status == COFFER_OK ? json_in_read(state->body.root, "the body", fields, count, err)
                               : status;
}

static enum coffer_status begin_ready(
    struct exchange *exchange, struct step_state *state, struct error *err)
{
    struct slice channel = {NULL, 0};
    const struct json_field fields[] = {JSON_TEXT("channel", &channel)};
    enum coffer_status status = read_body(state, fields, ARRAY_COUNT(fields), err);

    if (status == COFFER_OK && channel.data != NULL)
        status = stream_name_check(channel, "channel", err);
    if (status != COFFER_OK)
        return status;
    return transaction_ready(
        state->dataset, state->id, channel, exchange_waker(exchange), &state->change, err);
}

static enum coffer_status begin_commit(
    struct exchange *exchange, struct step_state *state, struct error *err)
{
    uint64_t wait_ns = 0;
    const struct json_field fields[] = {
        JSON_SECONDS("wait", &wait_ns, 0, (uint64_t)COMMIT_WAIT_MAX * NS_PER_S)};
    enum coffer_status status = read_body(state, fields, ARRAY_COUNT(fields), err);

    if (status != COFFER_OK)
        return status;
    return transaction_commit(
        state->dataset, state->id, wait_ns, exchange_waker(exchange), &state->change, err);
}

static enum coffer_status begin_abort(
    struct exchange *exchange, struct step_state *state, struct error *err)
{
    struct slice reason = {NULL, 0};
    const struct json_field fields[] = {JSON_TEXT("reason", &reason)};
    enum coffer_status status = read_body(state, fields, ARRAY_COUNT(fields), err);

    if (status == COFFER_OK && reason.size >= DATASET_REASON_SIZE)
        status = error_set(err, COFFER_BAD_REQUEST, "\"reason\" may have %d bytes, not %zu",
            DATASET_REASON_SIZE - 1, reason.size);
    if (status != COFFER_OK)
        return status;
    return transaction_abort(
        state->dataset, state->id, reason, exchange_waker(exchange), &state->change, err);
}

/* The change is begun, or was: wait for it, and reply. */
static enum coffer_status finish(
    struct exchange *exchange, struct step_state *state, struct error *err)
{
    enum coffer_status status = change_finish(state->change, err);
    struct transaction_info info;

    if (status == COFFER_TRANSACTION_NOT_READY) {
        size_t count = 0;
        const struct version_part *missing = change_parts(state->change, &count);

        transaction_reply_missing(exchange, missing, count, err);
        return COFFER_OK;
    }
    if (status != COFFER_OK)
        return status;
    change_transaction(state->change, &info);
    return transaction_reply(exchange, state->dataset, &info, 200, err);
}

static enum coffer_status ready_finish(struct exchange *exchange, struct error *err)
{
    struct step_state *state = exchange->state;
    enum coffer_status status =
        state->change == NULL ? begin_ready(exchange, state, err) : COFFER_OK;

    return status == COFFER_OK ? finish(exchange, state, err) : status;
}

static enum coffer_status commit_finish(struct exchange *exchange, struct error *err)
{
    struct step_state *state = exchange->state;
    enum coffer_status status =
        state->change == NULL ? begin_commit(exchange, state, err) : COFFER_OK;

    return status == COFFER_OK ? finish(exchange, state, err) : status;
}

static enum coffer_status abort_finish(struct exchange *exchange, struct error *err)
{
    struct step_state *state = exchange->state;
    enum coffer_status status =
        state->change == NULL ? begin_abort(exchange, state, err) : COFFER_OK;

    return status == COFFER_OK ? finish(exchange, state, err) : status;
}

static void step_release(struct exchange *exchange)
{
    struct step_state *state = exchange->state;

    change_close(state->change);
    dataset_drop(state->dataset);
    json_body_release(&state->body);
}

/* ---- looking ---- */

static enum coffer_status get_start(struct exchange *exchange, struct error *err)
{
    struct step_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = stream_name_of(exchange, "transaction", &state->id, err);
    return status == COFFER_OK ? dataset_of(exchange, &state->dataset, err) : status;
}

static enum coffer_status get_finish(struct exchange *exchange, struct error *err)
{
    struct step_state *state = exchange->state;
    struct transaction_info info;
    enum coffer_status status = transaction_find(state->dataset, state->id, &info, err);

    return status == COFFER_OK ? transaction_reply(exchange, state->dataset, &info, 200, err)
                               : status;
}

const struct resource transaction_get_resource = {
    .start = get_start, .finish = get_finish, .release = step_release};
const struct resource transaction_ready_resource = {
    .start = step_start, .data = step_data, .finish = ready_finish, .release = step_release};
const struct resource transaction_commit_resource = {
    .start = step_start, .data = step_data, .finish = commit_finish, .release = step_release};
const struct resource transaction_abort_resource = {
    .start = step_start, .data = step_data, .finish = abort_finish, .release = step_release};
