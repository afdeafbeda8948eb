/*
 * codec.h - the stored form of a payload: zstd, where it is worth it.
 *
 * Stored form: of up to CODEC_FRAME_SIZE raw bytes, one zstd frame with the content size in its
 *          header and no checksum (the record has its own). Of more, one independent zstd frame
 *          for each CODEC_FRAME_SIZE of raw bytes (the last may be shorter) and then a seek table
 *          in a skippable frame, so that a range inflates only the frames it touches, while the
 *          whole is still one valid zstd stream that `zstd -d` reads. The table is that of
 *          zstd's "seekable format" 0.1.0, with the checksum flag set:
 *          https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md
 *
 *              u32 0x184D2A5E, u32 size of what follows (all numbers are little-endian)
 *              for each frame: u32 stored size, u32 raw size, u32 low half of the XXH64 of the raw
 *              u32 number of frames, u8 descriptor (0x80: with checksums), u32 0x8F92EAB1
 *
 * Threads: an encoder or a decoder belongs to one thread at a time; tables are plain memory;
 *          everything else is callable anywhere.
 * Memory:  slices are borrowed for the call. create/destroy and parse/release pair up;
 *          destroy(NULL) is a no-op. An encoder takes 0.6 MiB at level 1 (1 at 3, 5 at 19), a
 *          decoder 0.1 MiB. Failing to get that is an invariant, like everywhere in storage/base.
 * Errors:  decoding trusts nothing: whatever the bytes are, it answers COFFER_OK with exactly the
 *          size asked for, or COFFER_DATA_CORRUPT, and touches nothing outside of what it was
 *          given. Single frames have no checksum: check the record's before believing them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/codec_id.h"
#include "storage/base/slice.h"
#include "storage/base/status.h"

enum {
    CODEC_FRAME_SIZE = 256 * 1024,    /* raw bytes of a frame */
    CODEC_RAW_MAX = 64 * 1024 * 1024, /* raw bytes of a record; an invariant when encoding */
    CODEC_MIN_SIZE_DEFAULT = 850,     /* below it, records do not gain what they cost */
    CODEC_LEVEL_DEFAULT = 1,
};

/* ---- encoding ---- */

struct codec_settings {
    enum codec codec;  /* CODEC_NONE: nothing is worth it; CODEC_ZSTD */
    int level;         /* zstd's, of codec_level_min() to codec_level_max(); others are clamped */
    uint64_t min_size; /* raw bytes below which nothing is worth compressing */
};

int codec_level_min(void);
int codec_level_max(void);

/* Bytes that encoder_encode() needs room for; more than it ever uses. */
size_t codec_bound(size_t raw_size);

/* Whether the bytes begin like a compressed file, which zstd could not make smaller. */
bool codec_is_compressed_magic(struct slice raw);

struct encoder; /* opaque: encoder.c */

struct encoder *encoder_create(void);
void encoder_destroy(struct encoder *encoder);

/* Write the zstd form of `raw` to `out`, which has room for `capacity` >= codec_bound(raw.size)
 * bytes and does not overlap it. True: *size bytes of `out` are the form, always fewer than
 * raw.size. False: store the raw bytes as they are (`out` is scratch then); they are
 *  - fewer than settings->min_size, or none, or the codec is CODEC_NONE;
 *  - of a kind that is compressed already (codec_is_compressed_magic());
 *  - not made an eighth smaller in their first 64 KiB by a fast trial; or
 *  - in the end not smaller than before. */
bool encoder_encode(struct encoder *encoder, const struct codec_settings *settings,
    struct slice raw, void *out, size_t capacity, size_t *size);

/* ---- decoding ---- */

struct decoder; /* opaque: decoder.c */

struct decoder *decoder_create(void);
void decoder_destroy(struct decoder *decoder);
/* The calling thread's own decoder, made at the first call and freed when the thread ends. */
struct decoder *decoder_of_thread(void);

/* The whole of a record: exactly raw_size bytes to `raw`, or COFFER_DATA_CORRUPT. The frames of a
 * form with a seek table are checked against it. CODEC_NONE copies. COFFER_FORMAT_UNKNOWN: a codec
 * that this version does not decode. */
MUST_USE enum coffer_status codec_decode(struct decoder *decoder, enum codec codec,
    struct slice stored, void *raw, size_t raw_size, struct error *err);

/* ---- decoding ranges ---- */

struct frame {
    uint64_t stored_offset; /* from the start of the stored form */
    uint64_t raw_offset;
    uint32_t stored_size;
    uint32_t raw_size;
    uint32_t checksum; /* low half of the XXH64 of the raw bytes, if `checked` */
    bool checked;      /* false: the only frame of a form without a table */
};

struct frame_table {
    struct frame *frames; /* in order, without gaps; at most CODEC_RAW_MAX / CODEC_FRAME_SIZE */
    size_t count;         /* at least 1 */
};

/* Bytes of the seek table at the end of the stored form; 0: a single frame without a table. */
size_t codec_tail_size(uint64_t raw_size);

/* Read the table from the last codec_tail_size(raw_size) bytes of a stored form of stored_size
 * bytes. The frames found cover exactly raw_size raw bytes and, with the table, exactly
 * stored_size bytes. An empty tail gives the one frame that is the whole form. `out` needs
 * frame_table_release() only after COFFER_OK. */
MUST_USE enum coffer_status frame_table_parse(struct slice tail, uint64_t raw_size,
    uint64_t stored_size, struct frame_table *out, struct error *err);
void frame_table_release(struct frame_table *table);

/* The frame that holds raw byte raw_offset, which must be within the content (an invariant). A
 * range is the frames of its first to that of its last byte, stored side by side. */
size_t frame_table_find(const struct frame_table *table, uint64_t raw_offset);

/* Decode one frame: `stored` are its frame->stored_size bytes, `raw` has room for
 * frame->raw_size. */
MUST_USE enum coffer_status frame_decode(struct decoder *decoder, const struct frame *frame,
    struct slice stored, void *raw, struct error *err);
