/*
 * dataset_rows.h - the keys and values of a dataset's rows: the only place that encodes or decodes
 * them; docs/format.md has them in tables. Numbers in keys are big-endian so that they sort, in
 * values little-endian or LEB128 (a "varint").
 *
 * Rows of a dataset's partition:
 *   "D"                          settings, metadata, state: only once they have been changed
 *   "C" name                     a channel
 *   "X" channel, start           an extent: where a piece of a channel lies
 *   "H" channel, version         how long the channel is since that version
 *   "V" version                  what a version added
 *   "T" id                       a transaction
 * Rows of the root partition:
 *   "d" name                     a dataset: its partition, and "D" as it was made
 *   "g" partition                a deleted dataset whose partition is still to be dropped
 *
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/datasets.h"
#include "storage/engine.h"

enum dataset_row {
    ROW_DATASET = 'D',
    ROW_CHANNEL = 'C',
    ROW_EXTENT = 'X',
    ROW_HISTORY = 'H',
    ROW_VERSION = 'V',
    ROW_TRANSACTION = 'T',
    ROW_ROOT_DATASET = 'd',
    ROW_ROOT_GONE = 'g',
};

enum {
    ROW_KEY_SIZE_MAX = 80,
    CHANNEL_ROW_SIZE = 32,
    HISTORY_ROW_SIZE = 16,
    EXTENT_HEAD_SIZE = 56,
    EXTENT_LENGTHS_MAX = 32 * 1024, /* bytes of an extent's record lengths */
};
/* The number of the channel that a kept archive lies in. */
#define PACKAGE_CHANNEL UINT32_MAX

struct row_key {
    size_t size;
    uint8_t bytes[ROW_KEY_SIZE_MAX];
};

static inline struct slice row_key_slice(const struct row_key *key)
{
    return slice_of(key->bytes, key->size);
}

struct row_key row_key_text(enum dataset_row row, struct slice text);
struct row_key row_key_version(uint64_t version);
/* EXTENT: its start; HISTORY: the version. */
struct row_key row_key_channel(enum dataset_row row, uint32_t channel, uint64_t number);
/* The part before the number: a prefix of all rows of the channel. */
struct row_key row_key_channel_prefix(enum dataset_row row, uint32_t channel);
/* The number at the end of a key of one of these two forms. */
uint64_t row_key_number(struct slice key);

/* A buffer that grows, for values of any size. */
struct row_buffer {
    uint8_t *data;
    size_t used, capacity;
};
void row_buffer_release(struct row_buffer *buffer);
void row_buffer_bytes(struct row_buffer *buffer, const void *data, size_t size);
void row_buffer_varint(struct row_buffer *buffer, uint64_t value);

struct channel_row {
    uint32_t number;
    uint64_t size, records, epoch;
};
void channel_row_encode(const struct channel_row *row, uint8_t out[CHANNEL_ROW_SIZE]);
MUST_USE bool channel_row_decode(struct slice in, struct channel_row *row);

struct history_row {
    uint64_t size, records;
};
void history_row_encode(const struct history_row *row, uint8_t out[HISTORY_ROW_SIZE]);
MUST_USE bool history_row_decode(struct slice in, struct history_row *row);

/* A piece of a channel: bytes of one block. Either a record starts where it starts, and all others
 * that start in it are listed too; or none starts in it: it goes on with an earlier one. */
struct extent {
    uint64_t start, length; /* in the channel */
    uint64_t block;         /* its number; of the same channel */
    uint64_t block_offset;  /* in the block's content */
    uint64_t version;       /* that made it visible */
    uint64_t first_record;  /* number of the first record that starts in it, or would */
    uint64_t records;       /* how many start in it */
    struct slice lengths;   /* of them, run-length coded: struct lengths_reader */
};
/* Value without the key, appended to `out`. */
void extent_encode(const struct extent *extent, struct row_buffer *out);
/* `lengths` points into `value`. */
MUST_USE bool extent_decode(struct slice key, struct slice value, struct extent *extent);

/* Record lengths: a varint of 2 * length, or 2 * length + 1 and a varint that says how many records
 * in a row have it. A writer keeps the last run open until lengths_flush(). */
struct lengths_writer {
    uint64_t length, run; /* run 0: none */
};
void lengths_add(
    struct lengths_writer *writer, struct row_buffer *out, uint64_t length, uint64_t count);
void lengths_flush(struct lengths_writer *writer, struct row_buffer *out);
struct lengths_reader {
    struct slice left;
};
/* The next run; false at the end or when it cannot be read. */
bool lengths_next(struct lengths_reader *reader, uint64_t *length, uint64_t *run);

struct version_entry {
    struct slice name;
    uint64_t offset, length, records;
};
void version_row_begin(
    struct row_buffer *out, uint64_t time_ns, struct slice transaction, size_t parts);
void version_row_part(struct row_buffer *out, const struct version_entry *part);
struct version_reader {
    uint64_t time_ns;
    struct slice transaction;
    uint64_t parts;
    struct slice left;
};
MUST_USE bool version_row_read(struct slice value, struct version_reader *reader);
MUST_USE bool version_row_next(struct version_reader *reader, struct version_entry *part);

struct dataset_row_value { /* "D", and the end of a root row */
    uint64_t created_ns, tag;
    enum dataset_state state;
    bool packaged;
    enum archive_format package_format;
    uint64_t package_size;
    struct dataset_settings settings;
    struct slice metadata; /* points into the row, decoded */
};
void dataset_row_encode(const struct dataset_row_value *row, struct row_buffer *out);
MUST_USE bool dataset_row_decode(struct slice in, struct dataset_row_value *row);

struct transaction_row {
    enum transaction_state state;
    uint64_t version;
    bool whole, barrier, commit_when_ready;
    struct slice reason;
    /* Names of the channels, each a length byte and the text. */
    struct slice channels;
};
void transaction_row_encode(const struct transaction_row *row, struct row_buffer *out);
MUST_USE bool transaction_row_decode(struct slice in, struct transaction_row *row);
