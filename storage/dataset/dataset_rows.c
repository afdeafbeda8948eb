#include "storage/dataset/dataset_rows.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"

enum { ROW_VERSION_BYTE = 1, VARINT_MAX = 10 };

/* ---- keys ---- */

struct row_key row_key_text(enum dataset_row row, struct slice text)
{
    struct row_key key = {.size = 1 + text.size, .bytes = {(uint8_t)row}};

    invariant(key.size <= ROW_KEY_SIZE_MAX);
    if (text.size > 0)
        memcpy(key.bytes + 1, text.data, text.size);
    return key;
}

struct row_key row_key_version(uint64_t version)
{
    struct row_key key = {.size = 9, .bytes = {ROW_VERSION}};

    put_be64(key.bytes + 1, version);
    return key;
}

struct row_key row_key_channel_prefix(enum dataset_row row, uint32_t channel)
{
    struct row_key key = {.size = 5, .bytes = {(uint8_t)row}};

    put_be32(key.bytes + 1, channel);
    return key;
}

struct row_key row_key_channel(enum dataset_row row, uint32_t channel, uint64_t number)
{
    struct row_key key = row_key_channel_prefix(row, channel);

    put_be64(key.bytes + 5, number);
    key.size = 13;
    return key;
}

uint64_t row_key_number(struct slice key)
{
    return get_be64((const uint8_t *)key.data + key.size - 8);
}

/* ---- buffers ---- */

void row_buffer_release(struct row_buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct row_buffer){0};
}

static uint8_t *room(struct row_buffer *buffer, size_t size)
{
    if (buffer->used + size > buffer->capacity) {
        buffer->capacity = 2 * (buffer->used + size) + 64;
        buffer->data = realloc(buffer->data, buffer->capacity);
        invariant(buffer->data != NULL);
    }
    buffer->used += size;
    return buffer->data + buffer->used - size;
}

void row_buffer_bytes(struct row_buffer *buffer, const void *data, size_t size)
{
    if (size > 0)
        memcpy(room(buffer, size), data, size);
}

void row_buffer_varint(struct row_buffer *buffer, uint64_t value)
{
    uint8_t bytes[VARINT_MAX];
    size_t size = 0;

    do {
        bytes[size++] = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        value >>= 7;
    } while (value > 0);
    row_buffer_bytes(buffer, bytes, size);
}

static void put_text(struct row_buffer *buffer, struct slice text)
{
    row_buffer_varint(buffer, text.size);
    row_buffer_bytes(buffer, text.data, text.size);
}

static bool take(struct slice *from, size_t size, struct slice *out)
{
    if (size > from->size)
        return false;
    *out = slice_of(from->data, size);
    *from = slice_of((const uint8_t *)from->data + size, from->size - size);
    return true;
}

static bool take_varint(struct slice *from, uint64_t *value)
{
    const uint8_t *bytes = from->data;

    *value = 0;
    for (size_t i = 0; i < from->size && i < VARINT_MAX; i++) {
        if (i == VARINT_MAX - 1 && bytes[i] > 1)
            return false; /* more than 64 bits */
        *value |= (uint64_t)(bytes[i] & 127) << (7 * i);
        if (bytes[i] < 128) {
            *from = slice_of(bytes + i + 1, from->size - i - 1);
            return true;
        }
    }
    return false;
}

static bool take_text(struct slice *from, struct slice *out)
{
    uint64_t size;

    return take_varint(from, &size) && size <= from->size && take(from, (size_t)size, out);
}

static bool take_byte(struct slice *from, uint8_t *out)
{
    struct slice byte;

    if (!take(from, 1, &byte))
        return false;
    *out = *(const uint8_t *)byte.data;
    return true;
}

static bool take_version_byte(struct slice *from)
{
    uint8_t version;

    return take_byte(from, &version) && version == ROW_VERSION_BYTE;
}

static void put_byte(struct row_buffer *out, unsigned value)
{
    uint8_t byte = (uint8_t)value;

    row_buffer_bytes(out, &byte, 1);
}

/* ---- channels ---- */

void channel_row_encode(const struct channel_row *row, uint8_t out[CHANNEL_ROW_SIZE])
{
    put_le32(out, ROW_VERSION_BYTE);
    put_le32(out + 4, row->number);
    put_le64(out + 8, row->size);
    put_le64(out + 16, row->records);
    put_le64(out + 24, row->epoch);
}

