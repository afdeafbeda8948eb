/*
 * A writer on some machine, through libcoffer.
 *
 *     remote_writer MODE URL DATASET CHANNEL COUNT SEED [CHANNEL...]
 *
 * plain       appends of some lines each
 * pipelined   the same, sent in the background
 * large       each append is one record of LARGE lines, larger than a block
 * batches     BATCH lines at a time, in one transaction with all CHANNELs named at the end, which
 *             other writers write; nobody coordinates them
 *
 * It owns its channel, goes on behind the lines that are there, and ends when there are COUNT
 * (batches: COUNT batches), or when it is told to by SIGTERM (not batches: the others would wait),
 * with all durable that it has written. Its ledger is standard output: "CHANNEL SEED SIZE" each
 * time that the server has said that SIZE bytes of the channel are durable.
 *
 * Ends with 0, with 4 when another writer has claimed the channel; for any other failure with 3,
 * and "CHANNEL SEED failed" in the ledger.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/coffer.h"
#include "storage/base/invariant.h"
#include "tests/support/remote_lines.h"
#include "tests/support/seed_content.h"

enum { FAILED = 3, FENCED = 4 };
enum { APPEND = 40, LARGE = 24000, BATCH = 50, WAIT_S = 2, GROUP_MAX = 8 };

struct remote_writer {
    const char *mode, *dataset, *channel;
    uint64_t count, seed;
    const char *group[GROUP_MAX]; /* of a transaction */
    size_t group_size;
    struct coffer_client *client;
    FILE *stream;
    uint64_t number; /* of the next line */
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void tell_size(const struct remote_writer *writer)
{
    (void)printf("%s %" PRIu64 " %ld\n", writer->channel, writer->seed, ftell(writer->stream));
    (void)fflush(stdout);
}

static void put_lines(struct remote_writer *writer, uint64_t end)
{
    char line[REMOTE_LINE_MAX];

    for (; writer->number < end; writer->number++) {
        (void)remote_line(line, writer->channel, writer->seed, writer->number);
        (void)fputs(line, writer->stream);
    }
}

/* ---- appends ---- */

static int write_plain(struct remote_writer *writer, struct coffer_error *err)
{
    uint64_t dice = writer->seed;

    while (!stopped && writer->number < writer->count) {
        uint64_t end = writer->number + 1 + seed_next(&dice) % APPEND;

        put_lines(writer, end < writer->count ? end : writer->count);
        if (coffer_channel_flush(writer->stream, err) != 0)
            return -1;
        tell_size(writer);
    }
    return 0;
}

static int write_large(struct remote_writer *writer, struct coffer_error *err)
{
    char *record = malloc((size_t)LARGE * REMOTE_LINE_MAX);
    int result = 0;

    invariant(record != NULL);
    while (result == 0 && !stopped && writer->number < writer->count) {
        size_t size = 0;

        for (unsigned i = 0; i < LARGE; i++)
            size += remote_line(record + size, writer->channel, writer->seed, writer->number++);
        result = coffer_channel_append(writer->stream, record, size, NULL, err);
        if (result == 0)
            tell_size(writer);
    }
    free(record);
    return result;
}

/* ---- transactions ---- */

/* This writer's part of a batch, under an id. 0: the batch is committed. */
static int try_batch(struct remote_writer *writer, const char *id, struct coffer_error *err)
{
    const struct coffer_transaction_options options = {.id = id,
        .channels = writer->group,
        .channel_count = writer->group_size,
        .barrier = true,
        .commit_when_ready = true};
    struct coffer_transaction *transaction =
        coffer_transaction_begin(writer->client, writer->dataset, &options, err);
    struct coffer_commit commit = {0};
    uint64_t first = writer->number;
    int result;

    if (transaction == NULL)
        return -1;
    result = coffer_channel_join(writer->stream, transaction, err);
    for (unsigned part = 1; result == 0 && part <= 2; part++) {
        put_lines(writer, first + BATCH * part / 2);
        result = coffer_channel_flush(writer->stream, err);
    }
    if (result == 0)
        result = coffer_transaction_ready(transaction, writer->stream, &commit, err);
    while (result == 0 && !commit.committed) {
        result = coffer_transaction_commit(transaction, WAIT_S, &commit, err);
        if (result != 0 && strcmp(err->code, "transaction_not_ready") == 0)
            result = 0;
    }
    if (result != 0) {
        struct coffer_error reason = *err;

        writer->number = first;
        if (coffer_transaction_abort(transaction, err) == 0)
            *err = reason;
    }
    coffer_transaction_free(transaction);
    return result;
}

