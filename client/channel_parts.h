/*
 * channel_parts.h - datasets, streams that write, and transactions, as they see each other.
 */
#pragma once

#include "client/coffer.h"

struct writer;

/* "/v1/datasets/" dataset rest name (may be NULL), escaped but for rest; for free(). */
char *dataset_path(const char *dataset, const char *rest, const char *name);

/* ---- channel_writer.c, for client_transaction.c; the stream's FILE is locked ---- */

FILE *writer_open(struct coffer_client *client, const char *dataset, const char *channel,
    const struct coffer_channel_options *options, struct coffer_error *err);
/* The writer of a stream, or NULL with err filled: it is not one that writes. */
struct writer *writer_find(FILE *stream, struct coffer_error *err);
const char *writer_channel(const struct writer *writer);
FILE *writer_file(const struct writer *writer);
/* Send all there is, an unfinished line too, and wait for the answers. */
int writer_drain(struct writer *writer, struct coffer_error *err);
/* Drain, and from now on append under this transaction (NULL: none any more). */
int writer_join(
    struct writer *writer, struct coffer_transaction *transaction, struct coffer_error *err);
struct coffer_transaction *writer_transaction(const struct writer *writer);
/* The transaction was committed: go on. */
void writer_leave(struct writer *writer);
/* It was aborted: back to where the writer was when it joined, without the failure that it has. */
void writer_roll_back(struct writer *writer);
/* It was forgotten: nothing can be right from now on. */
void writer_abandon(struct writer *writer);

/* ---- client_transaction.c, for channel_writer.c ---- */

/* A joined stream was closed. */
void joined_forget(struct coffer_transaction *transaction, struct writer *writer);
int joined_add(
    struct coffer_transaction *transaction, struct writer *writer, struct coffer_error *err);
