#include "client/body_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/failure.h"

struct body_reader *body_reader_create(
    struct coffer_client *client, const struct reader_source *source, struct coffer_error *err)
{
    struct body_reader *reader = calloc(1, sizeof(*reader));
    char *window = malloc(WINDOW_SIZE);

    if (reader == NULL || window == NULL || source->path == NULL) {
        free(reader);
        free(window);
        free(source->path);
        free(source->body);
        free(source->etag);
        (void)failure(err, "no_memory", "no memory for a reader");
        return NULL;
    }
    reader->client = client;
    reader->source = *source;
    reader->window = window;
    reader->pos = reader->next = source->offset;
    reader->span = SIZE_UNKNOWN;
    retry_init(&reader->retry, client);
    return reader;
}

static void stop(struct body_reader *reader)
{
    if (reader->active)
        transfer_end(&reader->transfer);
    reader->active = false;
}

void body_reader_destroy(struct body_reader *reader)
{
    if (reader == NULL)
        return;
    stop(reader);
    free(reader->source.path);
    free(reader->source.body);
    free(reader->source.etag);
    free(reader->window);
    free(reader);
}

static void fail(struct body_reader *reader, const struct coffer_error *err)
{
    stop(reader);
    reader->failed = true;
    (void)failure_copy(&reader->err, err);
}

/* ---- what comes ---- */

static bool is_same_content(const struct body_reader *reader)
{
    const char *etag = transfer_header(&reader->transfer, "ETag"), *size;

    if (reader->source.etag == NULL)
        return true;
    size = strrchr(reader->source.etag, '-');
    if (etag == NULL || size == NULL)
        return etag != NULL && strcmp(etag, reader->source.etag) == 0;
    return strncmp(etag, reader->source.etag, (size_t)(size - reader->source.etag) + 1) == 0;
}

/* What follows is always a 200, of no size. */
static bool follows_from(const struct body_reader *reader)
{
    const char *offset = transfer_header(&reader->transfer, "Coffer-Offset");

    return reader->transfer.status == 200 && offset != NULL &&
           strtoull(offset, NULL, 10) == reader->next;
}

/* Whether the answer begins where it was asked to. */
static bool head_is_right(struct body_reader *reader)
{
    const char *content_range = transfer_header(&reader->transfer, "Content-Range");

    reader->skip = 0;
    if (reader->source.follow)
        return follows_from(reader);
    if (!is_same_content(reader))
        return false;
    if (reader->transfer.status == 206)
        return content_range != NULL && strncmp(content_range, "bytes ", 6) == 0 &&
               strtoull(content_range + 6, NULL, 10) == reader->next;
    if (reader->range[0] != '\0')
        reader->skip = reader->next; /* all of it, in spite of the range: a server may do that */
    return reader->transfer.status == 200;
}

static int take(void *context, const char *data, size_t size)
{
    struct body_reader *reader = context;
    size_t part;

    if (!reader->head_checked && !head_is_right(reader)) {
        reader->bad_answer = true;
        return SINK_FAILED;
    }
    reader->head_checked = true;
    if (size > WINDOW_SIZE - reader->window_size && reader->window_size > 0)
        return SINK_FULL;
    part = size < reader->skip ? size : (size_t)reader->skip;
    reader->skip -= part;
    data += part;
    size -= part;
    reader->next += size;
    part = size < reader->room - reader->got ? size : reader->room - reader->got;
    if (part > 0 && reader->window_size == 0) {
        memcpy(reader->out + reader->got, data, part);
        reader->got += part;
        data += part;
        size -= part;
    }
    if (size > 0)
        memcpy(reader->window + reader->window_size, data, size);
    reader->window_size += size;
    return 0;
}

/* ---- requests ---- */

static void make_range(struct body_reader *reader)
{
    unsigned long long first = reader->next, last;

    reader->asked = reader->source.end;
    if (reader->span < reader->source.end - reader->next)
        reader->asked = reader->next + reader->span;
    reader->range[0] = '\0';
    if (!reader->source.ranges || (first == 0 && reader->asked == SIZE_UNKNOWN))
        return;
    last = reader->asked - 1;
    if (reader->asked == SIZE_UNKNOWN)
        (void)snprintf(reader->range, sizeof(reader->range), "Range: bytes=%llu-", first);
    else
        (void)snprintf(reader->range, sizeof(reader->range), "Range: bytes=%llu-%llu", first, last);
}

