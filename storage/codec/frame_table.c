#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "storage/codec/seek_table.h"

size_t codec_tail_size(uint64_t raw_size)
{
    if (raw_size <= CODEC_FRAME_SIZE)
        return 0;
    return SEEK_HEADER_SIZE + SEEK_ENTRY_SIZE * seek_frame_count(raw_size) + SEEK_FOOTER_SIZE;
}

uint32_t seek_checksum(struct slice raw)
{
    return (uint32_t)checksum_xxh64(raw.data, raw.size);
}

void seek_table_frame(uint8_t *table, uint64_t raw_size)
{
    size_t size = codec_tail_size(raw_size);
    uint8_t *footer = table + size - SEEK_FOOTER_SIZE;

    put_le32(table, SEEK_SKIPPABLE_MAGIC);
    put_le32(table + 4, (uint32_t)(size - SEEK_HEADER_SIZE));
    put_le32(footer, (uint32_t)seek_frame_count(raw_size));
    footer[4] = SEEK_DESCRIPTOR;
    put_le32(footer + 5, SEEK_TABLE_MAGIC);
}

void seek_table_entry(uint8_t *table, size_t index, const struct frame *frame)
{
    uint8_t *entry = table + SEEK_HEADER_SIZE + index * SEEK_ENTRY_SIZE;

    put_le32(entry, frame->stored_size);
    put_le32(entry + 4, frame->raw_size);
    put_le32(entry + 8, frame->checksum);
}

/* All that seek_table_frame() wrote is the same for every record of this raw size. */
static bool table_frame_is_right(struct slice tail, uint64_t raw_size)
{
    const uint8_t *table = tail.data;
    const uint8_t *footer = table + tail.size - SEEK_FOOTER_SIZE;

    return get_le32(table) == SEEK_SKIPPABLE_MAGIC &&
           get_le32(table + 4) == tail.size - SEEK_HEADER_SIZE &&
           get_le32(footer) == seek_frame_count(raw_size) && footer[4] == SEEK_DESCRIPTOR &&
           get_le32(footer + 5) == SEEK_TABLE_MAGIC;
}

/* Fill in the frames; false when the table contradicts the sizes of the record. */
static bool read_entries(
    struct slice tail, uint64_t raw_size, uint64_t stored_size, struct frame_table *table)
{
    const uint8_t *entry = (const uint8_t *)tail.data + SEEK_HEADER_SIZE;
    uint64_t end = stored_size - tail.size, offset = 0;

    for (size_t i = 0; i < table->count; i++, entry += SEEK_ENTRY_SIZE) {
        struct frame *frame = &table->frames[i];

        *frame = (struct frame){
            .stored_offset = offset,
            .raw_offset = (uint64_t)i * CODEC_FRAME_SIZE,
            .stored_size = get_le32(entry),
            .raw_size = get_le32(entry + 4),
            .checksum = get_le32(entry + 8),
            .checked = true,
        };
        if (frame->raw_size != seek_frame_raw_size(raw_size, i) || frame->stored_size == 0)
            return false;
        offset += frame->stored_size;
    }
    return offset == end;
}

enum coffer_status frame_table_parse(struct slice tail, uint64_t raw_size, uint64_t stored_size,
    struct frame_table *out, struct error *err)
{
    struct frame_table table = {.count = seek_frame_count(raw_size)};

    *out = (struct frame_table){0};
    if (raw_size > CODEC_RAW_MAX || stored_size > codec_bound(CODEC_RAW_MAX))
        return error_set(err, COFFER_DATA_CORRUPT, "a record cannot have %llu bytes stored in %llu",
            (unsigned long long)raw_size, (unsigned long long)stored_size);
    if (tail.size != codec_tail_size(raw_size) || stored_size < tail.size ||
        (tail.size != 0 && !table_frame_is_right(tail, raw_size)))
        return error_set(err, COFFER_DATA_CORRUPT, "the seek table of a record is damaged");
    table.frames = calloc(table.count, sizeof(*table.frames));
    if (table.frames == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for a table of frames");
    if (tail.size == 0) {
        table.frames[0].stored_size = (uint32_t)stored_size;
        table.frames[0].raw_size = (uint32_t)raw_size;
    } else if (!read_entries(tail, raw_size, stored_size, &table)) {
        frame_table_release(&table);
        return error_set(
            err, COFFER_DATA_CORRUPT, "the seek table of a record does not fit its sizes");
    }
    *out = table;
    return COFFER_OK;
}

void frame_table_release(struct frame_table *table)
{
    free(table->frames);
    *table = (struct frame_table){0};
}

size_t frame_table_find(const struct frame_table *table, uint64_t raw_offset)
{
    uint64_t index = raw_offset / CODEC_FRAME_SIZE;

    invariant(index < table->count &&
              raw_offset - table->frames[index].raw_offset < table->frames[index].raw_size);
    return (size_t)index;
}
