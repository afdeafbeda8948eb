/*
 * Goal: appends and transactions do what datasets.h promises, over both engines. Method: each
 * property on a fresh store.
 */
#include "tests/support/dataset_fixture.h"

/* ---- appends ---- */

static void appends_make_records_and_versions(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_result first = ds_append_text(self->dataset, "a", "one");
    struct append_result second = ds_append_text(self->dataset, "a", "second");
    struct append_result other = ds_append_text(self->dataset, "b", "x");
    struct record_place places[4];
    size_t found;

    assert_int_equal(first.offset, 0);
    assert_int_equal(first.length, 3);
    assert_int_equal(first.record, 0);
    assert_int_equal(second.offset, 3);
    assert_int_equal(second.record, 1);
    assert_true(second.version > first.version);
    assert_true(other.version > second.version);
    assert_int_equal(other.offset, 0);
    assert_int_equal(ds_version(self->dataset), other.version);
    ds_check_text(self->dataset, "a", "onesecond");
    ds_check_text(self->dataset, "b", "x");
    ds_check_bytes(self->dataset, "a", first.version, "one", 3);
    CHECK_STATUS(stream_records(self->dataset, slice_from_text("a"), 0, 0, places, 4, &found, err),
        COFFER_OK);
    assert_int_equal(found, 2);
    assert_int_equal(places[1].record, 1);
    assert_int_equal(places[1].offset, 3);
    assert_int_equal(places[1].length, 6);
    CHECK_STATUS(stream_records(
                     self->dataset, slice_from_text("a"), first.version, 0, places, 4, &found, err),
        COFFER_OK);
    assert_int_equal(found, 1);
}

static void a_repeat_gets_the_first_receipt(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_call call = {.has_offset = true};
    struct append_result first, again;

    CHECK_STATUS(ds_append(self->dataset, "a", "hello", 5, &call, &first, err), COFFER_OK);
    assert_false(first.repeated);
    CHECK_STATUS(ds_append(self->dataset, "a", "hello", 5, &call, &again, err), COFFER_OK);
    assert_true(again.repeated);
    assert_int_equal(again.version, first.version);
    assert_int_equal(again.record, first.record);
    assert_int_equal(again.offset, 0);
    CHECK_STATUS(
        ds_append(self->dataset, "a", "jello", 5, &call, NULL, err), COFFER_OFFSET_MISMATCH);
    assert_int_equal(call.current, 5);
    CHECK_STATUS(
        ds_append(self->dataset, "a", "hell", 4, &call, NULL, err), COFFER_OFFSET_MISMATCH);
    CHECK_STATUS(
        ds_append(self->dataset, "a", "hello!", 6, &call, NULL, err), COFFER_OFFSET_MISMATCH);
    call.offset = 1; /* no record starts there */
    CHECK_STATUS(
        ds_append(self->dataset, "a", "ello", 4, &call, NULL, err), COFFER_OFFSET_MISMATCH);
    call.offset = 6;
    CHECK_STATUS(ds_append(self->dataset, "a", "x", 1, &call, NULL, err), COFFER_OFFSET_MISMATCH);
    call.offset = 5;
    CHECK_STATUS(ds_append(self->dataset, "a", " world", 6, &call, &again, err), COFFER_OK);
    assert_false(again.repeated);
    call.offset = 0;
    CHECK_STATUS(ds_append(self->dataset, "a", "hello", 5, &call, &again, err), COFFER_OK);
    assert_true(again.repeated);
    assert_int_equal(again.version, first.version);
    ds_check_text(self->dataset, "a", "hello world");
}

