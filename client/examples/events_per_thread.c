/*
 * Whole events, from several threads at once: each thread has a channel of its own, and a line is
 * an event. Threads share the client and nothing else.
 *
 *     events_per_thread URL DATASET [THREADS [EVENTS]]
 *
 * Killed in the middle and started again, it goes on with the event behind the last one that is
 * stored: nothing is lost, nothing is there twice.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/coffer.h"

enum { THREADS_MAX = 64 };

struct worker {
    pthread_t thread;
    struct coffer_client *client;
    const char *dataset;
    char channel[32];
    unsigned long events; /* to be there in the end */
    unsigned long found;  /* that were there at the start */
    struct coffer_error err;
    int result;
};

/* An event of some number of hits, as one line. The same number always gives the same event. */
static void write_event(FILE *stream, const char *channel, unsigned long number)
{
    unsigned long hits = 1 + number * 7919 % 12;

    fprintf(stream, "{\"event\":%lu,\"source\":\"%s\",\"hits\":[", number, channel);
    for (unsigned long i = 0; i < hits; i++)
        fprintf(stream, "%s%lu", i == 0 ? "" : ",", (number * 31 + i * 17) % 4096);
    fputs("]}\n", stream);
}

static int write_events(struct worker *worker)
{
    const struct coffer_channel_options options = {.per_line = true, .pipeline = true};
    struct coffer_channel_info info;
    /* The channel is this program's from here on: whatever an earlier run still has under way is
     * refused, and what is stored now is what counts. */
    FILE *stream = coffer_channel_open(
        worker->client, worker->dataset, worker->channel, "a", &options, &worker->err);

    if (stream == NULL)
        return -1;
    if (coffer_channel_info(
            worker->client, worker->dataset, worker->channel, &info, &worker->err) != 0) {
        fclose(stream);
        return -1;
    }
    worker->found = (unsigned long)info.records;
    for (unsigned long i = worker->found; i < worker->events && !ferror(stream); i++)
        write_event(stream, worker->channel, i);
    return coffer_channel_close(stream, &worker->err); /* 0: all of it is on stable storage */
}

static void *work(void *context)
{
    struct worker *worker = context;

    worker->result = write_events(worker);
    return NULL;
}

int main(int argc, char **argv)
{
    unsigned long threads = argc > 3 ? strtoul(argv[3], NULL, 10) : 4;
    unsigned long events = argc > 4 ? strtoul(argv[4], NULL, 10) : 100000;
    struct worker workers[THREADS_MAX];
    struct coffer_error err;
    struct coffer_client *client;
    int code = 0;

    if (argc < 3 || threads == 0 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: events_per_thread URL DATASET [THREADS [EVENTS]]\n");
        return 2;
    }
    client = coffer_open(argv[1], NULL, &err);
    if (client == NULL || coffer_dataset_create(client, argv[2], NULL, NULL, &err) != 0) {
        fprintf(stderr, "%s: %s\n", err.code, err.detail);
        coffer_close(client);
        return 3;
    }
    for (unsigned long i = 0; i < threads; i++) {
        workers[i] = (struct worker){.client = client, .dataset = argv[2], .events = events};
        snprintf(workers[i].channel, sizeof(workers[i].channel), "thread-%02lu", i);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            abort();
    }
    for (unsigned long i = 0; i < threads; i++) {
        pthread_join(workers[i].thread, NULL);
        if (workers[i].result != 0) {
            fprintf(stderr, "%s: %s: %s\n", workers[i].channel, workers[i].err.code,
                workers[i].err.detail);
            code = 3;
        } else {
            printf("%s: %lu events, %lu of them were there before\n", workers[i].channel, events,
                workers[i].found);
        }
    }
    coffer_close(client);
    return code;
}
