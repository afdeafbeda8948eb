/*
 * POST /v1/chunks/extract: many chunks as one tar stream.
 *
 * A bulk thread reads the chunks and writes the archive into a pipe; the exchange sends what comes
 * out of it. Until the first bytes are sent every failure is a problem with its own status, and
 * which keys are missing is known before; later the connection is cut, so that a client never takes
 * half an archive for a whole one.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "api/bulk.h"
#include "api/key_body.h"
#include "api/list_query.h"
#include "api/pipe.h"
#include "api/problem.h"
#include "api/tar_out.h"
#include "storage/base/invariant.h"

extern const struct resource chunks_extract_resource;

enum {
    PIPE_SIZE = 256 << 10,
    READ_SIZE = 64 << 10,
    MISSING_SHOWN_MAX = 100,
    MEMBERS_SIZE = 64 + MISSING_SHOWN_MAX * (DIGEST_HEX_SIZE + 3),
};

struct extract {
    struct bulk_task task;
    _Atomic int references; /* the exchange, and the task once it is submitted */
    struct key_body body;   /* constant once submitted */
    struct store *store;
    enum bulk_order order;
    bool skip_missing;
    struct pipe *pipe;      /* NULL until submitted */
    uint64_t missing_count; /* of the task until the pipe is finished */
    struct digest missing[MISSING_SHOWN_MAX];
    char buffer[READ_SIZE]; /* of the task */
};

static void extract_unref(struct extract *extract, int references)
{
    if (atomic_fetch_sub(&extract->references, references) != references)
        return;
    pipe_destroy(extract->pipe);
    key_body_release(&extract->body);
    free(extract);
}

/* ---- the bulk thread ---- */

static bool write_pipe(void *context, const void *data, size_t size)
{
    struct extract *extract = context;

    return pipe_write(extract->pipe, data, size);
}

static bool is_cancelled(void *context)
{
    struct extract *extract = context;

    return pipe_cancelled(extract->pipe);
}

/* Some keys are missing: note the first of them. */
static enum coffer_status note_missing(
    struct extract *extract, const struct bulk_reader *reader, struct error *err)
{
    const struct key_source keys = key_body_keys(&extract->body);
    enum coffer_status status = COFFER_OK;
    size_t shown = 0;

    for (uint64_t i = 0; i < keys.count && shown < MISSING_SHOWN_MAX && status == COFFER_OK; i++)
        if (bulk_is_missing(reader, i))
            status = key_source_read(&keys, i, 1, &extract->missing[shown++], err);
    if (status != COFFER_OK)
        return status;
    extract->missing_count = bulk_missing_count(reader);
    return error_set(err, COFFER_NO_SUCH_CHUNK,
        "%llu of the %llu keys are not stored; missing=skip leaves them out",
        (unsigned long long)extract->missing_count, (unsigned long long)keys.count);
}

static enum coffer_status write_large(
    struct extract *extract, struct bulk_reader *reader, struct tar_out *tar, struct error *err)
{
    enum coffer_status status;
    size_t size;

    do {
        status = bulk_read(reader, extract->buffer, READ_SIZE, &size, err);
        if (status == COFFER_OK)
            status = tar_out_data(tar, extract->buffer, size, err);
    } while (status == COFFER_OK && size > 0);
    return status;
}

static enum coffer_status write_item(struct extract *extract, struct bulk_reader *reader,
    const struct bulk_item *item, struct tar_out *tar, struct error *err)
{
    char name[DIGEST_HEX_SIZE + 1];
    enum coffer_status status;

    digest_to_hex(&item->info.key, name);
    if (item->status == COFFER_NO_SUCH_CHUNK && extract->skip_missing)
        return COFFER_OK;
    if (item->status != COFFER_OK)
        return error_set(err, item->status, "chunk %s: %s", name, status_title(item->status));
    status = tar_out_entry(tar, name, item->info.size, err);
    if (status != COFFER_OK)
        return status;
    if (item->data == NULL && item->info.size > 0)
        return write_large(extract, reader, tar, err);
    return tar_out_data(tar, item->data, (size_t)item->info.size, err);
}

static enum coffer_status write_items(
    struct extract *extract, struct bulk_reader *reader, struct tar_out *tar, struct error *err)
{
    struct bulk_item item;
    bool more = true;
    enum coffer_status status = COFFER_OK;

    while (status == COFFER_OK && more) {
        status = bulk_next(reader, &item, &more, err);
        if (status == COFFER_OK && more)
            status = write_item(extract, reader, &item, tar, err);
    }
    return status;
}

