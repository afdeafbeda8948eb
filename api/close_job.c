/*
 * A dataset that is closing always has a job, or gets one at the next start: first the state is
 * durable, then the job. The job's key is the dataset's id, so that another dataset which has got
 * the name meanwhile is not taken for it.
 */
#include "api/close_job.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/close_actions.h"
#include "api/job_json.h"
#include "api/notify.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"

enum { PAGE = 64, DETAIL_SHOWN = 200 /* so that all results fit into JOB_RESULT_MAX */ };

struct close_jobs {
    struct store *store;
    uint64_t notify_delay_ns;
};

static void key_of(const struct dataset_info *info, char key[JOB_KEY_SIZE])
{
    static_assert(2 * sizeof(info->id) < JOB_KEY_SIZE, "an id in hexadecimal is a key");
    hex_encode(info->id, sizeof(info->id), key);
}

static enum coffer_status finish_change(struct change *change, struct gate *gate, struct error *err)
{
    enum coffer_status status;

    while ((status = change_finish(change, err)) == COFFER_AGAIN)
        gate_wait(gate);
    change_close(change);
    return status;
}

typedef enum coffer_status begin_change(
    struct dataset *dataset, struct waker waker, struct change **out, struct error *err);

static enum coffer_status change_state(
    begin_change *begin, struct dataset *dataset, struct error *err)
{
    struct change *change = NULL;
    enum coffer_status status;
    struct gate gate;

    gate_init(&gate);
    status = begin(dataset, gate_waker(&gate), &change, err);
    if (status == COFFER_OK)
        status = finish_change(change, &gate, err);
    gate_release(&gate);
    return status;
}

/* ---- the job ---- */

/* What the job gives as its result, so far. */
static void publish(struct closing *closing)
{
    struct json_out out;

    json_out_growable(&out, JOB_RESULT_MAX);
    json_out_object(&out);
    json_out_member_text(&out, "dataset", closing->info.name);
    json_out_member_u64(&out, "version", closing->info.version);
    json_out_name(&out, "actions");
    json_out_array(&out);
    json_out_bytes(&out, json_out_text(&closing->results));
    json_out_array_end(&out);
    json_out_object_end(&out);
    invariant(json_out_ok(&out));
    job_result(closing->job, json_out_text(&out));
    json_out_release(&out);
}

static void write_outcome(struct json_out *out, enum coffer_status status, const struct error *err)
{
    char detail[DETAIL_SHOWN + 1];

    (void)snprintf(detail, sizeof(detail), "%.*s", DETAIL_SHOWN, err->text);
    if (status == COFFER_OK) {
        json_out_member_text(out, "state", "done");
    } else if (status == COFFER_DRAINING) {
        json_out_member_text(out, "state", "cancelled");
    } else {
        json_out_member_text(out, "state", "failed");
        failure_members_write(out, status, detail);
    }
}

/* The job's answer for one action, whatever it comes to. */
static enum coffer_status run_action(
    struct closing *closing, const struct close_action *action, struct error *err)
{
    enum coffer_status status = COFFER_DRAINING;
    struct json_out out;

    json_out_growable(&out, JOB_RESULT_MAX);
    json_out_object(&out);
    json_out_member_text(&out, "do", close_action_name(action->kind));
    if (!job_stopping(closing->job))
        status = close_action_run(closing, action, &out, err);
    write_outcome(&out, status, err);
    json_out_object_end(&out);
    invariant(json_out_ok(&out));
    json_out_raw(&closing->results, json_out_text(&out));
    json_out_release(&out);
    return status;
}

/* The first failure is that of the job, unless it is cancelled. */
static enum coffer_status run_actions(struct closing *closing, struct error *first)
{
    enum coffer_status worst = COFFER_OK;

    for (unsigned i = 0; i < closing->settings.action_count; i++) {
        const struct close_action *action = &closing->settings.actions[i];
        struct error err = {COFFER_OK, ""};
        enum coffer_status status = run_action(closing, action, &err);

        if (status == COFFER_DRAINING && !job_cancelled(closing->job))
            return status; /* the server stops: nobody will see this */
        publish(closing);
        if (status == COFFER_DRAINING || (status != COFFER_OK && worst == COFFER_OK)) {
            worst = status;
            (void)error_set(
                first, status, "%s: %.*s", close_action_name(action->kind), DETAIL_SHOWN, err.text);
        }
    }
    return worst;
}

static enum coffer_status run_closing(struct closing *closing, struct error *err)
{
    enum coffer_status status = COFFER_OK, closed;
    struct error why;

