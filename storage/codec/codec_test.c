/* The stored forms: what encoding gives is what decoding takes, and what it takes is nothing else.
 */
#include "storage/codec/codec.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/codec/codec_samples.h"

enum { KIB = 1024, MIB = 1024 * 1024 };

static const struct codec_settings all_sizes = {CODEC_ZSTD, CODEC_LEVEL_DEFAULT, 0};

struct form { /* content and its stored form, each in a block of exactly its size */
    uint8_t *raw, *stored;
    size_t raw_size, size;
};

/* False: it is not worth compressing; `raw` is there all the same. */
static bool form_make(struct form *form, enum sample kind, size_t raw_size)
{
    struct encoder *encoder = encoder_create();
    size_t capacity = codec_bound(raw_size);
    bool encoded;

    *form =
        (struct form){.raw = malloc(raw_size), .stored = malloc(capacity), .raw_size = raw_size};
    assert_true((raw_size == 0 || form->raw != NULL) && form->stored != NULL);
    sample_fill(kind, form->raw, raw_size, raw_size);
    encoded = encoder_encode(
        encoder, &all_sizes, slice_of(form->raw, raw_size), form->stored, capacity, &form->size);
    encoder_destroy(encoder);
    if (encoded) {
        assert_true(form->size < raw_size);
        form->stored = realloc(form->stored, form->size);
        assert_non_null(form->stored);
    }
    return encoded;
}

static void form_release(struct form *form)
{
    free(form->raw);
    free(form->stored);
}

static struct slice form_tail(const struct form *form)
{
    size_t size = codec_tail_size(form->raw_size);

    return slice_of(form->stored + form->size - size, size);
}

/* Decode into a block of exactly the size, so that AddressSanitizer sees a byte too many. */
static enum coffer_status decode(const void *stored, size_t size, size_t raw_size, void **raw)
{
    static struct decoder *decoder;
    struct error err;
    enum coffer_status status;

    if (decoder == NULL)
        decoder = decoder_create();
    *raw = malloc(raw_size);
    assert_true(raw_size == 0 || *raw != NULL);
    status = codec_decode(decoder, CODEC_ZSTD, slice_of(stored, size), *raw, raw_size, &err);
    assert_true(status == COFFER_OK || (status == COFFER_DATA_CORRUPT && err.status == status));
    return status;
}

/* As any reader of zstd does it, knowing nothing of us. */
static void check_is_zstd_stream(const struct form *form)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer in = {form->stored, form->size, 0};
    uint8_t piece[10000];
    size_t at = 0, result = 1;

    while (in.pos < in.size) {
        ZSTD_outBuffer out = {piece, sizeof(piece), 0};

        result = ZSTD_decompressStream(context, &out, &in);
        assert_false(ZSTD_isError(result));
        assert_true(at + out.pos <= form->raw_size);
        assert_memory_equal(piece, form->raw + at, out.pos);
        at += out.pos;
    }
    while (result != 0) { /* what the context still holds */
        ZSTD_outBuffer out = {piece, sizeof(piece), 0};

        result = ZSTD_decompressStream(context, &out, &in);
        assert_false(ZSTD_isError(result));
        assert_true(out.pos > 0 && at + out.pos <= form->raw_size);
        assert_memory_equal(piece, form->raw + at, out.pos);
        at += out.pos;
    }
    assert_int_equal(at, form->raw_size);
    ZSTD_freeDCtx(context);
}

static void check_frames(const struct form *form)
{
    struct decoder *decoder = decoder_of_thread();
    struct frame_table table;
    uint64_t raw_end = 0, stored_end = 0;

    assert_int_equal(
        frame_table_parse(form_tail(form), form->raw_size, form->size, &table, NULL), COFFER_OK);
    for (size_t i = 0; i < table.count; i++) {
        const struct frame *frame = &table.frames[i];
        uint8_t *raw = malloc(frame->raw_size);

        assert_non_null(raw);
        assert_int_equal(frame->raw_offset, raw_end);
        assert_int_equal(frame->stored_offset, stored_end);
        assert_int_equal(frame->checked, table.count > 1);
        assert_int_equal(frame_decode(decoder, frame,
                             slice_of(form->stored + stored_end, frame->stored_size), raw, NULL),
            COFFER_OK);
        assert_memory_equal(raw, form->raw + raw_end, frame->raw_size);
        assert_int_equal(frame_table_find(&table, raw_end), i);
        raw_end += frame->raw_size;
        stored_end += frame->stored_size;
        assert_int_equal(frame_table_find(&table, raw_end - 1), i);
        free(raw);
    }
    assert_int_equal(raw_end, form->raw_size);
    assert_int_equal(stored_end + codec_tail_size(form->raw_size), form->size);
    frame_table_release(&table);
}

