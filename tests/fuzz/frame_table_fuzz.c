/*
 * Target: the seek table of a compressed record, and the decoding of records and of their frames
 * (codec.h). Input: two little-endian u32 sizes - raw, and how much of the rest is the tail - and
 * then the stored form. Sizes of exactly what a call may touch are allocated, so that
 * AddressSanitizer sees a byte too many.
 */
#include "storage/base/bytes.h"
#include "storage/codec/codec.h"
#include "tests/fuzz/fuzz.h"

enum { RAW_SIZE_MAX = 4 * CODEC_FRAME_SIZE };

static void try_frames(const struct frame_table *table, struct slice stored, uint64_t raw_size)
{
    uint64_t stored_end = 0, raw_end = 0;

    fuzz_check(table->count >= 1);
    for (size_t i = 0; i < table->count; i++) {
        const struct frame *frame = &table->frames[i];

        fuzz_check(frame->stored_offset == stored_end && frame->raw_offset == raw_end);
        stored_end += frame->stored_size;
        raw_end += frame->raw_size;
        if (frame->raw_size > 0) {
            fuzz_check(frame_table_find(table, frame->raw_offset) == i);
            fuzz_check(frame_table_find(table, raw_end - 1) == i);
        }
    }
    fuzz_check(raw_end == raw_size);
    fuzz_check(stored_end + codec_tail_size(raw_size) == stored.size);
    for (size_t i = 0; i < table->count; i++) {
        const struct frame *frame = &table->frames[i];
        const uint8_t *from = (const uint8_t *)stored.data + frame->stored_offset;
        void *raw = malloc(frame->raw_size > 0 ? frame->raw_size : 1);

        fuzz_check(raw != NULL);
        (void)!frame_decode(
            decoder_of_thread(), frame, slice_of(from, frame->stored_size), raw, NULL);
        free(raw);
    }
}

static void try_whole(struct slice stored, size_t raw_size)
{
    void *raw = malloc(raw_size > 0 ? raw_size : 1);

    fuzz_check(raw != NULL);
    for (int codec = CODEC_NONE; codec <= CODEC_ZLIB; codec++)
        (void)!codec_decode(decoder_of_thread(), (enum codec)codec, stored, raw, raw_size, NULL);
    free(raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_table table;
    struct slice stored, tail;
    uint64_t raw_size;
    size_t tail_size;

    if (size < 8)
        return 0;
    raw_size = get_le32(data);
    tail_size = get_le32(data + 4);
    stored = slice_of(data + 8, size - 8);
    if (tail_size > stored.size)
        tail_size = codec_tail_size(raw_size) <= stored.size ? codec_tail_size(raw_size) : 0;
    tail = slice_of(data + size - tail_size, tail_size);
    if (frame_table_parse(tail, raw_size, stored.size, &table, NULL) == COFFER_OK) {
        if (raw_size <= RAW_SIZE_MAX)
            try_frames(&table, stored, raw_size);
        frame_table_release(&table);
    }
    if (raw_size <= RAW_SIZE_MAX)
        try_whole(stored, (size_t)raw_size);
    (void)codec_is_compressed_magic(stored);
    return 0;
}
