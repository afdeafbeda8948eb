/*
 * Goal: a power cut at any moment leaves every append, transaction and change of a dataset whole or
 * not there, loses nothing that was answered, brings nothing back that was answered to have failed,
 * and is not taken for damage. Method: as power_cut_test.c, for deeds of all kinds to two datasets
 * (support/deed_book.h), two of whose commits fail. The book as it was at the moment of a
 * cut says what the image may hold. Then the image goes on: more deeds, and all of it found again
 * without its index.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/dataset_deeds.h"
#include "tests/support/recorded_calls.h"

enum { DEEDS = 220, SETS_USED = 2, SNAPSHOTS_MAX = 32, LARGE_PERCENT = 2, DEEDS_AFTER = 6 };

struct snapshot { /* of a moment when nothing was under way */
    size_t position;
    struct deed_book *book;
    bool with_index; /* there is a copy of it, as it was on the disk */
};

struct suite {
    struct store_fixture fixture, image;
    struct deed_book book;
    uint64_t random;
    struct deed deeds[DEEDS];
    struct deed_answer answers[DEEDS];
    struct snapshot snapshots[SNAPSHOTS_MAX];
    unsigned snapshot_count;
    uint64_t cuts[CUT_MODES], certain, failed;
};

/* ---- the recorded run ---- */

static const char *index_path(struct suite *suite, unsigned snapshot)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "index%u", snapshot);
    return fixture_path(&suite->fixture, name);
}

static void take_snapshot(struct suite *suite, bool with_index)
{
    struct snapshot *snapshot = &suite->snapshots[suite->snapshot_count];

    invariant(suite->snapshot_count < SNAPSHOTS_MAX);
    if (with_index)
        tree_copy(
            fixture_data_path(&suite->fixture, "index"), index_path(suite, suite->snapshot_count));
    *snapshot = (struct snapshot){recorder_count(), book_copy(&suite->book), with_index};
    suite->snapshot_count++;
}

static void mark(unsigned deed, bool answered)
{
    struct disk_mark entry = {{deed, answered, 0, 0}};

    recorder_mark(&entry);
}

/* Something may have failed, and what was buffered be lost with it. */
static void settle(struct suite *suite, const char *where)
{
    (void)!store_sync(suite->fixture.store, NULL, 0, NULL, NULL);
    book_check(&suite->book, suite->fixture.store, BOOK_SETTLED, where, NULL);
    take_snapshot(suite, false);
}

static void act(struct suite *suite, unsigned i)
{
    struct deed *deed = &suite->deeds[i];
    struct deed_answer *answer = &suite->answers[i];
    uint64_t hits = fault_hits(FAULT_PACK_SYNC);

    *deed = deed_make(&suite->book, (unsigned)random_below(&suite->random, SETS_USED),
        LARGE_PERCENT, &suite->random);
    book_begin(&suite->book, deed);
    mark(i, false);
    *answer = deed_do(suite->fixture.store, deed);
    book_end(&suite->book, deed, answer);
    mark(i, true);
    suite->failed += answer->status != COFFER_OK;
    if (answer->status != COFFER_OK || fault_hits(FAULT_PACK_SYNC) > hits)
        settle(suite, deed_name(deed));
}

static void restart(struct suite *suite)
{
    fault_disarm_all();
    settle(suite, "before a restart");
    fixture_close(&suite->fixture);
    tree_remove(fixture_path(&suite->fixture, "copy"));
    tree_copy(fixture_data_path(&suite->fixture, "index"), fixture_path(&suite->fixture, "copy"));
    fixture_open(&suite->fixture);
    book_check(&suite->book, suite->fixture.store, BOOK_RESTARTED, "restart", NULL);
    take_snapshot(suite, false);
    tree_copy(fixture_path(&suite->fixture, "copy"), index_path(suite, suite->snapshot_count - 1));
    suite->snapshots[suite->snapshot_count - 1].with_index = true;
}

static void run(struct suite *suite)
{
    recorder_start(fixture_data_path(&suite->fixture, "packs"));
    take_snapshot(suite, false);
    for (unsigned i = 0; i < DEEDS; i++) {
        if (i == DEEDS / 5) /* some of it goes wrong, and is written again */
            fault_arm(FAULT_PACK_SYNC, EIO, 1, 1);
        if (i == DEEDS * 2 / 5)
            fault_arm(FAULT_PACK_WRITE, FAULT_SHORT, 1, 1);
        if (i % (DEEDS / 4) == DEEDS / 8) /* or is given up */
            fault_arm(FAULT_PACK_SYNC, EIO, 1, 2);
        if (i == DEEDS / 2 || i == DEEDS * 3 / 4)
            restart(suite);
        act(suite, i);
    }
    fault_disarm_all();
    settle(suite, "at the end");
    fixture_close(&suite->fixture);
}

/* ---- what must be there ---- */

/* The book as it was; *snapshot: the last index that was on the disk by then, or -1. */
static struct deed_book *book_at(struct suite *suite, size_t position, int *snapshot)
{
    struct deed_book *book = NULL;
    size_t at = 0;