static bool start(struct body_reader *reader)
{
    struct request *request = &reader->request;
    struct coffer_error err;

    make_range(reader);
    *request = (struct request){
        .method = "GET", .path = reader->source.path, .endless = reader->source.follow};
    if (reader->source.body != NULL) {
        request->method = "POST";
        request->type = "application/json";
        request->body = reader->source.body;
        request->size = strlen(reader->source.body);
    }
    if (reader->range[0] != '\0')
        request->headers[0] = reader->range;
    reader->head_checked = reader->bad_answer = false;
    if (transfer_begin(&reader->transfer, reader->client, request, take, reader, &err) != 0) {
        fail(reader, &err);
        return false;
    }
    reader->active = true;
    return true;
}

static void answer_is_bad(struct body_reader *reader)
{
    struct coffer_error err;

    (void)failure(&err, "bad_answer",
        "%s: an answer of status %d that does not go on with the same content", reader->source.path,
        reader->transfer.status);
    fail(reader, &err);
}

/* The whole range came: is there more? */
static void range_done(struct body_reader *reader)
{
    bool had_range = reader->range[0] != '\0';

    stop(reader);
    if (reader->span < SPAN_MAX)
        reader->span *= 4;
    else
        reader->span = SIZE_UNKNOWN;
    reader->ended = !had_range || reader->asked >= reader->source.end;
}

static void transfer_is_done(struct body_reader *reader)
{
    unsigned retry_after_s = 0;
    struct coffer_error err;
    const char *header;

    if (reader->bad_answer) {
        answer_is_bad(reader);
        return;
    }
    if (transfer_result(&reader->transfer, &err) == 0) {
        if (!reader->head_checked && !head_is_right(reader))
            answer_is_bad(reader);
        else if (reader->asked == SIZE_UNKNOWN || reader->next >= reader->asked)
            range_done(reader);
        else
            (void)failure(&err, "answer_lost", "the answer ended before its range did");
        if (!reader->active)
            return;
    } else if (err.status == 416 && !reader->source.follow) { /* nothing is there */
        stop(reader);
        reader->ended = true;
        return;
    }
    header = transfer_header(&reader->transfer, "Retry-After");
    retry_after_s = header == NULL ? 0 : (unsigned)strtoul(header, NULL, 10);
    stop(reader);
    if (!failure_is_passing(&err) ||
        (!reader->source.ranges && reader->next != reader->source.offset) ||
        !retry_pause(&reader->retry, retry_after_s))
        fail(reader, &err);
}

/* ---- reading ---- */

static ssize_t read_window(struct body_reader *reader, char *out, size_t size)
{
    size_t part = size < reader->window_size ? size : reader->window_size;

    memcpy(out, reader->window + reader->window_start, part);
    reader->window_start += part;
    reader->window_size -= part;
    if (reader->window_size == 0)
        reader->window_start = 0;
    reader->pos += part;
    return (ssize_t)part;
}

ssize_t body_reader_read(struct body_reader *reader, char *out, size_t size)
{
    if (size == 0)
        return 0;
    if (reader->window_size > 0)
        return read_window(reader, out, size);
    reader->out = out;
    reader->room = size;
    reader->got = 0;
    while (reader->got == 0 && !reader->failed && !reader->ended &&
           reader->next < reader->source.end) {
        if (!reader->active && !start(reader))
            break;
        transfer_resume(&reader->transfer);
        transfer_step(&reader->transfer);
        if (reader->got > 0)
            retry_reset(&reader->retry);
        if (reader->transfer.done)
            transfer_is_done(reader);
    }
    reader->room = 0;
    reader->pos += reader->got;
    if (reader->got > 0)
        return (ssize_t)reader->got;
    if (reader->failed)
        errno = reader->err.number;
    return reader->failed ? -1 : 0;
}

void body_reader_seek(struct body_reader *reader, uint64_t offset)
{
    if (offset >= reader->pos && offset - reader->pos <= reader->window_size) {
        size_t part = (size_t)(offset - reader->pos);

        reader->window_start += part;
        reader->window_size -= part;
        if (reader->window_size == 0)
            reader->window_start = 0;
        reader->pos = offset;
        return;
    }
    stop(reader);
    reader->window_start = reader->window_size = 0;
    reader->pos = reader->next = offset;
    reader->span = SPAN_FIRST;
    reader->ended = false;
}
