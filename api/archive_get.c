/*
 * GET and HEAD /v1/datasets/{dataset}/archive.
 *
 * The archive that closing the dataset left is sent as it lies, with ranges. Any other is made
 * while it is sent: a bulk thread writes it into a pipe, the exchange sends what comes out of it.
 * Until the first bytes are sent a failure is a problem with its own status; later the reply is
 * cut, so that half an archive is never taken for a whole one.
 */
#include <stdatomic.h>
#include <stdlib.h>

#include "api/bulk.h"
#include "api/conditions.h"
#include "api/dataset_settings.h"
#include "api/dataset_use.h"
#include "api/list_query.h"
#include "api/packing.h"
#include "api/pipe.h"
#include "api/problem.h"
#include "storage/base/invariant.h"

extern const struct resource dataset_archive_resource;

enum { PIPE_SIZE = 256 << 10, MAKER_MEMORY = 1 << 20 };

/* One that is made: it belongs to the task and to the exchange, whichever is longer. */
struct archive_maker {
    struct bulk_task task;
    _Atomic int references;
    struct dataset *dataset; /* held by it */
    uint64_t version;        /* 0: the newest */
    enum archive_format format;
    bool head;
    struct pipe *pipe;
    struct packing *packing; /* of the task until something is in the pipe, or that is finished */
};

struct archive_state {
    struct dataset *dataset;
    struct dataset_info info;
    enum archive_format format;
    uint64_t version;
    struct stream_reader *package; /* one that is kept, or NULL */
    struct archive_maker *maker;
    bool submitted;
};

/* ---- making one ---- */

static void maker_unref(struct archive_maker *maker, int references)
{
    if (atomic_fetch_sub(&maker->references, references) != references)
        return;
    packing_destroy(maker->packing);
    pipe_destroy(maker->pipe);
    dataset_drop(maker->dataset);
    free(maker);
}

static bool write_pipe(void *context, const void *data, size_t size)
{
    struct archive_maker *maker = context;

    return pipe_write(maker->pipe, data, size);
}

static void run_maker(struct bulk_task *task)
{
    struct archive_maker *maker = container_of(task, struct archive_maker, task);
    const struct packing_sink sink = {.write = write_pipe, .context = maker};
    struct error err = {COFFER_OK, ""};
    enum coffer_status status =
        packing_create(maker->dataset, maker->version, &maker->packing, &err);

    if (status == COFFER_OK && !maker->head)
        status = packing_write(maker->packing, maker->format, &sink, &err);
    pipe_finish(maker->pipe, status, &err);
    maker_unref(maker, 1);
}

static enum coffer_status make_maker(
    struct exchange *exchange, struct archive_state *state, struct error *err)
{
    struct archive_maker *maker;
    enum coffer_status status = exchange_charge(
        exchange, PIPE_SIZE + MAKER_MEMORY + state->info.channels * PACKING_CHANNEL_SIZE, err);

    if (status != COFFER_OK)
        return status;
    maker = calloc(1, sizeof(*maker));
    if (maker == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for an archive; try again later");
    atomic_init(&maker->references, 1);
    maker->task.run = run_maker;
    maker->version = state->version;
    maker->format = state->format;
    maker->head = exchange->method == METHOD_HEAD;
    maker->dataset = state->dataset;
    state->dataset = NULL; /* the task may be longer here than the exchange */
    state->maker = maker;
    return pipe_create(PIPE_SIZE, &maker->pipe, err);
}

/* ---- the exchange ---- */

static enum coffer_status open_package(
    struct exchange *exchange, struct archive_state *state, struct error *err)
{
    const struct dataset_info *info = &state->info;
    enum coffer_status status;

    if (!info->packaged || info->package_format != state->format ||
        (state->version != 0 && state->version != info->version))
        return COFFER_OK;
    status = dataset_package_open(state->dataset, exchange_waker(exchange), &state->package, err);
    return status == COFFER_NO_SUCH_PATH ? COFFER_OK : status;
}

static enum coffer_status archive_start(struct exchange *exchange, struct error *err)
{
    static const char *const known[] = {"format", "version", NULL};
    const char *const formats[] = {
        archive_format_name(ARCHIVE_TAR), archive_format_name(ARCHIVE_TAR_ZST), NULL};
    struct archive_state *state = exchange_alloc(exchange, sizeof(*state));
    enum coffer_status status = exchange_query_only(exchange, known, err);
    unsigned format = 0;

