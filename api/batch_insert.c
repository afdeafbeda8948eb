/*
 * POST /v1/chunks/insert: store every file of a tar (insert_job.h).
 *
 * The body goes through a pipe to a bulk thread while it arrives. The reply cannot begin before the
 * body's end in HTTP/1.1, so the lines wait in a spool. An archive that cannot be read at all is a
 * problem, as soon as that is known; one that breaks later has its lines, and one that says so.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "api/body_check.h"
#include "api/bulk.h"
#include "api/insert_job.h"
#include "api/write_headers.h"
#include "storage/base/invariant.h"

extern const struct resource chunks_insert_resource;

struct insert {
    struct bulk_task task;
    _Atomic int references; /* the exchange, and the task once it is submitted */
    struct insert_job *job; /* NULL until the headers were found good */
    struct body_check check;
    bool submitted, complete; /* of the exchange */
};

static void insert_unref(struct insert *insert, int references)
{
    if (atomic_fetch_sub(&insert->references, references) != references)
        return;
    insert_job_destroy(insert->job);
    free(insert);
}

static void run_insert(struct bulk_task *task)
{
    struct insert *insert = container_of(task, struct insert, task);

    insert_job_run(insert->job);
    insert_unref(insert, 1);
}

static void wake_nobody(void *context)
{
    (void)context;
}

/* Let the store refuse what it would refuse for each entry: a bad name, a full disk. */
static enum coffer_status try_channel(
    struct exchange *exchange, struct slice channel, enum durability durability, struct error *err)
{
    struct upload_options options = {.channel = channel, .durability = durability};
    struct waker waker = {wake_nobody, NULL};
    struct upload *upload = NULL;
    enum coffer_status status =
        upload_begin(exchange->service->store, &options, waker, &upload, err);

    if (status == COFFER_OK)
        upload_close(upload);
    return status;
}

static enum coffer_status insert_start(struct exchange *exchange, struct error *err)
{
    struct slice channel = exchange_header(exchange, HEADER_CHANNEL);
    struct insert *insert = calloc(1, sizeof(*insert));
    enum durability durability;
    enum body_form form;
    enum coffer_status status;

    if (insert == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for an archive; try again later");
    atomic_init(&insert->references, 1);
    insert->task.run = run_insert;
    exchange->state = insert;
    if (channel.data != NULL && (channel.size == 0 || channel.size >= CHANNEL_NAME_SIZE))
        return error_set(
            err, COFFER_BAD_NAME, "Coffer-Channel has 1 to %d characters", CHANNEL_NAME_SIZE - 1);
    status = body_check_start(&insert->check, exchange, BODY_FORM_TAR, BODY_FORM_TAR, &form, err);
    if (status == COFFER_OK)
        status = durability_header(exchange, &durability, err);
    if (status == COFFER_OK)
        status = try_channel(exchange, channel, durability, err);
    if (status == COFFER_OK)
        status = exchange_charge(exchange, INSERT_JOB_MEMORY, err);
    if (status == COFFER_OK)
        status =
            insert_job_create(exchange->service->store, channel, durability, &insert->job, err);
    return status;
}

static enum coffer_status submit(
    struct exchange *exchange, struct insert *insert, struct error *err)
{
    enum coffer_status status;

    if (insert->submitted)
        return COFFER_OK;
    atomic_store(&insert->references, 2);
    status = bulk_pool_submit(exchange->service->bulk, &insert->task, err);
    if (status != COFFER_OK)
        atomic_store(&insert->references, 1);
    insert->submitted = status == COFFER_OK;
    return status;
}

static enum coffer_status insert_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct insert *insert = exchange->state;
    struct pipe *input = insert_job_input(insert->job);
    enum coffer_status status = submit(exchange, insert, err);

    if (status != COFFER_OK)
        return status;
    status = pipe_try_write(input, data, size, taken, exchange_waker(exchange));
    body_check_data(&insert->check, data, *taken);
    if (status == COFFER_OK && pipe_cancelled(input))
        status = spool_failure(insert_job_output(insert->job), err);
    return status;
}

static enum coffer_status read_lines(
    void *context, void *out, size_t max, size_t *size, struct error *err)
{
    struct exchange *exchange = context;
    struct insert *insert = exchange->state;

    return spool_try_read(
        insert_job_output(insert->job), out, max, size, exchange_waker(exchange), err);
}

static enum coffer_status insert_finish(struct exchange *exchange, struct error *err)
{
    struct insert *insert = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (!insert->complete) {
        status = submit(exchange, insert, err);
        if (status == COFFER_OK)
            status = body_check_finish(&insert->check, err);
        if (status != COFFER_OK)
            return status; /* release() ends the job; entries that were whole are stored */
        pipe_finish(insert_job_input(insert->job), COFFER_OK, NULL);
        insert->complete = true;
    }
    status = spool_try_wait(insert_job_output(insert->job), exchange_waker(exchange), err);
    if (status != COFFER_OK)
        return status;
    exchange_reply(exchange, 200);
    exchange_reply_header(exchange, "Content-Type", "application/x-ndjson");
    exchange_reply_stream(exchange, REPLY_SIZE_UNKNOWN, read_lines, exchange);
    return COFFER_OK;
}

static void insert_release(struct exchange *exchange)
{
    struct insert *insert = exchange->state;
    bool withdrawn = false;

    if (insert == NULL)
        return;
    if (insert->submitted) {
        pipe_cancel(insert_job_input(insert->job));
        withdrawn = bulk_pool_withdraw(exchange->service->bulk, &insert->task);
    }
    body_check_release(&insert->check);
    insert_unref(insert, withdrawn ? 2 : 1);
}

const struct resource chunks_insert_resource = {
    .start = insert_start, .data = insert_data, .finish = insert_finish, .release = insert_release};
