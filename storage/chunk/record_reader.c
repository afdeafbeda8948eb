#include "storage/chunk/record_reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/codec/codec.h"

struct record_reader {
    struct store *store;
    struct engine_row row;
    struct digest key;
    struct waker waker;
    struct engine_source source;
    /* Bytes of the payload that are in memory. */
    uint8_t *piece;
    size_t piece_capacity, piece_size;
    uint64_t piece_offset;
    struct cold_read cold;
    /* Verifying a large payload. */
    struct checksum sum;
    uint64_t summed;
    uint64_t charged; /* bytes, to the budget of copies */
    uint64_t warmed;  /* bytes of the file that were seen in the page cache */
    /* Decoding. */
    void *raw; /* the whole content of a small record, or one frame */
    struct frame_table table;
    size_t frame;     /* that is in raw */
    bool borrowed;    /* the source is pinned by somebody else */
    bool loading;     /* a cold read of the piece was submitted */
    bool only_cached; /* none may be */
    bool summing;     /* `sum` is in use */
    bool verified;    /* the payload has its checksum */
    bool raw_valid;   /* `raw` is the whole content */
    bool in_file;     /* there was no memory for a copy */
    bool table_valid; /* `table` is to be released */
};

enum coffer_status record_open(struct store *store, const struct engine_row *row,
    const struct engine_source *pinned, const struct digest *key, struct waker waker,
    struct record_reader **out, struct error *err)
{
    struct record_reader *reader = calloc(1, sizeof(*reader));
    enum coffer_status status = COFFER_OK;

    invariant(reader != NULL && !row->segmented);
    reader->store = store;
    reader->row = *row;
    reader->key = *key;
    reader->waker = waker;
    reader->borrowed = pinned != NULL;
    if (reader->borrowed)
        reader->source = *pinned;
    else
        status = store->engine->ops->pin(store->engine, row, &reader->source, err);
    if (status != COFFER_OK) {
        free(reader);
        return status;
    }
    *out = reader;
    return COFFER_OK;
}

void record_close(struct record_reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->summing)
        checksum_release(&reader->sum);
    if (reader->table_valid)
        frame_table_release(&reader->table);
    if (!reader->borrowed)
        reader->store->engine->ops->unpin(reader->store->engine, &reader->source);
    if (reader->charged > 0)
        budget_give(&reader->store->read_budget, reader->charged);
    free(reader->piece);
    free(reader->raw);
    free(reader);
}

static enum coffer_status corrupt(struct record_reader *reader, const char *what, struct error *err)
{
    reader->store->engine->ops->note_damage(reader->store->engine, &reader->row, &reader->key);
    return error_set(err, COFFER_DATA_CORRUPT,
        "the stored bytes are damaged (%s) in pack %llu at %llu; send the content again to heal it",
        what, (unsigned long long)reader->row.pack, (unsigned long long)reader->row.offset);
}

/* ---- loading pieces of the payload ---- */

static void cold_done(struct cold_read *read)
{
    struct record_reader *reader = container_of(read, struct record_reader, cold);

    waker_wake(reader->waker);
}

static enum coffer_status after_cold(struct record_reader *reader, size_t size, struct error *err)
{
    reader->loading = false;
    if (reader->cold.error != 0) {
        errno = reader->cold.error;
        return error_errno(err, "read pack %llu", (unsigned long long)reader->row.pack);
    }
    if (reader->cold.got != size)
        return corrupt(reader, "the pack ends before it", err);
    reader->piece_size = size;
    return COFFER_OK;
}

/* What the page cache has of it; *got is less than size if that is not all. */
static enum coffer_status read_cached(struct record_reader *reader, uint64_t offset, void *to,
    size_t size, size_t *got, struct error *err)
{
    struct iovec vector = {to, size};
    int fault = fault_errno(FAULT_PACK_READ);
    ssize_t part;

    errno = fault;
    part = fault != 0 ? -1
                      : preadv2(reader->source.fd, &vector, 1,
                            (off_t)(reader->source.offset + offset), RWF_NOWAIT);
    *got = part > 0 ? (size_t)part : 0;
    if (part < 0 && errno != EAGAIN && errno != EOPNOTSUPP && errno != EINTR)
        return error_errno(err, "read pack %llu", (unsigned long long)reader->row.pack);
    return COFFER_OK;
}

