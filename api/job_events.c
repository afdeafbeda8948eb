/*
 * GET /v1/jobs/{job}/events: what becomes of a job, as server-sent events.
 *
 *     event: progress      the job as JSON, now and whenever it has changed, some times a second
 *     event: done          the same when it has ended, in whatever way; then the stream ends
 *     : waiting            a comment, so that a client that is gone is noticed
 *
 * A stream that ends without `done` ended because the server stops.
 */
#include <stdlib.h>

#include "api/job_json.h"
#include "storage/base/clock.h"

extern const struct resource job_events_resource;

enum { EVENT_MAX = 2 * JOB_RESULT_MAX + 256 };
#define HEARTBEAT_DEFAULT_NS (UINT64_C(15) * NS_PER_S)

struct events_state {
    struct job_watch *watch;
    struct json_out text; /* the event that is being sent */
    size_t sent;
    bool ended;
};

static void write_event(struct events_state *state, const struct job_info *info)
{
    struct json_out *out = &state->text;

    state->ended = job_state_is_end(info->state);
    json_out_bytes(
        out, slice_from_text(state->ended ? "event: done\ndata: " : "event: progress\ndata: "));
    out->comma = false;
    job_write(out, info);
    json_out_bytes(out, slice_from_text("\n\n"));
}

static enum coffer_status next_event(struct events_state *state, struct error *err)
{
    struct job_info info;
    bool news;
    enum coffer_status status = job_watch_next(state->watch, &info, &news, err);

    if (status == COFFER_DRAINING || status == COFFER_NO_SUCH_JOB) {
        state->ended = true;
        return COFFER_OK;
    }
    if (status != COFFER_OK)
        return status;
    json_out_reset(&state->text);
    state->sent = 0;
    if (news) {
        write_event(state, &info);
        job_info_release(&info);
    } else {
        json_out_bytes(&state->text, slice_from_text(": waiting\n\n"));
    }
    if (!json_out_ok(&state->text))
        return error_set(err, COFFER_OVERLOADED, "no memory for an event");
    return COFFER_OK;
}

static enum coffer_status read_events(
    void *context, void *out, size_t max, size_t *size, struct error *err)
{
    struct events_state *state = context;
    struct slice text = json_out_text(&state->text);
    size_t left;

    if (state->sent == text.size && !state->ended) {
        enum coffer_status status = next_event(state, err);

        if (status != COFFER_OK)
            return status;
        text = json_out_text(&state->text);
    }
    left = text.size - state->sent;
    *size = left < max ? left : max;
    if (*size > 0)
        memcpy(out, (const char *)text.data + state->sent, *size);
    state->sent += *size;
    return COFFER_OK;
}

static enum coffer_status events_finish(struct exchange *exchange, struct error *err)
{
    struct events_state *state = exchange_alloc(exchange, sizeof(*state));
    struct service *service = exchange->service;
    uint64_t id = 0;
    enum coffer_status status = job_id_of(exchange, &id, err);

    exchange->state = state;
    if (status == COFFER_OK)
        status = exchange_charge(exchange, EVENT_MAX, err);
    json_out_growable(&state->text, EVENT_MAX);
    if (status == COFFER_OK)
        status = job_watch_open(service->store, id,
            service->heartbeat_ns > 0 ? service->heartbeat_ns : HEARTBEAT_DEFAULT_NS,
            exchange_waker(exchange), &state->watch, err);
    if (status != COFFER_OK)
        return status;
    exchange_reply(exchange, 200);
    exchange_reply_header(exchange, "Content-Type", "text/event-stream");
    exchange_reply_header(exchange, "Cache-Control", "no-store");
    exchange_reply_stream(exchange, REPLY_SIZE_UNKNOWN, read_events, state);
    return COFFER_OK;
}

static void events_cancel(struct exchange *exchange)
{
    struct events_state *state = exchange->state;

    if (state != NULL && state->watch != NULL)
        job_watch_cancel(state->watch);
}

static void events_release(struct exchange *exchange)
{
    struct events_state *state = exchange->state;

    if (state == NULL)
        return;
    job_watch_close(state->watch);
    json_out_release(&state->text);
}

const struct resource job_events_resource = {
    .finish = events_finish, .cancel = events_cancel, .release = events_release};
