/*
 * reader_file.h - a body_reader as a FILE * that is read.
 */
#pragma once

#include "client/body_reader.h"

/* The source's texts are taken, also on failure. NULL: err is filled. */
FILE *reader_file_open(
    struct coffer_client *client, const struct reader_source *source, struct coffer_error *err);