/* Payload bytes [offset, offset + size) to reader->piece. */
static enum coffer_status load(
    struct record_reader *reader, uint64_t offset, size_t size, struct error *err)
{
    enum coffer_status status;
    size_t got;

    if (reader->loading)
        return after_cold(reader, size, err);
    if (reader->piece_size == size && reader->piece_offset == offset && size > 0)
        return COFFER_OK;
    if (reader->piece_capacity < size) {
        free(reader->piece);
        reader->piece = malloc(size);
        invariant(reader->piece != NULL);
        reader->piece_capacity = size;
    }
    reader->piece_size = 0;
    reader->piece_offset = offset;
    if (size == 0)
        return COFFER_OK;
    status = read_cached(reader, offset, reader->piece, size, &got, err);
    if (status != COFFER_OK)
        return status;
    if (got == size) {
        reader->piece_size = size;
        return COFFER_OK;
    }
    if (reader->only_cached)
        return COFFER_AGAIN;
    reader->loading = true;
    reader->cold = (struct cold_read){.fd = reader->source.fd,
        .data = reader->piece,
        .size = size,
        .offset = reader->source.offset + offset,
        .done = cold_done};
    cold_reader_submit(reader->store->cold, &reader->cold);
    return COFFER_AGAIN;
}

/* ---- verifying ---- */

static bool is_small(const struct record_reader *reader)
{
    return reader->row.stored_size <= RECORD_SMALL_MAX;
}

static enum coffer_status verify_small(struct record_reader *reader, struct error *err)
{
    size_t size = (size_t)reader->row.stored_size;
    enum coffer_status status = load(reader, 0, size, err);

    if (status != COFFER_OK)
        return status;
    if (checksum_once(reader->piece, size) != reader->row.checksum)
        return corrupt(reader, "its checksum does not match", err);
    reader->verified = true;
    return COFFER_OK;
}

static enum coffer_status verify_large(struct record_reader *reader, struct error *err)
{
    if (!reader->summing) {
        checksum_init(&reader->sum);
        reader->summing = true;
    }
    while (reader->summed < reader->row.stored_size) {
        size_t size = (size_t)min_u64(RECORD_PIECE_SIZE, reader->row.stored_size - reader->summed);
        enum coffer_status status = load(reader, reader->summed, size, err);

        if (status != COFFER_OK)
            return status;
        checksum_update(&reader->sum, reader->piece, size);
        reader->summed += size;
    }
    if (checksum_value(&reader->sum) != reader->row.checksum)
        return corrupt(reader, "its checksum does not match", err);
    reader->verified = true;
    reader->warmed = reader->row.stored_size;
    if (reader->source.verified != NULL)
        atomic_fetch_or_explicit(
            reader->source.verified, reader->source.verified_mask, memory_order_relaxed);
    return COFFER_OK;
}

enum coffer_status record_verify(struct record_reader *reader, struct error *err)
{
    if (reader->verified || reader->source.memory != NULL)
        return COFFER_OK;
    if (is_small(reader))
        return verify_small(reader, err);
    /* Not once it has begun: the piece that is being loaded is one of those to be verified, and who
     * reads on would take it for another. */
    if (!reader->summing && reader->source.verified != NULL &&
        (atomic_load_explicit(reader->source.verified, memory_order_relaxed) &
            reader->source.verified_mask) != 0) {
        reader->verified = true;
        return COFFER_OK;
    }
    return verify_large(reader, err);
}

/* ---- giving ---- */

static enum coffer_status decode_whole(struct record_reader *reader, struct error *err)
{
    size_t size = (size_t)reader->row.size;
    enum coffer_status status;