/* Goal: what was encoded comes back, whole, by frames, and through zstd's own reader. */
static void test_round_trip(void **state)
{
    static const size_t sizes[] = {0, 1, 20, 100, 849, 850, 851, 64 * KIB - 1, 64 * KIB,
        64 * KIB + 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 512 * KIB, 512 * KIB + 1, MIB,
        8 * MIB, 8 * MIB + 12345};
    static const enum sample kinds[] = {SAMPLE_TEXT, SAMPLE_JSON, SAMPLE_ZEROS, SAMPLE_FLOATS,
        SAMPLE_BLOCKS, SAMPLE_BASE64, SAMPLE_RANDOM};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
            struct form form;
            void *raw;

            if (form_make(&form, kinds[k], sizes[i])) {
                assert_int_equal(decode(form.stored, form.size, form.raw_size, &raw), COFFER_OK);
                assert_memory_equal(raw, form.raw, form.raw_size);
                check_is_zstd_stream(&form);
                check_frames(&form);
                free(raw);
            } else {
                assert_true(sizes[i] < 850 || k >= 3); /* the first three always are worth it */
            }
            form_release(&form);
        }
    }
}

/* Goal: the largest record has its table, too. */
static void test_largest(void **state)
{
    struct form form;
    void *raw;

    (void)state;
    assert_true(form_make(&form, SAMPLE_ZEROS, CODEC_RAW_MAX));
    assert_int_equal(decode(form.stored, form.size, form.raw_size, &raw), COFFER_OK);
    assert_memory_equal(raw, form.raw, form.raw_size);
    check_frames(&form);
    free(raw);
    form_release(&form);
}

/* Goal: the table is, byte for byte, what the seekable format says. */
static void test_table_bytes(void **state)
{
    enum { RAW_SIZE = 2 * CODEC_FRAME_SIZE + 100 };
    struct form form;
    const uint8_t *table;
    uint64_t offset = 0;

    (void)state;
    assert_int_equal(codec_tail_size(0), 0);
    assert_int_equal(codec_tail_size(CODEC_FRAME_SIZE), 0);
    assert_int_equal(codec_tail_size(CODEC_FRAME_SIZE + 1), 8 + 2 * 12 + 9);
    assert_int_equal(codec_tail_size(RAW_SIZE), 8 + 3 * 12 + 9);
    assert_true(form_make(&form, SAMPLE_TEXT, RAW_SIZE));
    table = form_tail(&form).data;
    assert_memory_equal(table, "\x5e\x2a\x4d\x18", 4);
    assert_int_equal(get_le32(table + 4), 3 * 12 + 9);
    for (size_t i = 0; i < 3; i++) {
        const uint8_t *entry = table + 8 + 12 * i;
        size_t raw_size = i < 2 ? CODEC_FRAME_SIZE : 100;

        assert_memory_equal(form.stored + offset, "\x28\xb5\x2f\xfd", 4);
        assert_int_equal(ZSTD_findFrameCompressedSize(form.stored + offset, form.size - offset),
            get_le32(entry));
        assert_int_equal(get_le32(entry + 4), raw_size);
        assert_int_equal(get_le32(entry + 8),
            (uint32_t)checksum_xxh64(form.raw + i * CODEC_FRAME_SIZE, raw_size));
        offset += get_le32(entry);
    }
    assert_ptr_equal(form.stored + offset, table);
    assert_memory_equal(table + 8 + 36, "\x03\0\0\0\x80\xb1\xea\x92\x8f", 9);
    assert_int_equal((uint32_t)checksum_xxh64("", 0), 0x51d8e999); /* of the algorithm's test set */
    form_release(&form);
}

/* Goal: with one byte changed, or cut anywhere, decoding neither crashes nor overruns, and what
 * has checksums never gives other bytes. */
