/*
 * What is worth compressing, and compressing it.
 *
 * Small records decide the speed: a lane gets some 60,000 of 1 KiB a second, and often they are
 * random or encrypted. So there are three tests, each run only on what passed the cheaper one:
 *  1. the first bytes (codec_is_compressed_magic());
 *  2. for up to LOOK_SIZE_MAX bytes, looks_random(), at a fifth of the cost of zstd on 1 KiB;
 *  3. zstd's own fast level on the first TRIAL_SIZE bytes. When they are all there is and the level
 *     asked for is fast too, the trial is the real compression and is not paid twice.
 * The fast level is 1 and not a negative one, because those leave literals as they are and would
 * call text without repetitions, such as base64, incompressible.
 */
#include <stdlib.h>
#include <zstd.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "storage/codec/seek_table.h"

enum {
    TRIAL_SIZE = 64 * 1024,
    TRIAL_LEVEL = 1,
    FAST_LEVEL_MAX = 3, /* up to here the trial and the real compression cost about the same */

    LOOK_SIZE_MIN = 512,       /* fewer bytes say too little about their distribution */
    LOOK_SIZE_MAX = 16 * 1024, /* above, looking is no cheaper than the trial */
    WORDS_BITS_SMALL = 10,     /* of the table of words, for up to LOOK_SIZE_SMALL */
    WORDS_BITS = 12,
    LOOK_SIZE_SMALL = 4096,
};

struct encoder {
    ZSTD_CCtx *context;
    uint16_t counts[4][256]; /* scratch of looks_random() */
    uint32_t words[1 << WORDS_BITS];
};

int codec_level_min(void)
{
    return ZSTD_minCLevel();
}

int codec_level_max(void)
{
    return ZSTD_maxCLevel();
}

size_t codec_bound(size_t raw_size)
{
    size_t whole = raw_size / CODEC_FRAME_SIZE, rest = raw_size % CODEC_FRAME_SIZE;

    return whole * ZSTD_compressBound(CODEC_FRAME_SIZE) + ZSTD_compressBound(rest) +
           codec_tail_size(raw_size);
}

struct encoder *encoder_create(void)
{
    struct encoder *encoder = calloc(1, sizeof(*encoder));

    invariant(encoder != NULL);
    encoder->context = ZSTD_createCCtx();
    invariant(encoder->context != NULL);
    return encoder;
}

void encoder_destroy(struct encoder *encoder)
{
    if (encoder == NULL)
        return;
    ZSTD_freeCCtx(encoder->context);
    free(encoder);
}

/* ---- looking at the bytes ---- */

/* The sum of the squares of how often each byte value occurs: the less even, the larger. */
static uint64_t count_squares(struct encoder *encoder, const uint8_t *data, size_t size)
{
    uint16_t(*counts)[256] = encoder->counts; /* four, so that equal neighbours do not wait */
    uint64_t squares = 0;
    size_t at = 0;

    memset(encoder->counts, 0, sizeof(encoder->counts));
    for (; at + 8 <= size; at += 8) {
        uint64_t word = get_le64(data + at);

        counts[0][word & 0xff]++;
        counts[1][word >> 8 & 0xff]++;
        counts[2][word >> 16 & 0xff]++;
        counts[3][word >> 24 & 0xff]++;
        counts[0][word >> 32 & 0xff]++;
        counts[1][word >> 40 & 0xff]++;
        counts[2][word >> 48 & 0xff]++;
        counts[3][word >> 56]++;
    }
    for (; at < size; at++)
        counts[0][data[at]]++;
    for (size_t i = 0; i < 256; i++) {
        uint64_t count = (uint64_t)counts[0][i] + counts[1][i] + counts[2][i] + counts[3][i];

        squares += count * count;
    }
    return squares;
}

/* Whether some four bytes occur twice. Every fourth position is remembered and every fifth looked
 * up, for less than all positions' cost: as the two have no common divisor, a repetition of 23
 * bytes always has a position that is both, at whatever distance, and of shorter ones some do. */
