/*
 * POST /v1/datasets/{dataset}/close: 202 with the job that runs the dataset's close actions.
 *
 * The state is made durable and the job started by a bulk thread, so that both happen although the
 * client goes away in between.
 */
#include "api/bulk.h"
#include "api/close_job.h"
#include "api/dataset_use.h"
#include "api/job_json.h"
#include "api/problem.h"
#include "storage/base/invariant.h"

extern const struct resource dataset_close_resource;

struct close_state { /* the exchange is not closed before it was woken */
    struct bulk_task task;
    struct store *store;
    struct dataset *dataset;
    struct waker waker;
    bool submitted;
    uint64_t id;
    enum coffer_status status; /* of the task, from the wake on */
    struct error err;
};

static void run_close(struct bulk_task *task)
{
    struct close_state *state = container_of(task, struct close_state, task);

    state->status = close_job_start(state->store, state->dataset, &state->id, &state->err);
    waker_wake(state->waker);
}

static enum coffer_status close_start(struct exchange *exchange, struct error *err)
{
    struct close_state *state = exchange_alloc(exchange, sizeof(*state));

    exchange->state = state;
    state->task.run = run_close;
    state->store = exchange->service->store;
    return dataset_of(exchange, &state->dataset, err);
}

static enum coffer_status refuse(struct exchange *exchange, const struct close_state *state)
{
    const char *member;

    if (state->status != COFFER_DATASET_CLOSED || state->id == 0)
        return state->status;
    member = exchange_format(exchange, "\"job\":\"%llu\"", (unsigned long long)state->id);
    problem_reply_members(exchange, state->status, &state->err, slice_from_text(member));
    return COFFER_OK;
}

static enum coffer_status close_finish(struct exchange *exchange, struct error *err)
{
    struct close_state *state = exchange->state;
    enum coffer_status status;

    if (!state->submitted) {
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

static void close_release(struct exchange *exchange)
{
    struct close_state *state = exchange->state;

    dataset_drop(state->dataset);
}

const struct resource dataset_close_resource = {
    .start = close_start, .finish = close_finish, .release = close_release};
