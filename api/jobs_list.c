/*
 * GET /v1/jobs, GET and DELETE /v1/jobs/{job}.
 */
#include "api/item_list.h"
#include "api/job_json.h"

extern const struct resource jobs_list_resource, job_get_resource, job_delete_resource;

enum { PAGE = 16 };

/* ---- the list ---- */

struct jobs_state {
    struct item_list list;
    struct store *store;
    uint64_t after;
    size_t found;
    struct job_info page[PAGE];
};

static void release_page(struct jobs_state *state)
{
    for (size_t i = 0; i < state->found; i++)
        job_info_release(&state->page[i]);
    state->found = 0;
}

static enum coffer_status fetch(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct jobs_state *state = context;

    (void)err;
    release_page(state);
    state->found = *found = store_jobs(state->store, state->after, state->page, wanted);
    *last = *found < wanted;
    if (*found > 0)
        state->after = state->page[*found - 1].id;
    return COFFER_OK;
}

static void write_job(void *context, size_t at, struct json_out *out)
{
    struct jobs_state *state = context;

    job_write(out, &state->page[at]);
}

static void write_next(void *context, size_t at, struct json_out *out)
{
    struct jobs_state *state = context;

    json_out_number_text(out, state->page[at].id);
}

static const struct item_source jobs = {
    .name = "jobs", .page = PAGE, .fetch = fetch, .write = write_job, .write_next = write_next};

static enum coffer_status jobs_finish(struct exchange *exchange, struct error *err)
{
    struct jobs_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status = item_list_start(&state->list, exchange, err);
    struct slice after = state->list.query.after;

    exchange->state = state;
    state->store = exchange->service->store;
    if (status != COFFER_OK)
        return status;
    if (after.data != NULL && !query_number(after, 0, UINT64_MAX, &state->after))
        return error_set(err, COFFER_BAD_REQUEST, "after is the id of a job, not \"%.80s\"",
            (const char *)after.data);
    return item_list_reply(&state->list, exchange, &jobs, state, err);
}

static void jobs_release(struct exchange *exchange)
{
    struct jobs_state *state = exchange->state;

    if (state == NULL)
        return;
    release_page(state);
    item_list_release(&state->list);
}

const struct resource jobs_list_resource = {.finish = jobs_finish, .release = jobs_release};

/* ---- one ---- */

static enum coffer_status get_finish(struct exchange *exchange, struct error *err)
{
    uint64_t id = 0;
    enum coffer_status status = job_id_of(exchange, &id, err);

    return status == COFFER_OK ? job_reply(exchange, id, 200, err) : status;
}

/* One that has ended is shown as it is: asking twice does no harm. */
static enum coffer_status delete_finish(struct exchange *exchange, struct error *err)
{
    uint64_t id = 0;
    bool ended = false;
    enum coffer_status status = job_id_of(exchange, &id, err);

    if (status == COFFER_OK)
        status = job_cancel(exchange->service->store, id, &ended, err);
    return status == COFFER_OK ? job_reply(exchange, id, ended ? 200 : 202, err) : status;
}

const struct resource job_get_resource = {.finish = get_finish};
const struct resource job_delete_resource = {.finish = delete_finish};