static void run_extract(struct bulk_task *task)
{
    struct extract *extract = container_of(task, struct extract, task);
    const struct bulk_options options = {.keys = key_body_keys(&extract->body),
        .order = extract->order,
        .cancelled = is_cancelled,
        .context = extract};
    struct error err = {COFFER_OK, ""};
    struct bulk_reader *reader = NULL;
    struct tar_out *tar = NULL;
    enum coffer_status status = bulk_open(extract->store, &options, &reader, &err);

    if (status == COFFER_OK && !extract->skip_missing && bulk_missing_count(reader) > 0)
        status = note_missing(extract, reader, &err);
    if (status == COFFER_OK)
        status = tar_out_create(write_pipe, extract, &tar, &err);
    if (status == COFFER_OK)
        status = write_items(extract, reader, tar, &err);
    if (status == COFFER_OK)
        status = tar_out_end(tar, &err);
    tar_out_destroy(tar);
    bulk_close(reader);
    pipe_finish(extract->pipe, status, &err);
    extract_unref(extract, 1);
}

/* ---- the exchange ---- */

static enum coffer_status extract_start(struct exchange *exchange, struct error *err)
{
    static const char *const orders[] = {"storage", "request", NULL};
    static const char *const policies[] = {"error", "skip", NULL};
    struct extract *extract = calloc(1, sizeof(*extract));
    unsigned order, policy;
    enum coffer_status status;

    if (extract == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for an archive; try again later");
    atomic_init(&extract->references, 1);
    extract->task.run = run_extract;
    extract->store = exchange->service->store;
    exchange->state = extract;
    status = query_choice(exchange, "order", orders, &order, err);
    if (status == COFFER_OK)
        status = query_choice(exchange, "missing", policies, &policy, err);
    if (status == COFFER_OK)
        status = exchange_charge(exchange, PIPE_SIZE + 2 * READ_SIZE, err);
    if (status != COFFER_OK)
        return status;
    extract->order = order == 0 ? BULK_STORAGE_ORDER : BULK_REQUEST_ORDER;
    extract->skip_missing = policy == 1;
    return key_body_start(&extract->body, exchange, err);
}

static enum coffer_status extract_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct extract *extract = exchange->state;

    return key_body_data(&extract->body, exchange, data, size, taken, err);
}

static enum coffer_status submit(
    struct exchange *exchange, struct extract *extract, struct error *err)
{
    enum coffer_status status = key_body_finish(&extract->body, err);

    if (status == COFFER_OK)
        status = pipe_create(PIPE_SIZE, &extract->pipe, err);
    if (status != COFFER_OK)
        return status;
    atomic_store(&extract->references, 2);
    status = bulk_pool_submit(exchange->service->bulk, &extract->task, err);
    if (status != COFFER_OK)
        atomic_store(&extract->references, 1);
    return status;
}

static void reply_missing(
    struct exchange *exchange, const struct extract *extract, const struct error *err)
{
    char *text = exchange_alloc_text(exchange, MEMBERS_SIZE);
    struct json_out out;

    json_out_fixed(&out, text, MEMBERS_SIZE);
    json_out_member_u64(&out, "missing_count", extract->missing_count);
    json_out_name(&out, "missing");
    json_out_array(&out);
    for (size_t i = 0; i < extract->missing_count && i < MISSING_SHOWN_MAX; i++)
        json_out_digest(&out, &extract->missing[i]);
    json_out_array_end(&out);
    invariant(json_out_ok(&out));
    problem_reply_members(exchange, COFFER_NO_SUCH_CHUNK, err, json_out_text(&out));
}

static enum coffer_status read_archive(
    void *context, void *out, size_t max, size_t *size, struct error *err)
{
    struct exchange *exchange = context;
    struct extract *extract = exchange->state;

    return pipe_try_read(extract->pipe, out, max, size, exchange_waker(exchange), err);
}

static enum coffer_status extract_finish(struct exchange *exchange, struct error *err)
{
    struct extract *extract = exchange->state;
    enum coffer_status status = COFFER_OK;

    if (extract->pipe == NULL)
        status = submit(exchange, extract, err);
    if (status == COFFER_OK)
        status = pipe_try_wait(extract->pipe, exchange_waker(exchange), err);
    if (status == COFFER_NO_SUCH_CHUNK && extract->missing_count > 0) {
        reply_missing(exchange, extract, err);
        return COFFER_OK;
    }
    if (status != COFFER_OK)
        return status;
    exchange_reply(exchange, 200);
    exchange_reply_header(exchange, "Content-Type", "application/x-tar");
    exchange_reply_stream(exchange, REPLY_SIZE_UNKNOWN, read_archive, exchange);
    return COFFER_OK;
}

static void extract_release(struct exchange *exchange)
{
    struct extract *extract = exchange->state;
    bool withdrawn = false;

    if (extract == NULL)
        return;
    if (extract->pipe != NULL) {
        pipe_cancel(extract->pipe);
        withdrawn = bulk_pool_withdraw(exchange->service->bulk, &extract->task);
    }
    extract_unref(extract, withdrawn ? 2 : 1);
}

const struct resource chunks_extract_resource = {.start = extract_start,
    .data = extract_data,
    .finish = extract_finish,
    .release = extract_release};
