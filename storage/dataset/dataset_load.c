/*
 * A dataset from its rows. What it takes is a scan of its channels; extents, versions and ended
 * transactions stay in the index.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/dataset/dataset_parts.h"

const struct partition_id ROOT_PARTITION; /* all zeros */

struct dataset *dataset_alloc(struct dataset_set *set, struct slice name)
{
    struct dataset *dataset = calloc(1, sizeof(*dataset));

    invariant(dataset != NULL && name.size < DATASET_NAME_SIZE);
    dataset->set = set;
    dataset->store = set->store;
    memcpy(dataset->name, name.data, name.size);
    atomic_init(&dataset->references, 1);
    lock_init(&dataset->lock, LOCK_DATASET);
    dataset->last_publication = &dataset->publications;
    return dataset;
}

void dataset_free(struct dataset *dataset)
{
    invariant(dataset->transactions == NULL && dataset->publications == NULL);
    for (size_t i = 0; i < dataset->stream_count; i++)
        free(dataset->streams[i]);
    free(dataset->streams);
    free(dataset->metadata);
    lock_release(&dataset->lock);
    free(dataset);
}

static enum coffer_status damaged(
    const struct dataset *dataset, const char *what, struct error *err)
{
    return error_set(
        err, COFFER_DATA_CORRUPT, "%s of dataset %s cannot be read", what, dataset->name);
}

static enum coffer_status take_row(struct dataset *dataset, struct slice value, struct error *err)
{
    struct dataset_row_value row;

    if (!dataset_row_decode(value, &row))
        return damaged(dataset, "the row", err);
    dataset->created_ns = row.created_ns;
    dataset->row_tag = row.tag;
    dataset->state = row.state;
    dataset->packaged = row.packaged;
    dataset->package_format = row.package_format;
    dataset->package_size = row.package_size;
    dataset->settings = row.settings;
    free(dataset->metadata);
    dataset->metadata = malloc(row.metadata.size + 1);
    invariant(dataset->metadata != NULL);
    if (row.metadata.size > 0)
        memcpy(dataset->metadata, row.metadata.data, row.metadata.size);
    dataset->metadata[row.metadata.size] = '\0';
    dataset->metadata_size = row.metadata.size;
    return COFFER_OK;
}

enum coffer_status dataset_read_root(struct dataset *dataset, struct slice value, struct error *err)
{
    if (value.size < PARTITION_ID_SIZE)
        return damaged(dataset, "the entry", err);
    memcpy(dataset->id.bytes, value.data, PARTITION_ID_SIZE);
    return take_row(dataset,
        slice_of((const uint8_t *)value.data + PARTITION_ID_SIZE, value.size - PARTITION_ID_SIZE),
        err);
}

/* The value of a row, or *found false. */
static enum coffer_status get_row(struct dataset *dataset, const struct partition_id *partition,
    struct slice key, void **value, size_t *size, bool *found, struct error *err)
{
    struct engine *engine = dataset->store->engine;

    return engine->ops->row_get(engine, partition, key, value, size, found, err);
}

struct load {
    struct dataset *dataset;
    enum coffer_status status;
    struct error *err;
};

static bool take_channel(void *context, struct slice key, struct slice value)
{
    struct load *load = context;
    struct dataset *dataset = load->dataset;
    struct channel_row row;
    struct stream *stream;

    if (!channel_row_decode(value, &row)) {
        load->status = damaged(dataset, "the row of a channel", load->err);
        return false;
    }
    load->status = dataset_make_stream(
        dataset, slice_of((const uint8_t *)key.data + 1, key.size - 1), &stream, load->err);
    if (load->status != COFFER_OK)
        return false;
    stream->number = row.number;
    stream->lane = lane_set_steady(dataset->store->lanes, row.number);
    stream_show(stream);
    stream->durable_exists = true;
    stream->size = stream->durable_size = row.size;
    stream->records = stream->durable_records = row.records;
    stream->epoch = stream->durable_epoch = stream->tail_epoch = row.epoch;
    dataset->claims += row.epoch;
    if (row.number >= dataset->next_channel && row.number < PACKAGE_CHANNEL - 1)
        dataset->next_channel = row.number + 1;
    return true;
}

static bool take_version(void *context, struct slice key, struct slice value)
{
    struct dataset *dataset = context;

    (void)value;
    dataset->version = dataset->next_version = row_key_number(key);
    return false;
}

static enum coffer_status load_parts(struct dataset *dataset, struct error *err)
{
    struct engine *engine = dataset->store->engine;
    struct load load = {dataset, COFFER_OK, err};
    struct row_key channels = row_key_text(ROW_CHANNEL, slice_of(NULL, 0));
    struct row_key versions = row_key_text(ROW_VERSION, slice_of(NULL, 0));
    enum coffer_status status = engine->ops->row_scan(engine, &dataset->id,
        row_key_slice(&channels), slice_of(NULL, 0), false, take_channel, &load, err);

    if (status == COFFER_OK)
        status = load.status;
    if (status == COFFER_OK)
        status = engine->ops->row_scan(engine, &dataset->id, row_key_slice(&versions),
            slice_of(NULL, 0), true, take_version, dataset, err);
    return status;
}

enum coffer_status dataset_load(struct dataset *dataset, struct error *err)
{
    struct row_key root = row_key_text(ROW_ROOT_DATASET, slice_from_text(dataset->name));
    struct row_key own = row_key_text(ROW_DATASET, slice_of(NULL, 0));
    void *value = NULL;
    size_t size;
    bool found;
    enum coffer_status status =
        get_row(dataset, &ROOT_PARTITION, row_key_slice(&root), &value, &size, &found, err);

    if (status != COFFER_OK)
        return status;
    if (!found)
        return dataset_no_such(slice_from_text(dataset->name), err);
    status = dataset_read_root(dataset, slice_of(value, size), err);
    free(value);
    if (status == COFFER_OK)
        status = get_row(dataset, &dataset->id, row_key_slice(&own), &value, &size, &found, err);
    if (status == COFFER_OK && found) {
        status = take_row(dataset, slice_of(value, size), err);
        free(value);
    }
    if (status == COFFER_OK)
        status = load_parts(dataset, err);
    dataset->lane = lane_set_steady(dataset->store->lanes, dataset->id.bytes[0]);
    dataset->life = LIFE_READY;
    return status;
}
