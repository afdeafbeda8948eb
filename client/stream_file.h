/*
 * stream_file.h - which FILE * are streams of this library, for the calls that take one.
 *
 * Threads: any. A stream is in the table from its opening to its fclose(), and whoever uses a FILE
 * * while another thread closes it has lost already.
 */
#pragma once

#include "client/coffer.h"

struct writer;

struct stream_file {
    FILE *file;
    struct stream_file *next;
    struct writer *writer;          /* NULL: it is read */
    char *buffer;                   /* of stdio */
    struct coffer_error *close_err; /* who closes it wants to know; may be NULL */
    /* -1 and err filled: it failed; 0: it did not. */
    int (*error)(struct stream_file *stream, struct coffer_error *err);
};

/* Make the FILE * of a stream with a buffer of that size and enter it. NULL: no memory; nothing of
 * the stream is touched then. */
FILE *stream_file_open(struct stream_file *stream, const char *mode,
    cookie_io_functions_t functions, size_t buffer_size);
/* From the close function: it is gone; its buffer is released. */
void stream_file_forget(struct stream_file *stream);
/* NULL: not one of ours. */
struct stream_file *stream_file_find(FILE *file);
