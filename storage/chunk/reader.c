/*
 * Reading one chunk: from the write-behind buffer, else by its row in the index, from one record
 * or segment after segment.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/chunk/record_reader.h"
#include "storage/chunk/write.h"

struct reader {
    struct store *store;
    struct waker waker;
    struct chunk_info info;
    struct engine_row row;     /* when durable */
    struct chunk_write *write; /* when not durable: the content, in the buffer */
    struct record_reader *record;
    uint64_t offset, size; /* what was selected */
    uint64_t at;           /* how much of it was read */
    bool encoded;
    /* Of a segmented chunk: all its rows, pinned, so that it stays readable when it is deleted. */
    struct engine_row *segments;
    struct engine_source *pins; /* pin NULL: its pack is gone, and reading it will say so */
    uint64_t segment_count;
    uint64_t segment; /* that `record` is */
};

void chunk_info_of_row(
    const struct digest *key, const struct engine_row *row, struct chunk_info *info)
{
    *info = (struct chunk_info){.key = *key,
        .size = row->size,
        .stored_size = row->stored_size,
        .codec = row->codec,
        .state = CHUNK_DURABLE,
        .pack = row->pack,
        .offset = row->offset,
        .segmented = row->segmented};
}

static void fill_buffered(const struct chunk_write *write, struct chunk_info *info)
{
    *info = (struct chunk_info){.key = write->entry.key,
        .size = write->size,
        .stored_size = write->size,
        .codec = CODEC_NONE,
        .state = write_is_flushing(write) ? CHUNK_FLUSHING : CHUNK_BUFFERED};
}

enum coffer_status store_stat(
    struct store *store, const struct digest *key, struct chunk_info *info, struct error *err)
{
    struct chunk_write *write = pending_find(store->pending, key);
    struct engine_row row;
    enum coffer_status status;

    if (write != NULL) {
        fill_buffered(write, info);
        write_unref(write);
        return COFFER_OK;
    }
    status = store->engine->ops->find(store->engine, key, &row, err);
    if (status == COFFER_OK)
        chunk_info_of_row(key, &row, info);
    return status;
}

/* COFFER_NO_SUCH_CHUNK: it has no row, or none any more. */
static enum coffer_status load_segment(struct reader *reader, uint64_t segment, struct error *err)
{
    struct engine *engine = reader->store->engine;
    struct engine_row *row = &reader->segments[segment];
    enum coffer_status status;

    do {
        status = engine->ops->find_segment(engine, &reader->row.upload, segment, row, err);
        if (status == COFFER_OK && row->segmented)
            return COFFER_NO_SUCH_CHUNK;
        if (status != COFFER_OK)
            return status;
        status = engine->ops->pin(engine, row, &reader->pins[segment], NULL);
        if (status != COFFER_OK)
            reader->pins[segment].pin = NULL;
    } while (status == COFFER_NO_SUCH_CHUNK); /* it was moved: its row leads elsewhere by now */
    return COFFER_OK;
}

static enum coffer_status load_segments(struct reader *reader, struct error *err)
{
    size_t count = (size_t)segment_count(reader->row.size, reader->row.segment_size);
    enum coffer_status status = COFFER_OK;

    reader->segments = calloc(count, sizeof(struct engine_row));
    reader->pins = calloc(count, sizeof(struct engine_source));
    if (reader->segments == NULL || reader->pins == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for the rows of %zu segments", count);
    reader->segment_count = count;
    for (uint64_t i = 0; i < count && status == COFFER_OK; i++)
        status = load_segment(reader, i, err);
    return status;
}

/* From the engine. COFFER_NO_SUCH_CHUNK also when the row has changed since it was looked up, which
 * find_many() knows first: while a deletion ends, find() may still have the row in its cache. */
static enum coffer_status open_stored(struct reader *reader, struct error *err)
{
    struct engine *engine = reader->store->engine;
    const struct digest *key = &reader->info.key;
    struct engine_row now;
    bool found;
    enum coffer_status status = reader->row.segmented
                                    ? load_segments(reader, err)
                                    : record_open(reader->store, &reader->row, NULL, key,
                                          reader->waker, &reader->record, err);

    if (status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (engine->ops->find_many(engine, key, 1, &now, &found, err) == COFFER_OK && found &&
        now.lsn == reader->row.lsn)
        return error_set(err, COFFER_DATA_CORRUPT, "a part of the chunk is missing");
    return COFFER_NO_SUCH_CHUNK;
}

static struct reader *reader_create(
    struct store *store, struct waker waker, struct chunk_write *write)
{
    struct reader *reader = calloc(1, sizeof(*reader));