static void lines_are_records(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_call call = {.lines = true, .has_offset = true};
    struct append_result result;
    struct record_place places[8];
    size_t found;

    CHECK_STATUS(ds_append(self->dataset, "a", "12\n345\n\n6", 9, &call, &result, err), COFFER_OK);
    assert_int_equal(result.records, 4);
    CHECK_STATUS(stream_records(self->dataset, slice_from_text("a"), 0, 1, places, 8, &found, err),
        COFFER_OK);
    assert_int_equal(found, 3);
    assert_int_equal(places[0].offset, 3);
    assert_int_equal(places[0].length, 4);
    assert_int_equal(places[1].length, 1);
    assert_int_equal(places[2].length, 1);
    CHECK_STATUS(ds_append(self->dataset, "a", "12\n345\n\n6", 9, &call, &result, err), COFFER_OK);
    assert_true(result.repeated);
    assert_int_equal(result.records, 4);
    CHECK_STATUS(ds_append(self->dataset, "a", "12\n345\n", 7, &call, &result, err), COFFER_OK);
    assert_true(result.repeated);
    CHECK_STATUS(
        ds_append(self->dataset, "a", "12\n34", 5, &call, &result, err), COFFER_OFFSET_MISMATCH);
    ds_check_text(self->dataset, "a", "12\n345\n\n6");
}

/* Bodies around the size of a block, whole and as lines, with a length announced or not. */
static void bodies_of_any_size(void **state)
{
    struct dataset_test_state *self = *state;
    static const size_t sizes[] = {1, 65535, 65536, 65537, 1048575, 1048576, 1048577, 3500000};
    size_t total = 0;
    uint8_t *all = NULL;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int form = 0; form < 8; form++) {
            struct append_call call = {.lines = form & 1,
                .size_unknown = form & 2,
                .piece = 40000,
                .has_offset = true,
                .offset = total};
            struct append_result result, again;
            uint8_t *data = content_make(
                sizes[i], i * 8 + (size_t)form, form & 4 ? CONTENT_TEXT : CONTENT_RANDOM);

            CHECK_STATUS(
                ds_append(self->dataset, "a", data, sizes[i], &call, &result, err), COFFER_OK);
            assert_int_equal(result.offset, total);
            assert_int_equal(result.length, sizes[i]);
            CHECK_STATUS(
                ds_append(self->dataset, "a", data, sizes[i], &call, &again, err), COFFER_OK);
            assert_true(again.repeated);
            assert_int_equal(again.records, result.records);
            assert_int_equal(again.record, result.record);
            assert_int_equal(again.version, result.version);
            all = realloc(all, total + sizes[i]);
            memcpy(all + total, data, sizes[i]);
            total += sizes[i];
            free(data);
        }
    ds_check_bytes(self->dataset, "a", 0, all, total);
    free(all);
}

/* The records of a channel are what was appended, by a walk over all of them. */
static void records_of_large_bodies(void **state)
{
    struct dataset_test_state *self = *state;
    size_t size = 4 << 20, count = 0, at = 0;
    uint8_t *data = malloc(size);
    struct append_call call = {.lines = true};
    struct append_result result;
    struct record_place places[1000];
    uint64_t seed = 77, next = 0;
    size_t found = 1;

    while (at < size) { /* lines from a byte to two blocks long */
        size_t length = random_below(&seed, 20) == 0 ? random_below(&seed, 2500000) + 1
                                                     : random_below(&seed, 2000) + 1;

        if (length > size - at)
            length = size - at;
        memset(data + at, 'x', length);
        data[at + length - 1] = '\n';
        at += length;
        count++;
    }
    (void)ds_append_text(self->dataset, "a", "before");
    CHECK_STATUS(ds_append(self->dataset, "a", data, size, &call, &result, err), COFFER_OK);
    assert_int_equal(result.records, count);
    assert_int_equal(result.record, 1);
    (void)ds_append_text(self->dataset, "a", "after");
    at = 0;
    next = 1;
    while (next < count + 1) {
        CHECK_STATUS(
            stream_records(self->dataset, slice_from_text("a"), 0, next, places, 1000, &found, err),
            COFFER_OK);
        assert_true(found > 0);
        for (size_t i = 0; i < found && next < count + 1; i++) {
            const uint8_t *feed = memchr(data + at, '\n', size - at);
            size_t length = (size_t)(feed - (data + at)) + 1;

            assert_int_equal(places[i].record, next);
            assert_int_equal(places[i].offset, at + 6);
            assert_int_equal(places[i].length, length);
            at += length;
            next++;
        }
    }
    assert_int_equal(at, size);
    free(data);
}

