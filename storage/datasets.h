/*
 * datasets.h - datasets, their channels, transactions and versions: the second public face of the
 * store, beside store.h, with the same rules for blocking, memory and threads.
 *
 * A dataset is a named set of channels; a channel is an append-only stream of records, made by
 * its first append. What becomes visible, becomes visible as a version: a number that grows by at
 * least one with each commit. Appends of one channel that share a commit share its version.
 *
 * Order:   versions are published in ascending order. Who was told a version finds it, and all
 *          before it, in every later read. Nothing is visible before it is durable.
 * Threads: a dataset may be used by any number of threads; an append, change or channel reader by
 *          one at a time.
 * Memory:  dataset_hold() and dataset_drop() pair up, *_begin/_open and *_close too; close(NULL) is
 *          a no-op, and legal at any time except between COFFER_AGAIN and its wake.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/slice.h"
#include "storage/base/status.h"
#include "storage/base/waker.h"
#include "storage/store.h"

enum {
    DATASET_NAME_SIZE = 64, /* with its NUL; [a-z0-9][a-z0-9._-]{2,62} */
    STREAM_NAME_SIZE = 64,  /* of channels and transactions: [A-Za-z0-9][A-Za-z0-9._-]{0,62} */
    DATASET_CHANNELS_MAX = 65536,      /* of one dataset: COFFER_OVERLOADED past it */
    DATASET_TRANSACTIONS_MAX = 4096,   /* open at once in one dataset: the same */
    TRANSACTION_CHANNELS_MAX = 8192,   /* of one: COFFER_CONTENT_TOO_LARGE past it */
    DATASET_METADATA_MAX = 256 * 1024, /* bytes of its text */
    DATASET_ACTIONS_MAX = 16,
    DATASET_URL_SIZE = 1024,
    DATASET_REASON_SIZE = 128,
    TRANSACTION_TTL_DEFAULT = 60, /* seconds */
    TRANSACTION_TTL_MAX = 86400,
};

bool dataset_name_is_legal(struct slice name);
bool stream_name_is_legal(struct slice name); /* of a channel or a transaction */

/* ---- what a dataset is ---- */

struct dataset;

enum dataset_state { DATASET_OPEN, DATASET_CLOSING, DATASET_CLOSED };
const char *dataset_state_name(enum dataset_state state); /* "open", "closing", "closed" */

enum close_kind { CLOSE_VERIFY, CLOSE_COMPRESS, CLOSE_PACKAGE, CLOSE_NOTIFY };
enum archive_format { ARCHIVE_TAR, ARCHIVE_TAR_ZST };

struct close_action {
    enum close_kind kind;
    int level;                  /* COMPRESS: of zstd, 1 to 19 */
    enum archive_format format; /* PACKAGE */
    char url[DATASET_URL_SIZE]; /* NOTIFY */
};

struct dataset_settings {
    uint64_t buffer_size;   /* bytes that a channel gathers into one block; 0: a block an append */
    enum codec compression; /* CODEC_NONE or CODEC_ZSTD */
    unsigned action_count;
    struct close_action actions[DATASET_ACTIONS_MAX];
};

/* What a store's own options say: buffer_size and compression, no actions. */
void dataset_settings_default(const struct store *store, struct dataset_settings *settings);

struct dataset_info {
    char name[DATASET_NAME_SIZE];
    enum dataset_state state;
    uint64_t version;    /* 0: nothing was committed yet */
    uint64_t created_ns; /* wall clock */
    uint64_t channels;   /* how many there are */
    uint64_t tag;        /* grows with every visible change: for an ETag */
    uint8_t id[16];      /* of this dataset: another one of the same name has another */
    bool packaged;       /* an archive is kept: dataset_package_open() */
    enum archive_format package_format;
};

struct stream_info { /* one channel */
    char name[STREAM_NAME_SIZE];
    uint64_t size; /* committed bytes */
    uint64_t records, epoch;
};

/* COFFER_OK or COFFER_NO_SUCH_DATASET (err filled), COFFER_BAD_NAME. A held dataset can be deleted:
 * calls that come later then answer COFFER_NO_SUCH_DATASET. */
MUST_USE enum coffer_status dataset_hold(
    struct store *store, struct slice name, struct dataset **out, struct error *err);