bool channel_row_decode(struct slice in, struct channel_row *row)
{
    const uint8_t *bytes = in.data;

    if (in.size != CHANNEL_ROW_SIZE || get_le32(bytes) != ROW_VERSION_BYTE)
        return false;
    row->number = get_le32(bytes + 4);
    row->size = get_le64(bytes + 8);
    row->records = get_le64(bytes + 16);
    row->epoch = get_le64(bytes + 24);
    return true;
}

void history_row_encode(const struct history_row *row, uint8_t out[HISTORY_ROW_SIZE])
{
    put_le64(out, row->size);
    put_le64(out + 8, row->records);
}

bool history_row_decode(struct slice in, struct history_row *row)
{
    if (in.size != HISTORY_ROW_SIZE)
        return false;
    row->size = get_le64(in.data);
    row->records = get_le64((const uint8_t *)in.data + 8);
    return true;
}

/* ---- extents ---- */

void extent_encode(const struct extent *extent, struct row_buffer *out)
{
    uint8_t head[EXTENT_HEAD_SIZE];

    put_le64(head, ROW_VERSION_BYTE);
    put_le64(head + 8, extent->length);
    put_le64(head + 16, extent->block);
    put_le64(head + 24, extent->block_offset);
    put_le64(head + 32, extent->version);
    put_le64(head + 40, extent->first_record);
    put_le64(head + 48, extent->records);
    row_buffer_bytes(out, head, sizeof(head));
    row_buffer_bytes(out, extent->lengths.data, extent->lengths.size);
}

bool extent_decode(struct slice key, struct slice value, struct extent *extent)
{
    const uint8_t *bytes = value.data;

    if (key.size != 13 || value.size < EXTENT_HEAD_SIZE || get_le64(bytes) != ROW_VERSION_BYTE)
        return false;
    extent->start = row_key_number(key);
    extent->length = get_le64(bytes + 8);
    extent->block = get_le64(bytes + 16);
    extent->block_offset = get_le64(bytes + 24);
    extent->version = get_le64(bytes + 32);
    extent->first_record = get_le64(bytes + 40);
    extent->records = get_le64(bytes + 48);
    extent->lengths = slice_of(bytes + EXTENT_HEAD_SIZE, value.size - EXTENT_HEAD_SIZE);
    return extent->length > 0 && extent->length <= UINT64_MAX - extent->start;
}

static void put_run(struct row_buffer *out, uint64_t length, uint64_t run)
{
    row_buffer_varint(out, 2 * length + (run > 1));
    if (run > 1)
        row_buffer_varint(out, run);
}

void lengths_add(
    struct lengths_writer *writer, struct row_buffer *out, uint64_t length, uint64_t count)
{
    if (writer->run > 0 && writer->length != length)
        lengths_flush(writer, out);
    writer->length = length;
    writer->run += count;
}

void lengths_flush(struct lengths_writer *writer, struct row_buffer *out)
{
    if (writer->run > 0)
        put_run(out, writer->length, writer->run);
    writer->run = 0;
}

bool lengths_next(struct lengths_reader *reader, uint64_t *length, uint64_t *run)
{
    uint64_t value;

    if (reader->left.size == 0 || !take_varint(&reader->left, &value))
        return false;
    *length = value / 2;
    *run = 1;
    return value % 2 == 0 || (take_varint(&reader->left, run) && *run > 0);
}

/* ---- versions ---- */

void version_row_begin(
    struct row_buffer *out, uint64_t time_ns, struct slice transaction, size_t parts)
{
    put_byte(out, ROW_VERSION_BYTE);
    row_buffer_varint(out, time_ns);
    put_text(out, transaction);
    row_buffer_varint(out, parts);
}

void version_row_part(struct row_buffer *out, const struct version_entry *part)
{
    put_text(out, part->name);
    row_buffer_varint(out, part->offset);
    row_buffer_varint(out, part->length);
    row_buffer_varint(out, part->records);
}

bool version_row_read(struct slice value, struct version_reader *reader)
{
    reader->left = value;
    return take_version_byte(&reader->left) && take_varint(&reader->left, &reader->time_ns) &&
           take_text(&reader->left, &reader->transaction) &&
           take_varint(&reader->left, &reader->parts) && reader->parts <= reader->left.size;
}