static void bad_appends_leave_nothing(void **state)
{
    struct dataset_test_state *self = *state;
    struct digest wrong = {{1}};
    struct append_options options = {.channel = slice_from_text("a"), .size = 3, .digest = &wrong};
    struct append *append;
    struct append_result result;
    struct stream_info info;
    uint64_t current;
    size_t taken;
    struct gate gate;

    gate_init(&gate);
    CHECK_STATUS(append_begin(self->dataset, &options, gate_waker(&gate), &append, &current, err),
        COFFER_OK);
    CHECK_STATUS(append_data(append, "abc", 3, &taken, err), COFFER_OK);
    CHECK_STATUS(append_finish(append, &result, &current, err), COFFER_DIGEST_MISMATCH);
    append_close(append);
    gate_release(&gate);
    CHECK_STATUS(ds_append(self->dataset, "a", "", 0, NULL, NULL, err), COFFER_BAD_REQUEST);
    CHECK_STATUS(ds_append(self->dataset, "a/b", "x", 1, NULL, NULL, err), COFFER_BAD_NAME);
    CHECK_STATUS(ds_append(self->dataset, "", "x", 1, NULL, NULL, err), COFFER_BAD_NAME);
    CHECK_STATUS(
        dataset_stream(self->dataset, slice_from_text("a"), &info, err), COFFER_NO_SUCH_CHANNEL);
    assert_int_equal(dataset_streams(self->dataset, NULL, &info, 1), 0);
    assert_int_equal(ds_version(self->dataset), 0);
}

/* Begin an append at offset 0 and give it its body, but do not finish it. */
static struct append *begin_with_body(struct dataset *dataset, struct gate *gate, const char *text)
{
    struct append_options options = {
        .channel = slice_from_text("a"), .has_offset = true, .size = strlen(text)};
    struct append *append;
    uint64_t current;
    size_t taken;

    CHECK_STATUS(
        append_begin(dataset, &options, gate_waker(gate), &append, &current, err), COFFER_OK);
    CHECK_STATUS(append_data(append, text, strlen(text), &taken, err), COFFER_OK);
    assert_int_equal(taken, strlen(text));
    return append;
}

static enum coffer_status finish(
    struct append *append, struct gate *gate, struct append_result *result, uint64_t *current)
{
    enum coffer_status status;

    while ((status = append_finish(append, result, current, NULL)) == COFFER_AGAIN)
        gate_wait(gate);
    append_close(append);
    return status;
}

/* The writer has sent again what is still on its way: one of the two is appended, whichever, and
 * the other is its repeat; something else with that offset is refused. */
static void a_repeat_under_way(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_result first, second, third;
    struct append *appends[3];
    struct gate gates[3];
    uint64_t current = 0;

    for (size_t i = 0; i < 3; i++) {
        gate_init(&gates[i]);
        appends[i] = begin_with_body(self->dataset, &gates[i], i < 2 ? "the same" : "not that");
    }
    assert_int_equal(finish(appends[1], &gates[1], &first, &current), COFFER_OK);
    assert_int_equal(finish(appends[2], &gates[2], &third, &current), COFFER_OFFSET_MISMATCH);
    assert_int_equal(current, 8);
    assert_int_equal(finish(appends[0], &gates[0], &second, &current), COFFER_OK);
    assert_false(first.repeated);
    assert_true(second.repeated);
    assert_int_equal(second.version, first.version);
    ds_check_text(self->dataset, "a", "the same");
    for (size_t i = 0; i < 3; i++)
        gate_release(&gates[i]);
}

