/*
 * Many chunks in one go:
 *  1. The keys are looked up in ascending order, which is the index's own, and what the rows say is
 *     sorted by the order that is asked for (places.h). So there is one lookup a key.
 *  2. They are taken in windows; the small records of a window are sorted by their place,
 *     neighbours are read with one read, and what is not in the page cache is read by the cold
 *     reader, all of the window at the same time. Large chunks are left to a reader each.
 *  3. So is what has changed since it was looked up: whatever fails here is tried by a reader,
 *     which looks again, and has the last word.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/chunk/places.h"
#include "storage/chunk/record_reader.h"
#include "storage/chunk/write.h"
#include "storage/codec/codec.h"

enum {
    WINDOW_ITEMS = 1024,
    WINDOW_BYTES = 8 << 20,
    SPAN_SIZE_MAX = 1 << 20,
    SPAN_GAP_MAX = 16 * 1024, /* bytes read for nothing rather than with another read */
};

struct span { /* records that are read with one read */
    struct bulk_reader *bulk;
    struct engine_source source; /* pinned */
    uint64_t start, end;         /* of the file */
    uint64_t first_offset;       /* of the record whose payload is at `start` */
    uint8_t *data;
    struct cold_read cold;
    int error;
    size_t got;
};

struct window_item {
    struct digest key;
    uint32_t position;
    enum place_kind kind;
    struct chunk_write *write; /* PLACE_BUFFERED */
    struct engine_row row;     /* PLACE_SMALL */
    struct span *span;         /* PLACE_SMALL; NULL: it could not be pinned */
};

struct small_item { /* one that is read through a span */
    struct window_item *item;
};

struct bulk_reader {
    struct store *store;
    struct places *places;
    struct window_item window[WINDOW_ITEMS];
    size_t window_count, window_at;
    struct span spans[WINDOW_ITEMS];
    size_t span_count;
    _Atomic size_t cold_left; /* reads under way, and one for the starter */
    struct gate gate;
    uint8_t *raw;          /* CODEC_FRAME_SIZE: one decoded record */
    struct reader *reader; /* of the current large item */
};

enum coffer_status bulk_open(struct store *store, const struct bulk_options *options,
    struct bulk_reader **out, struct error *err)
{
    struct bulk_reader *bulk = calloc(1, sizeof(*bulk));
    enum coffer_status status;

    invariant(bulk != NULL);
    bulk->store = store;
    gate_init(&bulk->gate);
    bulk->raw = malloc(CODEC_FRAME_SIZE);
    invariant(bulk->raw != NULL);
    status = places_find(store, options, &bulk->places, err);
    if (status != COFFER_OK) {
        bulk_close(bulk);
        return status;
    }
    *out = bulk;
    return COFFER_OK;
}

uint64_t bulk_missing_count(const struct bulk_reader *bulk)
{
    return places_missing_count(bulk->places);
}

bool bulk_is_missing(const struct bulk_reader *bulk, uint64_t position)
{
    return places_is_missing(bulk->places, position);
}

static void clear_window(struct bulk_reader *bulk)
{
    struct engine *engine = bulk->store->engine;

    for (size_t i = 0; i < bulk->window_count; i++)
        write_unref(bulk->window[i].write);
    for (size_t i = 0; i < bulk->span_count; i++) {
        engine->ops->unpin(engine, &bulk->spans[i].source);
        free(bulk->spans[i].data);
    }
    bulk->window_count = bulk->window_at = bulk->span_count = 0;
}

void bulk_close(struct bulk_reader *bulk)
{
    if (bulk == NULL)
        return;
    reader_close(bulk->reader);
    clear_window(bulk);
    gate_release(&bulk->gate);
    places_destroy(bulk->places);
    free(bulk->raw);
    free(bulk);
}

/* ---- filling a window ---- */