bool version_row_next(struct version_reader *reader, struct version_entry *part)
{
    return take_text(&reader->left, &part->name) && take_varint(&reader->left, &part->offset) &&
           take_varint(&reader->left, &part->length) && take_varint(&reader->left, &part->records);
}

/* ---- datasets ---- */

void dataset_row_encode(const struct dataset_row_value *row, struct row_buffer *out)
{
    put_byte(out, ROW_VERSION_BYTE);
    row_buffer_varint(out, row->created_ns);
    row_buffer_varint(out, row->tag);
    put_byte(out, (unsigned)row->state);
    put_byte(out, row->packaged);
    put_byte(out, (unsigned)row->package_format);
    row_buffer_varint(out, row->package_size);
    row_buffer_varint(out, row->settings.buffer_size);
    put_byte(out, (unsigned)row->settings.compression);
    put_byte(out, row->settings.action_count);
    for (unsigned i = 0; i < row->settings.action_count; i++) {
        const struct close_action *action = &row->settings.actions[i];

        put_byte(out, (unsigned)action->kind);
        put_byte(out, (unsigned)action->level);
        put_byte(out, (unsigned)action->format);
        put_text(out, slice_from_text(action->url));
    }
    put_text(out, row->metadata);
}

static bool take_action(struct slice *left, struct close_action *action)
{
    uint8_t kind, level, format;
    struct slice url;

    if (!take_byte(left, &kind) || !take_byte(left, &level) || !take_byte(left, &format) ||
        !take_text(left, &url) || kind > CLOSE_NOTIFY || format > ARCHIVE_TAR_ZST ||
        url.size >= DATASET_URL_SIZE)
        return false;
    action->kind = (enum close_kind)kind;
    action->level = level;
    action->format = (enum archive_format)format;
    memset(action->url, 0, sizeof(action->url));
    if (url.size > 0)
        memcpy(action->url, url.data, url.size);
    return true;
}

bool dataset_row_decode(struct slice in, struct dataset_row_value *row)
{
    uint8_t state, packaged, format, compression, actions;

    if (!take_version_byte(&in) || !take_varint(&in, &row->created_ns) ||
        !take_varint(&in, &row->tag) || !take_byte(&in, &state) || !take_byte(&in, &packaged) ||
        !take_byte(&in, &format) || !take_varint(&in, &row->package_size) ||
        !take_varint(&in, &row->settings.buffer_size) || !take_byte(&in, &compression) ||
        !take_byte(&in, &actions) || state > DATASET_CLOSED || format > ARCHIVE_TAR_ZST ||
        compression > CODEC_ZSTD || actions > DATASET_ACTIONS_MAX)
        return false;
    row->state = (enum dataset_state)state;
    row->packaged = packaged != 0;
    row->package_format = (enum archive_format)format;
    row->settings.compression = (enum codec)compression;
    row->settings.action_count = actions;
    for (unsigned i = 0; i < actions; i++)
        if (!take_action(&in, &row->settings.actions[i]))
            return false;
    return take_text(&in, &row->metadata) && in.size == 0;
}

/* ---- transactions ---- */

void transaction_row_encode(const struct transaction_row *row, struct row_buffer *out)
{
    put_byte(out, ROW_VERSION_BYTE);
    put_byte(out, (unsigned)row->state);
    put_byte(
        out, (row->whole ? 1U : 0) | (row->barrier ? 2U : 0) | (row->commit_when_ready ? 4U : 0));
    row_buffer_varint(out, row->version);
    put_text(out, row->reason);
    put_text(out, row->channels);
}

bool transaction_row_decode(struct slice in, struct transaction_row *row)
{
    uint8_t state, flags;

    if (!take_version_byte(&in) || !take_byte(&in, &state) || !take_byte(&in, &flags) ||
        !take_varint(&in, &row->version) || !take_text(&in, &row->reason) ||
        !take_text(&in, &row->channels) || state > TRANSACTION_ABORTED)
        return false;
    row->state = (enum transaction_state)state;
    row->whole = flags & 1;
    row->barrier = flags & 2;
    row->commit_when_ready = flags & 4;
    return in.size == 0;
}
