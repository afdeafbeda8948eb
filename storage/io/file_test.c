/* Files and folders: whole reads and writes, publishing, and what goes wrong on the way. */
#include "storage/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "tests/support/store_fixture.h"

/* ---- calls whose order matters, in place of the C library's ---- */

static char trace[64]; /* w: write, s: sync, r: rename, m: make a folder, f: sync a folder */

static void note(char call, bool good)
{
    size_t used = strlen(trace);

    if (good && used + 1 < sizeof(trace))
        trace[used] = call;
}

ssize_t pwritev(int fd, const struct iovec *vectors, int count, off_t offset)
{
    ssize_t written = syscall(SYS_pwritev, fd, vectors, (long)count, (long)offset, 0L);

    note('w', written > 0);
    return written;
}

int fdatasync(int fd)
{
    int result = (int)syscall(SYS_fdatasync, fd);

    note('s', result == 0);
    return result;
}

int fsync(int fd)
{
    int result = (int)syscall(SYS_fsync, fd);

    note('f', result == 0);
    return result;
}

int rename(const char *from, const char *to)
{
    int result = renameat(AT_FDCWD, from, AT_FDCWD, to);

    note('r', result == 0);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    int result = mkdirat(AT_FDCWD, path, mode);

    note('m', result == 0);
    return result;
}

static void check_trace(const char *wanted)
{
    assert_string_equal(trace, wanted);
    memset(trace, 0, sizeof(trace));
}

/* ---- fixture ---- */

struct suite {
    char dir[200];
    char path[300];
};

static int set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    (void)snprintf(
        suite->dir, sizeof(suite->dir), "%.100s/coffer-file-XXXXXX", tmp != NULL ? tmp : "/tmp");
    invariant(mkdtemp(suite->dir) != NULL);
    (void)snprintf(suite->path, sizeof(suite->path), "%s/file", suite->dir);
    memset(trace, 0, sizeof(trace));
    *state = suite;
    return 0;
}

static int tear_down(void **state)
{
    struct suite *suite = *state;

    fault_disarm_all();
    tree_remove(suite->dir);
    free(suite);
    return 0;
}