void dataset_drop(struct dataset *dataset); /* NULL is a no-op */
void dataset_info(struct dataset *dataset, struct dataset_info *info);
void dataset_settings(struct dataset *dataset, struct dataset_settings *settings);
/* A copy of the metadata, JSON text as it was given; the caller frees it. */
char *dataset_metadata(struct dataset *dataset, size_t *size);
/* Up to count datasets with a name > after (NULL: from the start) that begins with prefix. */
MUST_USE enum coffer_status store_datasets(struct store *store, const char *after,
    struct slice prefix, struct dataset_info *infos, size_t count, size_t *found,
    struct error *err);
/* The dataset and all of its channels, in name order, as they were at one moment: *streams is the
 * caller's to free. */
void dataset_snapshot(struct dataset *dataset, struct dataset_info *info,
    struct stream_info **streams, size_t *count);
/* Up to count channels with a name > after (NULL: from the start), in name order, as they are now.
 * A channel is there once its first record or claim is durable. */
size_t dataset_streams(
    struct dataset *dataset, const char *after, struct stream_info *infos, size_t count);
/* COFFER_NO_SUCH_CHANNEL. */
MUST_USE enum coffer_status dataset_stream(
    struct dataset *dataset, struct slice name, struct stream_info *info, struct error *err);

/* ---- the version log ---- */

struct version_part {
    char name[STREAM_NAME_SIZE];
    uint64_t offset, length; /* bytes that this version added */
    uint64_t records;        /* and how many records */
};
struct version_info {
    uint64_t version;
    uint64_t time_ns;        /* wall clock */
    const char *transaction; /* its id, or NULL */
    const struct version_part *parts;
    size_t part_count;
};
/* Visit versions > after, ascending, until visit answers false or there are none (*more false). The
 * version is borrowed for the call, which must not call back into the store. */
MUST_USE enum coffer_status dataset_versions(struct dataset *dataset, uint64_t after,
    bool (*visit)(void *context, const struct version_info *version), void *context, bool *more,
    struct error *err);
/* COFFER_NO_SUCH_VERSION when there is none of that number. */
MUST_USE enum coffer_status dataset_version_check(
    struct dataset *dataset, uint64_t version, struct error *err);

/* ---- appending ---- */

struct append;

struct append_options {
    struct slice channel;
    struct slice transaction; /* empty: none */
    bool has_offset, has_epoch;
    uint64_t offset, epoch;
    enum durability durability;  /* without a transaction */
    uint64_t size;               /* of the body in bytes; UPLOAD_SIZE_UNKNOWN */
    bool lines;                  /* each line of the body, with its line feed, is a record; the last
                                    one may lack it */
    const struct digest *digest; /* of the body, or NULL: COFFER_DIGEST_MISMATCH */
};

struct append_result {
    uint64_t offset, length; /* of all that the body added, in bytes of the channel */
    uint64_t record;         /* number of its first record, from 0 */
    uint64_t records;        /* how many it was: 1, or its lines */
    uint64_t version;        /* 0 while it is staged or buffered */
    bool staged, buffered;
    bool repeated;        /* it was there already: this is the first one's receipt */
    struct ticket ticket; /* buffered only */
};

/* Append a body of any size, atomically. Refused at once from what is known: COFFER_BAD_NAME,
 * COFFER_OFFSET_MISMATCH (*current is then the channel's end; also from append_finish()),
 * COFFER_FENCED, COFFER_CHANNEL_BUSY, COFFER_DATASET_CLOSED, COFFER_NO_SUCH_TRANSACTION,
 * COFFER_TRANSACTION_COMMITTED, COFFER_TRANSACTION_ABORTED, COFFER_CAPACITY_EXCEEDED. */
MUST_USE enum coffer_status append_begin(struct dataset *dataset,
    const struct append_options *options, struct waker waker, struct append **out,
    uint64_t *current, struct error *err);
/* As upload_data(). */
MUST_USE enum coffer_status append_data(
    struct append *append, const void *data, size_t size, size_t *taken, struct error *err);
/* The body is complete. COFFER_AGAIN until it is as durable as asked (staged: accepted). */
MUST_USE enum coffer_status append_finish(
    struct append *append, struct append_result *result, uint64_t *current, struct error *err);
void append_close(struct append *append);

