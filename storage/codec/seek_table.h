/*
 * seek_table.h - the bytes of the seek table (codec.h has the layout): written by encoder.c, read
 * by frame_table.c. Private to storage/codec.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "storage/codec/codec.h"

enum {
    SEEK_HEADER_SIZE = 8, /* of the skippable frame */
    SEEK_ENTRY_SIZE = 12,
    SEEK_FOOTER_SIZE = 9,
    SEEK_DESCRIPTOR = 0x80, /* bit 7: entries have checksums; the others are reserved */
};
#define SEEK_SKIPPABLE_MAGIC 0x184D2A5Eu
#define SEEK_TABLE_MAGIC 0x8F92EAB1u

/* Frames of raw_size bytes of content; 1 also for none. */
static inline size_t seek_frame_count(uint64_t raw_size)
{
    return raw_size <= CODEC_FRAME_SIZE
               ? 1
               : (size_t)((raw_size + CODEC_FRAME_SIZE - 1) / CODEC_FRAME_SIZE);
}

/* Raw bytes of frame `index`: as many as a frame has, or what is left for the last. */
static inline uint32_t seek_frame_raw_size(uint64_t raw_size, size_t index)
{
    uint64_t left = raw_size - (uint64_t)index * CODEC_FRAME_SIZE;

    return (uint32_t)(left < CODEC_FRAME_SIZE ? left : CODEC_FRAME_SIZE);
}

/* What the table says of the raw bytes of a frame. */
uint32_t seek_checksum(struct slice raw);

/* Write the header and footer of a table of codec_tail_size(raw_size) bytes, and its entries. */
void seek_table_frame(uint8_t *table, uint64_t raw_size);
void seek_table_entry(uint8_t *table, size_t index, const struct frame *frame);
