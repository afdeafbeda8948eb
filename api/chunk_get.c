/*
 * GET and HEAD /v1/chunks/{key}.
 *
 * A chunk has one representation as it is, and, when it lies on the disk as zstd, a second one with
 * Content-Encoding: zstd and an entity tag of its own. A Range always means the first.
 */
#include "api/chunk_key.h"
#include "api/conditions.h"
#include "api/digest_header.h"
#include "api/problem.h"
#include "storage/base/invariant.h"

extern const struct resource chunk_get_resource;

struct get_state {
    struct reader *reader;
    struct digest key;
    bool selected;         /* the bytes to give are chosen; only they are waited for */
    bool encoded;          /* the zstd form */
    int status;            /* 200 or 206 */
    uint64_t offset, size; /* bytes of the representation to give */
    const char *etag;
};

static enum coffer_status get_start(struct exchange *exchange, struct error *err)
{
    struct get_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = chunk_key_of(exchange, true, &state->key, err);
    if (status != COFFER_OK)
        return status;
    status = reader_open(
        exchange->service->store, &state->key, exchange_waker(exchange), &state->reader, err);
    if (unlikely(status == COFFER_NO_SUCH_CHUNK))
        return error_set(err, status, "no chunk is stored under this key");
    return status;
}

/* Headers that do not depend on what of the chunk is sent. */
static void reply_common(struct exchange *exchange, int http_status)
{
    struct get_state *state = exchange->state;
    const struct chunk_info *info = reader_info(state->reader);

    exchange_reply(exchange, http_status);
    exchange_reply_header(exchange, "ETag", state->etag);
    exchange_reply_header(exchange, "Cache-Control", "public, max-age=31536000, immutable");
    /* What is not on the disk yet may be there as zstd by the next time. */
    if (info->state != CHUNK_DURABLE || reader_has_encoded(state->reader))
        exchange_reply_header(exchange, "Vary", "Accept-Encoding");
}

static void reply_headers(struct exchange *exchange)
{
    struct get_state *state = exchange->state;
    const struct chunk_info *info = reader_info(state->reader);

    reply_common(exchange, state->status);
    exchange_reply_header(exchange, "Content-Type", "application/octet-stream");
    if (!state->encoded) { /* it is the digest of the bytes, not of their zstd form */
        char *digest = exchange_alloc_text(exchange, DIGEST_HEADER_SIZE + 1);

        digest_header_format(&state->key, digest);
        exchange_reply_header(exchange, "Repr-Digest", digest);
    } else {
        exchange_reply_header(exchange, "Content-Encoding", "zstd");
    }
    exchange_reply_header(exchange, "Accept-Ranges", "bytes");
    exchange->coffer_state = chunk_state_name(info->state);
    exchange_reply_header(exchange, "Coffer-State", exchange->coffer_state);
    exchange_reply_header(
        exchange, "Coffer-Stored-Size", exchange_number(exchange, info->stored_size));
    exchange_reply_header(exchange, "Coffer-Codec", codec_name(info->codec));
    if (state->status == 206)
        exchange_reply_header(exchange, "Content-Range",
            exchange_format(exchange, "bytes %llu-%llu/%llu", (unsigned long long)state->offset,
                (unsigned long long)(state->offset + state->size - 1),
                (unsigned long long)info->size));
}

static void reply_unsatisfiable(struct exchange *exchange, uint64_t size)
{
    struct error err;

    (void)error_set(
        &err, COFFER_RANGE_NOT_SATISFIABLE, "the chunk has %llu bytes", (unsigned long long)size);
    problem_reply(exchange, err.status, &err);
    exchange_reply_header(exchange, "Content-Range",
        exchange_format(exchange, "bytes */%llu", (unsigned long long)size));
}

/* Conditions and ranges: what is to be sent. May reply. */
static enum coffer_status get_select(
    struct exchange *exchange, struct get_state *state, struct error *err)
{
    const struct chunk_info *info = reader_info(state->reader);
    struct slice range = exchange_header(exchange, HEADER_RANGE);
    struct slice accept = exchange_header(exchange, HEADER_ACCEPT_ENCODING);
    enum condition_verdict verdict;
    struct slice etag;

    state->encoded = accept.data != NULL && range.data == NULL &&
                     reader_has_encoded(state->reader) && accepts_zstd(accept);
    state->etag = chunk_etag(exchange, &state->key, state->encoded);
    etag = slice_of(state->etag, state->encoded ? CHUNK_ETAG_ZSTD_SIZE : CHUNK_ETAG_SIZE);
    state->status = 200;
    state->size = state->encoded ? info->stored_size : info->size;
    verdict = conditions_check(exchange_header(exchange, HEADER_IF_MATCH),
        exchange_header(exchange, HEADER_IF_NONE_MATCH), etag, true);
    if (verdict == CONDITION_FAILED)
        return error_set(
            err, COFFER_PRECONDITION_FAILED, "the chunk's entity tag is %s", state->etag);
    if (verdict == CONDITION_NOT_MODIFIED) {
        reply_common(exchange, 304);
        exchange->reply.size = state->size; /* as the 200 would say */
        return COFFER_OK;
    }
    if (range.data != NULL) {
        enum range_verdict part = range_select(range, exchange_header(exchange, HEADER_IF_RANGE),
            etag, info->size, &state->offset, &state->size);

        if (part == RANGE_UNSATISFIABLE)
            reply_unsatisfiable(exchange, info->size);
        else if (part == RANGE_PART)
            state->status = 206;
        else
            state->size = info->size;
    }
    return COFFER_OK;
}

static enum coffer_status read_chunk(
    void *reader, void *out, size_t max, size_t *size, struct error *err)
{
    return reader_read(reader, out, max, size, err);
}

static enum coffer_status get_finish(struct exchange *exchange, struct error *err)
{
    struct get_state *state = exchange->state;
    struct reader_content content;
    enum coffer_status status;

    if (!state->selected) {
        status = get_select(exchange, state, err);
        if (status != COFFER_OK || exchange_replied(exchange))
            return status;
        if (exchange->method == METHOD_HEAD) {
            reply_headers(exchange);
            exchange->reply.size = state->size;
            return COFFER_OK;
        }
        if (state->encoded)
            reader_select_encoded(state->reader);
        else
            reader_select(state->reader, state->status == 206 ? state->offset : 0, state->size);
        state->selected = true;
    }
    status = reader_content(state->reader, &content, err);
    if (status != COFFER_OK)
        return status;
    reply_headers(exchange);
    switch (content.form) {
    case READER_FILE:
        exchange_reply_file(exchange, content.fd, content.offset, content.size);
        break;
    case READER_STREAM:
        exchange_reply_stream(exchange, content.size, read_chunk, state->reader);
        break;
    case READER_MEMORY:
    default:
        exchange_reply_memory(exchange, content.data, content.size);
        break;
    }
    return COFFER_OK;
}

static void get_release(struct exchange *exchange)
{
    struct get_state *state = exchange->state;

    reader_close(state->reader);
}

const struct resource chunk_get_resource = {
    .start = get_start, .finish = get_finish, .release = get_release};
