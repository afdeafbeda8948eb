/*
 * Goal: nothing of a dataset grows without a bound, and at a bound nobody is left waiting or gets a
 * wrong answer. Method: each bound on a fresh store, made small where that is possible; calls that
 * would wait for each other are made by one thread, which knows when one has to go on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/dataset_fixture.h"

struct state {
    struct store_fixture fixture;
    struct dataset *dataset;
};

static struct state *begin(void **state, enum engine_kind engine)
{
    struct state *self = calloc(1, sizeof(*self));

    invariant(self != NULL);
    fixture_init(&self->fixture, engine);
    *state = self;
    return self;
}

static void open_store(struct state *self)
{
    fixture_open(&self->fixture);
    self->dataset = ds_make(self->fixture.store, "run1");
}

static int set_up(void **state)
{
    open_store(begin(state, ENGINE_MEMORY));
    return 0;
}

static int set_up_local(void **state)
{
    open_store(begin(state, ENGINE_LOCAL));
    return 0;
}

static int set_up_little_memory(void **state)
{
    struct state *self = begin(state, ENGINE_MEMORY);

    self->fixture.options.memory_limit = 3 << 20;
    open_store(self);
    return 0;
}

static int set_up_few_kept(void **state)
{
    struct state *self = begin(state, ENGINE_LOCAL);

    self->fixture.options.datasets_kept = 2;
    open_store(self);
    return 0;
}

static int tear_down(void **state)
{
    struct state *self = *state;

    dataset_drop(self->dataset);
    fixture_release(&self->fixture);
    free(self);
    return 0;
}

/* ---- appends step by step ---- */

struct steps { /* an append that is not finished */
    struct append *append;
    struct gate gate;
};

static enum coffer_status steps_begin(struct state *self, struct steps *steps, const char *channel,
    const char *transaction, bool lines)
{
    struct append_options options = {.channel = slice_from_text(channel),
        .transaction = slice_from_text(transaction == NULL ? "" : transaction),
        .size = UPLOAD_SIZE_UNKNOWN,
        .lines = lines};
    uint64_t current;
    struct error error;

    gate_init(&steps->gate);
    return append_begin(
        self->dataset, &options, gate_waker(&steps->gate), &steps->append, &current, &error);
}

/* What of the data was taken; COFFER_AGAIN only if that is for good, so far as can be told. */
static enum coffer_status steps_data(
    struct steps *steps, const uint8_t *data, size_t size, size_t *at)
{
    enum coffer_status status = COFFER_OK;

    while (*at < size && status == COFFER_OK) {
        size_t taken;

        status = append_data(steps->append, data + *at, size - *at, &taken, NULL);
        *at += taken;
        if (status == COFFER_AGAIN) {
            gate_wait(&steps->gate);
            status = COFFER_OK;
        }
    }
    return status;
}

static enum coffer_status steps_finish(struct steps *steps, struct append_result *result)
{
    enum coffer_status status;
    uint64_t current;

    while ((status = append_finish(steps->append, result, &current, NULL)) == COFFER_AGAIN)
        gate_wait(&steps->gate);
    return status;
}

static void steps_end(struct steps *steps)
{
    append_close(steps->append);
    gate_release(&steps->gate);
}

/* Lines of different lengths. */
static uint8_t *make_lines(size_t size)
{
    uint8_t *data = malloc(size);

    invariant(data != NULL);
    for (size_t i = 0; i < size; i++)
        data[i] = i % 1000 == 999 || i % 777 == 0 ? '\n' : (uint8_t)('a' + i % 26);
    return data;
}

static size_t count_lines(const uint8_t *data, size_t size)
{
    size_t count = data[size - 1] != '\n';

    for (size_t i = 0; i < size; i++)
        count += data[i] == '\n';
    return count;
}

/* Three bodies that all need more memory than there is for all of them, a piece of each in turn:
 * none may hold a full block while it waits for memory for the next one. */
