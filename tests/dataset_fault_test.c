/*
 * Goal: when a disk fails under one lane, what depends on it fails as a whole, with the right
 * status and reason, and nothing else does: nothing of it is visible, what was told to follow it
 * fails too, the dataset goes on afterwards, and what is there after a crash is what was answered.
 * Method: support/marked_disk.h makes the write or the sync of one record fail, however often it is
 * tried, or wait. Then the same with fault points: every call of each of them, in runs of all
 * deeds.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/dataset_deeds.h"
#include "tests/support/dataset_fixture.h"
#include "tests/support/marked_disk.h"

enum { NUMBER = 700001 /* of a transaction: long enough for a mark */ };

struct state {
    struct store_fixture fixture;
    struct deed_book book;
    struct dataset *dataset; /* set0 */
};

/* Channels a to d are there, and lie on two lanes in turn. */
static int set_up(void **state)
{
    struct state *self = calloc(1, sizeof(*self));

    invariant(self != NULL);
    log_configure(LOG_ERROR + 1, false);
    fixture_init(&self->fixture, ENGINE_LOCAL);
    self->fixture.options.compression = CODEC_NONE; /* or no mark would be found */
    self->fixture.options.pack_size = 16 << 20;
    self->fixture.options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_open(&self->fixture);
    book_open(&self->book);
    self->book.next_transaction = NUMBER;
    *state = self;
    return 0;
}

static int tear_down(void **state)
{
    struct state *self = *state;

    disk_mend();
    fault_disarm_all();
    dataset_drop(self->dataset);
    fixture_release(&self->fixture);
    book_close(&self->book);
    free(self);
    return 0;
}

/* ---- deeds ---- */

static enum coffer_status act(struct state *self, const struct deed *deed)
{
    struct deed_answer answer;

    book_begin(&self->book, deed);
    answer = deed_do(self->fixture.store, deed);
    book_end(&self->book, deed, &answer);
    return (enum coffer_status)answer.status;
}

static void expect(struct state *self, struct deed deed, enum coffer_status wanted)
{
    enum coffer_status status = act(self, &deed);

    if (status != wanted)
        fail_msg("%s: %s, not %s", deed_name(&deed), status_code(status), status_code(wanted));
}

/* transaction 0: a plain append. */
static struct deed append_of(
    struct state *self, unsigned channel, uint32_t transaction, uint32_t size)
{
    return (struct deed){.kind = transaction == 0 ? DEED_APPEND : DEED_STAGE,
        .channel = (uint8_t)channel,
        .transaction = transaction,
        .size = size,
        .seed = 2 * (0x5eed0000 + self->book.next_number++), /* even: its content begins so */
        .has_offset = true,
        .offset = book_tail(&self->book.sets[0].channels[channel])};
}

static struct deed step_of(enum deed_kind kind, uint32_t transaction)
{
    return (struct deed){.kind = (uint8_t)kind,
        .transaction = transaction,
        .mask = kind == DEED_OPEN ? 1 | 2 | 4 : 0};
}

static void begin(struct state *self)
{
    expect(self, (struct deed){.kind = DEED_CREATE}, COFFER_OK);
    for (unsigned c = 0; c < 4; c++)
        expect(self, append_of(self, c, 0, 100 + c), COFFER_OK);
    self->dataset = ds_hold(self->fixture.store, "set0");
}

static void look(struct state *self, const char *where)
{
    book_check(&self->book, self->fixture.store, BOOK_LIVE, where, NULL);
}

/* All is well again: the channels take more, now, after a crash, and without an index. */
static void go_on_and_crash(struct state *self, const char *where)
{
    disk_mend();
    fault_disarm_all();
    look(self, where);
    for (unsigned c = 0; c < BOOK_CHANNELS; c++)
        expect(self, append_of(self, c, 0, 1000), COFFER_OK);
    look(self, where);
    dataset_drop(self->dataset);
    self->dataset = NULL;
    fixture_crash(&self->fixture);
    book_check_thrice(&self->book, &self->fixture, where);
}

static void check_aborted(struct state *self, uint32_t number, const char *reason)
{
    struct transaction_info info;
    char name[STREAM_NAME_SIZE];

    book_transaction_name(number, name);
    assert_int_equal(
        transaction_find(self->dataset, slice_from_text(name), &info, NULL), COFFER_OK);
    assert_int_equal(info.state, TRANSACTION_ABORTED);
    assert_string_equal(info.reason, reason);
}

