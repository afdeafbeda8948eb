/*
 * Many chunks in one go. Keys are taken in windows; the small records of a window are sorted by
 * their place, neighbours are read with one read, and what is not in the page cache is read by
 * the cold reader, all of the window at the same time. Large chunks are left to a reader each.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/chunk/record_reader.h"
#include "storage/chunk/write.h"
#include "storage/codec/codec.h"

enum {
    WINDOW_ITEMS = 512,
    WINDOW_BYTES = 8 << 20,
    SPAN_SIZE_MAX = 1 << 20,
    SPAN_GAP_MAX = 16 * 1024, /* bytes read for nothing rather than with another read */
};

struct bulk_place {
    uint64_t pack, offset;
    size_t position;
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
    size_t position;
    enum coffer_status status;
    struct chunk_write *write; /* in the buffer */
    struct engine_row row;
    bool large;
    struct span *span;
};

struct small_item { /* one that is read through a span */
    struct window_item *item;
};

struct bulk_reader {
    struct store *store;
    const struct digest *keys;
    size_t count;
    enum bulk_order order;
    struct bulk_place *places; /* storage order only */
    size_t next;               /* key that the next window starts with */
    struct window_item window[WINDOW_ITEMS];
    size_t window_count, window_at;
    struct span spans[WINDOW_ITEMS];
    size_t span_count;
    _Atomic size_t cold_left; /* reads under way, and one for the starter */
    struct gate gate;
    uint8_t *raw;          /* CODEC_FRAME_SIZE: one decoded record */
    struct reader *reader; /* of the current large item */
};

