/*
 * dataset_parts.h - what the files of storage/dataset/ share. Nobody else includes it.
 *
 * All fields marked (lock) are under dataset.lock, which is never held across a call that does I/O;
 * nor is anybody woken under it: functions that end somebody's wait collect the waiters in a
 * struct wake_list, which the caller empties with wake_all() once it has dropped the lock.
 *
 * How appends become durable (group.c):
 *
 *   append_finish() --join--> stream.gather --prepare()--> stream.flight --done()--> settled
 *                              a group that is queued       being committed          durable, or
 * failed on the stream's lane
 *
 * At most one group of a stream is gathering and one in flight, so the rows of two groups of one
 * stream are never unsynced at the same time: a power cut cannot keep the second and lose the
 * first. Versions are given to groups (and commits) when they are prepared and published in their
 * order (publication.c), whichever lane is done first.
 */
#pragma once

#include <stdatomic.h>

#include "storage/base/invariant.h"
#include "storage/chunk/body.h"
#include "storage/chunk/store_parts.h"
#include "storage/dataset/dataset_rows.h"
#include "storage/dataset/dataset_set.h"
#include "storage/datasets.h"

enum {
    BLOCK_CONTENT_MAX = 1 << 20, /* bytes of one block */
    STAGED_BLOCKS_IN_FLIGHT = 4, /* of one large append */
    /* Of one append, group or transaction, so that a batch of it is within the engine's bounds. */
    STAGED_PIECES_MAX = 1 << 19,
    STAGED_LENGTHS_MAX = 64 << 20, /* bytes of record lengths */
};

/* ---- waiting ---- */

struct waiter {
    struct waker waker;
    struct waiter *next;
};
struct wake_list {
    struct waiter *first;
};
void waiter_add(struct waiter **list, struct waiter *waiter, struct waker waker);
/* Move all of *list to `wakes`. */
void wake_later(struct wake_list *wakes, struct waiter **list);
void wake_all(struct wake_list *wakes);

/* ---- extents on their way ---- */

struct piece { /* an extent whose place in the channel is not known yet: starts are relative */
    uint64_t start, length, block, block_offset, first_record, records;
    size_t lengths_at, lengths_size; /* in piece_list.lengths */
};
struct piece_list {
    struct piece *items;
    size_t count, capacity;
    uint64_t length, records; /* of all of them */
    struct row_buffer lengths;
    struct lengths_writer writer; /* of the last piece */
};
void pieces_release(struct piece_list *list);
/* Go on behind the last piece with bytes of `block`, none of them yet. */
struct piece *pieces_open(struct piece_list *list, uint64_t block, uint64_t block_offset);
/* `bytes` more of the last piece that belong to a record that started before. */
void pieces_extend(struct piece_list *list, uint64_t bytes);
/* `count` records of `length` bytes each, whole, at the end of the last piece; opens another piece
 * of the same block when the lengths have become too many. */
void pieces_records(struct piece_list *list, uint64_t length, uint64_t count);
/* No more records for the last piece. */
void pieces_close(struct piece_list *list);
/* Append all of `from` to `list`; `from` is closed and keeps its own. */
void pieces_join(struct piece_list *list, const struct piece_list *from);
/* Go on with an extent that follows, as bytes of the last piece. */
void pieces_take(struct piece_list *list, const struct extent *extent);
struct slice piece_lengths(const struct piece_list *list, const struct piece *piece);
/* The piece that holds byte `offset`; NULL: none. */
const struct piece *pieces_find(const struct piece_list *list, uint64_t offset);

/* ---- versions in order ---- */

struct publication {
    uint64_t version;
    bool durable; /* (lock) */
    /* Make it visible; with the lock. Not called unless it is durable. */
    void (*publish)(struct publication *publication, struct wake_list *wakes);
    struct publication *next; /* (lock) */
};
/* Give it the next version. With the lock. */
void publication_begin(struct dataset *dataset, struct publication *publication);
/* It is durable or has failed: publish what is to be published now. With the lock. */
void publication_settle(struct dataset *dataset, struct publication *publication, bool durable,
    struct wake_list *wakes);

/* ---- a change of a partition ---- */

