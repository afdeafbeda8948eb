/* What is worth compressing: the rule of encoder_encode(), case by case and against zstd itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/codec/codec.h"
#include "storage/codec/codec_samples.h"

enum { KIB = 1024 };

static const struct codec_settings usual = {
    CODEC_ZSTD, CODEC_LEVEL_DEFAULT, CODEC_MIN_SIZE_DEFAULT};

static bool is_encoded(const struct codec_settings *settings, const uint8_t *raw, size_t raw_size)
{
    static struct encoder *encoder;
    size_t capacity = codec_bound(raw_size), size = 0;
    void *out = malloc(capacity); /* exact, so that AddressSanitizer sees a byte too many */
    bool encoded;

    assert_non_null(out);
    if (encoder == NULL)
        encoder = encoder_create();
    encoded = encoder_encode(encoder, settings, slice_of(raw, raw_size), out, capacity, &size);
    if (encoded) {
        uint8_t *back = malloc(raw_size);

        assert_in_range(size, 1, raw_size - 1);
        assert_non_null(back);
        assert_int_equal(codec_decode(decoder_of_thread(), CODEC_ZSTD, slice_of(out, size), back,
                             raw_size, NULL),
            COFFER_OK);
        assert_memory_equal(back, raw, raw_size);
        free(back);
    }
    free(out);
    return encoded;
}

/* Goal: the setting decides below which size nothing is tried. */
static void test_min_size(void **state)
{
    const struct codec_settings all = {CODEC_ZSTD, 1, 0}, none = {CODEC_NONE, 1, 0};
    uint8_t raw[2000];

    (void)state;
    sample_fill(SAMPLE_TEXT, raw, sizeof(raw), 1);
    assert_false(is_encoded(&usual, raw, 0));
    assert_false(is_encoded(&usual, raw, CODEC_MIN_SIZE_DEFAULT - 1));
    assert_true(is_encoded(&usual, raw, CODEC_MIN_SIZE_DEFAULT));
    assert_true(is_encoded(&all, raw, 400));
    assert_false(is_encoded(&none, raw, sizeof(raw)));
    for (size_t size = 0; size < 10; size++) /* no form of so few bytes is smaller */
        assert_false(is_encoded(&all, raw, size));
}

/* Goal: what begins like a compressed file is left alone, and what only nearly does is not. */
static void test_magic(void **state)
{
#define BYTES(text)                                                                                \
    {                                                                                              \
        text, sizeof(text) - 1                                                                     \
    }
    static const struct {
        const char *bytes;
        size_t size;
    } compressed[] = {BYTES("\x78\x01"), BYTES("\x78\x5e"), BYTES("\x78\x9c"), BYTES("\x78\xda"),
        BYTES("\x1f\x8b\x08"), BYTES("\x28\xb5\x2f\xfd"), BYTES("\xfd\x37zXZ\0"),
        BYTES("\x04\x22\x4d\x18"), BYTES("BZh9"), BYTES("BZh1"), BYTES("PK\x03\x04"),
        BYTES("\x89PNG\r\n\x1a\n"), BYTES("\xff\xd8\xff\xe0"), BYTES("GIF87a"), BYTES("GIF89a"),
        BYTES("RIFF\x10\x20\x30\x40WEBP"),
        BYTES("\0\0\0\x18"
              "ftypmp42"),
        BYTES("OggS"), BYTES("fLaC"), BYTES("7z\xbc\xaf\x27\x1c"), BYTES("Rar!\x1a\x07\x01"),
        BYTES("\xff\x06\0\0sNaPpY"), BYTES("\x1a\x45\xdf\xa3"), BYTES("LZIP"), BYTES("wOF2")},
      plain[] = {BYTES("\x78\x02"), BYTES("x = 1"), BYTES("\x1f\x8c"), BYTES("BZh0"), BYTES("BZ"),
          BYTES("RIFF\x10\x20\x30\x40WAVE"), BYTES("GIF90a"), BYTES("PK me up"), BYTES("ftyp"),
          BYTES("\x89PNG\n"), BYTES("7zip"), BYTES("\0\0\0\0"), BYTES("\xff\xd8 ")};
#undef BYTES
    uint8_t raw[2000];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(compressed) + ARRAY_COUNT(plain); i++) {
        bool is_plain = i >= ARRAY_COUNT(compressed);
        const char *bytes =
            is_plain ? plain[i - ARRAY_COUNT(compressed)].bytes : compressed[i].bytes;
        size_t size = is_plain ? plain[i - ARRAY_COUNT(compressed)].size : compressed[i].size;

        sample_fill(SAMPLE_TEXT, raw, sizeof(raw), i);
        memcpy(raw, bytes, size);
        if (is_encoded(&usual, raw, sizeof(raw)) != is_plain)
            fail_msg("after \"%s\" (%zu)", bytes, i);
        assert_int_equal(codec_is_compressed_magic(slice_of(raw, sizeof(raw))), !is_plain);
        /* Every prefix is looked at without a look past its end. */
        for (size_t length = 0; length <= size; length++) {
            uint8_t *prefix = malloc(length + 1);

            assert_non_null(prefix);
            memcpy(prefix + 1, raw, length);
            if (length < size && is_plain)
                assert_false(codec_is_compressed_magic(slice_of(prefix + 1, length)));
            else
                (void)!codec_is_compressed_magic(slice_of(prefix + 1, length));
            free(prefix);
        }
    }
}

