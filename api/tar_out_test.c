/*
 * Goal: what tar_out writes is an archive that another reader takes back whole, with sizes beyond
 * the 8 GiB of plain ustar, and half an archive is never a whole one. Method: read it with tar_in.
 */
#include "api/tar_out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include <cmocka.h>

#include "api/tar_in.h"

struct memory {
    char *data;
    size_t used, size;
    size_t refuse_at;
    size_t read_at;
};

static bool memory_write(void *context, const void *data, size_t size)
{
    struct memory *memory = context;

    if (memory->used + size > memory->refuse_at)
        return false;
    if (memory->used + size > memory->size) {
        memory->size = (memory->used + size) * 2;
        memory->data = realloc(memory->data, memory->size);
    }
    memcpy(memory->data + memory->used, data, size);
    memory->used += size;
    return true;
}

static bool memory_read(void *context, const void **data, size_t *size)
{
    struct memory *memory = context;

    *data = memory->data + memory->read_at;
    *size = memory->used - memory->read_at < 1000 ? memory->used - memory->read_at : 1000;
    memory->read_at += *size;
    return true;
}

static size_t size_of(int i)
{
    return i % 10 == 0 ? 0 : (size_t)(i * 7919 % 20000);
}

static void test_round_trip(void **state)
{
    struct memory memory = {.refuse_at = SIZE_MAX};
    struct tar_in_entry entry;
    struct tar_out *out;
    struct tar_in *in;
    char body[20000], name[65];
    bool more;

    (void)state;
    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)(i * 31);
    assert_int_equal(tar_out_create(memory_write, &memory, &out, NULL), COFFER_OK);
    for (int i = 0; i < 300; i++) {
        size_t size = size_of(i);

        (void)snprintf(name, sizeof(name), "%064d", i);
        assert_int_equal(tar_out_entry(out, name, size, NULL), COFFER_OK);
        assert_int_equal(tar_out_data(out, body, size / 3, NULL), COFFER_OK);
        assert_int_equal(tar_out_data(out, body + size / 3, size - size / 3, NULL), COFFER_OK);
    }
    assert_int_equal(tar_out_end(out, NULL), COFFER_OK);
    tar_out_destroy(out);
    assert_int_equal(memory.used % 512, 0);

    assert_int_equal(tar_in_create(memory_read, &memory, &in, NULL), COFFER_OK);
    for (int i = 0; i < 300; i++) {
        const void *data;
        size_t size, at = 0;

        (void)snprintf(name, sizeof(name), "%064d", i);
        assert_int_equal(tar_in_next(in, &entry, &more, NULL), COFFER_OK);
        assert_true(more);
        assert_true(slice_equal(entry.name, slice_from_text(name)));
        assert_int_equal(entry.size, size_of(i));
        assert_null(entry.refused);
        do {
            assert_int_equal(tar_in_data(in, &data, &size, NULL), COFFER_OK);
            assert_memory_equal(data, body + at, size);
            at += size;
        } while (size > 0);
        assert_int_equal(at, entry.size);
    }
    assert_int_equal(tar_in_next(in, &entry, &more, NULL), COFFER_OK);
    assert_false(more);
    tar_in_destroy(in);
    free(memory.data);
}

static void test_huge_entry(void **state)
{
    const uint64_t huge = UINT64_C(5) << 40;
    struct memory memory = {.refuse_at = SIZE_MAX};
    struct tar_in_entry entry;
    struct tar_out *out;
    char body[100] = {0};
    struct tar_in *in;
    bool more;

    (void)state;
    assert_int_equal(tar_out_create(memory_write, &memory, &out, NULL), COFFER_OK);
    assert_int_equal(tar_out_entry(out, "huge", huge, NULL), COFFER_OK);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(tar_out_data(out, body, sizeof(body), NULL), COFFER_OK);
    tar_out_destroy(out);
    assert_int_equal(tar_in_create(memory_read, &memory, &in, NULL), COFFER_OK);
    assert_int_equal(tar_in_next(in, &entry, &more, NULL), COFFER_OK);
    assert_true(more && entry.size == huge && entry.refused == NULL);
    tar_in_destroy(in);
    free(memory.data);
}