/* The rows of one ENGINE_BATCH, with the memory that they point to. */
struct row_batch {
    struct row_buffer bytes;
    struct row_ref {
        size_t key_at, key_size, value_at, value_size;
        bool remove, fresh;
    } * refs;
    size_t count, capacity;
    struct engine_change *changes; /* made by row_batch_fill() */
};
void row_batch_release(struct row_batch *batch);
void row_batch_put(
    struct row_batch *batch, const struct row_key *key, const void *value, size_t size, bool fresh);
void row_batch_remove(struct row_batch *batch, const struct row_key *key);
/* Values of any size: begin, write to batch->bytes, end. */
void row_batch_begin(struct row_batch *batch, const struct row_key *key, bool fresh);
void row_batch_end(struct row_batch *batch);
void row_batch_extent(struct row_batch *batch, uint32_t channel, const struct extent *extent);
/* There may be one that starts at the same place. */
void row_batch_replace_extent(
    struct row_batch *batch, uint32_t channel, const struct extent *extent);
/* Make `op` an ENGINE_BATCH of these rows; they live until it is done. */
void row_batch_fill(struct row_batch *batch, const struct partition_id *id, struct engine_op *op);

/* ---- what is in memory ---- */

struct stream { /* a channel; lives as long as its dataset is in memory */
    struct dataset *dataset;
    char name[STREAM_NAME_SIZE];
    uint32_t number;
    struct lane *lane;
    /* All below: (lock) */
    bool exists;                   /* visible: its first record or claim was published */
    uint64_t size, records, epoch; /* visible */
    bool durable_exists;           /* these are settled, but perhaps not published yet */
    uint64_t durable_size, durable_records, durable_epoch;
    uint64_t tail_epoch; /* with claims on their way */
    struct group *gather, *flight;
    struct transaction *transaction; /* has the stream to itself; NULL */
    struct member *member;           /* of that transaction */
    struct waiter *waiters;          /* for anything to change here: groups, followers */
};

struct group {
    struct lane_op lane_op;
    struct publication publication;
    struct stream *stream;
    struct member *member;    /* staged for it; NULL: plain */
    unsigned references;      /* (lock) */
    uint64_t block;           /* its number */
    struct body *body;        /* its content; NULL: only rows */
    struct piece_list pieces; /* plain only; those of a staged block are the member's */
    struct block_id *claims;  /* plain: staged blocks of large appends */
    size_t claim_count;
    unsigned appends; /* in it */
    unsigned epochs;  /* claims of the channel in it */
    bool buffered;    /* somebody was told that it is accepted */
    bool settled;     /* (lock) durable and published, or failed with status */
    enum coffer_status status;
    uint64_t start, first_record; /* set when it is prepared */
    struct row_batch rows;
    struct waiter *waiters; /* (lock) until it is settled */
};

struct member { /* one channel of a transaction */
    struct transaction *transaction;
    struct stream *stream;
    struct piece_list pieces;
    struct group *gather;                   /* queued, takes more */
    unsigned outstanding;                   /* staged groups that are not done */
    size_t counted_pieces, counted_lengths; /* in transaction.staged_pieces, staged_lengths */
    bool ready;
    uint64_t base_size, base_records; /* where it begins in the channel */
};

enum transaction_phase {
    PHASE_OPENING, /* its row is being written */
    PHASE_OPEN,
    PHASE_SYNCING,    /* commit: waits until all that was staged is durable */
    PHASE_COMMITTING, /* commit: its batch is on its way */
    PHASE_ABORTING,   /* its row is being written */
    PHASE_ENDED,
};