    if (reader->raw_valid)
        return COFFER_OK;
    if (reader->raw == NULL)
        reader->raw = malloc(size > 0 ? size : 1);
    if (reader->raw == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for %zu bytes", size);
    status = codec_decode(decoder_of_thread(), reader->row.codec,
        slice_of(reader->piece, (size_t)reader->row.stored_size), reader->raw, size, err);
    if (status != COFFER_OK)
        return corrupt(reader, "it cannot be decompressed", err);
    reader->raw_valid = true;
    return COFFER_OK;
}

enum coffer_status record_whole(
    struct record_reader *reader, bool stored, const void **data, struct error *err)
{
    enum coffer_status status;

    *data = NULL;
    if (reader->source.memory != NULL) {
        *data = reader->source.memory;
        return COFFER_OK;
    }
    if (!is_small(reader) ||
        (!stored && reader->row.codec != CODEC_NONE && reader->row.size > CODEC_FRAME_SIZE))
        return COFFER_OK;
    status = record_verify(reader, err);
    if (status != COFFER_OK)
        return status;
    if (stored || reader->row.codec == CODEC_NONE) {
        *data = reader->piece;
        return COFFER_OK;
    }
    status = decode_whole(reader, err);
    *data = reader->raw;
    return status;
}

enum coffer_status record_copy(struct record_reader *reader, bool stored, uint64_t offset,
    uint64_t size, const void **data, struct error *err)
{
    enum coffer_status status = record_verify(reader, err);

    *data = NULL;
    if (status != COFFER_OK || size > RECORD_COPY_MAX || reader->in_file ||
        reader->source.memory != NULL || (!stored && reader->row.codec != CODEC_NONE))
        return status;
    if (reader->charged == 0) {
        /* Decided once: the next call may come in the middle of record_file(). */
        reader->in_file = !budget_try(&reader->store->read_budget, size);
        if (reader->in_file)
            return COFFER_OK;
        reader->charged = size;
    }
    status = load(reader, offset, (size_t)size, err);
    if (status == COFFER_OK)
        *data = reader->piece;
    return status;
}

/* Bring the file's bytes [reader->warmed, to) into the page cache: look at the first byte of each
 * piece, and read the pieces of which that is missing. */
static enum coffer_status warm(struct record_reader *reader, uint64_t to, struct error *err)
{
    while (reader->warmed < to) {
        size_t size = (size_t)min_u64(RECORD_PIECE_SIZE, to - reader->warmed);
        enum coffer_status status;

        if (!reader->loading) {
            struct iovec vector = {&(char){0}, 1};

            if (preadv2(reader->source.fd, &vector, 1,
                    (off_t)(reader->source.offset + reader->warmed), RWF_NOWAIT) == 1) {
                reader->warmed += size;
                continue;
            }
        }
        status = load(reader, reader->warmed, size, err);
        if (status != COFFER_OK)
            return status;
        reader->warmed += size;
    }
    return COFFER_OK;
}

enum coffer_status record_file(struct record_reader *reader, bool stored, uint64_t offset,
    uint64_t size, int *fd, uint64_t *file_offset, struct error *err)
{
    enum coffer_status status = record_verify(reader, err);

    *fd = -1;
    if (status != COFFER_OK || reader->source.memory != NULL ||
        (!stored && reader->row.codec != CODEC_NONE))
        return status;
    if (reader->warmed < offset)
        reader->warmed = offset;
    status = warm(reader, offset + size, err);
    if (status != COFFER_OK)
        return status;
    *fd = reader->source.fd;
    *file_offset = reader->source.offset + offset;
    return COFFER_OK;
}

/* ---- reading in pieces ---- */

static size_t copy_out(const void *from, uint64_t from_size, uint64_t offset, void *out, size_t max)
{
    size_t size = (size_t)min_u64(max, from_size - offset);

    memcpy(out, (const uint8_t *)from + offset, size);
    return size;
}

static enum coffer_status load_table(struct record_reader *reader, struct error *err)
{
    size_t tail = codec_tail_size(reader->row.size);
    enum coffer_status status;

