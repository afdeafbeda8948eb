/*
 * kill_rounds.h - kill a real cofferd while a load runs against it, start it, look; again and
 * again.
 *
 * A load is threads that write over HTTP and know what they were answered. It is asked after each
 * start to compare the server with that. SIGKILL comes after a random number of answers, or from a
 * fault point at a place that is hard to hit otherwise; starts are killed, too.
 *
 * COFFER_TEST_LONG=1 kills 200 times instead of 5, and at each point five times. COFFER_TEST_SEED
 * repeats a run as far as threads let it. After a violation the data folder and the ledger stay,
 * and their place is printed.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct kill_counts {
    _Atomic uint64_t answers;    /* operations that were answered */
    _Atomic uint64_t violations; /* told on standard error */
    uint64_t checked;            /* things looked at after starts */
};

struct kill_load {
    const char *const *arguments; /* of cofferd; NULL at the end */
    /* For one store. Its ledger is to be in a file of that path. */
    void *(*open)(const char *ledger_path, uint64_t seed, struct kill_counts *counts);
    /* Write until the server does not answer any more; join() waits for that. */
    void (*start)(void *load, const char *address);
    void (*join)(void *load);
    void (*crashed)(void *load); /* the server was killed */
    void (*stopped)(void *load); /* or has stopped: what it had accepted is on disk */
    void (*check)(void *load, const char *address);
    void (*close)(void *load);
};
struct kill_site {
    const char *name; /* of a fault point */
    unsigned nth_max; /* the call that kills is one up to this */
};

/* What main() returns. `sites` ends with a name that is NULL. */
int kill_rounds(const struct kill_load *load, const struct kill_site *sites);