static void buffered_appends_have_tickets(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_call call = {.buffered = true};
    struct append_result result;
    struct error error;
    size_t failed;

    for (int i = 0; i < 100; i++) {
        CHECK_STATUS(
            ds_append(self->dataset, "a", "0123456789", 10, &call, &result, err), COFFER_OK);
        assert_true(result.buffered);
        assert_int_equal(result.offset, i * 10);
        assert_true(result.ticket.text[0] != '\0');
    }
    if (store_sync(self->fixture.store, &result.ticket, 1, &failed, &error) != COFFER_OK)
        fail_msg("%s", error.text);
    assert_int_equal(failed, 0);
    {
        struct stream_info info;

        CHECK_STATUS(dataset_stream(self->dataset, slice_from_text("a"), &info, err), COFFER_OK);
        assert_int_equal(info.size, 1000);
        assert_int_equal(info.records, 100);
    }
}

static void claims_fence(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_call call = {.has_epoch = true};
    uint64_t epoch, offset;

    CHECK_STATUS(ds_claim(self->dataset, "a", &epoch, &offset, err), COFFER_OK);
    assert_int_equal(epoch, 1);
    assert_int_equal(offset, 0);
    call.epoch = 1;
    CHECK_STATUS(ds_append(self->dataset, "a", "one", 3, &call, NULL, err), COFFER_OK);
    CHECK_STATUS(ds_claim(self->dataset, "a", &epoch, &offset, err), COFFER_OK);
    assert_int_equal(epoch, 2);
    assert_int_equal(offset, 3);
    CHECK_STATUS(ds_append(self->dataset, "a", "old", 3, &call, NULL, err), COFFER_FENCED);
    call.epoch = 3;
    CHECK_STATUS(ds_append(self->dataset, "a", "new", 3, &call, NULL, err), COFFER_BAD_REQUEST);
    call.epoch = 2;
    CHECK_STATUS(ds_append(self->dataset, "a", "two", 3, &call, NULL, err), COFFER_OK);
    ds_check_text(self->dataset, "a", "onetwo");
}

/* ---- transactions ---- */

static void a_commit_shows_all_or_nothing(void **state)
{
    struct dataset_test_state *self = *state;
    static const char *const channels[] = {"a", "b", "c", NULL};
    struct append_call call = {.transaction = "t1"};
    struct transaction_info info;
    struct append_result result;
    struct stream_info stream;
    uint64_t version;

    (void)ds_append_text(self->dataset, "a", "before");
    version = ds_version(self->dataset);
    CHECK_STATUS(
        tx_open(self->dataset, "t1", channels, 60000, false, false, &info, err), COFFER_OK);
    assert_true(info.created);
    CHECK_STATUS(
        tx_open(self->dataset, "t1", channels, 60000, false, false, &info, err), COFFER_OK);
    assert_false(info.created);
    CHECK_STATUS(ds_append(self->dataset, "a", "one", 3, &call, &result, err), COFFER_OK);
    assert_true(result.staged);
    assert_int_equal(result.offset, 6);
    assert_int_equal(result.record, 1);
    CHECK_STATUS(ds_append(self->dataset, "a", "two", 3, &call, &result, err), COFFER_OK);
    assert_int_equal(result.offset, 9);
    CHECK_STATUS(ds_append(self->dataset, "b", "three", 5, &call, &result, err), COFFER_OK);
    assert_int_equal(result.offset, 0);
    CHECK_STATUS(ds_append(self->dataset, "a", "x", 1, NULL, NULL, err), COFFER_CHANNEL_BUSY);
    CHECK_STATUS(ds_append(self->dataset, "d", "free", 4, NULL, NULL, err), COFFER_OK);
    ds_check_text(self->dataset, "a", "before");
    CHECK_STATUS(
        dataset_stream(self->dataset, slice_from_text("b"), &stream, err), COFFER_NO_SUCH_CHANNEL);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
    assert_true(info.state == TRANSACTION_COMMITTED && info.version > version + 1);
    ds_check_text(self->dataset, "a", "beforeonetwo");
    ds_check_text(self->dataset, "b", "three");
    ds_check_bytes(self->dataset, "a", info.version - 1, "before", 6);
    version = info.version;
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
    assert_int_equal(info.version, version);
    CHECK_STATUS(
        ds_append(self->dataset, "a", "x", 1, &call, NULL, err), COFFER_TRANSACTION_COMMITTED);
    CHECK_STATUS(tx_abort(self->dataset, "t1", NULL, &info, err), COFFER_TRANSACTION_COMMITTED);
    (void)ds_append_text(self->dataset, "a", "!");
    ds_check_text(self->dataset, "a", "beforeonetwo!");
}