static bool has_repetition(struct encoder *encoder, const uint8_t *data, size_t size)
{
    enum { STEP = 20, WORD = 4 };
    const unsigned bits = size <= LOOK_SIZE_SMALL ? WORDS_BITS_SMALL : WORDS_BITS;
    uint32_t *words = encoder->words;

    /* Zeros in the data count as seen before, which is as well. */
    memset(words, 0, sizeof(*words) << bits);
    for (; size >= STEP; data += STEP, size -= STEP) {
        for (size_t i = 0; i + WORD <= STEP; i += 5) {
            uint32_t word = get_le32(data + i);

            if (words[word * 2654435761u >> (32 - bits)] == word) /* Fibonacci hashing */
                return true;
        }
        for (size_t i = 0; i < STEP; i += 4) {
            uint32_t word = get_le32(data + i);

            words[word * 2654435761u >> (32 - bits)] = word;
        }
    }
    return false;
}

/* Whether zstd surely cannot save an eighth. For even values the sum of squares is n + n(n-1)/256
 * on average; within an eighth of that, the collision entropy is above 7.4 bits a byte (from
 * LOOK_SIZE_MIN bytes on), and Shannon's, which bounds what coding single bytes can save, is never
 * below the collision entropy. What remains is repetition. */
static bool looks_random(struct encoder *encoder, struct slice raw)
{
    uint64_t n = raw.size, even;

    if (n < LOOK_SIZE_MIN || n > LOOK_SIZE_MAX)
        return false;
    even = n + n * (n - 1) / 256;
    return count_squares(encoder, raw.data, raw.size) <= even + even / 8 &&
           !has_repetition(encoder, raw.data, raw.size);
}

/* ---- compressing ---- */

static bool saves_an_eighth(size_t size, size_t raw_size)
{
    return size <= raw_size - raw_size / 8;
}

/* False: an error, which a bound of `capacity` and valid levels leave to memory running out. */
static bool compress_frame(
    struct encoder *encoder, int level, struct slice raw, void *out, size_t capacity, size_t *size)
{
    *size = ZSTD_compressCCtx(encoder->context, out, capacity, raw.data, raw.size, level);
    return !ZSTD_isError(*size);
}

/* The frames and their table; false as soon as they are not smaller than the raw bytes. */
static bool compress_frames(struct encoder *encoder, int level, struct slice raw, uint8_t *out,
    size_t capacity, size_t *size)
{
    uint8_t table[SEEK_HEADER_SIZE + SEEK_FOOTER_SIZE +
                  SEEK_ENTRY_SIZE * (CODEC_RAW_MAX / CODEC_FRAME_SIZE)];
    size_t tail_size = codec_tail_size(raw.size), used = 0;
    const uint8_t *in = raw.data;

    for (size_t i = 0; i < seek_frame_count(raw.size); i++) {
        struct frame frame = {.raw_size = seek_frame_raw_size(raw.size, i)};
        struct slice piece = slice_of(in + i * CODEC_FRAME_SIZE, frame.raw_size);
        size_t frame_size;

        if (!compress_frame(encoder, level, piece, out + used, capacity - used, &frame_size))
            return false;
        used += frame_size;
        if (used + tail_size >= raw.size)
            return false;
        frame.stored_size = (uint32_t)frame_size;
        frame.checksum = seek_checksum(piece);
        seek_table_entry(table, i, &frame);
    }
    seek_table_frame(table, raw.size);
    memcpy(out + used, table, tail_size);
    *size = used + tail_size;
    return true;
}

bool encoder_encode(struct encoder *encoder, const struct codec_settings *settings,
    struct slice raw, void *out, size_t capacity, size_t *size)
{
    int level = settings->level;

    if (level > codec_level_max())
        level = codec_level_max();
    else if (level < codec_level_min())
        level = codec_level_min();
    invariant(raw.size <= CODEC_RAW_MAX && capacity >= codec_bound(raw.size));
    if (settings->codec != CODEC_ZSTD || raw.size == 0 || raw.size < settings->min_size)
        return false;
    if (codec_is_compressed_magic(raw) || looks_random(encoder, raw))
        return false;
    if (raw.size <= TRIAL_SIZE && level <= FAST_LEVEL_MAX)
        return compress_frame(encoder, level, raw, out, capacity, size) && *size < raw.size &&
               saves_an_eighth(*size, raw.size);
    if (compress_frame(encoder, TRIAL_LEVEL, slice_of(raw.data, min_u64(raw.size, TRIAL_SIZE)), out,
            capacity, size) &&
        !saves_an_eighth(*size, min_u64(raw.size, TRIAL_SIZE)))
        return false;
    if (raw.size <= CODEC_FRAME_SIZE)
        return compress_frame(encoder, level, raw, out, capacity, size) && *size < raw.size;
    return compress_frames(encoder, level, raw, out, capacity, size);
}