static void test_many_vectors(void **state)
{
    enum { COUNT = 3000 }; /* more than one call takes */
    struct suite *suite = *state;
    struct iovec vectors[COUNT];
    uint8_t bytes[COUNT], back[COUNT];
    int fd = open(suite->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    size_t got;

    for (size_t i = 0; i < COUNT; i++) {
        bytes[i] = (uint8_t)(i * 31);
        vectors[i] = (struct iovec){&bytes[i], i % 5 == 0 ? 0 : 1}; /* and empty ones */
    }
    assert_int_equal(file_write_all(fd, vectors, COUNT, 10, "file", NULL), COFFER_OK);
    assert_int_equal(file_read_some(fd, back, sizeof(back), 10, &got, "file", NULL), COFFER_OK);
    assert_int_equal(got, COUNT / 5 * 4);
    for (size_t i = 0, j = 0; i < COUNT; i++)
        if (i % 5 != 0)
            assert_int_equal(back[j++], bytes[i]);
    assert_int_equal(file_write_all(fd, vectors, 0, 0, "file", NULL), COFFER_OK);
    close(fd);
}

static void test_reads(void **state)
{
    struct suite *suite = *state;
    struct error error;
    char back[20], small[4];
    size_t size;
    int fd;

    file_put_bytes(suite->path, "0123456789", 10);
    fd = open(suite->path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(file_read_at(fd, back, 10, 0, "file", NULL), COFFER_OK);
    assert_memory_equal(back, "0123456789", 10);
    assert_int_equal(file_read_at(fd, back, 3, 7, "file", NULL), COFFER_OK);
    assert_memory_equal(back, "789", 3);
    assert_int_equal(file_read_at(fd, back, 4, 7, "file", &error), COFFER_IO);
    assert_non_null(strstr(error.text, "file"));
    close(fd);
    assert_int_equal(file_read_at(fd, back, 4, 7, "file", &error), COFFER_IO);
    assert_int_equal(file_load(suite->path, back, sizeof(back), &size, NULL), COFFER_OK);
    assert_int_equal(size, 10);
    assert_string_equal(back, "0123456789");
    assert_int_equal(file_load(suite->path, small, sizeof(small), &size, NULL), COFFER_OK);
    assert_int_equal(size, 3); /* as much as there is room for */
    assert_string_equal(small, "012");
    (void)snprintf(back, sizeof(back), "/nowhere/at/all");
    assert_int_equal(file_load(back, small, sizeof(small), &size, NULL), COFFER_NO_SUCH_PATH);
}

static void check_loaded(struct suite *suite, const char *wanted)
{
    char back[100], path[300];
    size_t size;
    struct stat info;

    (void)snprintf(path, sizeof(path), "%s/file.new", suite->dir);
    assert_int_not_equal(stat(path, &info), 0);
    assert_int_equal(file_load(suite->path, back, sizeof(back), &size, NULL), COFFER_OK);
    assert_string_equal(back, wanted);
}

static void test_publish(void **state)
{
    struct suite *suite = *state;
    struct error error;

    assert_int_equal(file_publish(suite->dir, "file", slice_from_text("first"), NULL), COFFER_OK);
    check_trace("wsrf");
    check_loaded(suite, "first");
    assert_int_equal(file_publish(suite->dir, "file", slice_from_text("second"), NULL), COFFER_OK);
    check_loaded(suite, "second");
    fault_arm(FAULT_FILE_PUBLISH, EIO, 1, 1);
    assert_int_equal(file_publish(suite->dir, "file", slice_from_text("third"), &error), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_FILE_PUBLISH), 1);
    check_loaded(suite, "second");
    assert_int_equal(
        file_publish("/nowhere/at/all", "file", slice_from_text("x"), &error), COFFER_IO);
    assert_int_equal(file_publish(suite->dir, "file", slice_from_text(""), NULL), COFFER_OK);
    check_loaded(suite, "");
}

static void test_folders(void **state)
{
    struct suite *suite = *state;
    char path[400];
    struct stat info;
    uint64_t space = 0;

    (void)snprintf(path, sizeof(path), "%s/a/b//c", suite->dir);
    assert_int_equal(dir_make(path, NULL), COFFER_OK);
    check_trace("mfmfmf"); /* each name synced in its parent */
    assert_int_equal(dir_make(path, NULL), COFFER_OK);
    assert_true(stat(path, &info) == 0 && S_ISDIR(info.st_mode));
    assert_int_equal(dir_sync(path, NULL), COFFER_OK);
    fault_arm(FAULT_DIR_SYNC, EIO, 1, 1);
    (void)snprintf(path, sizeof(path), "%s/d", suite->dir);
    assert_int_equal(dir_make(path, NULL), COFFER_IO);
    assert_int_equal(fault_hits(FAULT_DIR_SYNC), 1);
    fault_disarm_all();
    file_put_bytes(suite->path, "", 0);
    (void)snprintf(path, sizeof(path), "%s/inner", suite->path);
    assert_int_equal(dir_make(suite->path, NULL), COFFER_IO); /* a file is in the way */
    assert_int_equal(dir_make(path, NULL), COFFER_IO);
    assert_int_equal(dir_make("", NULL), COFFER_BAD_OPTION);
    assert_int_equal(dir_sync(suite->path, NULL), COFFER_IO);
    assert_int_equal(dir_free_space(suite->dir, &space, NULL), COFFER_OK);
    assert_true(space > 0);
    assert_int_equal(dir_free_space("/nowhere/at/all", &space, NULL), COFFER_IO);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_many_vectors),
        CASE(test_reads),
        CASE(test_publish),
        CASE(test_folders),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