/* Goal: what is plainly worth it is compressed, and random bytes are not, at every size. */
static void test_kinds(void **state)
{
    static const size_t sizes[] = {
        850, 1 * KIB, 4 * KIB, 16 * KIB, 16 * KIB + 1, 64 * KIB, 64 * KIB + 1, 300 * KIB};
    static const bool worth_it[SAMPLE_COUNT] = {[SAMPLE_BASE64] = true,
        [SAMPLE_TEXT] = true,
        [SAMPLE_JSON] = true,
        [SAMPLE_ZEROS] = true,
        [SAMPLE_SPARSE] = true,
        [SAMPLE_WORDS] = true,
        [SAMPLE_MIXED] = true};
    uint8_t *raw = malloc(300 * KIB);

    (void)state;
    assert_non_null(raw);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        for (int kind = 0; kind < SAMPLE_COUNT; kind++) {
            sample_fill((enum sample)kind, raw, sizes[i], 77 + i);
            if (worth_it[kind] && !is_encoded(&usual, raw, sizes[i]))
                fail_msg("%zu bytes of kind %d were not compressed", sizes[i], kind);
            if (kind == SAMPLE_RANDOM && is_encoded(&usual, raw, sizes[i]))
                fail_msg("%zu random bytes were compressed", sizes[i]);
        }
    }
    free(raw);
}

/* Goal: for up to 64 KiB the answer is that of the fast level itself, so the cheap tests before it
 * take nothing away. Method: all kinds, some sizes, many seeds; zstd's own word against ours. */
static void test_same_as_zstd(void **state)
{
    enum { SEEDS = 60, SIZE_MAX_TRIED = 20 * KIB };
    uint8_t *raw = malloc(SIZE_MAX_TRIED), *out = malloc(ZSTD_compressBound(SIZE_MAX_TRIED));
    unsigned worth_it = 0, not_worth_it = 0;

    (void)state;
    assert_true(raw != NULL && out != NULL);
    for (int kind = 0; kind < SAMPLE_COUNT; kind++) {
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            uint64_t random = seed * 31 + (uint64_t)kind;
            size_t most = seed % 3 == 0 ? SIZE_MAX_TRIED : 5 * KIB;
            size_t size = CODEC_MIN_SIZE_DEFAULT +
                          (size_t)(sample_random(&random) % (most - CODEC_MIN_SIZE_DEFAULT));
            bool saves;

            sample_fill((enum sample)kind, raw, size, random);
            if (codec_is_compressed_magic(slice_of(raw, size)))
                continue;
            saves = ZSTD_compress(out, ZSTD_compressBound(size), raw, size, CODEC_LEVEL_DEFAULT) <=
                    size - size / 8;
            worth_it += saves;
            not_worth_it += !saves;
            if (is_encoded(&usual, raw, size) != saves)
                fail_msg("kind %d, seed %llu, %zu bytes: zstd %s", kind, (unsigned long long)seed,
                    size, saves ? "saves an eighth" : "does not save an eighth");
        }
    }
    assert_true(worth_it > SEEDS && not_worth_it > SEEDS); /* else nothing was compared */
    free(raw);
    free(out);
}

