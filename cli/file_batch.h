/*
 * file_batch.h - some files that are hashed, asked for, and sent together: what add-files is made
 * of.
 *
 * A file is read twice when the server does not have it: first to know its key, then to send it,
 * and what is sent is hashed again. So memory stays flat, and a file that changed in between, or
 * while it was read the first time, is found out and not listed.
 *
 * Threads: a batch belongs to one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cli/key_input.h"

enum {
    BATCH_FILES = 512,
    BATCH_BYTES = 16 << 20,
    BATCH_LARGE = 8 << 20, /* a file from here on is sent on its own */
};

enum file_state {
    FILE_UNREAD,
    FILE_HASHED,
    FILE_THERE, /* the server had it */
    FILE_SENT,
    FILE_CHANGED,
    FILE_FAILED, /* it was said */
};

struct batch_file {
    char *path;
    uint64_t size;
    char key[KEY_SIZE];
    enum file_state state;
    bool repeated; /* another one of the batch has the same key */
};

struct file_batch {
    struct batch_file files[BATCH_FILES];
    size_t count;
    uint64_t bytes;
};

/* False: no memory. The size is what is known of it so far. */
bool file_batch_add(struct file_batch *batch, const char *path, uint64_t size);
bool file_batch_is_full(const struct file_batch *batch);
/* Fill in keys and sizes, and find repetitions. An exit code; what is wrong was said. */
int file_batch_hash(struct file_batch *batch);
void file_batch_destroy(struct file_batch *batch);

/* The files in state FILE_HASHED that are not repeated and not large, as a tar in which each is
 * named by its place in the batch. Reading it makes what has changed FILE_CHANGED. NULL: errno. */
FILE *file_batch_tar(struct file_batch *batch, size_t *count);