    *snapshot = -1;
    for (unsigned i = 0; i < suite->snapshot_count; i++) {
        if (suite->snapshots[i].position > position)
            break;
        if (book != NULL)
            book_drop(book);
        book = book_copy(suite->snapshots[i].book);
        at = suite->snapshots[i].position;
        if (suite->snapshots[i].with_index)
            *snapshot = (int)i;
    }
    for (; at < position; at++) {
        const struct disk_mark *entry = recorder_mark_at(at);
        unsigned deed = entry == NULL ? 0 : entry->words[0];

        if (entry != NULL && entry->words[1] == 0)
            book_begin(book, &suite->deeds[deed]);
        else if (entry != NULL)
            book_end(book, &suite->deeds[deed], &suite->answers[deed]);
    }
    return book;
}

static void build_image(struct suite *suite, size_t position, enum cut_mode mode, int snapshot)
{
    struct store_fixture *image = &suite->image;
    size_t size;
    uint8_t *marker = file_bytes(fixture_data_path(&suite->fixture, "STORE"), &size);

    tree_remove(image->data_dir);
    invariant(mkdir(image->data_dir, 0750) == 0);
    invariant(mkdir(fixture_data_path(image, "packs"), 0750) == 0);
    file_put_bytes(fixture_data_path(image, "STORE"), marker, size);
    free(marker);
    recorder_build(position, mode, &suite->random, fixture_data_path(image, "packs"));
    if (snapshot >= 0)
        tree_copy(index_path(suite, (unsigned)snapshot), fixture_data_path(image, "index"));
}

/* The image is as good as any other store. */
static void go_on(struct suite *suite, struct deed_book *book, const char *where)
{
    struct store_fixture *image = &suite->image;

    book->next_number = suite->book.next_number;
    book->next_transaction = suite->book.next_transaction;
    for (unsigned i = 0; i < DEEDS_AFTER; i++) {
        struct deed deed = deed_make(book, i % SETS_USED, LARGE_PERCENT, &suite->random);
        struct deed_answer answer;

        book_begin(book, &deed);
        answer = deed_do(image->store, &deed);
        if (answer.status != COFFER_OK)
            fail_msg("%s: %s was answered %s", where, deed_name(&deed),
                status_code((enum coffer_status)answer.status));
        book_end(book, &deed, &answer);
    }
    fixture_close(image);
    book_check_thrice(book, image, where);
}

static void cut_at(struct suite *suite, size_t position, enum cut_mode mode, bool with_index)
{
    static const char *const names[] = {"dropped", "kept", "prefix", "torn"};
    struct store_fixture *image = &suite->image;
    struct store_status status;
    struct deed_book *book;
    struct error error;
    char where[80];
    int snapshot;

    (void)snprintf(where, sizeof(where), "cut at %zu, %s, %s index", position, names[mode],
        with_index ? "with" : "no");
    book = book_at(suite, position, &snapshot);
    build_image(suite, position, mode, with_index ? snapshot : -1);
    if (fixture_try_open(image, &error) != COFFER_OK)
        fail_msg("%s: %s", where, error.text);
    book_check(book, image->store, BOOK_RESTARTED, where, NULL);
    store_status(image->store, &status);
    if (status.damaged_records != 0)
        fail_msg("%s: taken for damage", where);
    suite->cuts[mode]++;
    suite->certain += book->certain;
    if (position % 3 == 2)
        go_on(suite, book, where);
    fixture_close(image);
    book_drop(book);
}

/* One way at every eighth place, and all that is torn where a pack has just been made. */
static bool is_chosen(size_t position, unsigned turn)
{
    if (recorder_new_file_at(position) && turn % CUT_MODES == CUT_TORN)
        return true;
    return position % 8 == 0 && turn == position / 8 * 3 % (2 * CUT_MODES);
}

static void test_cuts(void **state)
{
    struct suite *suite = calloc(1, sizeof(*suite));
    size_t count;

    (void)state;
    invariant(suite != NULL);
    log_configure(LOG_ERROR + 1, false);
    suite->random = test_seed() | 1;
    book_open(&suite->book);
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    suite->fixture.options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_init(&suite->image, ENGINE_LOCAL);
    fixture_open(&suite->fixture);
    run(suite);
    count = recorder_count();
    for (size_t position = 0; position <= count; position++)
        for (unsigned turn = 0; turn < 2 * CUT_MODES; turn++)
            if (test_long() || is_chosen(position, turn))
                cut_at(suite, position, (enum cut_mode)(turn % CUT_MODES), turn < CUT_MODES);
    print_message(
        "%zu calls and marks, %llu deeds that failed; cuts: %llu dropped, %llu kept, %llu "
        "prefix, %llu torn; %llu entries that had to be there\n",
        count, (unsigned long long)suite->failed, (unsigned long long)suite->cuts[0],
        (unsigned long long)suite->cuts[1], (unsigned long long)suite->cuts[2],
        (unsigned long long)suite->cuts[3], (unsigned long long)suite->certain);
    recorder_stop();
    for (unsigned i = 0; i < suite->snapshot_count; i++)
        book_drop(suite->snapshots[i].book);
    book_close(&suite->book);
    fixture_release(&suite->image);
    fixture_release(&suite->fixture);
    free(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cuts)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
