/*
 * Goal: archives of all dialects are read however they are cut, names are kept as bytes, what is no
 * regular file is named so, and a broken archive is an error behind its good entries. Method:
 * archives made by libarchive, cut and damaged at many places.
 */
#include "api/tar_in.h"

#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ARCHIVE_MAX = 1 << 20 };

struct source {
    const char *data;
    size_t size, at, step;
    bool cancel_at_end;
};

static bool source_read(void *context, const void **data, size_t *size)
{
    struct source *source = context;
    static char piece[ARCHIVE_MAX];

    *size = source->size - source->at < source->step ? source->size - source->at : source->step;
    if (*size == 0 && source->cancel_at_end)
        return false;
    memset(piece, 0xee, source->step < sizeof(piece) ? source->step : sizeof(piece));
    memcpy(piece, source->data + source->at, *size); /* the last piece is gone, as in a pipe */
    source->at += *size;
    *data = piece;
    return true;
}

struct seen {
    unsigned entries, refused;
    uint64_t bytes;
    enum coffer_status status;
    struct error err;
    char last_name[400];
    const char *last_refused;
};

static void read_all(struct source source, struct seen *seen)
{
    struct tar_in *tar;
    bool more = true;

    memset(seen, 0, sizeof(*seen));
    assert_int_equal(tar_in_create(source_read, &source, &tar, NULL), COFFER_OK);
    while (more) {
        struct tar_in_entry entry;
        const void *data;
        size_t size = 1;

        seen->status = tar_in_next(tar, &entry, &more, &seen->err);
        if (seen->status != COFFER_OK || !more)
            break;
        seen->entries++;
        seen->refused += entry.refused != NULL;
        seen->last_refused = entry.refused;
        (void)snprintf(seen->last_name, sizeof(seen->last_name), "%.*s", (int)entry.name.size,
            (const char *)entry.name.data);
        while (size > 0 && entry.refused == NULL) {
            seen->status = tar_in_data(tar, &data, &size, &seen->err);
            if (seen->status != COFFER_OK)
                goto out;
            seen->bytes += size;
        }
    }
out:
    tar_in_destroy(tar);
}

struct making {
    struct archive *archive;
    struct archive_entry *entry;
};

static void add(struct making *making, const char *name, unsigned type, size_t size)
{
    static char body[70000];

    archive_entry_clear(making->entry);
    archive_entry_set_pathname(making->entry, name);
    archive_entry_set_filetype(making->entry, type);
    archive_entry_set_perm(making->entry, 0644);
    archive_entry_set_size(making->entry, (la_int64_t)size);
    if (type == AE_IFLNK)
        archive_entry_set_symlink(making->entry, "target");
    assert_true(archive_write_header(making->archive, making->entry) >= ARCHIVE_WARN);
    assert_int_equal(archive_write_data(making->archive, body, size), size);
}

static size_t make(char *out, const char *format, void (*fill)(struct making *))
{
    struct making making = {archive_write_new(), archive_entry_new()};
    size_t used;

    assert_int_equal(archive_write_set_format_by_name(making.archive, format), ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(making.archive, 1);
    assert_int_equal(
        archive_write_open_memory(making.archive, out, ARCHIVE_MAX, &used), ARCHIVE_OK);
    fill(&making);
    assert_int_equal(archive_write_close(making.archive), ARCHIVE_OK);
    archive_entry_free(making.entry);
    archive_write_free(making.archive);
    return used;
}

static char archive_bytes[ARCHIVE_MAX];

static void fill_plain(struct making *making)
{
    add(making, "a", AE_IFREG, 0);
    add(making, "b", AE_IFREG, 1);
    add(making, "dir/c", AE_IFREG, 70000);
    add(making, "d", AE_IFREG, 512);
}

static void test_dialects(void **state)
{
    static const char *const formats[] = {"ustar", "gnutar", "pax", "paxr", "v7tar"};

    (void)state;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        static const size_t steps[] = {1, 7, 511, 512, 10240, ARCHIVE_MAX};
        size_t size = make(archive_bytes, formats[i], fill_plain);

        for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++) {
            struct seen seen;

            read_all((struct source){.data = archive_bytes, .size = size, .step = steps[s]}, &seen);
            assert_int_equal(seen.status, COFFER_OK);
            assert_int_equal(seen.entries, 4);
            assert_int_equal(seen.refused, 0);
            assert_int_equal(seen.bytes, 70513);
            assert_string_equal(seen.last_name, "d");
        }
    }
}