static enum coffer_status status_of(enum disk_way way)
{
    return way == DISK_HAS_NO_SPACE ? COFFER_DISK_FULL : COFFER_IO;
}

/* ---- one record fails ---- */

static void fail_staged(struct state *self, enum disk_way way, unsigned channel, uint32_t number)
{
    struct deed stages[] = {append_of(self, 0, number, 500), append_of(self, 1, number, 70000)};

    expect(self, step_of(DEED_OPEN, number), COFFER_OK);
    disk_fail(&stages[channel].seed, sizeof(stages[channel].seed), way, DISK_ALWAYS);
    for (unsigned i = 0; i < 2; i++)
        expect(self, stages[i], COFFER_OK);
    expect(self, step_of(DEED_COMMIT, number), status_of(way));
    assert_int_equal(disk_hits(), 2); /* it was tried again, once */
    check_aborted(self, number, "what was staged could not be made durable");
    look(self, "aborted");
    expect(self, append_of(self, 0, 0, 10), COFFER_OK); /* its channels are free */
    expect(self, append_of(self, 1, 0, 10), COFFER_OK);
    disk_mend();
}

/* Two lanes have something of the transaction; either fails in any way. */
static void a_staged_block_fails(void **state)
{
    struct state *self = *state;
    uint32_t number = NUMBER;

    begin(self);
    for (unsigned way = 0; way < DISK_WAYS; way++)
        for (unsigned channel = 0; channel < 2; channel++)
            fail_staged(self, (enum disk_way)way, channel, number++);
    go_on_and_crash(self, "a staged block failed");
}

/* A large body waits for its blocks: it fails by itself, and can be sent again. */
static void a_large_append_fails(void **state)
{
    struct state *self = *state;

    begin(self);
    expect(self, step_of(DEED_OPEN, NUMBER), COFFER_OK);
    expect(self, append_of(self, 0, NUMBER, 50), COFFER_OK);
    for (unsigned way = 0; way < DISK_WAYS; way++) {
        struct deed staged = append_of(self, 1, NUMBER, 2500000);
        struct deed plain = append_of(self, 3, 0, 2500000);

        disk_fail(&staged.seed, sizeof(staged.seed), (enum disk_way)way, DISK_ALWAYS);
        expect(self, staged, status_of((enum disk_way)way));
        assert_int_equal(tx_state(self->dataset, "t700001"), TRANSACTION_OPEN);
        disk_fail(&plain.seed, sizeof(plain.seed), (enum disk_way)way, DISK_ALWAYS);
        expect(self, plain, status_of((enum disk_way)way));
        look(self, "a large append failed");
        disk_mend();
        expect(self, plain, COFFER_OK);
        expect(self, staged, COFFER_OK);
    }
    expect(self, step_of(DEED_COMMIT, NUMBER), COFFER_OK);
    go_on_and_crash(self, "large appends failed");
}

/* The batch that is the commit; and then also the row that tells of the abort. */
static void a_commit_fails(void **state)
{
    struct state *self = *state;
    uint32_t number = NUMBER;

    begin(self);
    for (unsigned way = 0; way < DISK_WAYS; way++)
        for (unsigned count = 2; count <= 4; count += 2) {
            char name[STREAM_NAME_SIZE];

            expect(self, step_of(DEED_OPEN, number), COFFER_OK);
            expect(self, append_of(self, 0, number, 500), COFFER_OK);
            expect(self, append_of(self, 1, number, 1200000), COFFER_OK);
            expect(self, append_of(self, 2, number, 7), COFFER_OK);
            book_transaction_name(number, name);
            disk_fail(name, strlen(name), (enum disk_way)way, count);
            expect(self, step_of(DEED_COMMIT, number), status_of((enum disk_way)way));
            check_aborted(self, number,
                count == 2 ? "its commit could not be made durable"
                           : "the server was restarted or its disk failed while it was open");
            look(self, "a commit failed");
            disk_mend();
            expect(self, append_of(self, 1, 0, 10), COFFER_OK);
            number++;
        }
    go_on_and_crash(self, "commits failed");
}

