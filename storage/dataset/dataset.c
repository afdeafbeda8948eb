#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/log.h"
#include "storage/dataset/dataset_parts.h"
#include "storage/datasets.h"

/* ---- names ---- */

static bool is_name(struct slice name, size_t min, size_t max, bool capitals)
{
    const char *text = name.data;

    if (name.size < min || name.size > max)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = text[i];
        bool plain =
            (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (capitals && c >= 'A' && c <= 'Z');

        if (!plain && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

bool dataset_name_is_legal(struct slice name)
{
    return is_name(name, 3, DATASET_NAME_SIZE - 1, false);
}

bool stream_name_is_legal(struct slice name)
{
    return is_name(name, 1, STREAM_NAME_SIZE - 1, true);
}

void copy_name(char *out, size_t room, struct slice text)
{
    size_t size = text.size < room ? text.size : room - 1;

    if (size > 0)
        memcpy(out, text.data, size);
    out[size] = '\0';
}

const char *dataset_state_name(enum dataset_state state)
{
    static const char *const names[] = {"open", "closing", "closed"};

    return names[state];
}

void dataset_settings_default(const struct store *store, struct dataset_settings *settings)
{
    memset(settings, 0, sizeof(*settings));
    settings->buffer_size = store->options.buffer_size;
    settings->compression = store->options.compression;
}

/* ---- errors ---- */

static int shown(struct slice name)
{
    return (int)(name.size < DATASET_NAME_SIZE ? name.size : DATASET_NAME_SIZE);
}

enum coffer_status dataset_no_such(struct slice name, struct error *err)
{
    return error_set(err, COFFER_NO_SUCH_DATASET, "there is no dataset \"%.*s\"", shown(name),
        (const char *)name.data);
}

enum coffer_status dataset_missing(
    struct dataset *dataset, enum coffer_status status, struct error *err)
{
    bool alive;

    lock_take(&dataset->lock);
    alive = dataset->life == LIFE_READY;
    lock_drop(&dataset->lock);
    return alive ? status : dataset_no_such(slice_from_text(dataset->name), err);
}

enum coffer_status dataset_no_such_channel(struct slice name, struct error *err)
{
    return error_set(err, COFFER_NO_SUCH_CHANNEL,
        "the dataset has no channel \"%.*s\": its first append makes it", shown(name),
        (const char *)name.data);
}

enum coffer_status dataset_check(const struct dataset *dataset, struct error *err)
{
    return dataset->life == LIFE_READY ? COFFER_OK
                                       : dataset_no_such(slice_from_text(dataset->name), err);
}

enum coffer_status dataset_takes_data(const struct dataset *dataset, struct error *err)
{
    enum coffer_status status = dataset_check(dataset, err);

    if (status != COFFER_OK || (dataset->state == DATASET_OPEN && !dataset->closing))
        return status;
    return error_set(
        err, COFFER_DATASET_CLOSED, "dataset %s is closed: it takes no more data", dataset->name);
}

/* ---- streams ---- */

/* Where `name` is or would be. */
static size_t stream_place(const struct dataset *dataset, struct slice name)
{
    size_t low = 0, high = dataset->stream_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const char *there = dataset->streams[middle]->name;
        int order = strncmp(there, name.data, name.size);

        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct stream *dataset_find_stream(const struct dataset *dataset, struct slice name)
{
    size_t at;

    if (name.size == 0 || name.size >= STREAM_NAME_SIZE)
        return NULL;
    at = stream_place(dataset, name);
    if (at == dataset->stream_count ||
        strncmp(dataset->streams[at]->name, name.data, name.size) != 0 ||
        dataset->streams[at]->name[name.size] != '\0')
        return NULL;
    return dataset->streams[at];
}

enum coffer_status dataset_make_stream(
    struct dataset *dataset, struct slice name, struct stream **out, struct error *err)
{
    struct stream *stream = dataset_find_stream(dataset, name);
    size_t at;

    *out = stream;
    if (stream != NULL)
        return COFFER_OK;
    if (!stream_name_is_legal(name))
        return error_set(err, COFFER_BAD_NAME,
            "a channel's name is 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit");
    if (dataset->stream_count >= DATASET_CHANNELS_MAX)
        return error_set(err, COFFER_OVERLOADED, "the dataset has %d channels, the most it may",
            DATASET_CHANNELS_MAX);
    if (dataset->stream_count == dataset->stream_capacity) {
        dataset->stream_capacity = dataset->stream_capacity == 0 ? 8 : 2 * dataset->stream_capacity;
        dataset->streams =
            realloc(dataset->streams, dataset->stream_capacity * sizeof(struct stream *));
        invariant(dataset->streams != NULL);
    }
    stream = calloc(1, sizeof(*stream));
    invariant(stream != NULL);
    stream->dataset = dataset;
    memcpy(stream->name, name.data, name.size);
    stream->number = dataset->next_channel++;
    stream->lane = lane_set_steady(dataset->store->lanes, stream->number);
    at = stream_place(dataset, name);
    memmove(&dataset->streams[at + 1], &dataset->streams[at],
        (dataset->stream_count - at) * sizeof(struct stream *));
    dataset->streams[at] = stream;
    dataset->stream_count++;
    *out = stream;
    return COFFER_OK;
}

void stream_show(struct stream *stream)
{
    stream->dataset->visible_streams += !stream->exists;
    stream->exists = true;
}

static void fill_stream_info(const struct stream *stream, struct stream_info *info)
{
    memcpy(info->name, stream->name, sizeof(info->name));
    info->size = stream->size;
    info->records = stream->records;
    info->epoch = stream->epoch;
}

/* Streams from `at` on that are visible. */
static size_t list_streams(
    const struct dataset *dataset, size_t at, struct stream_info *infos, size_t count)
{
    size_t found = 0;

    for (; at < dataset->stream_count && found < count; at++)
        if (dataset->streams[at]->exists)
            fill_stream_info(dataset->streams[at], &infos[found++]);
    return found;
}

size_t dataset_streams(
    struct dataset *dataset, const char *after, struct stream_info *infos, size_t count)
{
    size_t at = 0, found;

    lock_take(&dataset->lock);
    if (after != NULL) {
        at = stream_place(dataset, slice_from_text(after));
        if (at < dataset->stream_count && strcmp(dataset->streams[at]->name, after) == 0)
            at++;
    }
    found = list_streams(dataset, at, infos, count);
    lock_drop(&dataset->lock);
    return found;
}

enum coffer_status dataset_visible_stream(
    const struct dataset *dataset, struct slice name, struct stream **out, struct error *err)
{
    struct stream *stream = dataset_find_stream(dataset, name);
    enum coffer_status status = dataset_check(dataset, err);

    *out = stream;
    if (status == COFFER_OK && (stream == NULL || !stream->exists)) {
        (void)dataset_no_such_channel(name, err);
        status = COFFER_NO_SUCH_CHANNEL;
    }
    return status;
}

enum coffer_status dataset_stream(
    struct dataset *dataset, struct slice name, struct stream_info *info, struct error *err)
{
    enum coffer_status status;
    struct stream *stream;

    lock_take(&dataset->lock);
    status = dataset_visible_stream(dataset, name, &stream, err);
    if (status == COFFER_OK)
        fill_stream_info(stream, info);
    lock_drop(&dataset->lock);
    return status;
}

/* ---- the dataset as it is ---- */

uint64_t dataset_tag(const struct dataset *dataset)
{
    /* Each of the three only grows, also over restarts, and one of them with any visible change. */
    return dataset->row_tag + dataset->version + dataset->claims;
}

void dataset_fill_info(const struct dataset *dataset, struct dataset_info *info)
{
    memset(info, 0, sizeof(*info));
    memcpy(info->name, dataset->name, sizeof(info->name));
    memcpy(info->id, dataset->id.bytes, sizeof(info->id));
    info->state = dataset->state;
    info->version = dataset->version;
    info->created_ns = dataset->created_ns;
    info->tag = dataset_tag(dataset);
    info->packaged = dataset->packaged;
    info->package_format = dataset->package_format;
    info->channels = dataset->visible_streams;
}

void dataset_info(struct dataset *dataset, struct dataset_info *info)
{
    lock_take(&dataset->lock);
    dataset_fill_info(dataset, info);
    lock_drop(&dataset->lock);
}

void dataset_snapshot(
    struct dataset *dataset, struct dataset_info *info, struct stream_info **streams, size_t *count)
{
    lock_take(&dataset->lock);
    *streams = calloc(dataset->stream_count + 1, sizeof(struct stream_info));
    invariant(*streams != NULL);
    dataset_fill_info(dataset, info);
    *count = list_streams(dataset, 0, *streams, dataset->stream_count);
    lock_drop(&dataset->lock);
}

void dataset_settings(struct dataset *dataset, struct dataset_settings *settings)
{
    lock_take(&dataset->lock);
    *settings = dataset->settings;
    lock_drop(&dataset->lock);
}

char *dataset_metadata(struct dataset *dataset, size_t *size)
{
    char *copy;

    lock_take(&dataset->lock);
    *size = dataset->metadata_size;
    copy = malloc(*size + 1);
    invariant(copy != NULL);
    if (*size > 0)
        memcpy(copy, dataset->metadata, *size);
    copy[*size] = '\0';
    lock_drop(&dataset->lock);
    return copy;
}

void dataset_fill_row(const struct dataset *dataset, struct dataset_row_value *row)
{
    *row = (struct dataset_row_value){.created_ns = dataset->created_ns,
        .tag = dataset->row_tag,
        .state = dataset->state,
        .packaged = dataset->packaged,
        .package_format = dataset->package_format,
        .package_size = dataset->package_size,
        .settings = dataset->settings,
        .metadata = slice_of(dataset->metadata, dataset->metadata_size)};
}

enum coffer_status dataset_hold(
    struct store *store, struct slice name, struct dataset **out, struct error *err)
{
    struct dataset *dataset;
    enum coffer_status status = dataset_set_find(store->datasets, name, &dataset, err);

    if (status != COFFER_OK)
        return status;
    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    lock_drop(&dataset->lock);
    if (status != COFFER_OK)
        dataset_drop(dataset);
    else
        *out = dataset;
    return status;
}

void store_datasets_drain(struct store *store)
{
    struct dataset_set *set = store->datasets;
    struct wake_list wakes = {NULL};

    atomic_store(&set->drained, true);
    lock_take(&set->lock);
    for (size_t i = 0; i < set->count; i++) {
        struct dataset *dataset = set->items[i];

        lock_take(&dataset->lock);
        for (size_t j = 0; j < dataset->stream_count; j++)
            wake_later(&wakes, &dataset->streams[j]->waiters);
        lock_drop(&dataset->lock);
    }
    lock_drop(&set->lock);
    wake_all(&wakes);
}

void dataset_hurry(struct dataset *dataset)
{
    for (unsigned i = 0; i < dataset->store->options.channels_max; i++) {
        struct lane *lane = lane_set_steady(dataset->store->lanes, i);

        if (i > 0 && lane == lane_set_steady(dataset->store->lanes, 0))
            break; /* that was all of them */
        lane_hurry(lane);
    }
}

void dataset_forget_blocks(struct dataset *dataset, const struct block_id *blocks, size_t count)
{
    struct engine *engine = dataset->store->engine;
    struct error error;

    if (count > 0 &&
        engine->ops->drop_blocks(engine, &dataset->id, blocks, count, &error) != COFFER_OK)
        log_write(LOG_WARN, "blocks_left", "%s", error.text); /* the next start forgets them */
}

/* ---- the list ---- */

struct list_names {
    char (*names)[DATASET_NAME_SIZE];
    size_t count, found;
    const char *after;
};

static bool take_name(void *context, struct slice key, struct slice value)
{
    struct list_names *list = context;
    char *name = list->names[list->found];
    size_t size = key.size - 1;

    (void)value;
    if (size >= DATASET_NAME_SIZE)
        return true;
    memcpy(name, (const char *)key.data + 1, size);
    name[size] = '\0';
    if (list->after != NULL && strcmp(name, list->after) <= 0)
        return true;
    return ++list->found < list->count;
}

/* The names of the next datasets, at most list->count. */
static enum coffer_status list_names(
    struct store *store, struct slice prefix, struct list_names *list, struct error *err)
{
    struct engine *engine = store->engine;
    struct row_key under = row_key_text(ROW_ROOT_DATASET, prefix);
    struct row_key from =
        row_key_text(ROW_ROOT_DATASET, slice_from_text(list->after == NULL ? "" : list->after));

    list->found = 0;
    return engine->ops->row_scan(engine, &ROOT_PARTITION, row_key_slice(&under),
        row_key_slice(&from), false, take_name, list, err);
}

enum coffer_status store_datasets(struct store *store, const char *after, struct slice prefix,
    struct dataset_info *infos, size_t count, size_t *found, struct error *err)
{
    char last[DATASET_NAME_SIZE];
    struct list_names list = {.names = calloc(count + 1, DATASET_NAME_SIZE), .after = after};
    enum coffer_status status = COFFER_OK;

    invariant(list.names != NULL);
    *found = 0;
    do {
        list.count = count - *found;
        if (list.count == 0 || prefix.size >= DATASET_NAME_SIZE ||
            (after != NULL && strlen(after) >= DATASET_NAME_SIZE))
            break;
        status = list_names(store, prefix, &list, err);
        for (size_t i = 0; i < list.found && status == COFFER_OK; i++) {
            struct dataset *dataset;

            status = dataset_hold(store, slice_from_text(list.names[i]), &dataset, err);
            if (status == COFFER_OK) {
                dataset_info(dataset, &infos[(*found)++]);
                dataset_drop(dataset);
            } else if (status == COFFER_NO_SUCH_DATASET) { /* deleted meanwhile */
                status = COFFER_OK;
            }
        }
        if (list.found > 0) {
            memcpy(last, list.names[list.found - 1], sizeof(last));
            list.after = last;
        }
    } while (status == COFFER_OK && list.found == list.count);
    free(list.names);
    return status;
}