static void test_half_an_archive_has_no_end(void **state)
{
    struct memory memory = {.refuse_at = SIZE_MAX};
    char body[1000] = {0};
    struct tar_out *out;
    size_t before;

    (void)state;
    assert_int_equal(tar_out_create(memory_write, &memory, &out, NULL), COFFER_OK);
    for (int i = 0; i < 500; i++) {
        assert_int_equal(tar_out_entry(out, "x", sizeof(body), NULL), COFFER_OK);
        assert_int_equal(tar_out_data(out, body, sizeof(body), NULL), COFFER_OK);
    }
    before = memory.used;
    assert_true(before > 0);
    tar_out_destroy(out);
    assert_int_equal(memory.used, before);
    free(memory.data);
}

static void test_refused(void **state)
{
    struct memory memory = {.refuse_at = 200000};
    enum coffer_status status = COFFER_OK;
    char body[1000] = {0};
    struct tar_out *out;

    (void)state;
    assert_int_equal(tar_out_create(memory_write, &memory, &out, NULL), COFFER_OK);
    for (int i = 0; i < 500 && status == COFFER_OK; i++) {
        status = tar_out_entry(out, "x", sizeof(body), NULL);
        if (status == COFFER_OK)
            status = tar_out_data(out, body, sizeof(body), NULL);
    }
    assert_int_equal(status, COFFER_DRAINING);
    tar_out_destroy(out);
    free(memory.data);
}

static void write_some(struct tar_out *out, bool end)
{
    static const size_t sizes[] = {0, 1, 511, 512, 513, 100000};
    static char body[100000];

    for (size_t i = 0; i < sizeof(body); i++)
        body[i] = (char)(i * i >> 3);
    tar_out_set_time(out, UINT64_C(1700000000123456789));
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char name[TAR_OUT_NAME_MAX + 1];

        memset(name, 'a' + (int)i, sizeof(name));
        name[TAR_OUT_NAME_MAX] = '\0';
        assert_int_equal(tar_out_entry(out, name, sizes[i], NULL), COFFER_OK);
        assert_int_equal(tar_out_data(out, body, sizes[i], NULL), COFFER_OK);
    }
    if (end)
        assert_int_equal(tar_out_end(out, NULL), COFFER_OK);
    tar_out_destroy(out);
}

static void test_size_is_known_and_bytes_are_the_same(void **state)
{
    struct memory memory = {.refuse_at = SIZE_MAX}, again = {.refuse_at = SIZE_MAX};
    struct tar_out *out;

    (void)state;
    assert_int_equal(tar_out_create(memory_write, &memory, &out, NULL), COFFER_OK);
    write_some(out, true);
    assert_int_equal(memory.used, tar_out_entry_size(0) + tar_out_entry_size(1) +
                                      tar_out_entry_size(511) + tar_out_entry_size(512) +
                                      tar_out_entry_size(513) + tar_out_entry_size(100000) +
                                      TAR_OUT_END_SIZE);
    assert_memory_equal(memory.data + 136, "14524770400", 11); /* the time, in octal digits */
    assert_int_equal(tar_out_create(memory_write, &again, &out, NULL), COFFER_OK);
    write_some(out, true);
    assert_int_equal(again.used, memory.used);
    assert_memory_equal(again.data, memory.data, memory.used);
    free(again.data);
    free(memory.data);
}

static void test_zstd(void **state)
{
    struct memory plain = {.refuse_at = SIZE_MAX}, packed = {.refuse_at = SIZE_MAX},
                  half = {.refuse_at = SIZE_MAX};
    struct tar_out *out;
    char *text;

    (void)state;
    assert_int_equal(tar_out_create(memory_write, &plain, &out, NULL), COFFER_OK);
    write_some(out, true);
    assert_int_equal(tar_out_create_zstd(memory_write, &packed, &out, NULL), COFFER_OK);
    write_some(out, true);
    text = malloc(plain.used + 1);
    assert_non_null(text);
    assert_true(packed.used < plain.used);
    assert_int_equal(ZSTD_decompress(text, plain.used + 1, packed.data, packed.used), plain.used);
    assert_memory_equal(text, plain.data, plain.used);
    assert_int_equal(tar_out_create_zstd(memory_write, &half, &out, NULL), COFFER_OK);
    write_some(out, false);
    assert_true(half.used == 0 ||
                ZSTD_isError(ZSTD_decompress(text, plain.used + 1, half.data, half.used)));
    free(text);
    free(half.data);
    free(packed.data);
    free(plain.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_huge_entry),
        cmocka_unit_test(test_half_an_archive_has_no_end),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_size_is_known_and_bytes_are_the_same),
        cmocka_unit_test(test_zstd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