static int by_place(const void *a, const void *b)
{
    const struct bulk_place *x = a, *y = b;

    if (x->pack != y->pack)
        return x->pack < y->pack ? -1 : 1;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static enum coffer_status sort_by_place(struct bulk_reader *bulk, struct error *err)
{
    bulk->places = calloc(bulk->count + 1, sizeof(struct bulk_place));
    if (bulk->places == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for %zu keys", bulk->count);
    for (size_t i = 0; i < bulk->count; i++) {
        struct chunk_info info;
        enum coffer_status status = store_stat(bulk->store, &bulk->keys[i], &info, err);

        if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
            return status;
        bulk->places[i].position = i;
        if (status == COFFER_OK) {
            bulk->places[i].pack = info.pack;
            bulk->places[i].offset = info.offset;
        }
    }
    qsort(bulk->places, bulk->count, sizeof(struct bulk_place), by_place);
    return COFFER_OK;
}

enum coffer_status bulk_open(struct store *store, const struct digest *keys, size_t count,
    enum bulk_order order, struct bulk_reader **out, struct error *err)
{
    struct bulk_reader *bulk = calloc(1, sizeof(*bulk));
    enum coffer_status status = COFFER_OK;

    invariant(bulk != NULL);
    bulk->store = store;
    bulk->keys = keys;
    bulk->count = count;
    bulk->order = order;
    gate_init(&bulk->gate);
    bulk->raw = malloc(CODEC_FRAME_SIZE);
    invariant(bulk->raw != NULL);
    if (order == BULK_STORAGE_ORDER)
        status = sort_by_place(bulk, err);
    if (status != COFFER_OK) {
        bulk_close(bulk);
        return status;
    }
    *out = bulk;
    return COFFER_OK;
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
    free(bulk->places);
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

static void look_up(struct bulk_reader *bulk, struct window_item *item)
{
    const struct digest *key = &bulk->keys[item->position];
    struct engine *engine = bulk->store->engine;

    item->span = NULL;
    item->large = false;
    item->status = COFFER_OK;
    item->write = pending_find(bulk->store->pending, key);
    if (item->write != NULL)
        return;
    item->status = engine->ops->find(engine, key, &item->row, NULL);
    item->large = item->status == COFFER_OK &&
                  (item->row.segmented || item->row.stored_size > RECORD_SMALL_MAX ||
                      item->row.size > CODEC_FRAME_SIZE);
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
        item->status = engine->ops->pin(engine, &item->row, &source, NULL);
        if (item->status != COFFER_OK)
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

static void fill_window(struct bulk_reader *bulk)
{
    struct small_item sorted[WINDOW_ITEMS];
    uint64_t bytes = 0;
    size_t small = 0;

    clear_window(bulk);
    while (bulk->window_count < WINDOW_ITEMS && bulk->next < bulk->count && bytes < WINDOW_BYTES) {
        struct window_item *item = &bulk->window[bulk->window_count++];

        item->position = bulk->places != NULL ? bulk->places[bulk->next].position : bulk->next;
        bulk->next++;
        look_up(bulk, item);
        if (item->status != COFFER_OK || item->write != NULL || item->large)
            continue;
        sorted[small++].item = item;
        bytes += item->row.stored_size;
    }
    qsort(sorted, small, sizeof(struct small_item), by_row);
    read_spans(bulk, sorted, small);
}

/* ---- giving ---- */

static enum coffer_status damaged(struct bulk_reader *bulk, const struct window_item *from)
{
    struct engine *engine = bulk->store->engine;

    engine->ops->note_damage(engine, &from->row, &bulk->keys[from->position]);
    return COFFER_DATA_CORRUPT;
}

static enum coffer_status give_small(
    struct bulk_reader *bulk, const struct window_item *from, struct bulk_item *item)
{
    const struct engine_row *row = &from->row;
    const struct span *span = from->span;
    uint64_t at = row->offset - span->first_offset; /* payloads are as far apart as records */
    size_t size = (size_t)row->stored_size;

    if (span->source.memory != NULL) {
        item->data = span->source.memory;
        return COFFER_OK;
    }
    if (span->error != 0)
        return COFFER_IO;
    if (at + size > span->got || checksum_once(span->data + at, size) != row->checksum)
        return damaged(bulk, from);
    item->data = span->data + at;
    if (row->codec == CODEC_NONE)
        return COFFER_OK;
    if (codec_decode(decoder_of_thread(), row->codec, slice_of(item->data, size), bulk->raw,
            (size_t)row->size, NULL) != COFFER_OK)
        return damaged(bulk, from);
    item->data = bulk->raw;
    return COFFER_OK;
}

static void fill_item(
    struct bulk_reader *bulk, const struct window_item *from, struct bulk_item *item)
{
    const struct engine_row *row = &from->row;

    *item = (struct bulk_item){.position = from->position, .status = from->status};
    item->info.key = bulk->keys[from->position];
    if (from->status != COFFER_OK)
        return;
    if (from->write != NULL) {
        item->info.size = item->info.stored_size = from->write->size;
        item->info.state = write_is_flushing(from->write) ? CHUNK_FLUSHING : CHUNK_BUFFERED;
        item->data = from->write->body->content;
        return;
    }
    chunk_info_of_row(&bulk->keys[from->position], row, &item->info);
}

enum coffer_status bulk_next(
    struct bulk_reader *bulk, struct bulk_item *item, bool *more, struct error *err)
{
    const struct window_item *from;

    (void)err;
    reader_close(bulk->reader);
    bulk->reader = NULL;
    if (bulk->window_at == bulk->window_count)
        fill_window(bulk);
    *more = bulk->window_at < bulk->window_count;
    if (!*more)
        return COFFER_OK;
    from = &bulk->window[bulk->window_at++];
    fill_item(bulk, from, item);
    if (item->status != COFFER_OK || item->data != NULL)
        return COFFER_OK;
    if (!from->large) {
        item->status = give_small(bulk, from, item);
        return COFFER_OK;
    }
    item->status =
        reader_open(bulk->store, &item->info.key, gate_waker(&bulk->gate), &bulk->reader, NULL);
    if (item->status != COFFER_OK)
        return COFFER_OK;
    while ((item->status = reader_verify(bulk->reader, NULL)) == COFFER_AGAIN)
        gate_wait(&bulk->gate);
    item->reader = bulk->reader;
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