    dataset_info(closing->dataset, &closing->info);
    if (closing->info.state == DATASET_CLOSED)
        return COFFER_OK; /* it was done when the server stopped, but for this job's own end */
    dataset_settings(closing->dataset, &closing->settings);
    json_out_growable(&closing->results, JOB_RESULT_MAX);
    publish(closing);
    status = run_actions(closing, err);
    json_out_release(&closing->results);
    if (status == COFFER_DRAINING && !job_cancelled(closing->job))
        return status;
    closed = change_state(dataset_closed, closing->dataset, &why);
    if (closed == COFFER_OK || closed == COFFER_DATASET_CLOSED)
        return status;
    *err = why;
    return closed;
}

/* The dataset that the job is about, if it is still there. */
static enum coffer_status hold(
    struct store *store, const struct job *job, struct dataset **out, struct error *err)
{
    struct dataset_info info;
    char key[JOB_KEY_SIZE];
    enum coffer_status status = dataset_hold(store, slice_from_text(job_subject(job)), out, err);

    if (status != COFFER_OK)
        return status;
    dataset_info(*out, &info);
    key_of(&info, key);
    if (strcmp(key, job_key(job)) == 0)
        return COFFER_OK;
    dataset_drop(*out);
    return error_set(err, COFFER_NO_SUCH_DATASET, "the dataset was deleted");
}

static enum coffer_status run_job(struct job *job, void *context, struct error *err)
{
    const struct close_jobs *jobs = context;
    struct closing *closing = calloc(1, sizeof(*closing)); /* settings are some 16 KiB */
    enum coffer_status status;

    invariant(closing != NULL);
    closing->job = job;
    closing->notify_delay_ns = jobs->notify_delay_ns;
    status = hold(jobs->store, job, &closing->dataset, err);
    if (status == COFFER_OK) {
        status = run_closing(closing, err);
        dataset_drop(closing->dataset);
    }
    free(closing);
    return status;
}

/* ---- starting one ---- */

static enum coffer_status start_job(
    struct store *store, const struct dataset_info *info, uint64_t *id, struct error *err)
{
    char key[JOB_KEY_SIZE];
    const struct job_options options = {JOB_CLOSE, info->name, key, true};

    key_of(info, key);
    return job_start(store, &options, id, err);
}

enum coffer_status close_job_start(
    struct store *store, struct dataset *dataset, uint64_t *id, struct error *err)
{
    enum coffer_status begun = change_state(dataset_close_begin, dataset, err), status;
    struct dataset_info info;
    char key[JOB_KEY_SIZE];
    bool live;

    *id = 0;
    if (begun != COFFER_OK && begun != COFFER_DATASET_CLOSED)
        return begun;
    dataset_info(dataset, &info);
    if (info.state == DATASET_CLOSED) {
        key_of(&info, key);
        *id = job_find_last(store, JOB_CLOSE, key, &live);
        return error_set(err, COFFER_DATASET_CLOSED, "the dataset is closed already");
    }
    status = start_job(store, &info, id, err);
    if (status == COFFER_JOB_CONFLICT && begun == COFFER_DATASET_CLOSED)
        return error_set(err, COFFER_DATASET_CLOSED, "the dataset is being closed already");
    return status == COFFER_JOB_CONFLICT ? COFFER_OK : status;
}

/* One for each dataset whose closing was cut before it had its job. */
static enum coffer_status start_missing(struct store *store, struct error *err)
{
    struct dataset_info *page = calloc(PAGE, sizeof(*page));
    char last[DATASET_NAME_SIZE] = "";
    enum coffer_status status;
    size_t found = 0;

    invariant(page != NULL);
    do {
        status = store_datasets(
            store, last[0] == '\0' ? NULL : last, slice_of("", 0), page, PAGE, &found, err);
        for (size_t i = 0; i < found && status == COFFER_OK; i++) {
            uint64_t id;

            if (page[i].state == DATASET_CLOSING)
                status = start_job(store, &page[i], &id, err);
            if (status == COFFER_JOB_CONFLICT)
                status = COFFER_OK; /* it has one */
        }
        if (found > 0)
            memcpy(last, page[found - 1].name, sizeof(last));
    } while (status == COFFER_OK && found == PAGE);
    free(page);
    return status;
}

struct close_jobs *close_jobs_create(struct store *store, uint64_t notify_delay_ns)
{
    struct close_jobs *jobs = malloc(sizeof(*jobs));
    struct error err;

    invariant(jobs != NULL);
    notify_init();
    *jobs = (struct close_jobs){store, notify_delay_ns};
    store_jobs_handle(store, JOB_CLOSE, run_job, jobs);
    if (start_missing(store, &err) != COFFER_OK) /* is no reason not to serve */
        log_write(LOG_ERROR, "close_not_resumed", "%s", err.text);
    return jobs;
}

void close_jobs_destroy(struct close_jobs *jobs)
{
    if (jobs == NULL)
        return;
    free(jobs);
    notify_release();
}