static void an_opening_or_an_abort_fails(void **state)
{
    struct state *self = *state;
    uint32_t number = NUMBER;

    begin(self);
    for (unsigned way = 0; way < DISK_WAYS; way++) {
        char name[STREAM_NAME_SIZE];

        book_transaction_name(number, name);
        disk_fail(name, strlen(name), (enum disk_way)way, DISK_ALWAYS);
        expect(self, step_of(DEED_OPEN, number++), status_of((enum disk_way)way));
        look(self, "an opening failed");
        disk_mend();
        expect(self, step_of(DEED_OPEN, number), COFFER_OK);
        expect(self, append_of(self, 0, number, 500), COFFER_OK);
        book_transaction_name(number, name);
        disk_fail(name, strlen(name), (enum disk_way)way, DISK_ALWAYS);
        expect(self, step_of(DEED_ABORT, number++), COFFER_OK); /* whether it is written or not */
        disk_mend();
    }
    go_on_and_crash(self, "openings and aborts failed");
}

/* ---- what was told to follow ---- */

struct pending { /* an append that waits for its group */
    struct append *append;
    struct gate gate;
};

static void pending_begin(struct state *self, struct pending *pending, const struct deed *deed)
{
    struct append_options options = {
        .channel = slice_from_text(book_channel_names[deed->channel]), .size = deed->size};
    struct append_result result;
    uint8_t bytes[2000];
    uint64_t current;
    size_t taken;

    book_content(bytes, deed->size, deed->seed, false);
    gate_init(&pending->gate);
    assert_int_equal(append_begin(self->dataset, &options, gate_waker(&pending->gate),
                         &pending->append, &current, NULL),
        COFFER_OK);
    assert_int_equal(append_data(pending->append, bytes, deed->size, &taken, NULL), COFFER_OK);
    assert_int_equal(append_finish(pending->append, &result, &current, NULL), COFFER_AGAIN);
    book_begin(&self->book, deed);
}

static struct deed_answer pending_end(
    struct state *self, struct pending *pending, const struct deed *deed)
{
    struct append_result result = {0};
    struct deed_answer answer;
    uint64_t current;

    gate_wait(&pending->gate);
    answer.status = (int)append_finish(pending->append, &result, &current, NULL);
    answer.version = result.version;
    answer.buffered = answer.repeated = false;
    append_close(pending->append);
    gate_release(&pending->gate);
    book_end(&self->book, deed, &answer);
    return answer;
}

/* While the first group is being synced others gather behind it, which were told where they begin.
 */
static void appends_behind_a_failed_one_fail(void **state)
{
    struct state *self = *state;
    struct deed first = {0}, last;
    struct pending pending[2];
    struct append_call buffered = {.buffered = true};
    struct append_result result;
    uint64_t epoch, offset;
    size_t failed;

    begin(self);
    first = append_of(self, 0, 0, 300);
    disk_hold(&first.seed, sizeof(first.seed), true);
    pending_begin(self, &pending[0], &first);
    disk_wait_held();
    assert_int_equal(
        ds_append(self->dataset, "a", "buffered", 8, &buffered, &result, NULL), COFFER_OK);
    assert_int_equal(result.offset, first.offset + 300);
    last = append_of(self, 0, 0, 20);
    last.offset += 8;
    pending_begin(self, &pending[1], &last);
    disk_release();
    assert_int_equal(pending_end(self, &pending[1], &last).status, COFFER_IO);
    assert_int_equal(pending_end(self, &pending[0], &first).status, COFFER_IO);
    look(self, "a group failed, and the one behind it");
    assert_int_equal(store_sync(self->fixture.store, NULL, 0, &failed, NULL), COFFER_SYNC_FAILED);
    assert_int_equal(failed, 1);
    assert_int_equal(store_sync(self->fixture.store, NULL, 0, &failed, NULL), COFFER_OK);
    for (unsigned i = 0; i < 2; i++) { /* who has the ticket is told whenever he asks */
        assert_int_equal(
            store_sync(self->fixture.store, &result.ticket, 1, &failed, NULL), COFFER_SYNC_FAILED);
        assert_int_equal(failed, 1);
    }
    assert_int_equal(ds_claim(self->dataset, "a", &epoch, &offset, NULL), COFFER_OK);
    assert_int_equal(epoch, 1); /* that too begins where it was before */
    assert_int_equal(offset, first.offset);
    self->book.sets[0].channels[0].epoch = 1;
    go_on_and_crash(self, "a group failed, and the one behind it");
}