static void check_damage(struct form *form, bool has_checksums)
{
    static const uint8_t changes[] = {0x01, 0x10, 0x80, 0xff};
    unsigned refused = 0;
    void *raw;

    for (size_t at = 0; at < form->size; at++) {
        for (size_t i = 0; i < ARRAY_COUNT(changes); i++) {
            enum coffer_status status;

            form->stored[at] ^= changes[i];
            status = decode(form->stored, form->size, form->raw_size, &raw);
            if (status == COFFER_OK && has_checksums)
                assert_memory_equal(raw, form->raw, form->raw_size);
            refused += status != COFFER_OK;
            form->stored[at] ^= changes[i];
            free(raw);
        }
    }
    /* A few bits of a frame may be either way; most changes are found even without checksums. */
    assert_true(refused > (has_checksums ? form->size * 38 / 10 : form->size));
    for (size_t size = 0; size < form->size; size++) {
        uint8_t *cut = malloc(size + 1);

        assert_non_null(cut);
        memcpy(cut + 1, form->stored, size); /* ends with its block */
        assert_int_equal(decode(cut + 1, size, form->raw_size, &raw), COFFER_DATA_CORRUPT);
        free(raw);
        free(cut);
    }
}

static void test_damaged_frame(void **state)
{
    struct form form;

    (void)state;
    assert_true(form_make(&form, SAMPLE_JSON, 3000));
    check_damage(&form, false);
    form_release(&form);
}

static void test_damaged_frames(void **state)
{
    struct form form;

    (void)state;
    assert_true(form_make(&form, SAMPLE_ZEROS, CODEC_FRAME_SIZE + 1000));
    check_damage(&form, true);
    form_release(&form);
}

/* Goal: a form belongs to exactly one raw size, and has nothing before, behind or between. */
static void test_other_sizes(void **state)
{
    static const size_t raw_sizes[] = {3000, CODEC_FRAME_SIZE + 3000};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(raw_sizes); i++) {
        const size_t others[] = {0, 1, raw_sizes[i] - 1, raw_sizes[i] + 1, CODEC_FRAME_SIZE,
            2 * CODEC_FRAME_SIZE + 3000, CODEC_RAW_MAX, CODEC_RAW_MAX + 1};
        struct form form;
        uint8_t *longer;
        void *raw;

        assert_true(form_make(&form, SAMPLE_TEXT, raw_sizes[i]));
        for (size_t k = 0; k < ARRAY_COUNT(others); k++) {
            assert_int_equal(decode(form.stored, form.size, others[k], &raw), COFFER_DATA_CORRUPT);
            free(raw);
        }
        longer = malloc(2 * form.size);
        assert_non_null(longer);
        memcpy(longer, form.stored, form.size);
        memcpy(longer + form.size, "\x50\x2a\x4d\x18\0\0\0\0", 8); /* a skippable frame */
        assert_int_equal(decode(longer, form.size + 8, raw_sizes[i], &raw), COFFER_DATA_CORRUPT);
        free(raw);
        memcpy(longer + form.size, form.stored, form.size);
        assert_int_equal(decode(longer, form.size + 1, raw_sizes[i], &raw), COFFER_DATA_CORRUPT);
        free(raw);
        assert_int_equal(decode(longer, 2 * form.size, raw_sizes[i], &raw), COFFER_DATA_CORRUPT);
        free(raw);
        free(longer);
        form_release(&form);
    }
}

/* Goal: a frame that does not announce its size is none of ours. */
static void test_size_not_announced(void **state)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    uint8_t content[3000], stored[4000];
    size_t size;
    void *raw;

    (void)state;
    sample_fill(SAMPLE_TEXT, content, sizeof(content), 1);
    size = ZSTD_compress2(context, stored, sizeof(stored), content, sizeof(content));
    assert_int_equal(decode(stored, size, sizeof(content), &raw), COFFER_OK);
    free(raw);
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0)));
    size = ZSTD_compress2(context, stored, sizeof(stored), content, sizeof(content));
    assert_false(ZSTD_isError(size));
    assert_int_equal(decode(stored, size, sizeof(content), &raw), COFFER_DATA_CORRUPT);
    free(raw);
    ZSTD_freeCCtx(context);
}