/* ---- reading a channel ---- */

struct stream_reader;

/* The channel as it is now (version 0), or as of a version. COFFER_NO_SUCH_CHANNEL (also when it
 * had no record at that version), COFFER_NO_SUCH_VERSION. */
MUST_USE enum coffer_status stream_open(struct dataset *dataset, struct slice channel,
    uint64_t version, struct waker waker, struct stream_reader **out, struct error *err);
uint64_t stream_size(const struct stream_reader *reader); /* committed bytes when it was opened */
/* Read from `offset` on up to `end` (UINT64_MAX with `follow`). Once, before stream_read(). With
 * `follow` the end is not an end: stream_read() waits for what is committed later, until the
 * dataset is closed or deleted. */
void stream_select(struct stream_reader *reader, uint64_t offset, uint64_t end, bool follow);
/* The next bytes; *size 0 at the end. COFFER_AGAIN; COFFER_DATA_CORRUPT, COFFER_IO;
 * COFFER_DRAINING ends one that follows when the store is about to close. */
MUST_USE enum coffer_status stream_read(
    struct stream_reader *reader, void *out, size_t max, size_t *size, struct error *err);
void stream_close(struct stream_reader *reader);
/* Its reader is gone: a read that waits is woken, and reads answer COFFER_DRAINING from now on. Any
 * thread, until stream_close() is called. */
void stream_cancel(struct stream_reader *reader);
/* Readers that follow end: their reads answer COFFER_DRAINING from now on. Any thread. */
void store_datasets_drain(struct store *store);

struct record_place {
    uint64_t record, offset, length;
};
/* Up to count records with a number >= first, of what is committed as of `version` (0: now). */
MUST_USE enum coffer_status stream_records(struct dataset *dataset, struct slice channel,
    uint64_t version, uint64_t first, struct record_place *places, size_t count, size_t *found,
    struct error *err);

/* ---- changes that wait for a sync ---- */

struct change; /* one of the below on its way */

/* Not there: made, *created true. There with the same settings and metadata: *created false.
 * COFFER_ALREADY_EXISTS, COFFER_BAD_NAME. `metadata` is JSON text. */
MUST_USE enum coffer_status dataset_create(struct store *store, struct slice name,
    const struct dataset_settings *settings, struct slice metadata, struct waker waker,
    struct change **out, struct error *err);
bool change_created(const struct change *change);
/* The tag must still be `tag` (0: any), and the metadata the text `was` (data NULL: any; appends
 * change the tag all the time, but not that): COFFER_PRECONDITION_FAILED, here or from
 * change_finish(). */
MUST_USE enum coffer_status dataset_set_metadata(struct dataset *dataset, uint64_t tag,
    struct slice was, struct slice metadata, struct waker waker, struct change **out,
    struct error *err);
/* It is gone for all when this is done; open transactions are aborted. */
MUST_USE enum coffer_status dataset_delete(
    struct dataset *dataset, struct waker waker, struct change **out, struct error *err);
/* No more appends; open transactions are aborted. Done when the state DATASET_CLOSING is durable
 * (or it was so already: COFFER_DATASET_CLOSED). The close job then calls dataset_closed(). */
MUST_USE enum coffer_status dataset_close_begin(
    struct dataset *dataset, struct waker waker, struct change **out, struct error *err);
MUST_USE enum coffer_status dataset_closed(
    struct dataset *dataset, struct waker waker, struct change **out, struct error *err);
/* A new writer owns the channel, which is made if missing: the epoch grows, older writers are
 * fenced, an open transaction that this channel takes part in is aborted. */
MUST_USE enum coffer_status stream_claim(struct dataset *dataset, struct slice channel,
    struct waker waker, struct change **out, struct error *err);
void change_claim(const struct change *change, uint64_t *epoch, uint64_t *offset);
/* COFFER_AGAIN until it is durable and visible. */
MUST_USE enum coffer_status change_finish(struct change *change, struct error *err);
void change_close(struct change *change);

/* ---- transactions ---- */

enum transaction_state { TRANSACTION_OPEN, TRANSACTION_COMMITTED, TRANSACTION_ABORTED };
const char *transaction_state_name(enum transaction_state state);

