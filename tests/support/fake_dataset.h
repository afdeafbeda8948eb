/*
 * fake_dataset.h - what a coffer server does with the channels of one dataset, in a few lines,
 * behind a server that misbehaves by a script: for tests of a client's streams and transactions.
 *
 * Only POST requests take a step of the script.
 */
#pragma once

#include <stdint.h>

#include "tests/support/script_server.h"

enum { FAKE_CHANNELS = 4, FAKE_TRANSACTIONS = 8, FAKE_LOG = 256, FAKE_STEPS = 64 };

struct fake_step {
    enum { FAKE_WELL, FAKE_LOSE_REQUEST, FAKE_LOSE_ANSWER, FAKE_REFUSE } what;
    int status; /* FAKE_REFUSE */
    const char *code;
};

struct fake_channel {
    char name[32];
    char *bytes; /* committed, then staged */
    size_t size, staged;
    uint64_t records, epoch;
    uint64_t last_offset, last_length, last_record; /* the last append, for repeats */
};

enum fake_state { FAKE_OPEN, FAKE_COMMITTED, FAKE_ABORTED };

struct fake_transaction {
    char id[64];
    enum fake_state state;
    uint64_t version;
    unsigned channels, ready; /* 0: the whole dataset */
    bool commit_when_ready;
};

struct fake_request { /* as it came */
    char method[8], path[160];
    char transaction[64];
    bool lines, has_offset, has_epoch, buffered;
    uint64_t offset, epoch;
    size_t size;
};

struct fake_dataset {
    struct script_server server;
    struct fake_channel channels[FAKE_CHANNELS];
    struct fake_transaction transactions[FAKE_TRANSACTIONS];
    uint64_t version;
    struct fake_step steps[FAKE_STEPS]; /* of the next POSTs */
    unsigned step;
    struct fake_request log[FAKE_LOG];
    unsigned count; /* requests */
};

void fake_dataset_start(struct fake_dataset *fake);
void fake_dataset_stop(struct fake_dataset *fake);
/* The next POSTs do this. */
void fake_dataset_script(struct fake_dataset *fake, const struct fake_step *steps, unsigned count);
struct fake_channel *fake_channel(struct fake_dataset *fake, const char *name);
/* The committed bytes are these. */
bool fake_channel_is(struct fake_dataset *fake, const char *name, const void *data, size_t size);
/* How many requests there were whose path has `part`. */
unsigned fake_requests(const struct fake_dataset *fake, const char *part);
