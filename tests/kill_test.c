/*
 * Goal: whenever cofferd is killed, what it had acknowledged holds after the next start, and
 * nothing is there by half (the invariants of support/ledger.h). Method: several clients write,
 * delete, sync and read without pause; SIGKILL comes somewhere in it (support/kill_rounds.h); then
 * a start, and every chunk is looked at.
 */
#include <pthread.h>
#include <stdlib.h>

#include "storage/base/invariant.h"
#include "tests/support/kill_rounds.h"
#include "tests/support/ledger.h"
#include "tests/support/seed_content.h"

enum {
    THREADS = 4,
    SLOTS_EACH = 40,
    BATCH = 8, /* slots of one sync or one deletion of many */
};

static const char *const arguments[] = {"--pack-size", "1MiB", "--segment-size", "64KiB",
    "--flush-interval", "20ms", "--buffer-size", "256KiB", "--reserve-space", "1MiB", NULL};

struct writer {
    struct load *load;
    pthread_t thread;
    struct ledger_slot *slots; /* SLOTS_EACH */
    const char *address;
    uint64_t seed;
};

struct load {
    struct ledger ledger;
    uint64_t seed;
    struct writer writers[THREADS];
};

static bool write_some(struct writer *writer, struct http_client *client)
{
    struct ledger *ledger = &writer->load->ledger;
    uint64_t dice = seed_next(&writer->seed);
    struct ledger_slot *slot = &writer->slots[(dice >> 8) % SLOTS_EACH];
    struct ledger_slot *batch = &writer->slots[(dice >> 8) % (SLOTS_EACH - BATCH)];
    bool alive = true;

    switch (dice % 17) {
    case 16:
        return ledger_insert(ledger, client, batch, BATCH);
    case 0:
        return ledger_delete_many(ledger, client, batch, BATCH);
    case 1:
    case 2:
    case 3:
        return ledger_delete(ledger, client, slot);
    case 4:
    case 5:
    case 6:
        return ledger_get(ledger, client, slot);
    case 7: /* some at once and one wait for all of them */
        for (size_t i = 0; alive && i < BATCH; i++)
            alive = ledger_put(ledger, client, &batch[i], true);
        return alive && ledger_sync(ledger, client, batch, BATCH);
    case 8:
    case 9:
        return ledger_put(ledger, client, slot, true);
    default:
        return ledger_put(ledger, client, slot, false);
    }
}

static void *write_while_it_lives(void *context)
{
    struct writer *writer = context;
    struct http_client *client = http_client_create(writer->address);

    while (write_some(writer, client))
        ;
    http_client_destroy(client);
    return NULL;
}

/* ---- of kill_rounds.h ---- */

static void *load_open(const char *ledger_path, uint64_t seed, struct kill_counts *counts)
{
    struct load *load = calloc(1, sizeof(*load));

    invariant(load != NULL);
    ledger_init(&load->ledger, ledger_path, THREADS * SLOTS_EACH, seed, counts);
    load->seed = seed;
    return load;
}

static void load_start(void *context, const char *address)
{
    struct load *load = context;

    for (size_t i = 0; i < THREADS; i++) {
        struct writer *writer = &load->writers[i];

        *writer = (struct writer){.load = load,
            .slots = load->ledger.slots + i * SLOTS_EACH,
            .address = address,
            .seed = seed_next(&load->seed)};
        invariant(pthread_create(&writer->thread, NULL, write_while_it_lives, writer) == 0);
    }
}

static void load_join(void *context)
{
    struct load *load = context;

    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(load->writers[i].thread, NULL);
}

static void load_crashed(void *context)
{
    ledger_crashed(&((struct load *)context)->ledger);
}

static void load_stopped(void *context)
{
    ledger_stopped(&((struct load *)context)->ledger);
}

static void load_check(void *context, const char *address)
{
    ledger_check(&((struct load *)context)->ledger, address);
}

static void load_close(void *context)
{
    ledger_release(&((struct load *)context)->ledger);
    free(context);
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
    static const struct kill_site sites[] = {{"after_sync", 60}, {"after_index", 60},
        {"pack_write", 60}, {"pack_sync", 60}, {"index_write", 60}, {"seal", 2}, {"pack_open", 3},
        {"pack_allocate", 3}, {"dir_sync", 5}, {"file_publish", 1}, {"index_flush", 1}, {NULL, 0}};

    return kill_rounds(&load, sites);
}
