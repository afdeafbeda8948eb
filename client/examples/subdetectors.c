/*
 * One event in four parts: each sub-detector has a channel, written by a thread or a machine of its
 * own, and a batch of events is committed in all four channels at once, or in none.
 *
 *     subdetectors URL DATASET DETECTOR [BATCHES [EVENTS]]
 *
 * DETECTOR is tracker, calorimeter, muon or trigger: start one of each, anywhere; or "all": four
 * threads. Nobody coordinates them. They choose the same id for the transaction of a batch, whoever
 * comes first begins it, and the last one that is ready commits it.
 *
 * Any of them may be killed and started again at any time. To open its channel aborts the batch
 * that it was in, and all write that batch again, under the next id.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/coffer.h"

enum { DETECTORS = 4, WAIT_S = 30 };

static const char *const names[DETECTORS] = {"tracker", "calorimeter", "muon", "trigger"};

struct detector {
    pthread_t thread;
    struct coffer_client *client;
    const char *dataset, *name;
    unsigned long batches, events; /* events of a batch */
    FILE *stream;
    struct coffer_error err;
    int result;
};

static void write_batch(struct detector *detector, unsigned long batch)
{
    for (unsigned long i = 0; i < detector->events; i++) {
        unsigned long event = batch * detector->events + i;

        fprintf(detector->stream, "%lu %s %lu\n", event, detector->name, event * 7919 % 65536);
    }
}

/* This detector's part of a batch, under an id. 0: the batch is committed. */
static int try_batch(struct detector *detector, unsigned long batch, const char *id)
{
    const struct coffer_transaction_options options = {.id = id,
        .channels = names,
        .channel_count = DETECTORS,
        .barrier = true,
        .commit_when_ready = true};
    struct coffer_error *err = &detector->err;
    struct coffer_transaction *transaction =
        coffer_transaction_begin(detector->client, detector->dataset, &options, err);
    struct coffer_commit commit = {0};
    int result;

    if (transaction == NULL)
        return -1;
    result = coffer_channel_join(detector->stream, transaction, err);
    if (result == 0) {
        write_batch(detector, batch);
        result = coffer_transaction_ready(transaction, detector->stream, &commit, err);
    }
    /* Ready, and others are not: wait for them, as long as it takes. */
    while (result == 0 && !commit.committed) {
        result = coffer_transaction_commit(transaction, WAIT_S, &commit, err);
        if (result != 0 && strcmp(err->code, "transaction_not_ready") == 0)
            result = 0;
    }
    if (result != 0) {
        struct coffer_error reason = *err;

        /* The stream forgets what it wrote, and is good to write it again. */
        if (coffer_transaction_abort(transaction, err) == 0)
            *err = reason;
    }
    coffer_transaction_free(transaction);
    return result;
}

static void pause_a_little(void)
{
    const struct timespec time = {.tv_nsec = 50000000};

    nanosleep(&time, NULL);
}

/* Every detector goes through the same ids in the same order, so they meet at the first one that
 * nobody has aborted. */
static int commit_batch(struct detector *detector, unsigned long batch)
{
    unsigned long attempt = 0;
    char id[64];

    for (;;) {
        const char *code = detector->err.code;

        snprintf(id, sizeof(id), "batch-%06lu.%lu", batch, attempt);
        if (try_batch(detector, batch, id) == 0)
            return 0;
        if (strcmp(code, "transaction_committed") == 0)
            return 0;
        if (strcmp(code, "transaction_aborted") == 0) {
            attempt++;
        } else if (strcmp(code, "no_such_transaction") == 0 || strcmp(code, "channel_busy") == 0) {
            /* The server has started again; or others are still in another attempt. */
            attempt = 0;
            pause_a_little();
        } else {
            return -1;
        }
    }
}

static int run(struct detector *detector)
{
    const struct coffer_channel_options options = {.per_line = true};
    struct coffer_channel_info info;
    int result;

    detector->stream = coffer_channel_open(
        detector->client, detector->dataset, detector->name, "a", &options, &detector->err);
    if (detector->stream == NULL)
        return -1;
    result = coffer_channel_info(
        detector->client, detector->dataset, detector->name, &info, &detector->err);
    /* Only whole batches are ever visible: so many are done. */
    for (unsigned long batch = (unsigned long)info.records / detector->events;
         result == 0 && batch < detector->batches; batch++)
        result = commit_batch(detector, batch);
    if (result != 0) {
        fclose(detector->stream);
        return result;
    }
    return coffer_channel_close(detector->stream, &detector->err);
}

static void *run_thread(void *context)
{
    struct detector *detector = context;

    detector->result = run(detector);
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned long batches = argc > 4 ? strtoul(argv[4], NULL, 10) : 10;
    unsigned long events = argc > 5 ? strtoul(argv[5], NULL, 10) : 1000;
    struct detector detectors[DETECTORS];
    struct coffer_error err;
    struct coffer_client *client;
    unsigned count = 0;
    int code = 0;

    for (unsigned i = 0; argc > 3 && i < DETECTORS; i++)
        if (strcmp(argv[3], "all") == 0 || strcmp(argv[3], names[i]) == 0)
            detectors[count++] = (struct detector){
                .dataset = argv[2], .name = names[i], .batches = batches, .events = events};
    if (count == 0 || events == 0) {
        fprintf(stderr, "usage: subdetectors URL DATASET DETECTOR|all [BATCHES [EVENTS]]\n");
        return 2;
    }
    client = coffer_open(argv[1], NULL, &err);
    if (client == NULL || coffer_dataset_create(client, argv[2], NULL, NULL, &err) != 0) {
        fprintf(stderr, "%s: %s\n", err.code, err.detail);
        coffer_close(client);
        return 3;
    }
    for (unsigned i = 0; i < count; i++) {
        detectors[i].client = client;
        if (pthread_create(&detectors[i].thread, NULL, run_thread, &detectors[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(detectors[i].thread, NULL);
        if (detectors[i].result != 0) {
            fprintf(stderr, "%s: %s: %s\n", detectors[i].name, detectors[i].err.code,
                detectors[i].err.detail);
            code = 3;
        } else {
            printf("%s: %lu batches of %lu events\n", detectors[i].name, batches, events);
        }
    }
    coffer_close(client);
    return code;
}
