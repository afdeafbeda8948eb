/*
 * Making a dataset: one row in the root partition. It is in the table of datasets from the
 * beginning, so that two who make the same one meet, but nobody else finds it before its row is
 * durable.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/dataset/change.h"

static bool same_action(const struct close_action *a, const struct close_action *b)
{
    return a->kind == b->kind && a->level == b->level && a->format == b->format &&
           strcmp(a->url, b->url) == 0;
}

static bool same_settings(const struct dataset_settings *a, const struct dataset_settings *b)
{
    if (a->buffer_size != b->buffer_size || a->compression != b->compression ||
        a->action_count != b->action_count)
        return false;
    for (unsigned i = 0; i < a->action_count; i++)
        if (!same_action(&a->actions[i], &b->actions[i]))
            return false;
    return true;
}

/* The dataset is there, or is just being made by somebody else. */
static enum coffer_status compare_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_OK;

    lock_take(&dataset->lock);
    if (dataset->life == LIFE_MAKING) {
        waiter_add(&dataset->waiters, &change->waiter, change->waker);
        status = COFFER_AGAIN;
    } else if (dataset->life == LIFE_GONE) {
        status = error_set(err, COFFER_OVERLOADED,
            "dataset %s is just being made or deleted by another request: try again",
            dataset->name);
    } else if (!same_settings(&dataset->settings, &change->settings) ||
               !slice_equal(slice_of(dataset->metadata, dataset->metadata_size),
                   slice_of(change->metadata.data, change->metadata.used))) {
        status = error_set(err, COFFER_ALREADY_EXISTS,
            "dataset %s exists with other settings or metadata", dataset->name);
    }
    lock_drop(&dataset->lock);
    return status;
}

static const struct change_kind COMPARE = {.step = compare_step};

/* With the lock: what is being made is not there. */
static void make_failed(struct dataset *dataset, struct wake_list *wakes)
{
    dataset->life = LIFE_GONE;
    wake_later(wakes, &dataset->waiters);
}

static void make_done(struct change *change, enum coffer_status status, struct wake_list *wakes)
{
    struct dataset *dataset = change->dataset;

    if (status != COFFER_OK) {
        make_failed(dataset, wakes);
        return;
    }
    dataset->life = LIFE_READY;
    wake_later(wakes, &dataset->waiters);
}

static void make_give_up(struct change *change)
{
    struct wake_list wakes = {NULL};

    if (change->settled && change->status == COFFER_OK)
        return; /* it was made, only nobody heard of it */
    lock_take(&change->dataset->lock);
    make_failed(change->dataset, &wakes);
    lock_drop(&change->dataset->lock);
    wake_all(&wakes);
    dataset_set_forget(change->dataset);
}

static void fill_rows(struct change *change)
{
    struct dataset *dataset = change->dataset;
    struct row_key key = row_key_text(ROW_ROOT_DATASET, slice_from_text(dataset->name));
    struct dataset_row_value row;

    dataset_fill_row(dataset, &row);
    row_batch_begin(&change->rows, &key, false);
    row_buffer_bytes(&change->rows.bytes, dataset->id.bytes, PARTITION_ID_SIZE);
    dataset_row_encode(&row, &change->rows.bytes);
    row_batch_end(&change->rows);
}

static enum coffer_status make_step(struct change *change, struct error *err)
{
    struct dataset *dataset = change->dataset;
    enum coffer_status status = COFFER_AGAIN;

    lock_take(&dataset->lock);
    if (!change->pushed) {
        fill_rows(change);
        change_push(change, &ROOT_PARTITION);
    } else if (change_settled(change)) {
        status = change->status;
    }
    lock_drop(&dataset->lock);
    change->created = status == COFFER_OK;
    if (status != COFFER_OK && status != COFFER_AGAIN)
        return error_set(
            err, status, "dataset %s could not be made: %s", dataset->name, status_title(status));
    return status;
}

static const struct change_kind MAKE = {
    .step = make_step, .done = make_done, .give_up = make_give_up};

/* A dataset that nobody else can find has what it was asked to have. */
static void set_up(
    struct dataset *dataset, const struct dataset_settings *settings, struct slice metadata)
{
    random_bytes(dataset->id.bytes, PARTITION_ID_SIZE);
    dataset->lane = lane_set_steady(dataset->store->lanes, dataset->id.bytes[0]);
    dataset->created_ns = clock_wall_ns();
    dataset->row_tag = 1; /* 0 stands for any */
    dataset->settings = *settings;
    dataset->metadata = malloc(metadata.size + 1);
    invariant(dataset->metadata != NULL);
    if (metadata.size > 0)
        memcpy(dataset->metadata, metadata.data, metadata.size);
    dataset->metadata[metadata.size] = '\0';
    dataset->metadata_size = metadata.size;
}

/* *found: a row of that name is in the index. */
static enum coffer_status look_for_row(
    struct store *store, struct slice name, bool *found, struct error *err)
{
    struct row_key key = row_key_text(ROW_ROOT_DATASET, name);
    void *value = NULL;
    size_t size;
    enum coffer_status status = store->engine->ops->row_get(
        store->engine, &ROOT_PARTITION, row_key_slice(&key), &value, &size, found, err);

    free(value);
    return status;
}

/* The dataset of that name as it is, or a new one in the table. Held. */
static enum coffer_status find_or_add(struct store *store, struct slice name,
    struct dataset **dataset, bool *added, struct error *err)
{
    for (;;) {
        struct wake_list wakes = {NULL};
        bool found = false;
        enum coffer_status status = dataset_set_find(store->datasets, name, dataset, err);

        *added = false;
        if (status != COFFER_NO_SUCH_DATASET)
            return status;
        *dataset = dataset_set_add(store->datasets, name);
        if (*dataset == NULL)
            continue;
        *added = true;
        /* Once it is in the table nobody else can make it; but it may have been made, and let go
         * of, since we looked. */
        status = look_for_row(store, name, &found, err);
        if (status == COFFER_OK && !found)
            return status;
        lock_take(&(*dataset)->lock);
        make_failed(*dataset, &wakes);
        lock_drop(&(*dataset)->lock);
        wake_all(&wakes); /* who has found it meanwhile and waits for it to be made */
        dataset_set_forget(*dataset);
        dataset_drop(*dataset);
        if (status != COFFER_OK)
            return status;
    }
}

enum coffer_status dataset_create(struct store *store, struct slice name,
    const struct dataset_settings *settings, struct slice metadata, struct waker waker,
    struct change **out, struct error *err)
{
    struct dataset *dataset;
    struct change *change;
    enum coffer_status status;
    bool added;

    if (metadata.size > DATASET_METADATA_MAX)
        return error_set(
            err, COFFER_CONTENT_TOO_LARGE, "metadata is at most %d bytes", DATASET_METADATA_MAX);
    status = store_check_space(store, 0, err);
    if (status == COFFER_OK)
        status = find_or_add(store, name, &dataset, &added, err);
    if (status != COFFER_OK)
        return status;
    if (added) {
        lock_take(&dataset->lock);
        set_up(dataset, settings, metadata);
        lock_drop(&dataset->lock);
    }
    change = change_create(dataset, added ? &MAKE : &COMPARE, waker);
    change->settings = *settings;
    row_buffer_bytes(&change->metadata, metadata.data, metadata.size);
    dataset_drop(dataset); /* the change has it */
    *out = change;
    return COFFER_OK;
}
