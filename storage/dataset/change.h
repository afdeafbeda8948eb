/*
 * change.h - a change of a dataset on its way (datasets.h); only the files of storage/dataset/
 * that make one include it.
 *
 * A change with rows of its own pushes them in change_finish() and then waits for them, so its
 * operation never outlives it; one of a transaction only watches it.
 */
#pragma once

#include "storage/dataset/dataset_parts.h"

struct change_kind {
    /* The next step: COFFER_OK when it is over, COFFER_AGAIN with the waker registered. */
    enum coffer_status (*step)(struct change *change, struct error *err);
    /* Rows of its own are done; with the lock. Optional. */
    void (*done)(struct change *change, enum coffer_status status, struct wake_list *wakes);
    /* It is closed before it was over. Optional. */
    void (*give_up)(struct change *change);
};

struct change {
    const struct change_kind *kind;
    struct dataset *dataset; /* held */
    struct waker waker;
    struct waiter waiter;
    bool over;
    bool begun; /* it has made its mark on the dataset, which has to be taken back */
    /* Rows of its own. */
    struct lane_op lane_op;
    struct row_batch rows;
    struct block_id *claims, *drops; /* borrowed */
    size_t claim_count, drop_count;
    bool pushed;
    bool settled; /* (lock) */
    enum coffer_status status;
    /* CREATE */
    bool created;
    struct dataset_settings settings;
    /* CREATE, METADATA */
    struct row_buffer metadata, was;
    uint64_t tag;
    bool has_was;
    enum dataset_state state; /* what the dataset becomes */
    bool packages;
    enum archive_format package_format;
    uint64_t package_size;
    /* CLAIM */
    char channel[STREAM_NAME_SIZE];
    struct group *group;
    struct lane_waiter room;
    struct stream *stream;
    uint64_t epoch, offset;
    /* Transactions */
    char id[STREAM_NAME_SIZE];
    struct transaction *transaction; /* held; NULL: it has ended before */
    uint64_t wait_until_ns;          /* monotonic */
    bool committing;                 /* it waits for the end */
    char reason[DATASET_REASON_SIZE];
    struct transaction_info info;
    struct version_part *parts;
    size_t part_count;
};

struct change *change_create(
    struct dataset *dataset, const struct change_kind *kind, struct waker waker);
/* Push the rows to the dataset's lane. With the lock. */
void change_push(struct change *change, const struct partition_id *partition);
/* Whether the rows are settled; else the waker is registered. With the lock. */
bool change_settled(struct change *change);
/* The dataset's row as it is, with what the change makes of it, becomes the change's row. With the
 * lock. */
void change_put_row(struct change *change);
/* A change that only writes the rows, claims and drops which the caller puts into it (change.c). */
struct change *change_of_rows(struct dataset *dataset, struct waker waker);
/* The staged blocks and extents that the caller puts into it become the dataset's package. */
struct change *dataset_packaged(
    struct dataset *dataset, enum archive_format format, uint64_t size, struct waker waker);