struct transaction {
    struct dataset *dataset;
    char id[STREAM_NAME_SIZE];
    /* All below: (lock) */
    enum transaction_phase phase;
    enum transaction_state state; /* when ended: what it came to */
    unsigned references;
    bool whole, barrier, commit_when_ready;
    struct member **members;
    size_t member_count, member_capacity;
    size_t staged_pieces, staged_lengths; /* of all members */
    unsigned outstanding;         /* staged groups, and its own operation, that are not done */
    uint64_t ttl_ns, deadline_ns; /* monotonic */
    uint64_t wake_ns;             /* when the first commit has waited long enough; 0: none */
    enum coffer_status failure;   /* of something staged */
    char reason[DATASET_REASON_SIZE];
    uint64_t version;
    enum coffer_status end_status; /* of the abort's or commit's own batch */
    struct waiter *waiters;        /* for the phase to change, or a member to be ready */
    struct lane_op lane_op;        /* for its rows; one at a time */
    bool rows_pushed;              /* those of this phase */
    bool hurried;                  /* what was staged is wanted */
    bool blocks_forgotten;
    struct publication publication;
    struct row_batch rows;
    struct block_id *claims;
    size_t claim_count;
    struct version_part *parts; /* committed: of its version */
    size_t part_count;
    struct transaction *next;
};

enum dataset_life { LIFE_MAKING, LIFE_READY, LIFE_GONE };

struct dataset {
    struct dataset_set *set;
    struct store *store;
    char name[DATASET_NAME_SIZE];
    struct partition_id id;
    struct lane *lane;           /* for its own rows */
    uint64_t used_at;            /* (set.lock) */
    _Atomic unsigned references; /* the set, holders, operations; above 1 only from (set.lock) */
    struct lock lock;
    /* All below: (lock) */
    enum dataset_life life;
    enum dataset_state state;
    enum archive_format package_format;
    bool packaged;
    bool closing;           /* appends are refused already, the state is not durable yet */
    bool changing;          /* a change of its own row is under way */
    bool deleted, dropping; /* durably; and its partition is being dropped */
    unsigned in_flight;     /* operations on lanes */
    uint32_t next_channel;
    uint64_t package_size;
    uint64_t created_ns;
    uint64_t row_tag; /* grows with its own row */
    uint64_t claims;  /* sum of the visible epochs of its streams */
    struct dataset_settings settings;
    char *metadata;
    size_t metadata_size;
    struct stream **streams; /* by name */
    size_t stream_count, stream_capacity;
    size_t visible_streams; /* that exist */
    uint64_t version, next_version;
    struct publication *publications, **last_publication;
    struct transaction *transactions; /* those that have not ended */
    size_t transaction_count;
    uint64_t transaction_moves; /* into and out of that list: a look at its row may be void */
    struct transaction *whole;
    struct waiter *waiters; /* for changing, in_flight or life to change */
};

struct loading { /* a dataset being read; void if one of its name goes out of memory meanwhile */
    const char *name;
    bool stale;
    struct loading *next;
};

struct dataset_set {
    struct store *store;
    struct lock lock;
    struct dataset **items;     /* (lock) by name */
    size_t count, capacity;     /* (lock) */
    uint64_t clock;             /* (lock) */
    struct loading *loading;    /* (lock) those being read from their rows */
    _Atomic uint64_t in_flight; /* operations of all datasets */
    pthread_cond_t quiet;
    pthread_t timer;
    pthread_cond_t timer_wake;
    bool timer_runs, stopping; /* (lock) */
    uint64_t next_deadline_ns; /* (lock) */
    _Atomic bool drained;      /* followers end */
};

/* dataset_set.c */
/* An operation of the dataset is on a lane: keeps it in memory. begin: with dataset.lock. */
void dataset_work_begin(struct dataset *dataset);
/* Without the lock. The dataset may be gone afterwards. */
void dataset_work_end(struct dataset *dataset);
/* Look at the transactions' deadlines by then. */
void dataset_set_alarm(struct dataset_set *set, uint64_t deadline_ns);
/* A dataset that is being made; NULL: there is one of that name. Held. */
struct dataset *dataset_set_add(struct dataset_set *set, struct slice name);
/* Nobody finds it any more. */
void dataset_set_forget(struct dataset *dataset);
/* From memory or from the index, whatever its life; NULL and COFFER_NO_SUCH_DATASET. Held. */
enum coffer_status dataset_set_find(
    struct dataset_set *set, struct slice name, struct dataset **out, struct error *err);

/* dataset_load.c */
/* Read the dataset's rows; it is not shared yet. COFFER_NO_SUCH_DATASET. */
enum coffer_status dataset_load(struct dataset *dataset, struct error *err);
/* What a root row says, into `dataset`. */
enum coffer_status dataset_read_root(
    struct dataset *dataset, struct slice value, struct error *err);