static char long_name[300];

static void fill_long(struct making *making)
{
    add(making, long_name, AE_IFREG, 3);
}

static void fill_latin1(struct making *making)
{
    add(making, "caf\xe9", AE_IFREG, 3);
}

static void fill_utf8(struct making *making)
{
    add(making, "caf\xc3\xa9", AE_IFREG, 3);
}

static void check_name(const char *format, void (*fill)(struct making *), const char *name)
{
    size_t size = make(archive_bytes, format, fill);
    struct seen seen;

    read_all((struct source){.data = archive_bytes, .size = size, .step = 4096}, &seen);
    assert_int_equal(seen.status, COFFER_OK);
    assert_int_equal(seen.entries, 1);
    assert_string_equal(seen.last_name, name);
}

static void test_names(void **state)
{
    (void)state;
    memset(long_name, 'n', sizeof(long_name) - 1);
    check_name("gnutar", fill_long, long_name);
    check_name("pax", fill_long, long_name);
    check_name("ustar", fill_latin1, "caf\xe9");
    check_name("gnutar", fill_latin1, "caf\xe9");
    check_name("pax", fill_latin1, "caf\xe9");
    check_name("ustar", fill_utf8, "caf\xc3\xa9");
    check_name("pax", fill_utf8, "caf\xc3\xa9");
}

static void fill_special(struct making *making)
{
    add(making, "dir/", AE_IFDIR, 0);
    add(making, "link", AE_IFLNK, 0);
    add(making, "fifo", AE_IFIFO, 0);
    add(making, "file", AE_IFREG, 5);
}

static void test_not_regular(void **state)
{
    size_t size = make(archive_bytes, "gnutar", fill_special);
    struct seen seen;

    (void)state;
    read_all((struct source){.data = archive_bytes, .size = size, .step = 512}, &seen);
    assert_int_equal(seen.status, COFFER_OK);
    assert_int_equal(seen.entries, 4);
    assert_int_equal(seen.refused, 3);
    assert_int_equal(seen.bytes, 5);
}

static void fill_nothing(struct making *making)
{
    (void)making;
}

static void test_empty(void **state)
{
    size_t size = make(archive_bytes, "ustar", fill_nothing);
    struct seen seen;

    (void)state;
    read_all((struct source){.data = archive_bytes, .size = size, .step = 512}, &seen);
    assert_int_equal(seen.status, COFFER_OK);
    assert_int_equal(seen.entries, 0);
    read_all((struct source){.data = archive_bytes, .size = 0, .step = 512}, &seen);
    assert_int_equal(seen.status, COFFER_BAD_REQUEST);
    read_all((struct source){.data = "hello, this is no archive", .size = 25, .step = 512}, &seen);
    assert_int_equal(seen.status, COFFER_BAD_REQUEST);
}

/* Cut inside of an entry it is broken; what came before it is read. */
static void test_cut(void **state)
{
    size_t size = make(archive_bytes, "ustar", fill_plain);

    (void)state;
    for (size_t cut = 1; cut < size - 1024; cut += 37) {
        struct seen seen;

        read_all((struct source){.data = archive_bytes, .size = cut, .step = 1000}, &seen);
        if (seen.status == COFFER_OK) /* between two entries: tar takes a missing trailer */
            assert_int_equal(cut % 512, 0);
        else
            assert_int_equal(seen.status, COFFER_BAD_REQUEST);
        read_all(
            (struct source){
                .data = archive_bytes, .size = cut, .step = 1000, .cancel_at_end = true},
            &seen);
        assert_int_equal(seen.status, COFFER_DRAINING);
    }
}

static void test_damaged(void **state)
{
    size_t size = make(archive_bytes, "pax", fill_plain);
    char *copy = malloc(size);

    (void)state;
    srandom(23);
    for (int round = 0; round < 2000; round++) {
        struct seen seen;

        memcpy(copy, archive_bytes, size);
        for (int i = 0; i < 1 + round % 8; i++)
            copy[(size_t)random() % (round % 2 == 0 ? size : 4096)] = (char)random();
        read_all((struct source){.data = copy, .size = size, .step = 4096}, &seen);
        assert_true(seen.status == COFFER_OK || seen.status == COFFER_BAD_REQUEST);
    }
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dialects),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_not_regular),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
