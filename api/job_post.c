/*
 * POST /v1/jobs: {"kind":...} and what the kind takes. 202 with the job, which is durable by then.
 *
 * It is started by a bulk thread, since making it durable blocks.
 */
#include <stdio.h>
#include <string.h>

#include "api/bulk.h"
#include "api/job_json.h"
#include "api/job_request.h"
#include "api/json_body.h"
#include "api/problem.h"
#include "storage/base/invariant.h"

extern const struct resource job_post_resource;

enum { BODY_MAX = 64 * 1024, KINDS_TEXT_SIZE = 256 };

static const struct {
    const char *kind;
    job_request *start;
} requests[] = {
#define JOB_REQUEST(kind, summary) {#kind, job_request_##kind},
#include "api/job_requests.def"
#undef JOB_REQUEST
};

struct post_state { /* the exchange is not closed before it was woken */
    struct bulk_task task;
    struct json_body body;
    struct store *store;
    struct waker waker;
    job_request *start;
    bool submitted;
    uint64_t id;
    enum coffer_status status; /* of the task, from the wake on */
    struct error err;
};

static void run_start(struct bulk_task *task)
{
    struct post_state *state = container_of(task, struct post_state, task);

    state->status = state->start(state->store, state->body.root, &state->id, &state->err);
    waker_wake(state->waker);
}

static enum coffer_status post_start(struct exchange *exchange, struct error *err)
{
    struct post_state *state = exchange_alloc(exchange, sizeof(*state));

    exchange->state = state;
    state->task.run = run_start;
    state->store = exchange->service->store;
    return json_body_start(&state->body, exchange, BODY_MAX, err);
}

static enum coffer_status post_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct post_state *state = exchange->state;

    return json_body_data(&state->body, exchange, data, size, taken, err);
}

static enum coffer_status unknown_kind(const char *kind, struct error *err)
{
    char kinds[KINDS_TEXT_SIZE] = "";
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_COUNT(requests) && used < sizeof(kinds); i++)
        used += (size_t)snprintf(
            kinds + used, sizeof(kinds) - used, "%s%s", i == 0 ? "" : ", ", requests[i].kind);
    if (kind == NULL)
        return error_set(err, COFFER_BAD_REQUEST, "\"kind\" is missing, one of %s", kinds);
    return error_set(err, COFFER_BAD_REQUEST, "no job of the kind \"%.60s\" can be started, but %s",
        kind, kinds);
}

/* Take the kind out of the body: the rest is what the kind takes. */
static enum coffer_status take_kind(struct post_state *state, struct error *err)
{
    json_t *kind = json_object_get(state->body.root, "kind");
    enum coffer_status status = COFFER_OK;

    if (kind != NULL && !json_is_string(kind))
        return error_set(err, COFFER_BAD_JSON, "\"kind\" of the body is a text");
    for (size_t i = 0; i < ARRAY_COUNT(requests) && kind != NULL; i++)
        if (strcmp(requests[i].kind, json_string_value(kind)) == 0)
            state->start = requests[i].start;
    if (state->start == NULL)
        status = unknown_kind(kind == NULL ? NULL : json_string_value(kind), err);
    (void)json_object_del(state->body.root, "kind");
    return status;
}

static enum coffer_status refuse(struct exchange *exchange, const struct post_state *state)
{
    const char *member;

    if (state->status != COFFER_JOB_CONFLICT)
        return state->status;
    member = exchange_format(exchange, "\"job\":\"%llu\"", (unsigned long long)state->id);
    problem_reply_members(exchange, state->status, &state->err, slice_from_text(member));
    return COFFER_OK;
}

static enum coffer_status post_finish(struct exchange *exchange, struct error *err)
{
    struct post_state *state = exchange->state;
    enum coffer_status status;

    if (!state->submitted) {
        status = json_body_finish(&state->body, err);
        if (status == COFFER_OK)
            status = take_kind(state, err);
        if (status != COFFER_OK)
            return status;
        state->waker = exchange_waker(exchange);
        state->submitted = true;
        status = bulk_pool_submit(exchange->service->bulk, &state->task, err);
        return status == COFFER_OK ? COFFER_AGAIN : status;
    }
    *err = state->err;
    if (state->status != COFFER_OK)
        return refuse(exchange, state);
    return job_reply(exchange, state->id, 202, err);
}

static void post_release(struct exchange *exchange)
{
    struct post_state *state = exchange->state;

    json_body_release(&state->body);
}

const struct resource job_post_resource = {
    .start = post_start, .data = post_data, .finish = post_finish, .release = post_release};
