/*
 * POST /v1/datasets/{ds}/channels/{ch}: append the body to a channel, as one record, or, as
 * application/x-ndjson, as a record a line. Atomic, of any size.
 *
 * All that can be refused is refused in start(), before the client sends the body. This is the path
 * of many small records: nothing here allocates but the append itself.
 */
#include "api/conditions.h"
#include "api/dataset_use.h"
#include "api/problem.h"
#include "api/write_headers.h"
#include "storage/base/invariant.h"

extern const struct resource stream_append_resource;

enum { REPLY_SIZE = 512 }; /* a name, a ticket, five numbers */

struct append_state {
    struct dataset *dataset;
    struct append *append;
    struct slice channel;
    struct digest digest; /* of a digest header */
};

/* The headers that say what kind of append it is. */
static enum coffer_status read_headers(struct exchange *exchange, struct append_state *state,
    struct append_options *options, struct error *err)
{
    bool has_digest = false;
    enum coffer_status status = encoding_header(exchange, err);

    if (status == COFFER_OK)
        status = durability_header(exchange, &options->durability, err);
    if (status == COFFER_OK)
        status = digest_headers(exchange, NULL, &state->digest, &has_digest, err);
    if (status == COFFER_OK)
        status = number_header(
            exchange, HEADER_OFFSET, "Coffer-Offset", &options->has_offset, &options->offset, err);
    if (status == COFFER_OK)
        status = number_header(
            exchange, HEADER_EPOCH, "Coffer-Epoch", &options->has_epoch, &options->epoch, err);
    if (status == COFFER_OK && exchange_has(exchange, HEADER_TRANSACTION)) {
        options->transaction = exchange_header(exchange, HEADER_TRANSACTION);
        status = stream_name_check(options->transaction, "transaction", err);
    }
    options->digest = has_digest ? &state->digest : NULL;
    options->lines =
        exchange_has(exchange, HEADER_CONTENT_TYPE) &&
        (media_type_is(exchange_header(exchange, HEADER_CONTENT_TYPE), "application/x-ndjson") ||
            media_type_is(exchange_header(exchange, HEADER_CONTENT_TYPE), "application/ndjson"));
    return status;
}

/* An offset that is not the channel's end is answered with the one that is. */
static enum coffer_status refused(
    struct exchange *exchange, enum coffer_status status, uint64_t current, const struct error *err)
{
    const char *member;

    if (status != COFFER_OFFSET_MISMATCH)
        return status;
    member = exchange_format(exchange, "\"offset\":%llu", (unsigned long long)current);
    problem_reply_members(exchange, status, err, slice_from_text(member));
    return COFFER_OK;
}

static enum coffer_status append_start(struct exchange *exchange, struct error *err)
{
    struct append_state *state = exchange_alloc(exchange, sizeof(*state));
    struct append_options options = {.size = exchange->body_size};
    uint64_t current = 0;
    enum coffer_status status;

    exchange->state = state;
    status = stream_name_of(exchange, "channel", &state->channel, err);
    if (status == COFFER_OK)
        status = read_headers(exchange, state, &options, err);
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    if (status != COFFER_OK)
        return status;
    options.channel = state->channel;
    status = append_begin(
        state->dataset, &options, exchange_waker(exchange), &state->append, &current, err);
    return refused(exchange, status, current, err);
}

static enum coffer_status append_body(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct append_state *state = exchange->state;

    return append_data(state->append, data, size, taken, err);
}

static void reply(
    struct exchange *exchange, const struct append_state *state, const struct append_result *result)
{
    bool waits = result->staged || result->buffered;
    const char *ticket = NULL;
    struct json_out out;

    exchange->coffer_state = result->staged     ? "staged"
                             : result->buffered ? "buffered"
                                                : chunk_state_name(CHUNK_DURABLE);
    if (result->buffered)
        ticket = exchange_copy(exchange, slice_from_text(result->ticket.text));
    json_out_fixed(&out, exchange_alloc_text(exchange, REPLY_SIZE), REPLY_SIZE);
    json_out_object(&out);
    json_out_member_string(&out, "channel", state->channel);
    json_out_member_u64(&out, "offset", result->offset);
    json_out_member_u64(&out, "length", result->length);
    json_out_member_u64(&out, "record", result->record);
    json_out_member_u64(&out, "records", result->records);
    if (!waits)
        json_out_member_u64(&out, "version", result->version);
    json_out_member_text(&out, "state", exchange->coffer_state);
    if (ticket != NULL)
        json_out_member_text(&out, "ticket", ticket);
    json_out_object_end(&out);
    json_out_line(&out);
    invariant(json_out_ok(&out));

    exchange_reply(exchange, waits ? 202 : result->repeated ? 200 : 201);
    exchange_reply_header(exchange, "Content-Type", "application/json");
    exchange_reply_header(exchange, "Coffer-State", exchange->coffer_state);
    if (ticket != NULL)
        exchange_reply_header(exchange, "Coffer-Ticket", ticket);
    exchange_reply_memory(exchange, json_out_text(&out).data, json_out_text(&out).size);
}

static enum coffer_status append_end(struct exchange *exchange, struct error *err)
{
    struct append_state *state = exchange->state;
    struct append_result result;
    uint64_t current = 0;
    enum coffer_status status = append_finish(state->append, &result, &current, err);

    if (status != COFFER_OK)
        return refused(exchange, status, current, err);
    reply(exchange, state, &result);
    return COFFER_OK;
}

static void append_release(struct exchange *exchange)
{
    struct append_state *state = exchange->state;

    append_close(state->append);
    dataset_drop(state->dataset);
}

const struct resource stream_append_resource = {
    .start = append_start, .data = append_body, .finish = append_end, .release = append_release};