static void large_appends_do_not_wait_for_each_other(void **state)
{
    enum { APPENDS = 3, SIZE = 3500000, PIECE = 300000 };
    struct state *self = *state;
    struct steps steps[APPENDS];
    size_t at[APPENDS] = {0};
    uint8_t *data = make_lines(SIZE);
    const char *names[APPENDS] = {"a", "b", "c"};
    size_t lines = count_lines(data, SIZE), found;
    struct record_place places[2];

    for (size_t i = 0; i < APPENDS; i++)
        assert_int_equal(steps_begin(self, &steps[i], names[i], NULL, i != 1), COFFER_OK);
    for (size_t to = PIECE; to < SIZE + PIECE; to += PIECE)
        for (size_t i = 0; i < APPENDS; i++)
            assert_int_equal(steps_data(&steps[i], data, to < SIZE ? to : SIZE, &at[i]), COFFER_OK);
    for (size_t i = 0; i < APPENDS; i++) {
        struct append_result result;

        assert_int_equal(steps_finish(&steps[i], &result), COFFER_OK);
        assert_int_equal(result.length, SIZE);
        assert_int_equal(result.records, i == 1 ? 1 : lines);
        steps_end(&steps[i]);
        ds_check_bytes(self->dataset, names[i], 0, data, SIZE);
    }
    /* Wherever the blocks were cut: record by record they are the lines. */
    for (size_t record = 0, offset = 0; record < lines; record++) {
        const uint8_t *feed = memchr(data + offset, '\n', SIZE - offset);
        size_t end = feed == NULL ? SIZE : (size_t)(feed - data) + 1;

        if (record % 500 == 0 || end - offset > 990) {
            CHECK_STATUS(stream_records(self->dataset, slice_from_text("a"), 0, record, places, 2,
                             &found, err),
                COFFER_OK);
            assert_true(found >= 1);
            assert_int_equal(places[0].record, record);
            assert_int_equal(places[0].offset, offset);
            assert_int_equal(places[0].length, end - offset);
        }
        offset = end;
    }
    free(data);
}

/* A large body that can only be refused in the end is not taken to its end. */
static void a_closed_dataset_takes_no_blocks(void **state)
{
    struct state *self = *state;
    struct steps steps;
    struct append_result result;
    uint8_t *data = make_lines(4 << 20);
    size_t at = 0;

    assert_int_equal(steps_begin(self, &steps, "a", NULL, false), COFFER_OK);
    assert_int_equal(steps_data(&steps, data, 1500000, &at), COFFER_OK);
    CHECK_STATUS(ds_close_begin(self->dataset, err), COFFER_OK);
    assert_int_equal(steps_data(&steps, data, 4 << 20, &at), COFFER_DATASET_CLOSED);
    assert_true(at <= 2 << 20);
    assert_int_not_equal(steps_finish(&steps, &result), COFFER_OK);
    steps_end(&steps);
    free(data);
}

/* When it will be aborted; of some looks the earliest, as two clocks are read for each. */
static uint64_t expires_of(struct state *self, const char *id)
{
    uint64_t earliest = UINT64_MAX;
    struct transaction_info info;

    for (int i = 0; i < 10; i++) {
        CHECK_STATUS(transaction_find(self->dataset, slice_from_text(id), &info, err), COFFER_OK);
        earliest = info.expires_ns < earliest ? info.expires_ns : earliest;
    }
    return earliest;
}

/* A body that takes longer than a transaction's time to live keeps it alive, block by block; one
 * for a transaction that has ended is not taken to its end. */
static void a_transaction_lives_as_bodies_come(void **state)
{
    struct state *self = *state;
    struct steps steps;
    struct append_result result;
    struct transaction_info info;
    uint8_t *data = make_lines(4 << 20);
    uint64_t expires, until;
    size_t at = 0;

    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 600000, false, false, &info, err), COFFER_OK);
    assert_int_equal(steps_begin(self, &steps, "a", "t1", true), COFFER_OK);
    expires = expires_of(self, "t1");
    until = clock_monotonic_ns() + 50 * NS_PER_MS;
    while (clock_monotonic_ns() < until)
        ;
    assert_int_equal(steps_data(&steps, data, 1500000, &at), COFFER_OK);
    assert_true(expires_of(self, "t1") > expires + 25 * NS_PER_MS);
    CHECK_STATUS(tx_abort(self->dataset, "t1", NULL, &info, err), COFFER_OK);
    assert_int_equal(steps_data(&steps, data, 4 << 20, &at), COFFER_TRANSACTION_ABORTED);
    assert_true(at <= 2 << 20);
    assert_int_not_equal(steps_finish(&steps, &result), COFFER_OK);
    steps_end(&steps);
    free(data);
}