struct dataset *dataset_alloc(struct dataset_set *set, struct slice name);
void dataset_free(struct dataset *dataset);
extern const struct partition_id ROOT_PARTITION;

/* dataset.c */
/* As much as fits, with a NUL. */
void copy_name(char *out, size_t room, struct slice text);
uint64_t dataset_tag(const struct dataset *dataset); /* with the lock */
void dataset_fill_info(const struct dataset *dataset, struct dataset_info *info); /* the same */
/* COFFER_NO_SUCH_DATASET unless it lives. With the lock. */
enum coffer_status dataset_check(const struct dataset *dataset, struct error *err);
/* The same, and COFFER_DATASET_CLOSED unless it is open. With the lock. */
enum coffer_status dataset_takes_data(const struct dataset *dataset, struct error *err);
enum coffer_status dataset_no_such(struct slice name, struct error *err);
/* Why something of the dataset is not there: it was deleted meanwhile, or else `status`, of which
 * err tells already. Without the lock. */
enum coffer_status dataset_missing(
    struct dataset *dataset, enum coffer_status status, struct error *err);
/* The stream of that name; NULL: none. With the lock. */
struct stream *dataset_find_stream(const struct dataset *dataset, struct slice name);
/* The same, if the dataset lives and the stream is visible. COFFER_NO_SUCH_CHANNEL. With the lock.
 */
enum coffer_status dataset_visible_stream(
    const struct dataset *dataset, struct slice name, struct stream **out, struct error *err);
/* The same, made if missing (COFFER_OVERLOADED past the maximum). With the lock. */
enum coffer_status dataset_make_stream(
    struct dataset *dataset, struct slice name, struct stream **out, struct error *err);
/* It exists from now on. With the lock. */
void stream_show(struct stream *stream);
enum coffer_status dataset_no_such_channel(struct slice name, struct error *err);
/* Fill in the row of the dataset as it is. With the lock. */
void dataset_fill_row(const struct dataset *dataset, struct dataset_row_value *row);
/* Everything of the dataset that waits on a lane is wanted now. Without the lock. */
void dataset_hurry(struct dataset *dataset);
/* Staged blocks that nobody will claim. Without the lock. */
void dataset_forget_blocks(struct dataset *dataset, const struct block_id *blocks, size_t count);
/* dataset_delete.c: drop the partition of a deleted dataset once nothing is under way. Without the
 * lock. */
void dataset_drop_when_quiet(struct dataset *dataset);
/* Go on with what an earlier run has left. */
enum coffer_status drop_work_start_left(struct dataset_set *set, struct error *err);

/* group.c */
struct join { /* what an append adds to a group */
    /* Small: its bytes, charged to the budget; taken over when the join succeeds. */
    struct body *body;
    /* With a body: one piece list of it (block number and offset do not matter yet); without: all
     * pieces of a large append, whose blocks are durable. NULL: a claim of the channel. */
    const struct piece_list *pieces;
    const struct block_id *claims; /* the blocks of a large append */
    size_t claim_count;
    bool urgent, buffered;
};
/* Add to the stream's gathering group (member NULL), or to the member's. COFFER_AGAIN: `waiter` or
 * `room` will call the waker. COFFER_OK: *group has a new reference, and *offset and *record are
 * where it was added, relative to the group or the member. With the lock. */
enum coffer_status group_join(struct stream *stream, struct member *member, const struct join *join,
    struct waiter *waiter, struct lane_waiter *room, struct waker waker, struct group **group,
    uint64_t *offset, uint64_t *record, struct error *err);
void group_unref(struct group *group); /* with the lock; NULL is a no-op */
/* The end of the channel, with all that is accepted. With the lock. */
uint64_t stream_tail(const struct stream *stream);
uint64_t stream_tail_records(const struct stream *stream);
/* The rows C, X, H of a stream that has become longer by `pieces` (epoch: or claimed). */
void stream_rows(struct row_batch *rows, const struct stream *stream,
    const struct piece_list *pieces, uint64_t start, uint64_t first_record, uint64_t version,
    uint64_t epoch);