static int by_row(const void *a, const void *b)
{
    const struct engine_row *x = &((const struct small_item *)a)->item->row;
    const struct engine_row *y = &((const struct small_item *)b)->item->row;

    if (x->pack != y->pack)
        return x->pack < y->pack ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static uint64_t payload_end(
    const struct span *span, const struct engine_row *first, const struct engine_row *row)
{
    return span->source.offset + (row->offset - first->offset) + row->stored_size;
}

static void cold_done(struct cold_read *read)
{
    struct span *span = container_of(read, struct span, cold);
    struct bulk_reader *bulk = span->bulk;

    span->got = read->got;
    span->error = read->error;
    if (atomic_fetch_sub(&bulk->cold_left, 1) == 1)
        waker_wake(gate_waker(&bulk->gate));
}

static void read_span(struct bulk_reader *bulk, struct span *span)
{
    size_t size = (size_t)(span->end - span->start);
    struct iovec vector;
    ssize_t got;

    if (span->source.memory != NULL)
        return;
    span->data = malloc(size + 1);
    invariant(span->data != NULL);
    vector = (struct iovec){span->data, size};
    got = preadv2(span->source.fd, &vector, 1, (off_t)span->start, RWF_NOWAIT);
    span->got = got > 0 ? (size_t)got : 0;
    if (span->got == size)
        return;
    span->bulk = bulk;
    span->cold = (struct cold_read){.fd = span->source.fd,
        .data = span->data,
        .size = size,
        .offset = span->start,
        .done = cold_done};
    atomic_fetch_add(&bulk->cold_left, 1);
    cold_reader_submit(bulk->store->cold, &span->cold);
}

/* Group the small records of the window, sorted by place, into spans, and read them. */
static void read_spans(struct bulk_reader *bulk, const struct small_item *sorted, size_t count)
{
    struct engine *engine = bulk->store->engine;
    struct span *span = NULL;
    const struct engine_row *first = NULL;

    for (size_t i = 0; i < count; i++) {
        struct window_item *item = sorted[i].item;
        struct engine_source source;

        if (span != NULL && span->source.memory == NULL && item->row.pack == first->pack &&
            payload_end(span, first, &item->row) - span->start <= SPAN_SIZE_MAX &&
            span->source.offset + (item->row.offset - first->offset) <= span->end + SPAN_GAP_MAX) {
            span->end = max_u64(span->end, payload_end(span, first, &item->row));
            item->span = span;
            continue;
        }
        if (engine->ops->pin(engine, &item->row, &source, NULL) != COFFER_OK)
            continue;
        span = &bulk->spans[bulk->span_count++];
        memset(span, 0, sizeof(*span));
        span->source = source;
        first = &item->row;
        span->start = source.offset;
        span->end = payload_end(span, first, first);
        span->first_offset = first->offset;
        item->span = span;
    }
    atomic_store(&bulk->cold_left, 1);
    for (size_t i = 0; i < bulk->span_count; i++)
        read_span(bulk, &bulk->spans[i]);
    if (atomic_fetch_sub(&bulk->cold_left, 1) != 1)
        gate_wait(&bulk->gate);
}

/* A window of the next places; *small of them are read through spans. */
static enum coffer_status take_places(struct bulk_reader *bulk,
    struct small_item sorted[WINDOW_ITEMS], size_t *small, struct error *err)
{
    uint64_t bytes = 0;

    *small = 0;
    while (bulk->window_count < WINDOW_ITEMS && bytes < WINDOW_BYTES) {
        struct window_item *item = &bulk->window[bulk->window_count];
        struct place place;
        bool more;
        enum coffer_status status = places_next(bulk->places, &place, &more, err);

        if (status != COFFER_OK || !more)
            return status;
        item->key = place.key;
        item->position = place.position;
        item->kind = place.kind;
        item->write = NULL;
        item->span = NULL;
        if (item->kind == PLACE_BUFFERED)
            item->write = pending_find(bulk->store->pending, &item->key);
        if (item->kind == PLACE_SMALL) {
            item->row = place.row;
            sorted[(*small)++].item = item;
            bytes += item->row.stored_size;
        }
        bulk->window_count++;
    }
    return COFFER_OK;
}

static enum coffer_status fill_window(struct bulk_reader *bulk, struct error *err)
{
    struct small_item sorted[WINDOW_ITEMS];
    size_t small;
    enum coffer_status status;

    clear_window(bulk);
    status = take_places(bulk, sorted, &small, err);
    if (status != COFFER_OK)
        return status;
    qsort(sorted, small, sizeof(struct small_item), by_row);
    read_spans(bulk, sorted, small);
    return COFFER_OK;
}

/* ---- giving ---- */

/* False: it is not there any more, or not as its row says. */
static bool give_small(
    struct bulk_reader *bulk, const struct window_item *from, struct bulk_item *item)
{
    const struct engine_row *row = &from->row;
    const struct span *span = from->span;
    size_t size = (size_t)row->stored_size;
    uint64_t at;

    if (span == NULL)
        return false;
    chunk_info_of_row(&from->key, row, &item->info);
    if (span->source.memory != NULL) {
        item->data = span->source.memory;
        return true;
    }
    at = row->offset - span->first_offset; /* payloads are as far apart as records */
    if (span->error != 0 || at + size > span->got ||
        checksum_once(span->data + at, size) != row->checksum)
        return false;
    item->data = span->data + at;
    if (row->codec == CODEC_NONE)
        return true;
    item->data = bulk->raw;
    return codec_decode(decoder_of_thread(), row->codec, slice_of(span->data + at, size), bulk->raw,
               (size_t)row->size, NULL) == COFFER_OK;
}

static void give_buffered(const struct chunk_write *write, struct bulk_item *item)
{
    item->info.size = item->info.stored_size = write->size;
    item->info.state = write_is_flushing(write) ? CHUNK_FLUSHING : CHUNK_BUFFERED;
    item->data = write->body->content;
}

/* What is large, and what has changed. */
static void give_reader(struct bulk_reader *bulk, struct bulk_item *item)
{
    struct digest key = item->info.key;

    item->data = NULL;
    item->status = reader_open(bulk->store, &key, gate_waker(&bulk->gate), &bulk->reader, NULL);
    if (item->status != COFFER_OK)
        return;
    while ((item->status = reader_verify(bulk->reader, NULL)) == COFFER_AGAIN)
        gate_wait(&bulk->gate);
    item->info = *reader_info(bulk->reader);
    item->reader = bulk->reader;
}

enum coffer_status bulk_next(
    struct bulk_reader *bulk, struct bulk_item *item, bool *more, struct error *err)
{
    const struct window_item *from;

    reader_close(bulk->reader);
    bulk->reader = NULL;
    if (bulk->window_at == bulk->window_count) {
        enum coffer_status status = fill_window(bulk, err);

        if (status != COFFER_OK)
            return status;
    }
    *more = bulk->window_at < bulk->window_count;
    if (!*more)
        return COFFER_OK;
    from = &bulk->window[bulk->window_at++];
    *item = (struct bulk_item){.position = from->position, .info.key = from->key};
    if (from->kind == PLACE_MISSING)
        item->status = COFFER_NO_SUCH_CHUNK;
    else if (from->write != NULL)
        give_buffered(from->write, item);
    else if (from->kind != PLACE_SMALL || !give_small(bulk, from, item))
        give_reader(bulk, item);
    return COFFER_OK;
}

enum coffer_status bulk_read(
    struct bulk_reader *bulk, void *out, size_t max, size_t *size, struct error *err)
{
    enum coffer_status status;

    invariant(bulk->reader != NULL);
    while ((status = reader_read(bulk->reader, out, max, size, err)) == COFFER_AGAIN)
        gate_wait(&bulk->gate);
    return status;
}