/* ---- repeats ---- */

/* An offset before a transaction's start, and a body that goes over it: no record does. */
static void no_record_goes_over_a_transactions_start(void **state)
{
    struct state *self = *state;
    struct append_call staged = {.transaction = "t1"};
    struct append_call call = {.transaction = "t1", .has_offset = true, .lines = true};
    struct append_result result;
    struct transaction_info info;

    (void)ds_append_text(self->dataset, "a", "one\n");
    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 60000, false, false, &info, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", "two\n", 4, &staged, NULL, err), COFFER_OK);
    CHECK_STATUS(
        ds_append(self->dataset, "a", "one\ntwo\n", 8, &call, NULL, err), COFFER_OFFSET_MISMATCH);
    assert_int_equal(call.current, 8);
    CHECK_STATUS(ds_append(self->dataset, "a", "one\n", 4, &call, &result, err), COFFER_OK);
    assert_true(result.repeated && !result.staged);
    call.offset = 4;
    CHECK_STATUS(ds_append(self->dataset, "a", "two\n", 4, &call, &result, err), COFFER_OK);
    assert_true(result.repeated && result.staged);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
    call = (struct append_call){.has_offset = true, .lines = true};
    CHECK_STATUS(ds_append(self->dataset, "a", "one\ntwo\n", 8, &call, &result, err), COFFER_OK);
    assert_true(result.repeated);
    assert_int_equal(result.records, 2);
    assert_int_equal(result.version, info.version);
}

/* ---- transactions ---- */

/* What was refused leaves no trace in a transaction of the whole dataset. */
static void a_refused_append_is_no_member(void **state)
{
    struct state *self = *state;
    struct append_call call = {.transaction = "t1", .has_offset = true, .offset = 7};
    struct append_call staged = {.transaction = "t1"};
    struct transaction_info info;

    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 60000, true, false, &info, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", "x", 1, &call, NULL, err), COFFER_OFFSET_MISMATCH);
    CHECK_STATUS(ds_append(self->dataset, "b", "x", 1, &staged, NULL, err), COFFER_OK);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_TRANSACTION_NOT_READY);
    CHECK_STATUS(tx_ready(self->dataset, "t1", "b", &info, err), COFFER_OK);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
}

/* As long as a name may be. */
static void long_name(char out[STREAM_NAME_SIZE], size_t number)
{
    memset(out, 'n', STREAM_NAME_SIZE - 1);
    out[STREAM_NAME_SIZE - 1] = '\0';
    for (size_t i = 0; number > 0; i++, number /= 10)
        out[i] = (char)('0' + number % 10);
}

static enum coffer_status open_many(
    struct state *self, const char *id, size_t count, struct error *err)
{
    char(*names)[STREAM_NAME_SIZE] = calloc(count, STREAM_NAME_SIZE);
    struct slice *slices = calloc(count, sizeof(struct slice));
    struct transaction_options options = {.id = slice_from_text(id),
        .channels = slices,
        .channel_count = count,
        .ttl_ns = (uint64_t)60000000000};
    struct change *change = NULL;
    struct gate gate;
    enum coffer_status status;

    invariant(names != NULL && slices != NULL);
    for (size_t i = 0; i < count; i++) {
        long_name(names[i], i);
        slices[i] = slice_from_text(names[i]);
    }
    gate_init(&gate);
    status = transaction_open(self->dataset, &options, gate_waker(&gate), &change, err);
    while (status == COFFER_OK && (status = change_finish(change, err)) == COFFER_AGAIN) {
        gate_wait(&gate);
        status = COFFER_OK;
    }
    change_close(change);
    gate_release(&gate);
    free(names);
    free(slices);
    return status;
}

static bool count_part(void *context, const struct version_part *part)
{
    (void)part;
    ++*(size_t *)context;
    return true;
}