    invariant(reader != NULL);
    reader->store = store;
    reader->waker = waker;
    reader->write = write;
    return reader;
}

enum coffer_status reader_open(struct store *store, const struct digest *key, struct waker waker,
    struct reader **out, struct error *err)
{
    for (;;) {
        struct reader *reader = reader_create(store, waker, pending_find(store->pending, key));
        enum coffer_status status = COFFER_OK;
        bool found = reader->write != NULL;

        if (found) {
            fill_buffered(reader->write, &reader->info);
        } else {
            status = store->engine->ops->find(store->engine, key, &reader->row, err);
            found = status == COFFER_OK;
            if (found) {
                chunk_info_of_row(key, &reader->row, &reader->info);
                status = open_stored(reader, err);
            }
        }
        reader->size = reader->info.size;
        if (status == COFFER_OK) {
            *out = reader;
            return COFFER_OK;
        }
        reader_close(reader);
        if (!found || status != COFFER_NO_SUCH_CHUNK)
            return status; /* else it was deleted or replaced meanwhile: look again */
    }
}

const struct chunk_info *reader_info(const struct reader *reader)
{
    return &reader->info;
}

bool reader_has_encoded(const struct reader *reader)
{
    return reader->write == NULL && !reader->row.segmented && reader->row.codec == CODEC_ZSTD;
}

void reader_select(struct reader *reader, uint64_t offset, uint64_t size)
{
    invariant(offset <= reader->info.size && size <= reader->info.size - offset);
    reader->offset = offset;
    reader->size = size;
}

void reader_select_encoded(struct reader *reader)
{
    invariant(reader_has_encoded(reader));
    reader->encoded = true;
    reader->offset = 0;
    reader->size = reader->info.stored_size;
}

enum coffer_status reader_content(
    struct reader *reader, struct reader_content *content, struct error *err)
{
    const void *whole;
    enum coffer_status status;

    *content = (struct reader_content){.form = READER_MEMORY, .fd = -1, .size = reader->size};
    if (reader->write != NULL) {
        content->data = reader->write->body->content + reader->offset;
        return COFFER_OK;
    }
    if (reader->row.segmented) {
        content->form = READER_STREAM;
        return COFFER_OK;
    }
    status = record_whole(reader->record, reader->encoded, &whole, err);
    if (status != COFFER_OK)
        return status;
    if (whole != NULL) {
        content->data = (const uint8_t *)whole + reader->offset;
        return COFFER_OK;
    }
    if (reader->size > 0) {
        status =
            record_copy(reader->record, reader->encoded, reader->offset, reader->size, &whole, err);
        if (status != COFFER_OK)
            return status;
    }
    if (whole != NULL) {
        content->data = whole;
        return COFFER_OK;
    }
    status = record_file(reader->record, reader->encoded, reader->offset, reader->size,
        &content->fd, &content->offset, err);
    if (status == COFFER_OK)
        content->form = content->fd >= 0 ? READER_FILE : READER_STREAM;
    return status;
}

/* reader->record is the segment that content byte `offset` lies in. */
static enum coffer_status open_segment(struct reader *reader, uint64_t offset, struct error *err)
{
    uint64_t segment = offset / reader->row.segment_size;

    if (reader->record != NULL && reader->segment == segment)
        return COFFER_OK;
    record_close(reader->record);
    reader->record = NULL;
    reader->segment = segment;
    return record_open(reader->store, &reader->segments[segment],
        reader->pins[segment].pin != NULL ? &reader->pins[segment] : NULL, &reader->info.key,
        reader->waker, &reader->record, err);
}

static enum coffer_status read_at(
    struct reader *reader, uint64_t offset, void *out, size_t max, size_t *size, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    uint64_t start = 0;

    if (reader->row.segmented) {
        status = open_segment(reader, offset, err);
        start = reader->segment * reader->row.segment_size;
    }
    if (status == COFFER_OK)
        status = record_read(reader->record, offset - start, out, max, size, err);
    if (status == COFFER_OK && *size == 0)
        return error_set(err, COFFER_DATA_CORRUPT, "the chunk is shorter than its size");
    return status;
}

enum coffer_status reader_read(
    struct reader *reader, void *out, size_t max, size_t *size, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    *size = 0;
    max = (size_t)min_u64(max, reader->size - reader->at);
    if (max == 0)
        return COFFER_OK;
    if (reader->write != NULL) {
        memcpy(out, reader->write->body->content + reader->offset + reader->at, max);
        *size = max;
    } else {
        status = read_at(reader, reader->offset + reader->at, out, max, size, err);
    }
    if (status == COFFER_OK)
        reader->at += *size;
    return status;
}

enum coffer_status reader_verify(struct reader *reader, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    if (reader->write != NULL)
        return COFFER_OK;
    if (!reader->row.segmented)
        return record_verify(reader->record, err);
    for (; reader->at < reader->row.size && status == COFFER_OK;) {
        status = open_segment(reader, reader->at, err);
        if (status == COFFER_OK)
            status = record_verify(reader->record, err);
        if (status == COFFER_OK)
            reader->at += reader->segments[reader->segment].size;
    }
    if (status == COFFER_OK)
        reader->at = 0;
    return status;
}

void reader_close(struct reader *reader)
{
    if (reader == NULL)
        return;
    record_close(reader->record);
    write_unref(reader->write);
    for (uint64_t i = 0; i < reader->segment_count; i++)
        if (reader->pins[i].pin != NULL)
            reader->store->engine->ops->unpin(reader->store->engine, &reader->pins[i]);
    free(reader->pins);
    free(reader->segments);
    free(reader);
}
