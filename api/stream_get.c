/*
 * GET and HEAD /v1/datasets/{ds}/channels/{ch}: the committed bytes of a channel, as they are now,
 * as of ?version=V, or, with ?follow=true, also those that come later, until the dataset is closed.
 *
 * A channel only grows, so dataset, name and size make a strong entity tag. The first bytes are
 * read before the reply begins, so that what fails at once is answered with its own status.
 *
 * What follows has no size and no entity tag, and is always a 200: of a Range only the start
 * counts, and Coffer-Offset says where the bytes begin.
 */
#include "api/conditions.h"
#include "api/dataset_use.h"
#include "api/list_query.h"
#include "api/problem.h"
#include "storage/base/bytes.h"
#include "storage/base/digest.h"

extern const struct resource stream_get_resource;

enum { FIRST_SIZE = 32 << 10, TAG_ID_SIZE = 8 };

struct get_state {
    struct dataset *dataset;
    struct stream_reader *reader;
    struct slice channel;
    uint64_t version;
    unsigned follow;
    bool selected;         /* the bytes to give are chosen */
    int status;            /* 200 or 206 */
    uint64_t offset, size; /* bytes to give; following: the size is what is there already */
    uint64_t total;        /* of the channel */
    const char *etag;
    char *first;                   /* read before the reply */
    size_t first_size, first_sent; /* bytes */
};

static enum coffer_status get_start(struct exchange *exchange, struct error *err)
{
    static const char *const words[] = {"false", "true", NULL};
    struct get_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status;

    exchange->state = state;
    status = stream_name_of(exchange, "channel", &state->channel, err);
    if (status == COFFER_OK)
        status = version_of(exchange, &state->version, err);
    if (status == COFFER_OK)
        status = query_choice(exchange, "follow", words, &state->follow, err);
    if (status == COFFER_OK && state->follow && state->version != 0)
        status = error_set(err, COFFER_BAD_REQUEST,
            "nothing is ever added to a version: follow the channel without one");
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    if (status == COFFER_OK)
        status = stream_open(state->dataset, state->channel, state->version,
            exchange_waker(exchange), &state->reader, err);
    return status;
}

static const char *make_etag(struct exchange *exchange, const struct get_state *state)
{
    struct dataset_info info;
    char id[2 * TAG_ID_SIZE + 1];

    dataset_info(state->dataset, &info);
    hex_encode(info.id, TAG_ID_SIZE, id);
    return exchange_format(exchange, "\"%s-%.*s-%llu\"", id, (int)state->channel.size,
        (const char *)state->channel.data, (unsigned long long)state->total);
}

static enum coffer_status reply_unsatisfiable(
    struct exchange *exchange, const struct get_state *state, struct error *err)
{
    (void)error_set(err, COFFER_RANGE_NOT_SATISFIABLE, "the channel has %llu bytes",
        (unsigned long long)state->total);
    problem_reply(exchange, err->status, err);
    exchange_reply_header(exchange, "Content-Range",
        exchange_format(exchange, "bytes */%llu", (unsigned long long)state->total));
    return COFFER_OK;
}

/* Where to begin. May reply. */
static enum coffer_status select_follow(
    struct exchange *exchange, struct get_state *state, struct error *err)
{
    if (exchange_has(exchange, HEADER_IF_RANGE))
        state->offset = 0; /* there is no entity tag that it could name */
    else if (range_start(exchange_header(exchange, HEADER_RANGE), state->total, &state->offset) ==
             RANGE_UNSATISFIABLE)
        return reply_unsatisfiable(exchange, state, err);
    state->size = state->total - state->offset;
    return COFFER_OK;
}

/* Conditions and ranges: what is to be sent. May reply. */
static enum coffer_status select_bytes(
    struct exchange *exchange, struct get_state *state, struct error *err)
{
    enum condition_verdict verdict;
    enum range_verdict part;

    state->etag = make_etag(exchange, state);
    verdict = conditions_check(exchange_header(exchange, HEADER_IF_MATCH),
        exchange_header(exchange, HEADER_IF_NONE_MATCH), slice_from_text(state->etag), true);
    if (verdict == CONDITION_FAILED)
        return error_set(
            err, COFFER_PRECONDITION_FAILED, "the channel's entity tag is %s", state->etag);
    if (verdict == CONDITION_NOT_MODIFIED) {
        exchange_reply(exchange, 304);
        exchange_reply_header(exchange, "ETag", state->etag);
        exchange->reply.size = state->total; /* as the 200 would say */
        return COFFER_OK;
    }
    part = range_select(exchange_header(exchange, HEADER_RANGE),
        exchange_header(exchange, HEADER_IF_RANGE), slice_from_text(state->etag), state->total,
        &state->offset, &state->size);
    if (part == RANGE_UNSATISFIABLE)
        return reply_unsatisfiable(exchange, state, err);
    if (part == RANGE_PART)
        state->status = 206;
    return COFFER_OK;
}

