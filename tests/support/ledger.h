/*
 * ledger.h - what a client knows about the chunks that it wrote, kept outside of the server so that
 * it outlives every crash of it, and the check of a server against that knowledge.
 *
 * A slot is a chunk whose content comes from a seed, written and deleted by one thread. Before an
 * operation is sent its slots become unknown; its answer settles them. What was not answered may
 * have happened or not, but never by half. Each step is also a line of a file:
 *     TIME begin|end OPERATION KEY SIZE SEED [STATUS STATE]
 *
 * Threads: a slot belongs to one thread until ledger_crashed(); the rest is locked inside.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "storage/base/digest.h"
#include "tests/support/http_client.h"
#include "tests/support/kill_rounds.h"

enum ledger_known { KNOWN_ABSENT, KNOWN_PRESENT, KNOWN_NOT };

struct ledger_slot {
    uint64_t seed;
    size_t size;
    char key[DIGEST_HEX_SIZE + 1];
    char path[DIGEST_HEX_SIZE + 16];
    enum ledger_known live;    /* what a read must find as long as the server lives */
    enum ledger_known durable; /* what it must find after a crash */
    unsigned group;   /* not 0: deleted together with the others of this number, or not at all */
    char ticket[128]; /* of a buffered write that is not known to be durable */
};

struct ledger {
    struct ledger_slot *slots;
    size_t count;
    struct kill_counts *counts;
    pthread_mutex_t lock;
    FILE *file;      /* (lock) */
    unsigned groups; /* (lock) */
};

/* `count` slots, of all sizes up to some segments of 64 KiB, none of them stored. */
void ledger_init(struct ledger *ledger, const char *path, size_t count, uint64_t seed,
    struct kill_counts *counts);
void ledger_release(struct ledger *ledger);

/* Operations, by any thread that owns the slots. False: no answer came, the server is gone. */
bool ledger_put(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slot, bool buffered);
bool ledger_delete(struct ledger *ledger, struct http_client *client, struct ledger_slot *slot);
/* One request for all of them. */
bool ledger_delete_many(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slots, size_t count);
bool ledger_get(struct ledger *ledger, struct http_client *client, struct ledger_slot *slot);
/* One tar with all of them. */
bool ledger_insert(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slots, size_t count);
/* Wait for the tickets of all of them. */
bool ledger_sync(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slots, size_t count);

/* The server is gone: what was only buffered is not known any more. */
void ledger_crashed(struct ledger *ledger);
/* Everything acknowledged is on disk: what was buffered stays. */
void ledger_stopped(struct ledger *ledger);
/* Compare a server that was started again, and take over what it shows: every slot, the list, the
 * counters. */
void ledger_check(struct ledger *ledger, const char *address);