/* It counts on where the channel will end. */
static void a_transaction_behind_a_failed_append_is_aborted(void **state)
{
    struct state *self = *state;
    const struct slice channels[] = {slice_from_text("a"), slice_from_text("b")};
    struct transaction_options options = {.id = slice_from_text("t700001"),
        .channels = channels,
        .channel_count = 2,
        .ttl_ns = (uint64_t)3600 * 1000000000};
    struct deed first, open = step_of(DEED_OPEN, NUMBER);
    struct pending pending;
    struct change *change;
    struct gate gate;
    enum coffer_status status;

    begin(self);
    gate_init(&gate);
    first = append_of(self, 0, 0, 300);
    disk_hold(&first.seed, sizeof(first.seed), true);
    pending_begin(self, &pending, &first);
    disk_wait_held();
    /* Its own row may be on the lane that is held. */
    assert_int_equal(
        transaction_open(self->dataset, &options, gate_waker(&gate), &change, NULL), COFFER_OK);
    status = change_finish(change, NULL);
    assert_true(status == COFFER_OK || status == COFFER_AGAIN);
    for (unsigned c = 0; c < 2; c++) {
        struct append_call call = {.transaction = "t700001"};
        struct append_result result;

        assert_int_equal(
            ds_append(self->dataset, book_channel_names[c], "staged", 6, &call, &result, NULL),
            COFFER_OK);
        assert_int_equal(result.offset, c == 0 ? first.offset + 300 : 101);
    }
    disk_release();
    assert_int_equal(pending_end(self, &pending, &first).status, COFFER_IO);
    while (status == COFFER_AGAIN) {
        gate_wait(&gate);
        status = change_finish(change, NULL);
    }
    assert_true(status == COFFER_OK || status == COFFER_TRANSACTION_ABORTED);
    change_close(change);
    gate_release(&gate);
    book_begin(&self->book, &open);
    expect(self, step_of(DEED_COMMIT, NUMBER), COFFER_TRANSACTION_ABORTED);
    check_aborted(self, NUMBER, "appends before it on one of its channels could not be stored");
    self->book.sets[0].transactions[0].answered = true;
    go_on_and_crash(self, "a transaction behind a failed append");
}

/* ---- in order ---- */

/* Channel b is on another lane than a, d on the same as b. What is durable there stays out of sight
 * until what has the version before it is durable, too, or has failed. */
static void versions_wait_for_those_before(void **state, bool fails)
{
    struct state *self = *state;
    struct deed first, second;
    struct pending pending[2];
    struct deed_answer answers[2];
    struct stream_info info;
    uint64_t before, epoch, offset;

    begin(self);
    before = ds_version(self->dataset);
    first = append_of(self, 0, 0, 300);
    second = append_of(self, 1, 0, 300);
    disk_hold(&first.seed, sizeof(first.seed), fails);
    pending_begin(self, &pending[0], &first);
    disk_wait_held();
    pending_begin(self, &pending[1], &second);
    assert_int_equal(ds_claim(self->dataset, "d", &epoch, &offset, NULL), COFFER_OK);
    self->book.sets[0].channels[3].epoch = epoch;
    /* The claim came after the append on their lane, and is done. */
    assert_int_equal(ds_version(self->dataset), before);
    assert_int_equal(dataset_stream(self->dataset, slice_from_text("b"), &info, NULL), COFFER_OK);
    assert_int_equal(info.size, 101);
    disk_release();
    answers[0] = pending_end(self, &pending[0], &first);
    answers[1] = pending_end(self, &pending[1], &second);
    assert_int_equal(answers[0].status, fails ? COFFER_IO : COFFER_OK);
    assert_int_equal(answers[1].status, COFFER_OK);
    assert_int_equal(answers[1].version, before + 2);
    assert_int_equal(ds_version(self->dataset), before + 2);
    go_on_and_crash(self, "versions in order");
}

static void versions_are_published_in_order(void **state)
{
    versions_wait_for_those_before(state, false);
}

static void a_failed_version_is_left_out(void **state)
{
    versions_wait_for_those_before(state, true);
}

