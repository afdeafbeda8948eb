/*
 * A channel as a FILE * that is written.
 *
 * Bytes go from stdio's buffer to `fill`, of which whole lines (per_line) or all are sent as one
 * append. With `pipeline` a thread of the stream's own sends, out of `flight`, while the next
 * buffer is filled; at most one append is under way, since each must know where the one before has
 * ended.
 *
 * 1. stdio forgets what a write function does not take. So after a failure nothing is taken or sent
 *    any more: what is at the server has no hole.
 * 2. A write function is not told why it is called. A full buffer comes because it is full, so it
 * may be sent later; anything less comes from fflush() or fclose(), and is waited for.
 * 3. stdio's buffer is a little smaller than an append may be, so that it and the unfinished line
 * of the last one go together.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "client/appender.h"
#include "client/channel_parts.h"
#include "client/failure.h"
#include "client/stream_file.h"

enum { BUFFER_DEFAULT = 1024 * 1024, BUFFER_MIN = 64 * 1024 };

struct writer {
    struct stream_file stream; /* first: it is the cookie */
    struct appender appender;  /* the sending thread's, while `busy` */
    char *channel;
    struct coffer_transaction *transaction; /* joined, or NULL */
    uint64_t joined_end;
    uint64_t end; /* of the channel, with all that was taken */
    bool per_line, pipeline, threaded;
    bool forgetting; /* what comes is thrown away */
    size_t buffer_size, stdio_size;
    size_t limit; /* of fill: buffer_size, or more for a line that is longer */
    struct text fill;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct text flight;      /* the sending thread's, while `busy` */
    bool busy;               /* (lock) there is something in flight */
    bool stopping;           /* (lock) */
    bool failed;             /* (lock) */
    struct coffer_error err; /* (lock) why */
};

/* ---- failing ---- */

static void fail(struct writer *writer, const struct coffer_error *err)
{
    pthread_mutex_lock(&writer->lock);
    if (!writer->failed)
        writer->err = *err;
    writer->failed = true;
    pthread_mutex_unlock(&writer->lock);
}

static int failed(struct writer *writer, struct coffer_error *err)
{
    int result = 0;

    pthread_mutex_lock(&writer->lock);
    if (writer->failed)
        result = failure_copy(err, &writer->err);
    pthread_mutex_unlock(&writer->lock);
    return result;
}

static int writer_error(struct stream_file *stream, struct coffer_error *err)
{
    return failed((struct writer *)stream, err);
}

static void fail_for_memory(struct writer *writer)
{
    struct coffer_error err;

    (void)failure(&err, "no_memory", "no memory for what is written");
    fail(writer, &err);
}

/* ---- sending ---- */

static void send_text(struct writer *writer, const struct text *text, size_t size)
{
    struct coffer_error err;

    if (appender_send(&writer->appender, text->data, size, writer->per_line, NULL, &err) != 0)
        fail(writer, &err);
}

