/*
 * dataset_feed.h - clients that write to one dataset over HTTP until the server does not answer,
 * and go on where they were when it is back; what they know; and the check of a server against
 * that.
 *
 *     plain feed        one channel; appends with Coffer-Offset. What was not answered is sent
 * again with the same offset, and must be answered as a repeat if it was there. buffered feed one
 * channel; appends that are accepted before they are durable, and a sync now and then. After a
 * crash it goes on where the channel ends. transaction feed  three channels; transactions that add
 * as much to each of them. A commit without an answer is asked for again; what was aborted is done
 * again under another id.
 *
 * Record k of a channel has a size and content of its own, which follow from a seed, so the bytes
 * of a channel are known from how many records it has. Threads: a feed belongs to one;
 * feeds_watch() only reads what does not change.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tests/support/http_client.h"
#include "tests/support/kill_rounds.h"

enum { FEEDS_MAX = 8, FEED_CHANNELS_MAX = 3, FEED_NAME_SIZE = 16 };
#define FEED_DATASET "/v1/datasets/run"

enum feed_kind { FEED_PLAIN, FEED_BUFFERED, FEED_TRANSACTIONS };
enum feed_step { STEP_BEGIN, STEP_STAGE, STEP_COMMIT };

struct feed {
    enum feed_kind kind;
    unsigned number;
    uint64_t seed;
    unsigned channel_count;
    char channels[FEED_CHANNELS_MAX][FEED_NAME_SIZE];
    uint64_t done, size; /* records, or transactions, that are there for sure; bytes of a channel */
    /* The next record, or step of a transaction, was sent without an answer; since then somebody
     * has looked, and it was there. */
    bool sent, looked, found;
    /* Buffered: records accepted since the last sync, with their bytes. */
    uint64_t accepted, accepted_size;
    /* Transactions: what was sent of the next one. */
    enum feed_step step;
    unsigned attempt, staged;
    uint64_t version; /* of the last one */
    struct kill_counts *counts;
    FILE *file; /* the ledger: a line before each request, and one with its answer */
};

void feed_init(struct feed *feed, enum feed_kind kind, unsigned number, uint64_t seed,
    struct kill_counts *counts, FILE *file);
/* Record number `record`: its bytes, the same number in all channels of the feed, and what they
 * are. */
size_t feed_record_size(const struct feed *feed, uint64_t record);
void feed_fill(const struct feed *feed, unsigned channel, uint64_t record, char *out);
/* How many records end at `size`; UINT64_MAX: none does. How many bytes so many have. */
uint64_t feed_records(const struct feed *feed, uint64_t size);
uint64_t feed_bytes(const struct feed *feed, uint64_t records);
/* One transaction in seven is aborted instead of committed: the next one. */
bool feed_gives_up(const struct feed *feed);
/* The next request. False: it was not answered. */
bool feed_step(struct feed *feed, struct http_client *client);
/* The server is gone; or has stopped well, and what it had accepted is there. */
void feed_crashed(struct feed *feed);
void feed_stopped(struct feed *feed);

/* ---- dataset_feed_check.c ---- */

/* Compare a server that was started again with all of its feeds, and remember what it shows of
 * their next records: every byte of every channel, and the log of versions, which has each
 * transaction once and with all of its channels. */
void feeds_check(struct feed *feeds, size_t count, const char *address);

struct feed_watch { /* what was seen of a server so far */
    uint64_t version, sizes[FEEDS_MAX];
};
/* Look at the channels, as they are at one moment and as of its version: those of one feed have the
 * same length, which whole transactions make up; none becomes shorter. False: no answer. */
bool feeds_watch(
    const struct feed *feeds, size_t count, struct feed_watch *last, struct http_client *client);
