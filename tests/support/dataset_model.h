/*
 * dataset_model.h - what a dataset is, written for clarity: every channel is one array of bytes and
 * the ends of its records. It says what each call must answer; it knows nothing of blocks, extents,
 * groups, lanes or rows.
 *
 * What an engine is free to choose (version numbers, which buffered appends share one, when they
 * become visible) the model is told: a number per engine and append, 0 as long as it is not known.
 */
#pragma once

#include "storage/datasets.h"

enum {
    MODEL_ENGINES = 2,
    MODEL_CHANNELS = 6,
    MODEL_WHOLE = (1 << MODEL_CHANNELS) - 1, /* a set of channels: all of them */
    MODEL_METADATA_SIZE = 40,
};

extern const char *const model_channel_names[MODEL_CHANNELS]; /* in the order of names */

struct model_append {
    uint64_t offset, length, record, records;
    uint64_t version[MODEL_ENGINES];
    bool buffered; /* so nobody was told its version */
    bool lines;
};

struct model_run { /* appends, one behind the other, from offset and record `base` on */
    uint64_t base, base_record;
    uint8_t *bytes;
    size_t size, capacity;
    uint64_t *ends; /* of each record, from the start of the run */
    size_t records, ends_capacity;
    struct model_append *appends;
    size_t append_count;
};

struct model_channel {
    struct model_run run; /* all that is accepted outside of open transactions */
    uint64_t settled;     /* bytes of it that are certainly durable and visible */
    uint64_t epoch;
    struct model_transaction *transaction; /* has it; or NULL */
};

struct model_transaction {
    char id[16];
    enum transaction_state state;
    bool whole, barrier, commit_when_ready;
    unsigned members, ready; /* sets of channels */
    struct model_run staged[MODEL_CHANNELS];
    uint64_t version[MODEL_ENGINES];
    struct model_transaction *next;
};

struct model_dataset {
    bool deleted;
    enum dataset_state state;
    char metadata[MODEL_METADATA_SIZE];
    struct model_channel channels[MODEL_CHANNELS];
    struct model_transaction *transactions; /* all there ever were */
    unsigned settings;                      /* these and all below: the caller's */
    size_t package_size;                    /* 0: none */
    uint64_t package_seed;
    struct model_dataset *next;
};

struct model_request { /* an append */
    unsigned channel;
    const char *id; /* of a transaction, or NULL */
    bool has_offset, has_epoch, lines, buffered, size_unknown;
    uint64_t offset, epoch;
    const uint8_t *data;
    size_t size;
    struct model_transaction *transaction; /* set by model_begin() */
};

struct model_dataset *model_create(void);
void model_destroy(struct model_dataset *dataset);

/* Where the channel ends for such an append: with what is staged, in a transaction. */
uint64_t model_end(const struct model_dataset *dataset, const struct model_transaction *transaction,
    unsigned channel);
/* What append_begin() must answer; *current with COFFER_OFFSET_MISMATCH. */
enum coffer_status model_begin(
    const struct model_dataset *dataset, struct model_request *request, uint64_t *current);
/* What append_finish() must answer, and what it does to the dataset. Versions in *result are 0.
 * With `repeated`, *first is the append of which it is a repeat (of its last record). */
enum coffer_status model_finish(struct model_dataset *dataset, const struct model_request *request,
    struct append_result *result, const struct model_append **first, uint64_t *current);
enum coffer_status model_claim(
    struct model_dataset *dataset, unsigned channel, uint64_t *epoch, uint64_t *offset);

struct model_transaction *model_find(const struct model_dataset *dataset, const char *id);
/* `channels`: a set; 0: the whole dataset. */
enum coffer_status model_open(struct model_dataset *dataset, const char *id, unsigned channels,
    bool barrier, bool commit_when_ready, bool *created);
/* `channel` MODEL_CHANNELS: all. *committed: it was the last one. */
enum coffer_status model_ready(
    struct model_dataset *dataset, const char *id, unsigned channel, bool *committed);
enum coffer_status model_commit(struct model_dataset *dataset, const char *id);
enum coffer_status model_abort(struct model_dataset *dataset, const char *id);
/* The server ends, or the dataset is closed: all that are open are aborted. */
void model_abort_all(struct model_dataset *dataset);

/* All that was accepted is durable and visible. */
void model_settle(struct model_dataset *dataset);
void model_settle_channel(struct model_channel *channel);
bool model_channel_exists(const struct model_channel *channel);
/* How long the channel was for an engine as of a version: of what is known. */
uint64_t model_size_at(const struct model_channel *channel, unsigned engine, uint64_t version);
uint64_t model_records_in(const struct model_run *run, uint64_t size);
