#include "client/reader_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/failure.h"
#include "client/stream_file.h"

enum { STDIO_BUFFER = 64 * 1024 };

struct reader_file {
    struct stream_file stream; /* first: it is the cookie */
    struct body_reader *reader;
};

static ssize_t read_cookie(void *cookie, char *out, size_t size)
{
    struct reader_file *file = cookie;

    return body_reader_read(file->reader, out, size);
}

static int seek_cookie(void *cookie, off64_t *position, int origin)
{
    struct body_reader *reader = ((struct reader_file *)cookie)->reader;
    int64_t base = 0;

    if (origin == SEEK_CUR)
        base = (int64_t)reader->pos;
    else if (origin == SEEK_END)
        base = (int64_t)reader->source.end; /* -1: not known */
    if (origin == SEEK_CUR && *position == 0) {
        *position = base;
        return 0;
    }
    if (!reader->source.ranges || reader->source.follow || base < 0) {
        errno = ESPIPE;
        return -1;
    }
    if (*position < -base || *position > INT64_MAX - base) {
        errno = EINVAL;
        return -1;
    }
    *position += base;
    body_reader_seek(reader, (uint64_t)*position);
    return 0;
}

static int close_cookie(void *cookie)
{
    struct reader_file *file = cookie;

    stream_file_forget(&file->stream);
    body_reader_destroy(file->reader);
    free(file);
    return 0;
}

static int reader_error(struct stream_file *stream, struct coffer_error *err)
{
    const struct body_reader *reader = ((struct reader_file *)stream)->reader;

    return reader->failed ? failure_copy(err, &reader->err) : 0;
}

ssize_t coffer_stream_read(FILE *stream, void *data, size_t size, struct coffer_error *err)
{
    struct stream_file *found = stream_file_find(stream);
    struct body_reader *reader;
    ssize_t got;

    if (found == NULL || found->writer != NULL)
        return failure(err, "bad_argument", "this FILE is not a stream that is read");
    flockfile(stream);
    reader = ((struct reader_file *)found)->reader;
    got = body_reader_read(reader, data, size);
    if (got < 0)
        (void)failure_copy(err, &reader->err);
    funlockfile(stream);
    return got;
}

uint64_t coffer_stream_size(FILE *stream)
{
    struct stream_file *found = stream_file_find(stream);

    if (found == NULL || found->writer != NULL)
        return UINT64_MAX;
    return ((struct reader_file *)found)->reader->source.end;
}

FILE *coffer_body_open(struct coffer_client *client, const char *path, struct coffer_error *err)
{
    const struct reader_source source = {.path = strdup(path), .end = SIZE_UNKNOWN};

    return reader_file_open(client, &source, err);
}

FILE *reader_file_open(
    struct coffer_client *client, const struct reader_source *source, struct coffer_error *err)
{
    static const cookie_io_functions_t functions = {
        .read = read_cookie, .seek = seek_cookie, .close = close_cookie};
    struct body_reader *reader = body_reader_create(client, source, err);
    struct reader_file *made = reader == NULL ? NULL : calloc(1, sizeof(*made));
    FILE *file;

    if (reader == NULL)
        return NULL;
    if (made != NULL) {
        made->reader = reader;
        made->stream.error = reader_error;
        file = stream_file_open(&made->stream, "r", functions, STDIO_BUFFER);
        if (file != NULL)
            return file;
    }
    free(made);
    body_reader_destroy(reader);
    (void)failure(err, "no_memory", "no memory for a stream");
    return NULL;
}
