/*
 * Goal: whatever fails under a dataset, and whenever, each deed is done as a whole or not at all,
 * what was answered is there, what failed is not, and the dataset goes on. Method: runs of deeds of
 * all kinds (support/deed_book.h) with a fault point armed at one of its calls, compared with the
 * book after each failure, after a crash, and without the index.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/dataset_deeds.h"

enum { NTH_MAX = 300, DEEDS = 40, LARGE_PERCENT = 3 };

struct run {
    struct store_fixture fixture;
    struct deed_book book;
};

static void run_open(struct run *run)
{
    static const struct deed create = {.kind = DEED_CREATE};
    struct deed_answer answer;

    log_configure(LOG_ERROR + 1, false);
    fixture_init(&run->fixture, ENGINE_LOCAL);
    run->fixture.options.pack_size = 4 << 20;
    run->fixture.options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_open(&run->fixture);
    book_open(&run->book);
    book_begin(&run->book, &create);
    answer = deed_do(run->fixture.store, &create);
    assert_int_equal(answer.status, COFFER_OK);
    book_end(&run->book, &create, &answer);
}

static void run_close(struct run *run)
{
    fixture_release(&run->fixture);
    book_close(&run->book);
}

struct trouble {
    enum fault_site site;
    int action;
    uint64_t count; /* calls in a row */
};

/* What a deed is answered when it fails in trouble, or what it was to follow. */
static bool is_expected(enum coffer_status status)
{
    return status == COFFER_OK || status == COFFER_IO || status == COFFER_DISK_FULL ||
           status == COFFER_SYNC_FAILED || status == COFFER_TRANSACTION_ABORTED ||
           status == COFFER_NO_SUCH_TRANSACTION;
}

/* A run of deeds with trouble from the nth call on. False: there were not so many. */
static bool run_into(struct trouble trouble, uint64_t nth, uint64_t *random)
{
    struct run run;
    char where[100];
    bool hit, over = false;

    run_open(&run);
    (void)snprintf(where, sizeof(where), "%s=%d@%llux%llu", fault_name(trouble.site),
        trouble.action, (unsigned long long)nth, (unsigned long long)trouble.count);
    fault_arm(trouble.site, trouble.action, nth, trouble.count);
    for (unsigned i = 0; i < DEEDS && !over; i++) {
        struct deed deed = deed_make(&run.book, 0, LARGE_PERCENT, random);
        uint64_t before = fault_hits(trouble.site);
        struct deed_answer answer;

        book_begin(&run.book, &deed);
        answer = deed_do(run.fixture.store, &deed);
        if (answer.status == COFFER_OK || trouble.site != FAULT_INDEX_WRITE)
            book_end(&run.book, &deed, &answer);
        if (fault_hits(trouble.site) == before && answer.status == COFFER_OK)
            continue; /* else it may have been something buffered that failed */
        if (fault_hits(trouble.site) == 0 || !is_expected((enum coffer_status)answer.status))
            fail_msg("%s: %s was answered %s", where, deed_name(&deed),
                status_code((enum coffer_status)answer.status));
        over = trouble.site == FAULT_INDEX_WRITE; /* only a restart tells what became of it */
        if (!over) {
            (void)!store_sync(run.fixture.store, NULL, 0, NULL, NULL);
            book_check(&run.book, run.fixture.store, BOOK_SETTLED, where, NULL);
        }
    }
    hit = fault_hits(trouble.site) > 0;
    fault_disarm_all();
    fixture_crash(&run.fixture);
    book_check_thrice(&run.book, &run.fixture, where);
    run_close(&run);
    return hit;
}

static void trouble_anywhere(void **state)
{
    static const struct trouble troubles[] = {{FAULT_PACK_SYNC, EIO, 1}, {FAULT_PACK_SYNC, EIO, 2},
        {FAULT_PACK_SYNC, EIO, 4}, {FAULT_PACK_WRITE, EIO, 2}, {FAULT_PACK_WRITE, FAULT_SHORT, 2},
        {FAULT_PACK_WRITE, FAULT_SHORT, 1}, {FAULT_PACK_WRITE, ENOSPC, 2},
        {FAULT_PACK_WRITE, ENOSPC, 6}, {FAULT_PACK_ALLOCATE, ENOSPC, 1},
        {FAULT_PACK_OPEN, EMFILE, 1}, {FAULT_DIR_SYNC, EIO, 1}, {FAULT_INDEX_WRITE, EIO, 1}};
    uint64_t random = test_seed() | 1;
    unsigned runs = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(troubles); i++) {
        uint64_t nth = test_long() ? 1 : 1 + random_below(&random, 10);

        for (; nth < NTH_MAX && run_into(troubles[i], nth, &random); runs++)
            nth += test_long() ? 1 : 1 + random_below(&random, 12);
    }
    print_message("%u runs\n", runs);
    assert_true(runs > ARRAY_COUNT(troubles));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(trouble_anywhere)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
