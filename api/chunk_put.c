/*
 * PUT /v1/chunks/{key} and POST /v1/chunks: one chunk, streamed into the store as it comes.
 *
 * All that can be refused is refused in start(), before the client sends the body. A buffered write
 * is answered without a wait; a synced one waits once, for the sync that it shares with others.
 */
#include "api/chunk_key.h"
#include "api/write_headers.h"

extern const struct resource chunk_put_resource, chunk_post_resource;

struct put_state {
    struct upload *upload;
    struct digest key;    /* of the path */
    struct digest digest; /* of a digest header */
    bool has_key;         /* PUT */
    bool has_digest;
};

static enum coffer_status begin(
    struct exchange *exchange, struct put_state *state, struct error *err)
{
    struct slice channel = exchange_header(exchange, HEADER_CHANNEL);
    struct upload_options options = {.size = exchange->body_size};
    enum coffer_status status;

    if (channel.data != NULL && channel.size == 0)
        return error_set(err, COFFER_BAD_NAME, "Coffer-Channel is empty");
    status = encoding_header(exchange, err);
    if (status == COFFER_OK)
        status = durability_header(exchange, &options.durability, err);
    if (status == COFFER_OK)
        status = digest_headers(
            exchange, state->has_key ? &state->key : NULL, &state->digest, &state->has_digest, err);
    if (status == COFFER_OK && state->has_key)
        status = chunk_check_conditions(exchange, &state->key, err);
    if (status != COFFER_OK)
        return status;
    options.channel = channel;
    options.key = state->has_key ? &state->key : NULL;
    options.digest = state->has_digest ? &state->digest : NULL;
    return upload_begin(
        exchange->service->store, &options, exchange_waker(exchange), &state->upload, err);
}

static enum coffer_status put_start(struct exchange *exchange, struct error *err)
{
    struct put_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = chunk_key_of(exchange, false, &state->key, err);
    state->has_key = true;
    return status == COFFER_OK ? begin(exchange, state, err) : status;
}

static enum coffer_status post_start(struct exchange *exchange, struct error *err)
{
    struct put_state *state = exchange_alloc(exchange, sizeof(*state));

    exchange->state = state;
    return begin(exchange, state, err);
}

static enum coffer_status put_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct put_state *state = exchange->state;

    return upload_data(state->upload, data, size, taken, err);
}

static char *append(char *at, const char *text, size_t size)
{
    memcpy(at, text, size);
    return at + size;
}
#define APPEND(at, literal) append(at, literal, sizeof(literal) - 1)

static void reply_body(
    struct exchange *exchange, const char *key, const struct upload_result *result)
{
    const char *size = exchange_number(exchange, result->size);
    const char *state = chunk_state_name(result->state);
    char *body = exchange_alloc_text(exchange, 192);
    char *at = APPEND(body, "{\"key\":\"");

    at = append(at, key, DIGEST_HEX_SIZE);
    at = APPEND(at, "\",\"size\":");
    at = append(at, size, strlen(size));
    at = result->created ? APPEND(at, ",\"created\":true,\"state\":\"")
                         : APPEND(at, ",\"created\":false,\"state\":\"");
    at = append(at, state, strlen(state));
    at = APPEND(at, "\"}\n");
    exchange_reply_memory(exchange, body, (uint64_t)(at - body));
}

static void reply(struct exchange *exchange, const struct upload_result *result)
{
    static const char prefix[] = "/v1/chunks/";
    char *location = exchange_alloc_text(exchange, sizeof(prefix) + DIGEST_HEX_SIZE);
    bool durable = result->state == CHUNK_DURABLE;

    memcpy(location, prefix, sizeof(prefix) - 1);
    digest_to_hex(&result->key, location + sizeof(prefix) - 1);
    exchange_reply(exchange, !durable ? 202 : result->created ? 201 : 200);
    exchange_reply_header(exchange, "Content-Type", "application/json");
    exchange_reply_header(exchange, "ETag", chunk_etag(exchange, &result->key, false));
    exchange_reply_header(exchange, "Location", location);
    exchange->coffer_state = chunk_state_name(result->state);
    exchange_reply_header(exchange, "Coffer-State", exchange->coffer_state);
    if (!durable && result->ticket.text[0] != '\0')
        exchange_reply_header(exchange, "Coffer-Ticket",
            exchange_copy(exchange, slice_from_text(result->ticket.text)));
    reply_body(exchange, location + sizeof(prefix) - 1, result);
}

static enum coffer_status put_finish(struct exchange *exchange, struct error *err)
{
    struct put_state *state = exchange->state;
    struct upload_result result;
    enum coffer_status status = upload_finish(state->upload, &result, err);

    if (status == COFFER_OK)
        reply(exchange, &result);
    return status;
}

static void put_release(struct exchange *exchange)
{
    struct put_state *state = exchange->state;

    upload_close(state->upload);
}

const struct resource chunk_put_resource = {
    .start = put_start, .data = put_data, .finish = put_finish, .release = put_release};
const struct resource chunk_post_resource = {
    .start = post_start, .data = put_data, .finish = put_finish, .release = put_release};