struct transaction_options {
    struct slice id;              /* empty: one is made */
    const struct slice *channels; /* none: the whole dataset, channels made later too */
    size_t channel_count;
    uint64_t ttl_ns;
    bool barrier;           /* a commit needs every channel to be ready */
    bool commit_when_ready; /* the last ready commits */
};

struct transaction_info {
    char id[STREAM_NAME_SIZE];
    enum transaction_state state;
    uint64_t version;    /* committed */
    uint64_t expires_ns; /* open; wall clock */
    bool whole;          /* the whole dataset */
    bool barrier, commit_when_ready, created;
    char reason[DATASET_REASON_SIZE]; /* aborted */
};

/* With an id that is open already: COFFER_OK, the change is done at once and info.created false;
 * ended ones are COFFER_TRANSACTION_COMMITTED or _ABORTED. COFFER_CHANNEL_BUSY names the channel.
 */
MUST_USE enum coffer_status transaction_open(struct dataset *dataset,
    const struct transaction_options *options, struct waker waker, struct change **out,
    struct error *err);
/* `channel` (empty: with commit_when_ready or barrier and no list of channels, every channel that
 * was staged) is done. The last one commits if the transaction was opened so: then as
 * transaction_commit(). */
MUST_USE enum coffer_status transaction_ready(struct dataset *dataset, struct slice id,
    struct slice channel, struct waker waker, struct change **out, struct error *err);
/* Waits up to wait_ns for channels that are not ready, then COFFER_TRANSACTION_NOT_READY from
 * change_finish(), which names them. Committed already: done at once, with the same answer. */
MUST_USE enum coffer_status transaction_commit(struct dataset *dataset, struct slice id,
    uint64_t wait_ns, struct waker waker, struct change **out, struct error *err);
/* COFFER_TRANSACTION_COMMITTED if it is too late; aborted already: done at once. */
MUST_USE enum coffer_status transaction_abort(struct dataset *dataset, struct slice id,
    struct slice reason, struct waker waker, struct change **out, struct error *err);
/* After change_finish() of one of these: the transaction as it is. */
void change_transaction(const struct change *change, struct transaction_info *info);
/* The channels of a change whose transaction was committed, as in its version; or, when
 * change_finish answered COFFER_TRANSACTION_NOT_READY, those that are missing (only the names).
 * Borrowed. */
const struct version_part *change_parts(const struct change *change, size_t *count);
MUST_USE enum coffer_status transaction_find(
    struct dataset *dataset, struct slice id, struct transaction_info *info, struct error *err);
/* Its channels: names only while it is open. Visited in name order; as dataset_versions(). */
MUST_USE enum coffer_status transaction_parts(struct dataset *dataset, struct slice id,
    bool (*visit)(void *context, const struct version_part *part), void *context,
    struct error *err);

/* ---- what a close job does (blocking calls) ---- */

/* Told now and then how many of how many bytes are done; false stops the work: COFFER_DRAINING. */
typedef bool close_progress(void *context, uint64_t done, uint64_t total);

struct verify_result {
    uint64_t blocks, bytes, damaged;
};
/* Read every block and compare its checksums. COFFER_OK also when some are damaged. */
MUST_USE enum coffer_status dataset_verify(struct dataset *dataset, struct verify_result *result,
    close_progress *progress, void *context, struct error *err);
/* Write the blocks again, merged and compressed at `level`, where that saves space; what was read
 * before reads the same after, as of every version. Can be stopped and begun again at any time. */
MUST_USE enum coffer_status dataset_compress(struct dataset *dataset, int level,
    uint64_t *saved_bytes, close_progress *progress, void *context, struct error *err);

/* An archive that the store keeps with the dataset; only while it is closing or closed. */
struct package_writer;
MUST_USE enum coffer_status package_begin(struct dataset *dataset, enum archive_format format,
    struct package_writer **out, struct error *err);
MUST_USE enum coffer_status package_write(
    struct package_writer *writer, const void *data, size_t size, struct error *err);
MUST_USE enum coffer_status package_finish(struct package_writer *writer, struct error *err);
void package_close(struct package_writer *writer);
/* COFFER_NO_SUCH_PATH when none is kept. The reader is one of stream_open(). */
MUST_USE enum coffer_status dataset_package_open(
    struct dataset *dataset, struct waker waker, struct stream_reader **out, struct error *err);
