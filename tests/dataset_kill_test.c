/*
 * Goal: whenever cofferd is killed, every append and commit that it had answered is there after the
 * next start, in order and with its bytes; what was not answered can be sent again and lands once;
 * no reader ever sees a part of a transaction. Method: clients of all kinds write to the channels
 * of one dataset (support/dataset_feed.h) while another one reads; SIGKILL comes somewhere in it
 * (support/kill_rounds.h); then a start, and every channel and the log of versions is looked at.
 */
#include <pthread.h>
#include <stdlib.h>

#include "storage/base/invariant.h"
#include "tests/support/dataset_feed.h"
#include "tests/support/kill_rounds.h"
#include "tests/support/seed_content.h"

static const char *const arguments[] = {"--pack-size", "2MiB", "--segment-size", "1MiB",
    "--flush-interval", "20ms", "--default-channels", "3", "--reserve-space", "1MiB", NULL};
static const enum feed_kind kinds[] = {
    FEED_PLAIN, FEED_PLAIN, FEED_BUFFERED, FEED_TRANSACTIONS, FEED_TRANSACTIONS, FEED_TRANSACTIONS};
enum { FEEDS = ARRAY_COUNT(kinds) };

struct load {
    struct feed feeds[FEEDS];
    pthread_t writers[FEEDS], reader;
    struct writer {
        struct feed *feed;
        const char *address;
    } contexts[FEEDS];
    const char *address;
    FILE *file;
};

/* It may be there already. False: no answer. */
static bool make_dataset(struct http_client *client)
{
    struct http_answer answer;
    bool answered;

    http_send(client, &(struct http_request){.method = "PUT", .path = FEED_DATASET}, &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    http_answer_release(&answer);
    return answered;
}

static void *write_while_it_lives(void *context)
{
    struct writer *writer = context;
    struct http_client *client = http_client_create(writer->address);

    if (make_dataset(client))
        while (feed_step(writer->feed, client))
            ;
    http_client_destroy(client);
    return NULL;
}

static void *read_while_it_lives(void *context)
{
    struct load *load = context;
    struct http_client *client = http_client_create(load->address);
    struct feed_watch seen = {0};

    while (feeds_watch(load->feeds, FEEDS, &seen, client))
        ;
    http_client_destroy(client);
    return NULL;
}

/* ---- of kill_rounds.h ---- */

static void *load_open(const char *ledger_path, uint64_t seed, struct kill_counts *counts)
{
    struct load *load = calloc(1, sizeof(*load));

    invariant(load != NULL);
    load->file = fopen(ledger_path, "w");
    invariant(load->file != NULL);
    for (unsigned i = 0; i < FEEDS; i++)
        feed_init(&load->feeds[i], kinds[i], i, seed_next(&seed), counts, load->file);
    return load;
}

static void load_start(void *context, const char *address)
{
    struct load *load = context;

    load->address = address;
    for (unsigned i = 0; i < FEEDS; i++) {
        load->contexts[i] = (struct writer){&load->feeds[i], address};
        invariant(
            pthread_create(&load->writers[i], NULL, write_while_it_lives, &load->contexts[i]) == 0);
    }
    invariant(pthread_create(&load->reader, NULL, read_while_it_lives, load) == 0);
}

static void load_join(void *context)
{
    struct load *load = context;

    for (unsigned i = 0; i < FEEDS; i++)
        (void)pthread_join(load->writers[i], NULL);
    (void)pthread_join(load->reader, NULL);
}

static void load_crashed(void *context)
{
    struct load *load = context;

    for (unsigned i = 0; i < FEEDS; i++)
        feed_crashed(&load->feeds[i]);
    (void)fflush(load->file);
}

static void load_stopped(void *context)
{
    struct load *load = context;

    for (unsigned i = 0; i < FEEDS; i++)
        feed_stopped(&load->feeds[i]);
}

static void load_check(void *context, const char *address)
{
    struct load *load = context;

    feeds_check(load->feeds, FEEDS, address);
}

static void load_close(void *context)
{
    struct load *load = context;

    (void)fclose(load->file);
    free(load);
}

int main(void)
{
    static const struct kill_load load = {.arguments = arguments,
        .open = load_open,
        .start = load_start,
        .join = load_join,
        .crashed = load_crashed,
        .stopped = load_stopped,
        .check = load_check,
        .close = load_close};
    static const struct kill_site sites[] = {{"append_durable", 60}, {"stage_durable", 40},
        {"commit_synced", 20}, {"commit_durable", 20}, {"commit_published", 20}, {"after_sync", 60},
        {"after_index", 60}, {"pack_write", 60}, {NULL, 0}};

    return kill_rounds(&load, sites);
}
