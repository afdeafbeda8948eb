/*
 * key_input.h - keys of chunks from the command line, or from standard input, one a line.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { KEY_SIZE = 65, KEYS_EACH = 4096 }; /* with a NUL; of one request */

struct key_source {
    const char *const *arguments;
    size_t count, at;
    bool input; /* standard input is being read */
    size_t line_number;
    char *line;
    size_t room;
};

struct key_batch {
    char (*keys)[KEY_SIZE];
    size_t count;
};

/* Exactly 64 lower-case hexadecimal digits. */
bool key_is_valid(const char *text);
/* An argument "-", or none at all, stands for standard input. */
void key_source_init(struct key_source *source, const char *const *arguments, size_t count);
/* Up to KEYS_EACH more; none: the end. An exit code; what is wrong was said. */
int key_source_next(struct key_source *source, struct key_batch *batch);
void key_source_release(struct key_source *source);
void key_batch_release(struct key_batch *batch);
