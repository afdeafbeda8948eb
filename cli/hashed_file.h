/*
 * hashed_file.h - files as the client library reads and writes them, hashed on the way, and told to
 * the progress bar: what is compared with the name of a chunk is what really went by.
 *
 * Threads: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "storage/base/digest.h"

/* A descriptor to be read; it may be a pipe. Going back to the start begins the hash anew. */
struct hashed_source {
    int fd; /* the caller's */
    FILE *file;
    struct sha256 sha;
    uint64_t position, hashed, shown;
};
bool hashed_source_open(struct hashed_source *source, int fd); /* false: errno */
/* Of all that was read; false: it was not read from its start on. */
bool hashed_source_digest(struct hashed_source *source, struct digest *out);
void hashed_source_close(struct hashed_source *source);

/*
 * A file that is written: standard output, or one that appears under its name when it is complete.
 * What is there already is replaced then; what is no regular file (/dev/null) is written to.
 */
struct hashed_sink {
    FILE *out;
    char *temporary; /* name of it until then, or NULL */
    const char *name;
    struct sha256 sha;
};
/* `name` NULL: standard output. An exit code; what is wrong was said. */
int hashed_sink_open(struct hashed_sink *sink, const char *name);
/* False: it cannot be written, and errno tells. */
bool hashed_sink_write(struct hashed_sink *sink, const void *data, size_t size);
/* As a FILE * to write to; to be closed before the sink is. NULL: errno. */
FILE *hashed_sink_file(struct hashed_sink *sink);
void hashed_sink_digest(struct hashed_sink *sink, struct digest *out);
/* `code` is what became of it so far: unless CLI_DONE, the file does not appear. */
int hashed_sink_close(struct hashed_sink *sink, int code);
