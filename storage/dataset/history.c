/*
 * The version log, and the records of a channel, from their rows.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/dataset/dataset_parts.h"

/* ---- versions ---- */

struct visit_versions {
    bool (*visit)(void *context, const struct version_info *version);
    void *context;
    uint64_t visible;
    struct version_part *parts;
    size_t capacity;
    bool stopped, damaged;
};

static bool read_parts(struct visit_versions *visit, struct version_reader *reader)
{
    if (reader->parts > visit->capacity) {
        visit->capacity = (size_t)reader->parts;
        visit->parts = realloc(visit->parts, visit->capacity * sizeof(struct version_part));
        invariant(visit->parts != NULL);
    }
    for (size_t i = 0; i < reader->parts; i++) {
        struct version_part *part = &visit->parts[i];
        struct version_entry entry;

        if (!version_row_next(reader, &entry))
            return false;
        copy_name(part->name, sizeof(part->name), entry.name);
        part->offset = entry.offset;
        part->length = entry.length;
        part->records = entry.records;
    }
    return true;
}

static bool take_version(void *context, struct slice key, struct slice value)
{
    struct visit_versions *visit = context;
    struct version_reader reader;
    struct version_info info;
    char transaction[STREAM_NAME_SIZE];

    info.version = row_key_number(key);
    if (info.version > visit->visible) /* durable, but versions before it are not yet */
        return false;
    if (!version_row_read(value, &reader) || !read_parts(visit, &reader)) {
        visit->damaged = true;
        return false;
    }
    copy_name(transaction, sizeof(transaction), reader.transaction);
    info.time_ns = reader.time_ns;
    info.transaction = transaction[0] == '\0' ? NULL : transaction;
    info.parts = visit->parts;
    info.part_count = (size_t)reader.parts;
    visit->stopped = !visit->visit(visit->context, &info);
    return !visit->stopped;
}

enum coffer_status dataset_versions(struct dataset *dataset, uint64_t after,
    bool (*visit)(void *context, const struct version_info *version), void *context, bool *more,
    struct error *err)
{
    struct engine *engine = dataset->store->engine;
    struct row_key from = row_key_version(after + 1);
    struct row_key under = row_key_text(ROW_VERSION, slice_of(NULL, 0));
    struct visit_versions visitor = {.visit = visit, .context = context};
    enum coffer_status status;

    *more = false;
    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    visitor.visible = dataset->version;
    lock_drop(&dataset->lock);
    if (status != COFFER_OK || after >= visitor.visible)
        return status;
    status = engine->ops->row_scan(engine, &dataset->id, row_key_slice(&under),
        row_key_slice(&from), false, take_version, &visitor, err);
    free(visitor.parts);
    *more = visitor.stopped;
    if (status == COFFER_OK && visitor.damaged)
        status = error_set(
            err, COFFER_DATA_CORRUPT, "dataset %s: the row of a version is damaged", dataset->name);
    return dataset_missing(dataset, status, err); /* rows go when it is deleted meanwhile */
}

enum coffer_status dataset_version_check(
    struct dataset *dataset, uint64_t version, struct error *err)
{
    struct engine *engine = dataset->store->engine;
    struct row_key key = row_key_version(version);
    void *value = NULL;
    size_t size;
    bool found = false;
    enum coffer_status status;
    uint64_t visible;

    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    visible = dataset->version;
    lock_drop(&dataset->lock);
    if (status == COFFER_OK && version <= visible)
        status = engine->ops->row_get(
            engine, &dataset->id, row_key_slice(&key), &value, &size, &found, err);
    free(value);
    if (status != COFFER_OK || found)
        return status;
    status = error_set(err, COFFER_NO_SUCH_VERSION,
        "dataset %s has no version %llu; its last one is %llu", dataset->name,
        (unsigned long long)version, (unsigned long long)visible);
    return dataset_missing(dataset, status, err);
}

/* ---- records ---- */

/* The extent in which record `number` starts, of a channel of `size` bytes: by bisection, as
 * extents are kept by where they start. */
static enum coffer_status find_record(const struct stream *stream, uint64_t size, uint64_t number,
    struct extent *extent, struct row_buffer *copy, struct error *err)
{
    uint64_t low = 0, high = size - 1; /* the byte with which it starts is one of these */

    for (;;) {
        uint64_t middle = low + (high - low) / 2;
        enum coffer_status status = extent_find(stream, middle, extent, copy, err);

        if (status != COFFER_OK)
            return status;
        if (number >= extent->first_record && number < extent->first_record + extent->records)
            return COFFER_OK;
        if (number < extent->first_record) {
            if (extent->start == 0 || extent->start <= low)
                break;
            high = extent->start - 1;
        } else {
            low = extent->start + extent->length;
            if (low > high)
                break;
        }
    }
    return error_set(err, COFFER_DATA_CORRUPT,
        "channel %s of dataset %s: record %llu cannot be found", stream->name,
        stream->dataset->name, (unsigned long long)number);
}

/* Records of one extent, from number `first` on. */
static size_t list_extent(
    const struct extent *extent, uint64_t first, struct record_place *places, size_t count)
{
    struct lengths_reader reader = {extent->lengths};
    uint64_t record = extent->first_record, offset = extent->start, length, run;
    size_t found = 0;

    while (found < count && lengths_next(&reader, &length, &run)) {
        uint64_t skip = first > record ? min_u64(first - record, run) : 0;

        record += skip;
        offset += skip * length;
        for (uint64_t i = skip; i < run && found < count; i++) {
            places[found++] = (struct record_place){record++, offset, length};
            offset += length;
        }
    }
    return found;
}

/* What the channel has as of `version`. */
static enum coffer_status extent_of_version(struct dataset *dataset, struct slice channel,
    uint64_t version, struct stream **stream, struct history_row *row, struct error *err)
{
    enum coffer_status status;
    struct history_row then;
    bool found;

    lock_take(&dataset->lock);
    status = dataset_visible_stream(dataset, channel, stream, err);
    if (status == COFFER_OK)
        *row = (struct history_row){(*stream)->size, (*stream)->records};
    lock_drop(&dataset->lock);
    if (status != COFFER_OK || version == 0)
        return status;
    status = dataset_version_check(dataset, version, err);
    if (status == COFFER_OK)
        status = history_find(*stream, version, &then, &found, err);
    if (status == COFFER_OK)
        *row = found ? then : (struct history_row){0, 0};
    return status;
}

enum coffer_status stream_records(struct dataset *dataset, struct slice channel, uint64_t version,
    uint64_t first, struct record_place *places, size_t count, size_t *found, struct error *err)
{
    struct row_buffer copy = {0};
    struct history_row row = {0, 0};
    struct stream *stream;
    struct extent extent;
    enum coffer_status status = extent_of_version(dataset, channel, version, &stream, &row, err);

    *found = 0;
    if (status == COFFER_OK && first < row.records && count > 0)
        status = find_record(stream, row.size, first, &extent, &copy, err);
    else
        count = 0;
    while (status == COFFER_OK && *found < count) {
        size_t listed = list_extent(&extent, first, places + *found, count - *found);
        uint64_t next;

        for (size_t i = 0; i < listed; i++)
            if (places[*found + i].record >= row.records)
                listed = i;
        *found += listed;
        if (*found == 0 || *found == count)
            break;
        first = places[*found - 1].record + 1;
        next = places[*found - 1].offset + places[*found - 1].length;
        if (first >= row.records || next >= row.size)
            break;
        status = extent_find(stream, next, &extent, &copy, err);
    }
    row_buffer_release(&copy);
    return status;
}