/* And one that fails while those before it are still on their way does not wait for them. */
static void a_version_fails_before_the_one_before_it(void **state)
{
    struct state *self = *state;
    struct deed first, second, third;
    struct pending pending[2];
    uint64_t before;

    begin(self);
    before = ds_version(self->dataset);
    first = append_of(self, 0, 0, 300);
    disk_hold(&first.seed, sizeof(first.seed), false);
    pending_begin(self, &pending[0], &first);
    disk_wait_held();
    fault_arm(FAULT_PACK_WRITE, EIO, 1, 2);
    second = append_of(self, 1, 0, 300);
    pending_begin(self, &pending[1], &second);
    assert_int_equal(pending_end(self, &pending[1], &second).status, COFFER_IO);
    third = append_of(self, 1, 0, 300);
    pending_begin(self, &pending[1], &third);
    disk_release();
    assert_int_equal(pending_end(self, &pending[0], &first).version, before + 1);
    assert_int_equal(pending_end(self, &pending[1], &third).version, before + 3);
    go_on_and_crash(self, "a version failed before the one before it");
}

/* Nobody sees any of a commit that is being made durable. */
static void a_commit_is_seen_when_it_is_durable(void **state)
{
    struct state *self = *state;
    struct deed commit = step_of(DEED_COMMIT, NUMBER);
    struct deed_answer answer = {0};
    struct transaction_info info = {.version = 0};
    struct change *change;
    struct gate gate;

    begin(self);
    expect(self, step_of(DEED_OPEN, NUMBER), COFFER_OK);
    for (unsigned c = 0; c < 3; c++)
        expect(self, append_of(self, c, NUMBER, 500), COFFER_OK);
    gate_init(&gate);
    disk_hold("t700001", 7, false);
    assert_int_equal(transaction_commit(self->dataset, slice_from_text("t700001"), 0,
                         gate_waker(&gate), &change, NULL),
        COFFER_OK);
    assert_int_equal(change_finish(change, NULL), COFFER_AGAIN);
    disk_wait_held();
    look(self, "a commit under way");
    disk_release();
    do
        gate_wait(&gate);
    while ((answer.status = (int)change_finish(change, NULL)) == COFFER_AGAIN);
    change_transaction(change, &info);
    answer.version = info.version;
    change_close(change);
    gate_release(&gate);
    book_begin(&self->book, &commit);
    book_end(&self->book, &commit, &answer);
    assert_int_equal(answer.status, COFFER_OK);
    look(self, "a commit");
    go_on_and_crash(self, "a commit");
}

static void a_deletion_fails(void **state)
{
    struct state *self = *state;

    begin(self);
    for (unsigned way = 0; way < DISK_WAYS; way++) {
        disk_fail("dset0", 5, (enum disk_way)way, DISK_ALWAYS); /* its row in the directory */
        expect(self, (struct deed){.kind = DEED_DELETE}, status_of((enum disk_way)way));
        assert_true(disk_hits() > 0);
        look(self, "a deletion failed");
        disk_mend();
        expect(self, append_of(self, way, 0, 10), COFFER_OK);
    }
    go_on_and_crash(self, "deletions failed");
}

/* What was buffered in a dataset that is deleted is not missed. */
static void a_deletion_is_no_loss(void **state)
{
    struct state *self = *state;
    struct append_call buffered = {.buffered = true};

    begin(self);
    assert_int_equal(
        ds_append(self->dataset, "a", "buffered", 8, &buffered, NULL, NULL), COFFER_OK);
    expect(self, (struct deed){.kind = DEED_DELETE}, COFFER_OK);
    assert_int_equal(store_sync(self->fixture.store, NULL, 0, NULL, NULL), COFFER_OK);
    dataset_drop(self->dataset);
    self->dataset = NULL;
    look(self, "deleted");
    fixture_close(&self->fixture); /* fails the test if something is missed */
    book_check_thrice(&self->book, &self->fixture, "deleted");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_staged_block_fails),
        CASE(a_large_append_fails),
        CASE(a_commit_fails),
        CASE(an_opening_or_an_abort_fails),
        CASE(appends_behind_a_failed_one_fail),
        CASE(a_transaction_behind_a_failed_append_is_aborted),
        CASE(versions_are_published_in_order),
        CASE(a_failed_version_is_left_out),
        CASE(a_version_fails_before_the_one_before_it),
        CASE(a_commit_is_seen_when_it_is_durable),
        CASE(a_deletion_fails),
        CASE(a_deletion_is_no_loss),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