static void an_abort_leaves_nothing(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_call call = {.transaction = "t1"};
    struct transaction_info info;
    struct stream_info stream;
    uint8_t *large = content_make(3 << 20, 5, CONTENT_RANDOM);

    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 60000, false, false, &info, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", "one", 3, &call, NULL, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", large, 3 << 20, &call, NULL, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "z", "x", 1, NULL, NULL, err), COFFER_CHANNEL_BUSY);
    CHECK_STATUS(tx_abort(self->dataset, "t1", "enough", &info, err), COFFER_OK);
    assert_string_equal(info.reason, "enough");
    assert_int_equal(dataset_streams(self->dataset, NULL, &stream, 1), 0);
    CHECK_STATUS(tx_abort(self->dataset, "t1", NULL, &info, err), COFFER_OK);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_TRANSACTION_ABORTED);
    CHECK_STATUS(
        ds_append(self->dataset, "a", "x", 1, &call, NULL, err), COFFER_TRANSACTION_ABORTED);
    assert_int_equal(ds_version(self->dataset), 0);
    (void)ds_append_text(self->dataset, "a", "fresh");
    ds_check_text(self->dataset, "a", "fresh");
    free(large);
}

static void staged_repeats_are_found(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_call call = {.transaction = "t1", .has_offset = true, .offset = 6};
    struct append_result first, again;
    struct transaction_info info;
    uint8_t *large = content_make(2500000, 6, CONTENT_TEXT);

    (void)ds_append_text(self->dataset, "a", "before");
    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 60000, false, false, &info, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", "one", 3, &call, &first, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", "one", 3, &call, &again, err), COFFER_OK);
    assert_true(again.repeated && again.staged);
    assert_int_equal(again.record, first.record);
    call.offset = 9;
    CHECK_STATUS(ds_append(self->dataset, "a", large, 2500000, &call, &first, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", large, 2500000, &call, &again, err), COFFER_OK);
    assert_true(again.repeated);
    assert_int_equal(again.record, 2);
    large[1000] ^= 1;
    CHECK_STATUS(
        ds_append(self->dataset, "a", large, 2500000, &call, &again, err), COFFER_OFFSET_MISMATCH);
    assert_int_equal(call.current, 2500009);
    large[1000] ^= 1;
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
    call.transaction = NULL; /* the answer to the commit was lost too: outside it is the same */
    CHECK_STATUS(ds_append(self->dataset, "a", large, 2500000, &call, &again, err), COFFER_OK);
    assert_true(again.repeated && !again.staged);
    assert_int_equal(again.version, info.version);
    free(large);
}

static void ready_commits_when_all_are(void **state)
{
    struct dataset_test_state *self = *state;
    static const char *const channels[] = {"a", "b", NULL};
    struct append_call call = {.transaction = "t1"};
    struct transaction_info info;

    CHECK_STATUS(tx_open(self->dataset, "t1", channels, 60000, true, true, &info, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", "one", 3, &call, NULL, err), COFFER_OK);
    CHECK_STATUS(tx_ready(self->dataset, "t1", "a", &info, err), COFFER_OK);
    assert_int_equal(info.state, TRANSACTION_OPEN);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_TRANSACTION_NOT_READY);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 20, &info, err), COFFER_TRANSACTION_NOT_READY);
    CHECK_STATUS(tx_ready(self->dataset, "t1", "x", &info, err), COFFER_NO_SUCH_CHANNEL);
    CHECK_STATUS(tx_ready(self->dataset, "t1", "b", &info, err), COFFER_OK);
    assert_int_equal(info.state, TRANSACTION_COMMITTED);
    CHECK_STATUS(tx_ready(self->dataset, "t1", "b", &info, err), COFFER_OK);
    assert_int_equal(info.state, TRANSACTION_COMMITTED);
    ds_check_text(self->dataset, "a", "one");
}