/* The next batch, under the first id that nobody has aborted. */
static int commit_batch(struct remote_writer *writer, struct coffer_error *err)
{
    const struct timespec pause = {.tv_nsec = 20000000};
    uint64_t batch = writer->number / BATCH;
    unsigned attempt = 0;
    char id[64];

    for (;;) {
        (void)snprintf(id, sizeof(id), "batch-%" PRIu64 ".%u", batch, attempt);
        if (try_batch(writer, id, err) == 0)
            return 0;
        if (strcmp(err->code, "transaction_aborted") == 0) {
            attempt++;
        } else if (strcmp(err->code, "no_such_transaction") == 0 ||
                   strcmp(err->code, "channel_busy") == 0) {
            /* Begun by an answer that did not survive the server; or others are still in another
             * attempt. */
            attempt = 0;
            (void)nanosleep(&pause, NULL); /* poll: until the others have left it */
        } else {
            return -1;
        }
    }
}

static int write_batches(struct remote_writer *writer, struct coffer_error *err)
{
    while (writer->number < writer->count * BATCH) {
        if (commit_batch(writer, err) != 0)
            return -1;
        tell_size(writer);
    }
    return 0;
}

/* ---- all of it ---- */

static int write_all(struct remote_writer *writer, struct coffer_error *err)
{
    const struct coffer_channel_options options = {
        .per_line = true, .pipeline = strcmp(writer->mode, "pipelined") == 0};
    struct coffer_channel_info info;
    int result;

    writer->stream =
        coffer_channel_open(writer->client, writer->dataset, writer->channel, "a", &options, err);
    if (writer->stream == NULL)
        return -1;
    tell_size(writer);
    result = coffer_channel_info(writer->client, writer->dataset, writer->channel, &info, err);
    writer->number = info.records;
    if (result == 0 && strcmp(writer->mode, "batches") == 0) {
        result = write_batches(writer, err);
    } else if (result == 0 && strcmp(writer->mode, "large") == 0) {
        writer->number *= LARGE;
        result = write_large(writer, err);
    } else if (result == 0) {
        result = write_plain(writer, err);
    }
    if (result == 0)
        return coffer_channel_close(writer->stream, err);
    (void)fclose(writer->stream);
    return result;
}

int main(int argc, char **argv)
{
    /* Short, so that connections to a server that is no more are left soon. */
    const struct coffer_options options = {.connect_timeout = 2, .timeout = 4, .patience = 120};
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct remote_writer writer = {0};
    struct coffer_error err;
    int result;

    if (argc < 7 || argc - 7 > GROUP_MAX) {
        (void)fprintf(
            stderr, "usage: remote_writer MODE URL DATASET CHANNEL COUNT SEED [CHANNEL...]\n");
        return 2;
    }
    writer = (struct remote_writer){.mode = argv[1],
        .dataset = argv[3],
        .channel = argv[4],
        .count = strtoull(argv[5], NULL, 10),
        .seed = strtoull(argv[6], NULL, 10),
        .client = coffer_open(argv[2], &options, &err)};
    for (int i = 7; i < argc; i++)
        writer.group[writer.group_size++] = argv[i];
    (void)sigaction(SIGTERM, &action, NULL);
    result = writer.client == NULL ? -1 : write_all(&writer, &err);
    if (result != 0)
        (void)fprintf(
            stderr, "%s: %s: %s (%s)\n", writer.channel, err.code, err.detail, err.request_id);
    coffer_close(writer.client);
    if (result == 0)
        return 0;
    if (strcmp(err.code, "fenced") == 0)
        return FENCED;
    (void)printf("%s %" PRIu64 " failed\n", writer.channel, writer.seed);
    return FAILED;
}