    exchange->state = state;
    if (status == COFFER_OK)
        status = query_choice(exchange, "format", formats, &format, err);
    if (status == COFFER_OK)
        status = version_of(exchange, &state->version, err);
    if (status == COFFER_OK)
        status = dataset_of(exchange, &state->dataset, err);
    if (status != COFFER_OK)
        return status;
    state->format = format == 0 ? ARCHIVE_TAR : ARCHIVE_TAR_ZST;
    dataset_info(state->dataset, &state->info);
    status = open_package(exchange, state, err);
    if (status == COFFER_OK && state->package == NULL)
        status = make_maker(exchange, state, err);
    return status;
}

static void reply_headers(struct exchange *exchange, int http_status, uint64_t version)
{
    const struct archive_state *state = exchange->state;

    exchange_reply(exchange, http_status);
    exchange_reply_header(exchange, "Content-Type", packing_media_type(state->format));
    exchange_reply_header(exchange, "Content-Disposition",
        exchange_format(exchange, "attachment; filename=\"%s.%s\"", state->info.name,
            archive_format_name(state->format)));
    exchange_reply_header(exchange, "Coffer-Version", exchange_number(exchange, version));
}

/* ---- one that is kept ---- */

static enum coffer_status read_package(
    void *reader, void *out, size_t max, size_t *size, struct error *err)
{
    return stream_read(reader, out, max, size, err);
}

static const char *package_etag(struct exchange *exchange, const struct archive_state *state)
{
    char id[2 * sizeof(state->info.id) + 1];

    hex_encode(state->info.id, sizeof(state->info.id), id);
    return exchange_format(exchange, "\"%s-%llu-%s\"", id, (unsigned long long)state->info.version,
        archive_format_name(state->format));
}

static void reply_unsatisfiable(struct exchange *exchange, uint64_t size)
{
    struct error err;

    (void)error_set(
        &err, COFFER_RANGE_NOT_SATISFIABLE, "the archive has %llu bytes", (unsigned long long)size);
    problem_reply(exchange, err.status, &err);
    exchange_reply_header(exchange, "Content-Range",
        exchange_format(exchange, "bytes */%llu", (unsigned long long)size));
}

static void reply_part(
    struct exchange *exchange, const char *etag, int http_status, uint64_t offset, uint64_t length)
{
    struct archive_state *state = exchange->state;
    uint64_t total = stream_size(state->package);

    reply_headers(exchange, http_status, state->info.version);
    exchange_reply_header(exchange, "ETag", etag);
    exchange_reply_header(exchange, "Accept-Ranges", "bytes");
    if (http_status == 206)
        exchange_reply_header(exchange, "Content-Range",
            exchange_format(exchange, "bytes %llu-%llu/%llu", (unsigned long long)offset,
                (unsigned long long)(offset + length - 1), (unsigned long long)total));
    if (exchange->method == METHOD_HEAD) {
        exchange->reply.size = length;
        return;
    }
    stream_select(state->package, offset, offset + length, false);
    exchange_reply_stream(exchange, length, read_package, state->package);
}

static enum coffer_status reply_package(struct exchange *exchange, struct error *err)
{
    struct archive_state *state = exchange->state;
    uint64_t size = stream_size(state->package), offset = 0, length = size;
    const char *etag = package_etag(exchange, state);
    enum range_verdict part;

    switch (conditions_check(exchange_header(exchange, HEADER_IF_MATCH),
        exchange_header(exchange, HEADER_IF_NONE_MATCH), slice_from_text(etag), true)) {
    case CONDITION_FAILED:
        return error_set(err, COFFER_PRECONDITION_FAILED, "the archive's entity tag is %s", etag);
    case CONDITION_NOT_MODIFIED:
        exchange_reply(exchange, 304);
        exchange_reply_header(exchange, "ETag", etag);
        exchange->reply.size = size; /* as the 200 would say */
        return COFFER_OK;
    case CONDITION_PROCEED:
    default:
        break;
    }
    part = range_select(exchange_header(exchange, HEADER_RANGE),
        exchange_header(exchange, HEADER_IF_RANGE), slice_from_text(etag), size, &offset, &length);
    if (part == RANGE_UNSATISFIABLE)
        reply_unsatisfiable(exchange, size);
    else if (part == RANGE_PART)
        reply_part(exchange, etag, 206, offset, length);
    else
        reply_part(exchange, etag, 200, 0, size);
    return COFFER_OK;
}

/* ---- one that is made ---- */

static enum coffer_status read_made(
    void *context, void *out, size_t max, size_t *size, struct error *err)
{
    struct exchange *exchange = context;
    struct archive_state *state = exchange->state;

    return pipe_try_read(state->maker->pipe, out, max, size, exchange_waker(exchange), err);
}

static enum coffer_status submit(
    struct exchange *exchange, struct archive_state *state, struct error *err)
{
    enum coffer_status status;

    atomic_store(&state->maker->references, 2);
    status = bulk_pool_submit(exchange->service->bulk, &state->maker->task, err);
    state->submitted = status == COFFER_OK;
    if (status != COFFER_OK)
        atomic_store(&state->maker->references, 1);
    return status;
}

static enum coffer_status archive_finish(struct exchange *exchange, struct error *err)
{
    struct archive_state *state = exchange->state;
    enum coffer_status status = COFFER_OK;
    uint64_t size;

    if (state->package != NULL)
        return reply_package(exchange, err);
    if (!state->submitted)
        status = submit(exchange, state, err);
    if (status == COFFER_OK)
        status = pipe_try_wait(state->maker->pipe, exchange_waker(exchange), err);
    if (status != COFFER_OK)
        return status;
    size = state->format == ARCHIVE_TAR ? packing_size(state->maker->packing) : REPLY_SIZE_UNKNOWN;
    reply_headers(exchange, 200, packing_version(state->maker->packing));
    exchange_reply_header(exchange, "Accept-Ranges", "none");
    exchange_reply_stream(exchange, size, read_made, exchange);
    return COFFER_OK;
}

static void archive_release(struct exchange *exchange)
{
    struct archive_state *state = exchange->state;
    bool withdrawn = false;

    stream_close(state->package);
    dataset_drop(state->dataset);
    if (state->maker == NULL)
        return;
    if (state->submitted) {
        pipe_cancel(state->maker->pipe);
        withdrawn = bulk_pool_withdraw(exchange->service->bulk, &state->maker->task);
    }
    maker_unref(state->maker, withdrawn ? 2 : 1);
}

const struct resource dataset_archive_resource = {
    .start = archive_start, .finish = archive_finish, .release = archive_release};