/* As many channels as a transaction may have: its rows are within the engine's bounds. */
static void many_channels_in_one_transaction(void **state)
{
    struct state *self = *state;
    struct append_call call = {.transaction = "t1"};
    struct transaction_info info;
    size_t parts = 0;

    CHECK_STATUS(
        open_many(self, "t0", TRANSACTION_CHANNELS_MAX + 1, err), COFFER_CONTENT_TOO_LARGE);
    CHECK_STATUS(open_many(self, "t1", TRANSACTION_CHANNELS_MAX, err), COFFER_OK);
    for (size_t i = 0; i < TRANSACTION_CHANNELS_MAX; i += 400) {
        char name[STREAM_NAME_SIZE];

        long_name(name, i);
        CHECK_STATUS(ds_append(self->dataset, name, "x", 1, &call, NULL, err), COFFER_OK);
    }
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
    CHECK_STATUS(transaction_parts(self->dataset, slice_from_text("t1"), count_part, &parts, err),
        COFFER_OK);
    assert_int_equal(parts, TRANSACTION_CHANNELS_MAX);
}

/* The same for the whole dataset, where channels join as they are appended to. */
static void many_channels_join_one_transaction(void **state)
{
    struct state *self = *state;
    struct append_call call = {.transaction = "t1"};
    struct transaction_info info;

    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 600000, false, false, &info, err), COFFER_OK);
    for (int i = 0; i <= TRANSACTION_CHANNELS_MAX; i++) {
        char name[STREAM_NAME_SIZE];

        (void)snprintf(name, sizeof(name), "c%d", i);
        CHECK_STATUS(ds_append(self->dataset, name, "x", 1, &call, NULL, err),
            i < TRANSACTION_CHANNELS_MAX ? COFFER_OK : COFFER_CONTENT_TOO_LARGE);
    }
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
    assert_int_equal(ds_version(self->dataset), info.version);
}

/* ---- datasets in memory ---- */

/* More datasets than are kept: each is as it was when it is asked for again, whoever is held or has
 * something open meanwhile. */
static void few_datasets_are_kept(void **state)
{
    enum { DATASETS = 12, ROUNDS = 4 };
    struct state *self = *state;
    struct dataset *held[DATASETS] = {NULL};
    struct transaction_info info;
    char name[24], text[ROUNDS * 16];

    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 60000, false, false, &info, err), COFFER_OK);
    dataset_drop(self->dataset); /* its transaction keeps it */
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < DATASETS; i++) {
            struct dataset *dataset;

            (void)snprintf(name, sizeof(name), "many%d", i);
            dataset = round == 0 ? ds_make(self->fixture.store, name)
                                 : ds_hold(self->fixture.store, name);
            (void)snprintf(text, sizeof(text), "%d.%d\n", i, round);
            (void)ds_append_text(dataset, "a", text);
            dataset_drop(held[i]);
            held[i] = NULL;
            if ((i + round) % 3 == 0)
                held[i] = dataset;
            else
                dataset_drop(dataset);
        }
    for (int i = 0; i < DATASETS; i++)
        dataset_drop(held[i]);
    for (int i = 0; i < DATASETS; i++) {
        struct dataset *dataset;

        (void)snprintf(name, sizeof(name), "many%d", i);
        (void)snprintf(text, sizeof(text), "%d.0\n%d.1\n%d.2\n%d.3\n", i, i, i, i);
        dataset = ds_hold(self->fixture.store, name);
        ds_check_text(dataset, "a", text);
        assert_int_equal(ds_version(dataset), ROUNDS);
        CHECK_STATUS(ds_delete(dataset, err), COFFER_OK);
        dataset_drop(dataset);
    }
    self->dataset = ds_hold(self->fixture.store, "run1");
    assert_int_equal(tx_state(self->dataset, "t1"), TRANSACTION_OPEN);
}

/* ---- deletion ---- */