/* transaction.c */
struct transaction *transaction_get(const struct dataset *dataset, struct slice id); /* lock */
void transaction_unref(struct transaction *transaction); /* with the lock; NULL is a no-op */
/* A free stream belongs to the transaction from now on. With the lock. */
struct member *transaction_add_member(struct transaction *transaction, struct stream *stream);
/* Whether the transaction may be appended to in that channel; renews its ttl. *out: its member, or
 * NULL: the channel will be one. With the lock. */
enum coffer_status transaction_check(
    struct transaction *transaction, const char *channel, struct member **out, struct error *err);
/* The same, and it is a member from now on. */
enum coffer_status transaction_member(
    struct transaction *transaction, struct stream *stream, struct member **out, struct error *err);
/* Whether so much more may be staged. COFFER_CONTENT_TOO_LARGE. With the lock. */
enum coffer_status transaction_check_room(
    const struct transaction *transaction, const struct piece_list *pieces, struct error *err);
/* The member has got more pieces. With the lock. */
void transaction_count_staged(struct member *member);
/* Whether somebody outside of a transaction may append to the stream. With the lock. */
enum coffer_status transaction_outside(
    const struct dataset *dataset, const struct stream *stream, struct error *err);
/* One operation of it is done, or a group of one of its streams: go on. Takes over the caller's
 * reference. Without the lock. */
void transaction_advance(struct transaction *transaction);
/* Without the lock. */
void transactions_abort_all(struct dataset *dataset, const char *reason);
/* Begin to abort it, if that is still possible; its channels are free at once. With the lock; then
 * transaction_advance(). */
void transaction_abort_begin(struct transaction *transaction, const char *reason);
/* Abort those whose time is over; the next deadline. */
uint64_t transactions_expire(struct dataset *dataset, uint64_t now_ns);
/* The one in memory, with a reference, or NULL and *ended from its row. COFFER_NO_SUCH_TRANSACTION.
 * Without the lock. */
enum coffer_status transaction_get_or_ended(struct dataset *dataset, struct slice id,
    struct transaction **transaction, struct transaction_info *ended, struct error *err);
/* That state as the error of who wanted something else. */
enum coffer_status transaction_ended_error(const struct transaction_info *info, struct error *err);

/* It has ended: it is forgotten, its waiters are woken. With the lock. */
void transaction_end(
    struct transaction *transaction, enum transaction_state state, struct wake_list *wakes);
/* Its channels are free. With the lock. */
void transaction_release_streams(struct transaction *transaction);

/* transaction_rows.c */
/* Push the rows that its phase asks for: of its opening, its commit or its abort. With the lock. */
void transaction_push_rows(struct transaction *transaction);

/* extent_find.c */
/* The extent of the channel that holds byte `offset`, copied (lengths: into *copy, the caller's to
 * release). COFFER_DATA_CORRUPT if there is none. */
enum coffer_status extent_find(const struct stream *stream, uint64_t offset, struct extent *extent,
    struct row_buffer *copy, struct error *err);
struct extent_place { /* where bytes of a channel lie */
    uint64_t start, length, block, block_offset;
};
/* The extents from the one that starts at byte `offset` on, without a gap, up to byte `end`: at
 * most `count`, at once for the price of about one. None if no extent starts there. */
enum coffer_status extent_places(const struct stream *stream, uint64_t offset, uint64_t end,
    struct extent_place *places, size_t count, size_t *found, struct error *err);
/* How long the channel is as of `version`; *found false: it was not there yet. */
enum coffer_status history_find(const struct stream *stream, uint64_t version,
    struct history_row *row, bool *found, struct error *err);

/* stream_reader.c: the stream is taken over. */
struct stream_reader *stream_open_package(
    struct dataset *dataset, struct stream *stream, uint64_t size, struct waker waker);
/* Blocks have no digest: what stands for one in reports of damage is where it lies. */
struct digest block_name(const struct partition_id *id, const struct block_id *block);
/* Bytes of what a member has staged; the member outlives the reader. */
enum coffer_status stream_open_staged(struct member *member, uint64_t offset, uint64_t length,
    struct waker waker, struct stream_reader **out, struct error *err);