    if (reader->table_valid)
        return COFFER_OK;
    if (tail > reader->row.stored_size)
        return corrupt(reader, "its seek table is missing", err);
    status = load(reader, reader->row.stored_size - tail, tail, err);
    if (status != COFFER_OK)
        return status;
    if (frame_table_parse(slice_of(reader->piece, tail), reader->row.size, reader->row.stored_size,
            &reader->table, err) != COFFER_OK)
        return corrupt(reader, "its seek table cannot be read", err);
    reader->table_valid = true;
    reader->frame = reader->table.count;
    return COFFER_OK;
}

static enum coffer_status read_frame(struct record_reader *reader, uint64_t offset, void *out,
    size_t max, size_t *size, struct error *err)
{
    enum coffer_status status = load_table(reader, err);
    const struct frame *frame;
    size_t number;

    if (status != COFFER_OK)
        return status;
    if (reader->raw == NULL)
        reader->raw = malloc(CODEC_FRAME_SIZE);
    if (reader->raw == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for a frame");
    number = frame_table_find(&reader->table, offset);
    frame = &reader->table.frames[number];
    if (reader->frame != number) {
        status = load(reader, frame->stored_offset, frame->stored_size, err);
        if (status != COFFER_OK)
            return status;
        if (frame_decode(decoder_of_thread(), frame, slice_of(reader->piece, frame->stored_size),
                reader->raw, err) != COFFER_OK)
            return corrupt(reader, "a part cannot be decompressed", err);
        reader->frame = number;
    }
    *size = copy_out(reader->raw, frame->raw_size, offset - frame->raw_offset, out, max);
    return COFFER_OK;
}

/* Content that is stored as it is: what is cached goes straight to `out`, anything else by way of a
 * piece, from the disk. */
static enum coffer_status read_raw(struct record_reader *reader, uint64_t offset, void *out,
    size_t max, size_t *size, struct error *err)
{
    uint64_t start = offset / RECORD_PIECE_SIZE * RECORD_PIECE_SIZE;
    bool in_piece = reader->piece_size > 0 && reader->piece_offset == start;
    enum coffer_status status;

    if (!reader->loading && !in_piece) {
        status = read_cached(
            reader, offset, out, (size_t)min_u64(max, reader->row.size - offset), size, err);
        if (status != COFFER_OK || *size > 0)
            return status;
    }
    status = load(reader, start, (size_t)min_u64(RECORD_PIECE_SIZE, reader->row.size - start), err);
    if (status == COFFER_OK)
        *size = copy_out(reader->piece, reader->piece_size, offset - start, out, max);
    return status;
}

enum coffer_status record_read(struct record_reader *reader, uint64_t offset, void *out, size_t max,
    size_t *size, struct error *err)
{
    const void *whole;
    enum coffer_status status;

    *size = 0;
    if (offset >= reader->row.size)
        return COFFER_OK;
    status = record_whole(reader, false, &whole, err);
    if (status != COFFER_OK)
        return status;
    if (whole != NULL) {
        *size = copy_out(whole, reader->row.size, offset, out, max);
        return COFFER_OK;
    }
    status = record_verify(reader, err);
    if (status != COFFER_OK)
        return status;
    if (reader->row.codec != CODEC_NONE)
        return read_frame(reader, offset, out, max, size, err);
    return read_raw(reader, offset, out, max, size, err);
}

enum coffer_status record_read_cached(struct record_reader *reader, uint64_t offset, void *out,
    size_t max, size_t *size, struct error *err)
{
    enum coffer_status status;

    reader->only_cached = true;
    status = record_read(reader, offset, out, max, size, err);
    reader->only_cached = false;
    return status == COFFER_AGAIN ? COFFER_OK : status;
}