static void *send_in_background(void *context)
{
    struct writer *writer = context;

    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (!writer->busy && !writer->stopping)
            pthread_cond_wait(&writer->changed, &writer->lock);
        if (!writer->busy)
            break;
        if (!writer->failed) {
            pthread_mutex_unlock(&writer->lock);
            send_text(writer, &writer->flight, writer->flight.size);
            pthread_mutex_lock(&writer->lock);
        }
        writer->busy = false;
        pthread_cond_broadcast(&writer->changed);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

static void wait_until_idle(struct writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    while (writer->busy)
        pthread_cond_wait(&writer->changed, &writer->lock);
    pthread_mutex_unlock(&writer->lock);
}

/* Without a thread the stream does it itself. */
static bool has_thread(struct writer *writer)
{
    if (writer->pipeline && !writer->threaded)
        writer->threaded = pthread_create(&writer->thread, NULL, send_in_background, writer) == 0;
    return writer->threaded;
}

/* Send the first `size` bytes of fill; with a thread, soon. */
static void send_first(struct writer *writer, size_t size)
{
    struct text rest = writer->fill;

    if (size == 0)
        return;
    if (!has_thread(writer)) {
        send_text(writer, &writer->fill, size);
        writer->fill.size -= size;
        memmove(writer->fill.data, writer->fill.data + size, writer->fill.size);
        return;
    }
    wait_until_idle(writer);
    writer->fill = writer->flight;
    writer->fill.size = 0;
    text_add(&writer->fill, rest.data + size, rest.size - size);
    if (writer->fill.failed)
        fail_for_memory(writer); /* the rest is lost: nothing may come after it */
    rest.size = size;
    pthread_mutex_lock(&writer->lock);
    writer->flight = rest;
    writer->busy = true;
    pthread_cond_broadcast(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
}

/* How much of fill may be sent now. */
static size_t complete_size(const struct writer *writer)
{
    const char *end;

    if (!writer->per_line || writer->fill.size == 0)
        return writer->fill.size;
    end = memrchr(writer->fill.data, '\n', writer->fill.size);
    return end == NULL ? 0 : (size_t)(end + 1 - writer->fill.data);
}

static int take(struct writer *writer, const char *data, size_t size, struct coffer_error *err)
{
    writer->end += size;
    while (size > 0 && failed(writer, err) == 0) {
        size_t room = writer->limit - writer->fill.size, part = size < room ? size : room;

        text_add(&writer->fill, data, part);
        if (writer->fill.failed) {
            fail_for_memory(writer);
            break;
        }
        data += part;
        size -= part;
        if (writer->fill.size == writer->limit)
            send_first(writer, complete_size(writer));
        writer->limit = writer->buffer_size;
        while (writer->limit <= writer->fill.size)
            writer->limit *= 2;
    }
    return failed(writer, err);
}

/* Wait for the answers to all that was sent. */
static int finish_sending(struct writer *writer, size_t size, struct coffer_error *err)
{
    if (failed(writer, err) == 0)
        send_first(writer, size);
    wait_until_idle(writer);
    return failed(writer, err);
}

/* ---- what stdio calls ---- */

static ssize_t write_cookie(void *cookie, const char *data, size_t size)
{
    struct writer *writer = cookie;
    struct coffer_error err;
    bool full = writer->pipeline && size >= writer->stdio_size;

    if (writer->forgetting)
        return (ssize_t)size;
    if (take(writer, data, size, &err) != 0 ||
        (!full && finish_sending(writer, complete_size(writer), &err) != 0)) {
        errno = err.number;
        return 0;
    }
    return (ssize_t)size;
}

static int seek_cookie(void *cookie, off64_t *position, int origin)
{
    struct writer *writer = cookie;

    if (origin == SEEK_SET || *position != 0 || !writer->appender.has_offset) {
        errno = ESPIPE;
        return -1;
    }
    *position = (off64_t)writer->end;
    return 0;
}

static void release(struct writer *writer)
{
    if (writer->threaded) {
        pthread_mutex_lock(&writer->lock);
        writer->stopping = true;
        pthread_cond_broadcast(&writer->changed);
        pthread_mutex_unlock(&writer->lock);
        (void)pthread_join(writer->thread, NULL);
    }
    pthread_mutex_destroy(&writer->lock);
    pthread_cond_destroy(&writer->changed);
    appender_release(&writer->appender);
    text_release(&writer->fill);
    text_release(&writer->flight);
    free(writer->channel);
    free(writer);
}

static int close_cookie(void *cookie)
{
    struct writer *writer = cookie;
    struct coffer_error *out = writer->stream.close_err, err;
    int result = finish_sending(writer, writer->fill.size, &err);

    if (result == 0)
        result = appender_sync(&writer->appender, &err);
    if (writer->transaction != NULL)
        joined_forget(writer->transaction, writer);
    stream_file_forget(&writer->stream);
    release(writer);
    if (result != 0)
        (void)failure_copy(out, &err);
    return result;
}

/* ---- open ---- */

static struct writer *create(const char *channel, const struct coffer_channel_options *options)
{
    struct writer *writer = calloc(1, sizeof(*writer));

    if (writer == NULL)
        return NULL;
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, NULL);
    writer->stream.writer = writer;
    writer->stream.error = writer_error;
    writer->per_line = options->per_line;
    writer->pipeline = options->pipeline;
    writer->buffer_size = options->buffer_size != 0 ? options->buffer_size : BUFFER_DEFAULT;
    if (writer->buffer_size < BUFFER_MIN)
        writer->buffer_size = BUFFER_MIN;
    writer->limit = writer->buffer_size;
    writer->stdio_size = writer->buffer_size;
    if (writer->per_line)
        writer->stdio_size -= writer->buffer_size / 16;
    writer->channel = strdup(channel);
    if (writer->channel == NULL || !text_reserve(&writer->fill, writer->buffer_size)) {
        release(writer);
        return NULL;
    }
    return writer;
}

/* Where the channel ends, for who does not claim it. */
static int find_end(struct coffer_client *client, const char *dataset, const char *channel,
    enum coffer_writer mode, uint64_t *end, struct coffer_error *err)
{
    struct coffer_channel_info info = {0};
    int result = 0;

    if (mode == COFFER_GUEST)
        result = coffer_channel_info(client, dataset, channel, &info, err);
    *end = info.size;
    return result;
}

FILE *writer_open(struct coffer_client *client, const char *dataset, const char *channel,
    const struct coffer_channel_options *options, struct coffer_error *err)
{
    static const cookie_io_functions_t functions = {
        .write = write_cookie, .seek = seek_cookie, .close = close_cookie};
    struct writer *writer = create(channel, options);
    enum coffer_writer mode = options->writer;
    uint64_t end = 0;
    FILE *file = NULL;

    if (writer == NULL) {
        (void)failure(err, "no_memory", "no memory for a stream");
        return NULL;
    }
    if (options->transaction != NULL && mode == COFFER_OWNER)
        mode = COFFER_GUEST; /* a claim would abort the transaction */
    if (find_end(client, dataset, channel, mode, &end, err) != 0 ||
        appender_open(&writer->appender, client, dataset_path(dataset, "/channels/", channel), mode,
            end, err) != 0) {
        release(writer);
        return NULL;
    }
    writer->appender.durability = options->durability;
    writer->end = writer->appender.offset;
    file = stream_file_open(&writer->stream, "w", functions, writer->stdio_size);
    if (file == NULL) {
        release(writer);
        (void)failure(err, "no_memory", "no memory for a stream");
        return NULL;
    }
    if (options->transaction != NULL && writer_join(writer, options->transaction, err) != 0) {
        (void)fclose(file);
        return NULL;
    }
    return file;
}

/* ---- for transactions, and the calls on a stream ---- */

struct writer *writer_find(FILE *file, struct coffer_error *err)
{
    struct stream_file *stream = stream_file_find(file);

    if (stream == NULL || stream->writer == NULL) {
        (void)failure(err, "bad_argument", "this FILE is not a channel that is written");
        return NULL;
    }
    return stream->writer;
}

const char *writer_channel(const struct writer *writer)
{
    return writer->channel;
}

FILE *writer_file(const struct writer *writer)
{
    return writer->stream.file;
}

struct coffer_transaction *writer_transaction(const struct writer *writer)
{
    return writer->transaction;
}

int writer_drain(struct writer *writer, struct coffer_error *err)
{
    (void)fflush_unlocked(writer->stream.file); /* its failure is the writer's */
    return finish_sending(writer, writer->fill.size, err);
}

int writer_join(
    struct writer *writer, struct coffer_transaction *transaction, struct coffer_error *err)
{
    if (writer_drain(writer, err) != 0 || joined_add(transaction, writer, err) != 0)
        return -1;
    writer->transaction = transaction;
    writer->appender.transaction = coffer_transaction_id(transaction);
    writer->joined_end = writer->end;
    return 0;
}

void writer_leave(struct writer *writer)
{
    writer->transaction = NULL;
    writer->appender.transaction = NULL;
}

void writer_roll_back(struct writer *writer)
{
    wait_until_idle(writer);
    writer->forgetting = true;
    (void)fflush_unlocked(writer->stream.file);
    writer->forgetting = false;
    clearerr_unlocked(writer->stream.file);
    writer->fill.size = 0;
    writer->fill.failed = false;
    writer->limit = writer->buffer_size;
    writer->end = writer->joined_end;
    writer->appender.offset = writer->joined_end;
    writer_leave(writer);
    pthread_mutex_lock(&writer->lock);
    writer->failed = false;
    pthread_mutex_unlock(&writer->lock);
}

void writer_abandon(struct writer *writer)
{
    struct coffer_error err;

    wait_until_idle(writer);
    (void)failure(&err, "stale_stream", "its transaction was left without commit or abort");
    fail(writer, &err);
    writer_leave(writer);
}

int coffer_channel_flush(FILE *file, struct coffer_error *err)
{
    struct writer *writer = writer_find(file, err);
    int result;

    if (writer == NULL)
        return -1;
    flockfile(file);
    (void)fflush_unlocked(file);
    result = finish_sending(writer, complete_size(writer), err);
    funlockfile(file);
    return result;
}

int coffer_channel_append(FILE *file, const void *data, size_t size, struct coffer_receipt *receipt,
    struct coffer_error *err)
{
    struct writer *writer = writer_find(file, err);
    struct coffer_error reason;
    int result;

    if (writer == NULL)
        return -1;
    flockfile(file);
    result = writer_drain(writer, &reason);
    if (result == 0) {
        result = appender_send(&writer->appender, data, size, false, receipt, &reason);
        if (result == 0)
            writer->end += size;
        else
            fail(writer, &reason);
    }
    if (result != 0)
        (void)failure_copy(err, &reason);
    funlockfile(file);
    return result;
}

int coffer_channel_close(FILE *file, struct coffer_error *err)
{
    struct stream_file *stream = stream_file_find(file);

    if (stream == NULL)
        return failure(err, "bad_argument", "this FILE is not a stream of libcoffer");
    stream->close_err = err;
    return fclose(file) == 0 ? 0 : -1;
}
