/*
 * Goal: header blocks are what tar and libarchive understand, and a block that is not one is found
 * out. Method: there and back, through libarchive, and with each byte changed.
 */
#include "cli/tar_block.h"

#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

static const uint64_t sizes[] = {
    0, 1, 511, 512, UINT64_C(1) << 33, (UINT64_C(1) << 33) - 1, UINT64_C(1) << 40, INT64_MAX / 2};

static void test_there_and_back(void **state)
{
    uint8_t block[TAR_BLOCK_SIZE];
    char name[TAR_NAME_SIZE];
    uint64_t size;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        tar_block_make("name", sizes[i], block);
        assert_int_equal(tar_block_read(block, name, &size), TAR_FILE);
        assert_string_equal(name, "name");
        assert_int_equal(size, sizes[i]);
        assert_int_equal((size + tar_padding(size)) % TAR_BLOCK_SIZE, 0);
    }
}

static void test_as_libarchive_reads_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        uint8_t block[3 * TAR_BLOCK_SIZE] = {0};
        struct archive *archive = archive_read_new();
        struct archive_entry *entry;

        tar_block_make("some-name", sizes[i], block);
        archive_read_support_format_tar(archive);
        assert_int_equal(archive_read_open_memory(archive, block, sizeof(block)), ARCHIVE_OK);
        assert_int_equal(archive_read_next_header(archive, &entry), ARCHIVE_OK);
        assert_string_equal(archive_entry_pathname(entry), "some-name");
        assert_int_equal(archive_entry_size(entry), sizes[i]);
        assert_int_equal(archive_entry_filetype(entry), AE_IFREG);
        archive_read_free(archive);
    }
}

static void test_what_is_no_header(void **state)
{
    uint8_t block[TAR_BLOCK_SIZE] = {0};
    char name[TAR_NAME_SIZE];
    uint64_t size;

    (void)state;
    assert_int_equal(tar_block_read(block, name, &size), TAR_END);
    tar_block_make("name", 7, block);
    for (size_t i = 0; i < TAR_BLOCK_SIZE; i++) {
        block[i] ^= 1;
        if (i != 155) /* the blank behind the checksum */
            assert_int_equal(tar_block_read(block, name, &size), TAR_BAD);
        block[i] ^= 1;
    }
    memset(block, 0xff, sizeof(block));
    assert_int_equal(tar_block_read(block, name, &size), TAR_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_as_libarchive_reads_it),
        cmocka_unit_test(test_what_is_no_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