/* Who reads a dataset when it is deleted is told so; not that it is damaged. */
static void readers_are_told_of_a_deletion(void **state)
{
    enum { SIZE = 3 << 20 };
    struct state *self = *state;
    struct stream_reader *reader, *follower;
    struct record_place place;
    struct verify_result verified;
    struct gate gate;
    uint8_t *data = make_lines(SIZE), *out = malloc(SIZE);
    enum coffer_status status;
    size_t size, found;

    invariant(out != NULL);
    gate_init(&gate);
    CHECK_STATUS(ds_append(self->dataset, "a", data, SIZE, NULL, NULL, err), COFFER_OK);
    CHECK_STATUS(
        stream_open(self->dataset, slice_from_text("a"), 0, gate_waker(&gate), &reader, err),
        COFFER_OK);
    CHECK_STATUS(
        stream_open(self->dataset, slice_from_text("a"), 0, gate_waker(&gate), &follower, err),
        COFFER_OK);
    stream_select(reader, 0, SIZE, false);
    stream_select(follower, SIZE, UINT64_MAX, true);
    while ((status = stream_read(reader, out, 1000, &size, NULL)) == COFFER_AGAIN)
        gate_wait(&gate);
    assert_int_equal(status, COFFER_OK);
    assert_int_equal(stream_read(follower, out, 1000, &size, NULL), COFFER_AGAIN);
    CHECK_STATUS(ds_delete(self->dataset, err), COFFER_OK);
    gate_wait(&gate); /* the follower was woken: it has come to the end */
    assert_int_equal(stream_read(follower, out, 1000, &size, NULL), COFFER_OK);
    assert_int_equal(size, 0);
    do { /* what it has open it may read on; then it ends */
        status = stream_read(reader, out, SIZE, &size, NULL);
        if (status == COFFER_AGAIN)
            gate_wait(&gate);
    } while (status == COFFER_AGAIN || (status == COFFER_OK && size > 0));
    assert_true(status == COFFER_OK || status == COFFER_NO_SUCH_DATASET);
    CHECK_STATUS(stream_records(self->dataset, slice_from_text("a"), 0, 0, &place, 1, &found, err),
        COFFER_NO_SUCH_DATASET);
    CHECK_STATUS(dataset_verify(self->dataset, &verified, NULL, NULL, err), COFFER_NO_SUCH_DATASET);
    stream_close(reader);
    stream_close(follower);
    gate_release(&gate);
    free(data);
    free(out);
}

/* On a full disk a dataset can still be deleted: how else would there be space again. */
static void a_full_disk_lets_datasets_go(void **state)
{
    struct state *self = *state;

    (void)ds_append_text(self->dataset, "a", "text");
    dataset_drop(self->dataset);
    fixture_close(&self->fixture);
    self->fixture.options.reserve_space = (uint64_t)1 << 60; /* no disk has that much */
    fixture_open(&self->fixture);
    self->dataset = ds_hold(self->fixture.store, "run1");
    CHECK_STATUS(ds_append(self->dataset, "a", "x", 1, NULL, NULL, err), COFFER_DISK_FULL);
    CHECK_STATUS(ds_create(self->fixture.store, "run2", NULL, NULL, NULL, err), COFFER_DISK_FULL);
    ds_check_text(self->dataset, "a", "text");
    CHECK_STATUS(ds_delete(self->dataset, err), COFFER_OK);
    assert_false(ds_exists(self->fixture.store, "run1"));
    assert_false(ds_exists(self->fixture.store, "run2"));
    dataset_drop(self->dataset);
    self->dataset = NULL;
    fixture_reopen(&self->fixture);
    assert_false(ds_exists(self->fixture.store, "run1"));
}

#define WITH(test, set_up) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(large_appends_do_not_wait_for_each_other, set_up_little_memory),
        WITH(a_closed_dataset_takes_no_blocks, set_up),
        WITH(a_transaction_lives_as_bodies_come, set_up),
        WITH(no_record_goes_over_a_transactions_start, set_up),
        WITH(a_refused_append_is_no_member, set_up),
        WITH(many_channels_in_one_transaction, set_up_local),
        WITH(many_channels_join_one_transaction, set_up_local),
        WITH(few_datasets_are_kept, set_up_few_kept),
        WITH(readers_are_told_of_a_deletion, set_up),
        WITH(readers_are_told_of_a_deletion, set_up_local),
        WITH(a_full_disk_lets_datasets_go, set_up_local),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
