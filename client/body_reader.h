/*
 * body_reader.h - the body of an answer as a stream of bytes, read as fast as its reader takes it.
 *
 * One request is under way while bytes are wanted; what comes goes to the reader's memory first and
 * then into a window, and when that is full the transfer is held, so that the sockets' buffers read
 * ahead and no more. A cut connection is resumed with a Range from the byte it broke at. What comes
 * then must be of the same content: a channel's entity tag is "DATASET-CHANNEL-SIZE", and all but
 * the size, which grows, has to be what it was.
 *
 * After a seek the next request asks for a small range, then for larger ones: who reads here and
 * there does not make the server send what nobody wants.
 */
#pragma once

#include <sys/types.h>

#include "client/retry.h"
#include "client/transfer.h"

enum {
    WINDOW_SIZE = 1024 * 1024,
    SPAN_FIRST = 256 * 1024,     /* of the first range after a seek */
    SPAN_MAX = 64 * 1024 * 1024, /* larger ones have no end */
};

struct reader_source {
    char *path;      /* taken */
    char *body;      /* of a POST, as JSON; NULL: a GET. Taken */
    char *etag;      /* of a channel, to be compared; or NULL. Taken */
    uint64_t offset; /* begin there */
    uint64_t end;    /* known end, or SIZE_UNKNOWN */
    bool ranges;     /* it can be read from any offset, and so be resumed */
    bool follow;     /* its end is not known, and may be a long time off */
};

struct body_reader {
    struct coffer_client *client;
    struct reader_source source;
    struct request request;
    struct transfer transfer;
    struct retry retry;
    char range[80];
    bool active;       /* the transfer is under way */
    bool head_checked; /* its answer is what was asked for */
    bool bad_answer;   /* it is not */
    bool ended, failed;
    uint64_t pos;   /* of the next byte for the reader */
    uint64_t next;  /* of the next byte from the transfer */
    uint64_t span;  /* bytes to ask for next; SIZE_UNKNOWN: all */
    uint64_t asked; /* end of the range that is asked for, or SIZE_UNKNOWN */
    uint64_t skip;  /* bytes before `next` that the answer has too */
    char *out;      /* the reader's memory while it waits */
    size_t room, got;
    char *window;
    size_t window_start, window_size;
    struct coffer_error err; /* failed */
};

/* The source's texts are the reader's from now on, also when this fails. Nothing is sent yet. */
struct body_reader *body_reader_create(
    struct coffer_client *client, const struct reader_source *source, struct coffer_error *err);
/* Bytes there are now, at least one unless `size` is 0; 0 at the end; -1: failed, reader->err. */
ssize_t body_reader_read(struct body_reader *reader, char *out, size_t size);
void body_reader_seek(struct body_reader *reader, uint64_t offset);
void body_reader_destroy(struct body_reader *reader); /* NULL is a no-op */