/* ---- staged blocks of one owner (staging.c) ---- */

struct staging {             /* outlives its owner while some are being written */
    struct dataset *dataset; /* held */
    uint32_t channel;
    struct lane *lane;
    struct block_id *blocks;
    size_t count, capacity;
    uint64_t *stored;          /* (lock) bytes that each takes in its pack, once it is done */
    unsigned in_flight;        /* (lock) */
    enum coffer_status status; /* (lock) the first failure */
    bool abandoned;            /* (lock) the last one done forgets them all */
    struct waiter *waiters;    /* (lock) */
};
struct staging *staging_create(struct dataset *dataset, uint32_t channel, struct lane *lane);
/* Queue the first `size` bytes of the body (taken over when it succeeds) as block `number`.
 * COFFER_AGAIN: no room; not with room NULL. Without the lock. */
enum coffer_status staging_push(struct staging *staging, uint64_t number, struct body *body,
    size_t size, enum codec codec, int level, struct lane_waiter *room, struct error *err);
/* At most `limit` blocks are in flight, or COFFER_AGAIN; or the failure of one. Without the lock.
 */
enum coffer_status staging_wait(struct staging *staging, unsigned limit, struct waiter *waiter,
    struct waker waker, struct error *err);
/* All are durable, and somebody else has them. With the lock. */
void staging_keep(struct staging *staging);
/* Forget them. Without the lock; NULL is a no-op. */
void staging_close(struct staging *staging);

/* ---- an append (append.c, append_stage.c, append_repeat.c) ---- */

enum append_step {
    APPEND_TAKING,
    APPEND_COMPLETE,  /* the digest was compared */
    APPEND_COMPARING, /* it may be a repeat */
    APPEND_JOINING,
    APPEND_JOINED,
    APPEND_DONE,
};

struct append {
    struct dataset *dataset; /* held */
    struct waker waker;
    struct waiter waiter;
    char channel[STREAM_NAME_SIZE];
    bool has_offset, has_epoch, lines, has_digest, failed;
    uint64_t offset, epoch, announced, received;
    enum durability durability;
    struct digest digest, actual;
    enum append_step step;
    struct stream *stream;           /* NULL until it is needed */
    struct transaction *transaction; /* held; NULL: none */
    struct body *body;               /* what came last */
    struct body *next;               /* the one after it, while that waits for its lane */
    struct budget_request request;
    bool requested;
    struct sha256 sha;
    bool hashing, only_hash;
    struct piece_list pieces;
    uint64_t record_length;  /* of a record that goes on over blocks */
    size_t record_piece;     /* where it starts; SIZE_MAX: none goes on */
    struct staging *staging; /* NULL: small so far */
    bool is_split;           /* the first `cut` bytes of the body: their records are in pieces */
    uint64_t block;          /* the number of their block */
    size_t cut;
    struct lane_waiter room;
    struct group *group;           /* (lock) joined */
    uint64_t at_offset, at_record; /* in it */
    struct stream_reader *reader;  /* of what is compared */
    struct sha256 stored_sha;      /* of that */
    bool comparing;
    struct append_result result;
};

/* append.c: whether the append may go on; where the channel ends for it, and its member of the
 * transaction (NULL: none, or not yet). With the lock. */
enum coffer_status append_check(
    struct append *append, struct member **member, uint64_t *end, struct error *err);
/* Charge bytes to the budget; false: the waker will be called. */
bool append_charge(struct append *append, uint64_t bytes);
enum coffer_status append_mismatch(
    struct append *append, uint64_t end, uint64_t *current, struct error *err);
/* append_stage.c */
/* The body is full and more comes: its block goes to the lane. COFFER_AGAIN. */
enum coffer_status append_stage(struct append *append, bool last, struct error *err);
/* All blocks are durable. COFFER_AGAIN. */
enum coffer_status append_staged(struct append *append, struct error *err);
/* The records of a body that is all there is. */
void append_split(struct append *append);
/* append_repeat.c: COFFER_OK with the result filled in when the same is there already. */
enum coffer_status append_compare(struct append *append, uint64_t *current, struct error *err);
