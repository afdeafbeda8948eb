/*
 * POST /v1/sync: wait until tickets, or everything accepted so far, are durable.
 *
 * No `tickets` is everything; an empty list of them is nothing to wait for.
 */
#include <stdlib.h>

#include "api/json_body.h"
#include "api/json_in.h"
#include "api/problem.h"

extern const struct resource sync_resource;

enum { SYNC_BODY_MAX = 4 << 20, LIST_TEXT_MAX = 64 << 20 };

struct sync_state {
    struct json_body body;
    struct slice *tickets; /* they lie in the body */
    size_t ticket_count;
    bool everything;
    struct barrier *barrier;
};

static enum coffer_status sync_start(struct exchange *exchange, struct error *err)
{
    struct sync_state *state = exchange_alloc(exchange, sizeof(*state));

    exchange->state = state;
    return json_body_start(&state->body, exchange, SYNC_BODY_MAX, err);
}

static enum coffer_status sync_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct sync_state *state = exchange->state;

    return json_body_data(&state->body, exchange, data, size, taken, err);
}

/* ---- the body ---- */

static enum coffer_status read_tickets(struct sync_state *state, json_t *list, struct error *err)
{
    state->ticket_count = json_array_size(list);
    state->tickets = calloc(state->ticket_count + 1, sizeof(*state->tickets));
    if (state->tickets == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for the tickets; try again later");
    for (size_t i = 0; i < state->ticket_count; i++) {
        json_t *ticket = json_array_get(list, i);

        if (!json_is_string(ticket))
            return error_set(err, COFFER_BAD_JSON, "ticket number %zu is not a text", i + 1);
        state->tickets[i] = slice_of(json_string_value(ticket), json_string_length(ticket));
    }
    return COFFER_OK;
}

static enum coffer_status parse(struct sync_state *state, struct error *err)
{
    json_t *list = NULL;
    const struct json_field fields[] = {JSON_LIST("tickets", &list)};
    enum coffer_status status = json_body_finish(&state->body, err);

    if (status == COFFER_OK)
        status = json_in_read(state->body.root, "the body", fields, 1, err);
    state->everything = list == NULL;
    return status == COFFER_OK && list != NULL ? read_tickets(state, list, err) : status;
}

/* ---- the reply ---- */

/* All of them, however many: what is lost must not be lost in the answer. */
static void reply_members(struct exchange *exchange, enum coffer_status status,
    const struct error *err, struct json_out *out)
{
    json_out_array_end(out);
    problem_reply_members(
        exchange, status, err, json_out_ok(out) ? json_out_text(out) : slice_of(NULL, 0));
    json_out_release(out);
}

static void reply_lost(
    struct exchange *exchange, const struct sync_state *state, const struct error *err)
{
    struct json_out out;

    json_out_growable(&out, LIST_TEXT_MAX);
    json_out_name(&out, "lost");
    json_out_array(&out);
    for (size_t i = 0; i < state->ticket_count; i++)
        if (ticket_check(exchange->service->store, state->tickets[i]) == COFFER_TICKET_LOST)
            json_out_string(&out, state->tickets[i]);
    reply_members(exchange, COFFER_TICKET_LOST, err, &out);
}

static void reply_failed(struct exchange *exchange, const struct barrier_failure *failures,
    size_t count, const struct error *err)
{
    struct json_out out;

    json_out_growable(&out, LIST_TEXT_MAX);
    json_out_name(&out, "failed");
    json_out_array(&out);
    for (size_t i = 0; i < count; i++) {
        json_out_object(&out);
        json_out_member_text(&out, "ticket", failures[i].ticket.text);
        json_out_member_digest(&out, "key", &failures[i].key);
        json_out_object_end(&out);
    }
    reply_members(exchange, COFFER_SYNC_FAILED, err, &out);
}

static void reply_done(struct exchange *exchange, const struct sync_state *state)
{
    const char *text = state->everything
                           ? "{\"state\":\"durable\"}\n"
                           : exchange_format(exchange, "{\"state\":\"durable\",\"tickets\":%zu}\n",
                                 state->ticket_count);

    exchange_reply(exchange, 200);
    exchange_reply_header(exchange, "Content-Type", "application/json");
    exchange_reply_memory(exchange, text, strlen(text));
}

static enum coffer_status begin(
    struct exchange *exchange, struct sync_state *state, struct error *err)
{
    enum coffer_status status = parse(state, err);

    if (status != COFFER_OK || (!state->everything && state->ticket_count == 0))
        return status;
    return barrier_begin(exchange->service->store, state->tickets, state->ticket_count,
        exchange_waker(exchange), &state->barrier, err);
}

static enum coffer_status sync_finish(struct exchange *exchange, struct error *err)
{
    struct sync_state *state = exchange->state;
    const struct barrier_failure *failures = NULL;
    size_t count = 0;
    enum coffer_status status = COFFER_OK;

    if (state->barrier == NULL)
        status = begin(exchange, state, err);
    if (status == COFFER_OK && state->barrier != NULL)
        status = barrier_finish(state->barrier, &failures, &count, err);
    if (status == COFFER_TICKET_LOST)
        reply_lost(exchange, state, err);
    else if (status == COFFER_SYNC_FAILED)
        reply_failed(exchange, failures, count, err);
    else if (status == COFFER_OK)
        reply_done(exchange, state);
    else
        return status;
    return COFFER_OK;
}

static void sync_release(struct exchange *exchange)
{
    struct sync_state *state = exchange->state;

    if (state == NULL)
        return;
    barrier_close(state->barrier);
    free(state->tickets);
    json_body_release(&state->body);
}

const struct resource sync_resource = {
    .start = sync_start, .data = sync_data, .finish = sync_finish, .release = sync_release};