/* Goal: random bytes, also behind a right magic, are an error. */
static void test_garbage(void **state)
{
    enum { SIZE = 600, ROUNDS = 3000 };
    uint8_t *stored = malloc(SIZE);
    void *raw;

    (void)state;
    assert_non_null(stored);
    for (uint64_t seed = 0; seed < ROUNDS; seed++) {
        sample_fill(SAMPLE_RANDOM, stored, SIZE, seed);
        if (seed % 2 == 0)
            put_le32(stored, ZSTD_MAGICNUMBER);
        else if (seed % 3 == 0) /* the magics of zstd 0.1 to 0.7, which some builds still read */
            put_le32(stored, seed % 5 == 0 ? 0x1EB52FFD : 0xFD2FB522 + (uint32_t)(seed % 6));
        if (seed % 4 == 0) { /* a header that promises 300 bytes, in two bytes */
            stored[4] = 0x60;
            stored[5] = (300 - 256) & 0xff;
            stored[6] = 0;
        }
        assert_int_equal(decode(stored, SIZE, 300, &raw), COFFER_DATA_CORRUPT);
        free(raw);
        assert_int_equal(decode(stored, SIZE, CODEC_FRAME_SIZE + 1, &raw), COFFER_DATA_CORRUPT);
        free(raw);
    }
    free(stored);
}

/* Goal: a table with one byte changed or missing is refused, unless it is a checksum, or sizes
 * that still add up; those the frame itself then refuses. */
static void test_damaged_table(void **state)
{
    enum { RAW_SIZE = 3 * CODEC_FRAME_SIZE };
    struct frame_table table;
    struct slice tail;
    struct form form;
    uint8_t *bytes;

    (void)state;
    assert_true(form_make(&form, SAMPLE_TEXT, RAW_SIZE));
    tail = form_tail(&form);
    bytes = malloc(tail.size);
    assert_non_null(bytes);
    memcpy(bytes, tail.data, tail.size);
    tail.data = bytes;
    for (size_t at = 0; at < tail.size; at++) {
        bool is_checksum = at >= 8 && at < 8 + 36 && (at - 8) % 12 >= 8;

        bytes[at] ^= 0x40;
        assert_int_equal(frame_table_parse(tail, RAW_SIZE, form.size, &table, NULL),
            is_checksum ? COFFER_OK : COFFER_DATA_CORRUPT);
        if (is_checksum) {
            uint8_t *raw = malloc(CODEC_FRAME_SIZE);
            const struct frame *frame = &table.frames[(at - 8) / 12];

            assert_non_null(raw);
            assert_int_equal(
                frame_decode(decoder_of_thread(), frame,
                    slice_of(form.stored + frame->stored_offset, frame->stored_size), raw, NULL),
                COFFER_DATA_CORRUPT);
            free(raw);
            frame_table_release(&table);
        } else {
            assert_null(table.frames);
        }
        bytes[at] ^= 0x40;
    }
    for (size_t size = 0; size < tail.size; size++) {
        assert_int_equal(frame_table_parse(slice_of(bytes + tail.size - size, size), RAW_SIZE,
                             form.size, &table, NULL),
            COFFER_DATA_CORRUPT);
        assert_int_equal(
            frame_table_parse(slice_of(bytes, size), RAW_SIZE, form.size, &table, NULL),
            COFFER_DATA_CORRUPT);
    }
    assert_int_equal(
        frame_table_parse(tail, RAW_SIZE, form.size + 1, &table, NULL), COFFER_DATA_CORRUPT);
    assert_int_equal(frame_table_parse(tail, RAW_SIZE, 10, &table, NULL), COFFER_DATA_CORRUPT);
    assert_int_equal(
        frame_table_parse(tail, RAW_SIZE - 1, form.size, &table, NULL), COFFER_DATA_CORRUPT);
    assert_int_equal(
        frame_table_parse(tail, UINT64_MAX, form.size, &table, NULL), COFFER_DATA_CORRUPT);
    assert_int_equal(
        frame_table_parse(slice_of(NULL, 0), 100, UINT64_MAX, &table, NULL), COFFER_DATA_CORRUPT);
    free(bytes);
    form_release(&form);
}

static enum coffer_status parse_made_up(uint64_t raw_size, uint32_t first, uint32_t others)
{
    size_t count = (size_t)(raw_size + CODEC_FRAME_SIZE - 1) / CODEC_FRAME_SIZE;
    struct slice tail = slice_of(NULL, 8 + 12 * count + 9);
    uint8_t *bytes = calloc(1, tail.size);
    uint64_t stored_size = first + (count - 1) * others + tail.size, left = raw_size;
    struct frame_table table;
    enum coffer_status status;