/* ---- the bytes ---- */

/* Fill `first` with what is there. */
static enum coffer_status read_first(struct get_state *state, struct error *err)
{
    size_t wanted = (size_t)min_u64(state->size, FIRST_SIZE);

    while (state->first_size < wanted) {
        size_t size = 0;
        enum coffer_status status = stream_read(state->reader, state->first + state->first_size,
            wanted - state->first_size, &size, err);

        if (status != COFFER_OK)
            return status;
        if (size == 0)
            return error_set(err, COFFER_DATA_CORRUPT, "the channel ends before its end");
        state->first_size += size;
    }
    return COFFER_OK;
}

static enum coffer_status read_on(
    void *context, void *out, size_t max, size_t *size, struct error *err)
{
    struct get_state *state = context;
    size_t left = state->first_size - state->first_sent;

    if (left == 0)
        return stream_read(state->reader, out, max, size, err);
    *size = left < max ? left : max;
    memcpy(out, state->first + state->first_sent, *size);
    state->first_sent += *size;
    return COFFER_OK;
}

static void reply_headers(struct exchange *exchange, const struct get_state *state)
{
    exchange_reply(exchange, state->status);
    exchange_reply_header(exchange, "Content-Type", "application/octet-stream");
    exchange->coffer_state = chunk_state_name(CHUNK_DURABLE);
    exchange_reply_header(exchange, "Coffer-State", exchange->coffer_state);
    if (state->follow) {
        exchange_reply_header(exchange, "Coffer-Offset", exchange_number(exchange, state->offset));
        exchange_reply_header(exchange, "Cache-Control", "no-store");
        return;
    }
    exchange_reply_header(exchange, "ETag", state->etag);
    exchange_reply_header(exchange, "Accept-Ranges", "bytes");
    if (state->status == 206)
        exchange_reply_header(exchange, "Content-Range",
            exchange_format(exchange, "bytes %llu-%llu/%llu", (unsigned long long)state->offset,
                (unsigned long long)(state->offset + state->size - 1),
                (unsigned long long)state->total));
}

static enum coffer_status select_once(
    struct exchange *exchange, struct get_state *state, struct error *err)
{
    enum coffer_status status;

    state->status = 200;
    state->total = stream_size(state->reader);
    status =
        state->follow ? select_follow(exchange, state, err) : select_bytes(exchange, state, err);
    if (status != COFFER_OK || exchange_replied(exchange))
        return status;
    if (exchange->method == METHOD_HEAD) {
        reply_headers(exchange, state);
        exchange->reply.size = state->follow ? REPLY_SIZE_UNKNOWN : state->size;
        return COFFER_OK;
    }
    stream_select(state->reader, state->offset,
        state->follow ? UINT64_MAX : state->offset + state->size, state->follow);
    state->first = exchange_alloc_text(exchange, (size_t)min_u64(state->size, FIRST_SIZE));
    state->selected = true;
    return COFFER_OK;
}

static enum coffer_status get_finish(struct exchange *exchange, struct error *err)
{
    struct get_state *state = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (!state->selected)
        status = select_once(exchange, state, err);
    if (status != COFFER_OK || exchange_replied(exchange))
        return status;
    status = read_first(state, err);
    if (status != COFFER_OK)
        return status;
    reply_headers(exchange, state);
    if (state->follow)
        exchange_reply_stream(exchange, REPLY_SIZE_UNKNOWN, read_on, state);
    else if (state->size == state->first_size)
        exchange_reply_memory(exchange, state->first, state->first_size);
    else
        exchange_reply_stream(exchange, state->size, read_on, state);
    return COFFER_OK;
}

static void get_cancel(struct exchange *exchange)
{
    struct get_state *state = exchange->state;

    if (state->follow)
        stream_cancel(state->reader);
}

static void get_release(struct exchange *exchange)
{
    struct get_state *state = exchange->state;

    stream_close(state->reader);
    dataset_drop(state->dataset);
}

const struct resource stream_get_resource = {
    .start = get_start, .finish = get_finish, .cancel = get_cancel, .release = get_release};