/* Goal: one long repetition in random bytes is found, wherever it is. */
static void test_long_repetition(void **state)
{
    enum { SIZE = 4096, LENGTH = 1024 };
    uint8_t raw[SIZE];

    (void)state;
    for (size_t from = 0; from + 2 * LENGTH <= SIZE; from += 61) {
        for (size_t to = from + LENGTH; to + LENGTH <= SIZE; to += 97) {
            sample_fill(SAMPLE_RANDOM, raw, SIZE, from * SIZE + to);
            memcpy(raw + to, raw + from, LENGTH);
            assert_true(is_encoded(&usual, raw, SIZE));
        }
    }
}

/* Goal: of large content the first 64 KiB decide. */
static void test_trial_of_the_start(void **state)
{
    enum { SIZE = 1024 * KIB, START = 64 * KIB };
    uint8_t *raw = malloc(SIZE);

    (void)state;
    assert_non_null(raw);
    sample_fill(SAMPLE_RANDOM, raw, SIZE, 5);
    assert_false(is_encoded(&usual, raw, SIZE));
    sample_fill(SAMPLE_TEXT, raw + START, SIZE - START, 5);
    assert_false(is_encoded(&usual, raw, SIZE));
    sample_fill(SAMPLE_TEXT, raw, START, 5);
    assert_true(is_encoded(&usual, raw, SIZE));
    sample_fill(SAMPLE_RANDOM, raw + START, SIZE - START, 5);
    assert_true(is_encoded(&usual, raw, SIZE)); /* little, but smaller */
    assert_true(is_encoded(&usual, raw, 200 * KIB));
    free(raw);
}

/* Goal: every level works, also one that zstd does not have. */
static void test_levels(void **state)
{
    static const int levels[] = {-1000000000, -100, -5, -1, 0, 1, 3, 4, 9, 19, 22, 1000};
    enum { SIZE = 300 * KIB };
    uint8_t *raw = malloc(SIZE);

    (void)state;
    assert_non_null(raw);
    sample_fill(SAMPLE_TEXT, raw, SIZE, 9);
    assert_true(codec_level_min() < 0 && codec_level_max() > 10);
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        const struct codec_settings settings = {CODEC_ZSTD, levels[i], 850};

        assert_true(is_encoded(&settings, raw, 2 * KIB) || levels[i] < -50);
        assert_true(is_encoded(&settings, raw, 70 * KIB) || levels[i] < -50);
        assert_true(is_encoded(&settings, raw, SIZE) || levels[i] < -50);
    }
    sample_fill(SAMPLE_RANDOM, raw, SIZE, 9);
    for (size_t i = 0; i < ARRAY_COUNT(levels); i++) {
        const struct codec_settings settings = {CODEC_ZSTD, levels[i], 850};

        assert_false(is_encoded(&settings, raw, 2 * KIB));
        assert_false(is_encoded(&settings, raw, 20 * KIB));
        assert_false(is_encoded(&settings, raw, SIZE));
    }
    free(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_min_size),
        cmocka_unit_test(test_magic),
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_same_as_zstd),
        cmocka_unit_test(test_long_repetition),
        cmocka_unit_test(test_trial_of_the_start),
        cmocka_unit_test(test_levels),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
