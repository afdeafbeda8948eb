/*
 * Goal: bytes come out of a spool as they went in, from memory and from the file, while they are
 * written and afterwards. Method: a writing thread, pieces of random sizes, spools with room for
 * much, little and nothing.
 */
#include "api/spool.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[256];

struct writer {
    struct spool *spool;
    size_t total;
    unsigned seed;
    enum coffer_status last;
};

static unsigned char byte_at(uint64_t position)
{
    return (unsigned char)(position * 2654435761u >> 11);
}

static void *writer_main(void *argument)
{
    struct writer *writer = argument;
    unsigned char piece[5000];
    struct error err;

    for (size_t at = 0; at < writer->total;) {
        size_t size = (size_t)rand_r(&writer->seed) % sizeof(piece) + 1;

        if (size > writer->total - at)
            size = writer->total - at;
        for (size_t i = 0; i < size; i++)
            piece[i] = byte_at(at + i);
        if (spool_write(writer->spool, piece, size, NULL) != COFFER_OK)
            break;
        at += size;
    }
    (void)error_set(&err, writer->last, "the end");
    spool_finish(writer->spool, writer->last, &err);
    return NULL;
}

static enum coffer_status read_all(struct spool *spool, unsigned seed, size_t *total)
{
    enum coffer_status status;
    struct gate gate;
    struct error err;
    size_t size;

    *total = 0;
    gate_init(&gate);
    for (;;) {
        unsigned char piece[7000];

        status = spool_try_read(spool, piece, (size_t)rand_r(&seed) % sizeof(piece) + 1, &size,
            gate_waker(&gate), &err);
        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            continue;
        }
        if (status != COFFER_OK || size == 0)
            break;
        for (size_t i = 0; i < size; i++)
            assert_int_equal(piece[i], byte_at(*total + i));
        *total += size;
    }
    if (status != COFFER_OK)
        assert_string_equal(err.text, "the end");
    gate_release(&gate);
    return status;
}

static void run(size_t memory_max, size_t total, enum coffer_status last, bool beside)
{
    struct writer writer = {.total = total, .seed = (unsigned)total, .last = last};
    struct spool *spool;
    pthread_t thread;
    size_t seen;

    assert_int_equal(spool_create(memory_max, folder, &spool, NULL), COFFER_OK);
    writer.spool = spool;
    assert_int_equal(pthread_create(&thread, NULL, writer_main, &writer), 0);
    if (!beside)
        pthread_join(thread, NULL);
    assert_int_equal(read_all(spool, 5, &seen), last);
    assert_int_equal(seen, total);
    if (beside)
        pthread_join(thread, NULL);
    spool_destroy(spool);
}

static void test_bytes(void **state)
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000, 1 << 20};
    static const size_t memories[] = {0, 1, 5000, 65536, 4 << 20};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (size_t m = 0; m < sizeof(memories) / sizeof(memories[0]); m++) {
            run(memories[m], sizes[i], COFFER_OK, true);
            run(memories[m], sizes[i], COFFER_OK, false);
            run(memories[m], sizes[i], COFFER_DRAINING, m % 2 == 0);
        }
}

static void test_wait(void **state)
{
    struct spool *spool;
    struct error err, seen;
    struct gate gate;

    (void)state;
    gate_init(&gate);
    assert_int_equal(spool_create(100, folder, &spool, NULL), COFFER_OK);
    assert_int_equal(spool_try_wait(spool, gate_waker(&gate), NULL), COFFER_AGAIN);
    assert_int_equal(spool_write(spool, "abc", 3, NULL), COFFER_OK);
    gate_wait(&gate);
    assert_int_equal(spool_try_wait(spool, gate_waker(&gate), NULL), COFFER_OK);
    assert_int_equal(spool_failure(spool, NULL), COFFER_OK);
    spool_finish(spool, error_set(&err, COFFER_BAD_REQUEST, "bad"), &err);
    assert_int_equal(spool_try_wait(spool, gate_waker(&gate), &seen), COFFER_BAD_REQUEST);
    assert_string_equal(seen.text, "bad");
    assert_int_equal(spool_failure(spool, NULL), COFFER_BAD_REQUEST);
    gate_release(&gate);
    spool_destroy(spool);
}

static void test_no_name_is_left(void **state)
{
    DIR *dir = opendir(folder);
    int entries = 0;

    (void)state;
    run(0, 100000, COFFER_OK, true);
    assert_non_null(dir);
    while (readdir(dir) != NULL)
        entries++;
    closedir(dir);
    assert_int_equal(entries, 2); /* . and .. */
}

static int setup(void **state)
{
    const char *temporary = getenv("TMPDIR");
    char parent[200];

    (void)state;
    (void)snprintf(parent, sizeof(parent), "%s/coffer-spool-test-XXXXXX",
        temporary == NULL ? "/tmp" : temporary);
    if (mkdtemp(parent) == NULL)
        return -1;
    (void)snprintf(folder, sizeof(folder), "%s/tmp", parent); /* made by the spool */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)rmdir(folder);
    *strrchr(folder, '/') = '\0';
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_no_name_is_left),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