static void time_to_live_ends(void **state)
{
    struct dataset_test_state *self = *state;
    struct append_call call = {.transaction = "t1"};
    struct transaction_info info;

    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 30, false, false, &info, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "a", "one", 3, &call, NULL, err), COFFER_OK);
    /* A commit that waits for a channel which never comes sees the end of it. */
    while (tx_state(self->dataset, "t1") == TRANSACTION_OPEN)
        ;
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_TRANSACTION_ABORTED);
    CHECK_STATUS(
        tx_open(self->dataset, "t2", NULL, 0, false, false, &info, err), COFFER_BAD_REQUEST);
    CHECK_STATUS(
        tx_open(self->dataset, "t2", NULL, (uint64_t)86401 * 1000, false, false, &info, err),
        COFFER_BAD_REQUEST);
}

static void busy_channels_are_refused(void **state)
{
    struct dataset_test_state *self = *state;
    static const char *const a[] = {"a", NULL}, *const ab[] = {"a", "b", NULL};
    static const char *const c[] = {"c", NULL};
    struct transaction_info info;
    uint64_t epoch, offset;

    CHECK_STATUS(tx_open(self->dataset, "t1", a, 60000, false, false, &info, err), COFFER_OK);
    CHECK_STATUS(
        tx_open(self->dataset, "t2", ab, 60000, false, false, &info, err), COFFER_CHANNEL_BUSY);
    CHECK_STATUS(
        tx_open(self->dataset, "t3", NULL, 60000, false, false, &info, err), COFFER_CHANNEL_BUSY);
    CHECK_STATUS(tx_open(self->dataset, "t4", c, 60000, false, false, &info, err), COFFER_OK);
    CHECK_STATUS(ds_claim(self->dataset, "a", &epoch, &offset, err), COFFER_OK);
    assert_int_equal(tx_state(self->dataset, "t1"), TRANSACTION_ABORTED);
    assert_int_equal(tx_state(self->dataset, "t4"), TRANSACTION_OPEN);
    CHECK_STATUS(tx_commit(self->dataset, "t4", 0, &info, err), COFFER_OK); /* it is empty */
    CHECK_STATUS(transaction_find(self->dataset, slice_from_text("none"), &info, err),
        COFFER_NO_SUCH_TRANSACTION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_ENGINES(appends_make_records_and_versions),
        BOTH_ENGINES(a_repeat_gets_the_first_receipt),
        BOTH_ENGINES(lines_are_records),
        BOTH_ENGINES(bodies_of_any_size),
        BOTH_ENGINES(records_of_large_bodies),
        BOTH_ENGINES(bad_appends_leave_nothing),
        BOTH_ENGINES(a_repeat_under_way),
        BOTH_ENGINES(buffered_appends_have_tickets),
        BOTH_ENGINES(claims_fence),
        BOTH_ENGINES(a_commit_shows_all_or_nothing),
        BOTH_ENGINES(an_abort_leaves_nothing),
        BOTH_ENGINES(staged_repeats_are_found),
        BOTH_ENGINES(ready_commits_when_all_are),
        BOTH_ENGINES(time_to_live_ends),
        BOTH_ENGINES(busy_channels_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