    assert_non_null(bytes);
    put_le32(bytes, 0x184D2A5E);
    put_le32(bytes + 4, (uint32_t)(12 * count + 9));
    for (size_t i = 0; i < count; i++) {
        put_le32(bytes + 8 + 12 * i, i == 0 ? first : others);
        put_le32(bytes + 8 + 12 * i + 4, (uint32_t)min_u64(left, CODEC_FRAME_SIZE));
        left -= min_u64(left, CODEC_FRAME_SIZE);
    }
    put_le32(bytes + 8 + 12 * count, (uint32_t)count);
    bytes[8 + 12 * count + 4] = 0x80;
    put_le32(bytes + 8 + 12 * count + 5, 0x8F92EAB1);
    tail.data = bytes;
    status = frame_table_parse(tail, raw_size, stored_size, &table, NULL);
    if (status == COFFER_OK)
        frame_table_release(&table);
    free(bytes);
    return status;
}

/* Goal: a table may be right in itself and still be none of a record. */
static void test_impossible_table(void **state)
{
    (void)state;
    assert_int_equal(parse_made_up(CODEC_RAW_MAX, 10, 10), COFFER_OK);
    assert_int_equal(parse_made_up(CODEC_RAW_MAX + 1, 10, 10), COFFER_DATA_CORRUPT);
    assert_int_equal(parse_made_up(CODEC_RAW_MAX, UINT32_MAX, UINT32_MAX), COFFER_DATA_CORRUPT);
    assert_int_equal(parse_made_up(CODEC_FRAME_SIZE + 1, 20, 10), COFFER_OK);
    assert_int_equal(parse_made_up(CODEC_FRAME_SIZE + 1, 30, 0), COFFER_DATA_CORRUPT);
    assert_int_equal(parse_made_up(CODEC_FRAME_SIZE + 1, 0, 30), COFFER_DATA_CORRUPT);
}

/* Goal: raw records are copied, and codecs of other versions are named as such. */
static void test_other_codecs(void **state)
{
    struct decoder *decoder = decoder_create();
    char raw[4] = "...";
    struct error err;

    (void)state;
    assert_int_equal(
        codec_decode(decoder, CODEC_NONE, slice_from_text("abc"), raw, 3, &err), COFFER_OK);
    assert_string_equal(raw, "abc");
    assert_int_equal(codec_decode(decoder, CODEC_NONE, slice_from_text("abc"), raw, 2, &err),
        COFFER_DATA_CORRUPT);
    assert_int_equal(
        codec_decode(decoder, CODEC_NONE, slice_of(NULL, 0), NULL, 0, &err), COFFER_OK);
    assert_int_equal(codec_decode(decoder, CODEC_ZLIB, slice_from_text("abc"), raw, 3, &err),
        COFFER_FORMAT_UNKNOWN);
    assert_int_equal(codec_decode(decoder, (enum codec)77, slice_from_text("abc"), raw, 3, &err),
        COFFER_FORMAT_UNKNOWN);
    assert_non_null(strstr(err.text, "77"));
    decoder_destroy(decoder);
    decoder_destroy(NULL);
    encoder_destroy(NULL);
}

static void *run_decoder_of_thread(void *context)
{
    struct decoder *decoder = decoder_of_thread();

    invariant(decoder == decoder_of_thread());
    *(struct decoder **)context = decoder;
    return NULL;
}

/* Goal: a thread has one decoder, its own, and leaves none behind (LeakSanitizer sees to that). */
static void test_decoder_of_thread(void **state)
{
    struct decoder *mine = decoder_of_thread(), *other = NULL;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, run_decoder_of_thread, &other), 0);
    pthread_join(thread, NULL);
    assert_non_null(other);
    assert_ptr_not_equal(mine, other);
    assert_ptr_equal(mine, decoder_of_thread());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_largest),
        cmocka_unit_test(test_table_bytes),
        cmocka_unit_test(test_damaged_frame),
        cmocka_unit_test(test_damaged_frames),
        cmocka_unit_test(test_other_sizes),
        cmocka_unit_test(test_size_not_announced),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_damaged_table),
        cmocka_unit_test(test_impossible_table),
        cmocka_unit_test(test_other_codecs),
        cmocka_unit_test(test_decoder_of_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
