/*
 * chunk_parts.h - what the calls for chunks, batches and channels have in common.
 */
#pragma once

#include <jansson.h>

#include "client/coffer.h"

/* What an object of an answer says of a chunk. */
void chunk_from_json(struct coffer_chunk *chunk, const json_t *json);
char *chunk_path(const char *key);                              /* for free(); NULL: no memory */
const char *durability_line(enum coffer_durability durability); /* NULL: none */
/* Bytes from a file's position to its end, or SIZE_UNKNOWN: a pipe. */
uint64_t file_left(FILE *file);
