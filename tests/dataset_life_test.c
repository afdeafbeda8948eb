/*
 * Goal: datasets are made, changed, closed, deleted and found again as datasets.h promises.
 * Method: each property on a fresh store, over both engines; restarts over the local one.
 */
#include "tests/support/dataset_fixture.h"

/* ---- datasets ---- */

static void datasets_are_made_changed_and_deleted(void **state)
{
    struct dataset_test_state *self = *state;
    struct store *store = self->fixture.store;
    struct dataset_info infos[4], info;
    struct dataset *other;
    size_t found, size;
    bool created;
    char *metadata;

    CHECK_STATUS(ds_create(store, "run2", NULL, "{\"a\":1}", &created, err), COFFER_OK);
    assert_true(created);
    CHECK_STATUS(ds_create(store, "run2", NULL, "{\"a\":1}", &created, err), COFFER_OK);
    assert_false(created);
    CHECK_STATUS(ds_create(store, "run2", NULL, "{\"a\":2}", &created, err), COFFER_ALREADY_EXISTS);
    CHECK_STATUS(ds_create(store, "X", NULL, NULL, &created, err), COFFER_BAD_NAME);
    CHECK_STATUS(
        store_datasets(store, NULL, slice_from_text("run"), infos, 4, &found, err), COFFER_OK);
    assert_int_equal(found, 2);
    assert_string_equal(infos[1].name, "run2");
    CHECK_STATUS(
        store_datasets(store, "run1", slice_from_text(""), infos, 4, &found, err), COFFER_OK);
    assert_int_equal(found, 1);
    other = ds_hold(store, "run2");
    dataset_info(other, &info);
    CHECK_STATUS(ds_set_metadata(other, info.tag, NULL, "{\"b\":3}", err), COFFER_OK);
    CHECK_STATUS(
        ds_set_metadata(other, info.tag, NULL, "{\"b\":4}", err), COFFER_PRECONDITION_FAILED);
    CHECK_STATUS(ds_set_metadata(other, 0, "{\"b\":2}", "{}", err), COFFER_PRECONDITION_FAILED);
    metadata = dataset_metadata(other, &size);
    assert_string_equal(metadata, "{\"b\":3}");
    free(metadata);
    (void)ds_append_text(other, "a", "gone");
    CHECK_STATUS(ds_delete(other, err), COFFER_OK);
    CHECK_STATUS(ds_delete(other, err), COFFER_NO_SUCH_DATASET);
    CHECK_STATUS(ds_append(other, "a", "x", 1, NULL, NULL, err), COFFER_NO_SUCH_DATASET);
    assert_false(ds_exists(store, "run2"));
    dataset_drop(other);
    other = ds_make(store, "run2");
    assert_int_equal(ds_version(other), 0);
    dataset_drop(other);
}

static void a_closed_dataset_takes_nothing(void **state)
{
    struct dataset_test_state *self = *state;
    struct transaction_info info;

    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 60000, false, false, &info, err), COFFER_OK);
    CHECK_STATUS(ds_close_begin(self->dataset, err), COFFER_OK);
    assert_int_equal(ds_state(self->dataset), DATASET_CLOSING);
    assert_int_equal(tx_state(self->dataset, "t1"), TRANSACTION_ABORTED);
    CHECK_STATUS(ds_append(self->dataset, "a", "x", 1, NULL, NULL, err), COFFER_DATASET_CLOSED);
    CHECK_STATUS(ds_close_begin(self->dataset, err), COFFER_DATASET_CLOSED);
    CHECK_STATUS(ds_closed(self->dataset, err), COFFER_OK);
    assert_int_equal(ds_state(self->dataset), DATASET_CLOSED);
}

static void compressing_changes_no_byte(void **state)
{
    struct dataset_test_state *self = *state;
    uint8_t *all = malloc(8 << 20);
    uint64_t versions[300], sizes[300], saved, seed = 99;
    struct record_place before[600], after[600];
    struct verify_result verified;
    size_t total = 0, count = 0, records, found;

    for (; count < 300; count++) {
        size_t size = random_below(&seed, 60) == 0 ? 1500000 : random_below(&seed, 9000) + 1;
        struct append_call call = {.lines = random_below(&seed, 2)};
        struct append_result result;
        uint8_t *data;

        if (total + size > (8 << 20))
            break;
        data = content_make(size, count, CONTENT_TEXT);
        CHECK_STATUS(ds_append(self->dataset, "a", data, size, &call, &result, err), COFFER_OK);
        memcpy(all + total, data, size);
        total += size;
        versions[count] = result.version;
        sizes[count] = total;
        free(data);
    }
    CHECK_STATUS(ds_close_begin(self->dataset, err), COFFER_OK);
    CHECK_STATUS(
        stream_records(self->dataset, slice_from_text("a"), 0, 5, before, 600, &records, err),
        COFFER_OK);
    CHECK_STATUS(dataset_verify(self->dataset, &verified, NULL, NULL, err), COFFER_OK);
    assert_int_equal(verified.damaged, 0);
    assert_int_equal(verified.bytes, total);
    for (int round = 0; round < 2; round++) {
        CHECK_STATUS(dataset_compress(self->dataset, 9, &saved, NULL, NULL, err), COFFER_OK);
        ds_check_bytes(self->dataset, "a", 0, all, total);
        for (size_t i = 0; i < count; i += 17)
            ds_check_bytes(self->dataset, "a", versions[i], all, sizes[i]);
        CHECK_STATUS(
            stream_records(self->dataset, slice_from_text("a"), 0, 5, after, 600, &found, err),
            COFFER_OK);
        assert_int_equal(found, records);
        assert_memory_equal(before, after, records * sizeof(struct record_place));
    }
    CHECK_STATUS(dataset_verify(self->dataset, &verified, NULL, NULL, err), COFFER_OK);
    assert_int_equal(verified.damaged, 0);
    assert_true(verified.blocks < count);
    free(all);
}

static void a_package_is_kept(void **state)
{
    struct dataset_test_state *self = *state;
    uint8_t *package = content_make(2500000, 3, CONTENT_TEXT);

    CHECK_STATUS(ds_close_begin(self->dataset, err), COFFER_OK);
    for (int round = 0; round < 2; round++) { /* the second replaces the first */
        struct package_writer *writer;
        struct stream_reader *reader;
        struct gate gate;
        uint8_t *read = malloc(2500000);
        size_t at = 0, part = 1, size = 2500000 - (size_t)round * 1000000;

        CHECK_STATUS(package_begin(self->dataset, ARCHIVE_TAR, &writer, err), COFFER_OK);
        CHECK_STATUS(package_write(writer, package, size, err), COFFER_OK);
        CHECK_STATUS(package_finish(writer, err), COFFER_OK);
        package_close(writer);
        gate_init(&gate);
        CHECK_STATUS(
            dataset_package_open(self->dataset, gate_waker(&gate), &reader, err), COFFER_OK);
        assert_int_equal(stream_size(reader), size);
        while (part > 0) {
            enum coffer_status status = stream_read(reader, read + at, 2500000 - at, &part, NULL);

            if (status == COFFER_AGAIN) {
                gate_wait(&gate);
                part = 1;
                continue;
            }
            assert_int_equal(status, COFFER_OK);
            at += part;
        }
        assert_int_equal(at, size);
        assert_memory_equal(read, package, size);
        stream_close(reader);
        gate_release(&gate);
        free(read);
    }
    free(package);
}

/* ---- readers ---- */

/* Read on, at most `max` bytes a call, up to `end`. */
static void read_to(struct stream_reader *reader, struct gate *gate, uint8_t *out, size_t *at,
    size_t end, size_t max)
{
    while (*at < end) {
        size_t part = 0;
        enum coffer_status status =
            stream_read(reader, out + *at, end - *at < max ? end - *at : max, &part, NULL);

        if (status == COFFER_AGAIN) {
            gate_wait(gate);
            continue;
        }
        assert_int_equal(status, COFFER_OK);
        assert_true(part > 0);
        *at += part;
    }
}

/* Goal: pieces of any size, begun anywhere, are the channel's bytes, also when its blocks are moved
 * between two of them. Method: appends that are a short block each; readers that have read a part
 * when the dataset is compressed. */
static void readers_of_many_short_blocks(void **state)
{
    static const size_t pieces[] = {1, 33, 1000, 1 << 20};
    enum { COUNT = 300, READERS = sizeof(pieces) / sizeof(pieces[0]) };
    struct dataset_test_state *self = *state;
    struct stream_reader *readers[READERS];
    uint8_t all[COUNT * 30], read[READERS][COUNT * 30];
    struct verify_result verified;
    size_t total = 0, at[READERS];
    uint64_t saved, seed = 5;
    struct gate gate;

    for (int i = 0; i < COUNT; i++) {
        size_t size = random_below(&seed, 30) + 1;

        memset(all + total, 'a' + i % 26, size);
        CHECK_STATUS(ds_append(self->dataset, "a", all + total, size, NULL, NULL, err), COFFER_OK);
        total += size;
    }
    gate_init(&gate);
    for (size_t i = 0; i < READERS; i++) {
        size_t from = i * 7;

        CHECK_STATUS(stream_open(self->dataset, slice_from_text("a"), 0, gate_waker(&gate),
                         &readers[i], err),
            COFFER_OK);
        stream_select(readers[i], from, total, false);
        at[i] = from;
        read_to(readers[i], &gate, read[i], &at[i], 100 + 50 * i, pieces[i]);
    }
    CHECK_STATUS(ds_close_begin(self->dataset, err), COFFER_OK);
    CHECK_STATUS(dataset_compress(self->dataset, 1, &saved, NULL, NULL, err), COFFER_OK);
    CHECK_STATUS(dataset_verify(self->dataset, &verified, NULL, NULL, err), COFFER_OK);
    assert_true(verified.blocks < COUNT / 10); /* so all of them were moved */
    for (size_t i = 0; i < READERS; i++) {
        size_t more;

        read_to(readers[i], &gate, read[i], &at[i], total, pieces[i]);
        assert_memory_equal(read[i] + i * 7, all + i * 7, total - i * 7);
        assert_int_equal(stream_read(readers[i], read[i], 1, &more, NULL), COFFER_OK);
        assert_int_equal(more, 0);
        stream_close(readers[i]);
    }
    gate_release(&gate);
}

/* Raw and compressed blocks, long and short, warm and cold, verified before or not. */
static void readers_of_cold_blocks(void **state)
{
    static const size_t sizes[] = {700000, 40, 2500000, 17, 1200000, 3000};
    struct dataset_test_state *self = *state;
    uint8_t *all = malloc(8 << 20), *read = malloc(8 << 20);
    struct stream_reader *reader;
    enum coffer_status status;
    size_t total = 0, at, part = 0;
    struct gate gate;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        uint8_t *data = content_make(sizes[i], i, i == 2 ? CONTENT_TEXT : CONTENT_RANDOM);

        CHECK_STATUS(ds_append(self->dataset, "a", data, sizes[i], NULL, NULL, err), COFFER_OK);
        memcpy(all + total, data, sizes[i]);
        total += sizes[i];
        free(data);
    }
    gate_init(&gate);
    for (int pass = 0; pass < 4; pass++) {
        at = 0;

        if (pass == 2)
            dataset_restart(self, RESTART_CLEAN); /* nothing is verified yet */
        CHECK_STATUS(
            stream_open(self->dataset, slice_from_text("a"), 0, gate_waker(&gate), &reader, err),
            COFFER_OK);
        if (pass > 0)
            fixture_drop_page_cache(&self->fixture);
        read_to(reader, &gate, read, &at, total / 2, 100000);
        if (pass > 0)
            fixture_drop_page_cache(&self->fixture);
        read_to(reader, &gate, read, &at, total, 1 << 20);
        assert_memory_equal(read, all, total);
        stream_close(reader);
    }
    /* One that waits for the disk in the midst of the first verification, while another reads. */
    dataset_restart(self, RESTART_CLEAN);
    fixture_drop_page_cache(&self->fixture);
    CHECK_STATUS(
        stream_open(self->dataset, slice_from_text("a"), 0, gate_waker(&gate), &reader, err),
        COFFER_OK);
    stream_select(reader, at = 600000, total, false);
    status = stream_read(reader, read + at, total - at, &part, NULL);
    ds_check_bytes(self->dataset, "a", 0, all, total);
    if (status == COFFER_AGAIN)
        gate_wait(&gate);
    else
        at += part;
    read_to(reader, &gate, read, &at, total, 1 << 20);
    assert_memory_equal(read + 600000, all + 600000, total - 600000);
    stream_close(reader);
    gate_release(&gate);
    free(all);
    free(read);
}

/* ---- restarts ---- */

static void everything_comes_back(void **state)
{
    struct dataset_test_state *self = *state;
    struct transaction_info info;
    struct append_call staged = {.transaction = "t2"};
    struct append_call repeat = {.has_offset = true};
    struct append_result result;
    struct dataset_info before, after;
    uint8_t *large = content_make(2500000, 8, CONTENT_TEXT);
    uint64_t epoch, offset;

    (void)ds_append_text(self->dataset, "a", "one");
    CHECK_STATUS(ds_append(self->dataset, "large", large, 2500000, NULL, NULL, err), COFFER_OK);
    CHECK_STATUS(ds_claim(self->dataset, "a", &epoch, &offset, err), COFFER_OK);
    CHECK_STATUS(ds_set_metadata(self->dataset, 0, NULL, "{\"k\":1}", err), COFFER_OK);
    CHECK_STATUS(tx_open(self->dataset, "t1", NULL, 60000, false, false, &info, err), COFFER_OK);
    staged.transaction = "t1";
    CHECK_STATUS(ds_append(self->dataset, "a", "two", 3, &staged, NULL, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "b", "three", 5, &staged, NULL, err), COFFER_OK);
    CHECK_STATUS(tx_commit(self->dataset, "t1", 0, &info, err), COFFER_OK);
    CHECK_STATUS(tx_open(self->dataset, "t2", NULL, 60000, false, false, &info, err), COFFER_OK);
    staged.transaction = "t2";
    CHECK_STATUS(ds_append(self->dataset, "a", "lost", 4, &staged, NULL, err), COFFER_OK);
    CHECK_STATUS(ds_append(self->dataset, "large", large, 2500000, &staged, NULL, err), COFFER_OK);
    dataset_info(self->dataset, &before);
    for (int how = 0; how < 3; how++) {
        dataset_restart(self, (enum restart_how)how);
        dataset_info(self->dataset, &after);
        assert_int_equal(after.version, before.version);
        assert_int_equal(after.tag, before.tag);
        assert_memory_equal(after.id, before.id, 16);
        ds_check_text(self->dataset, "a", "onetwo");
        ds_check_text(self->dataset, "b", "three");
        ds_check_bytes(self->dataset, "large", 0, large, 2500000);
        assert_int_equal(tx_state(self->dataset, "t1"), TRANSACTION_COMMITTED);
        assert_int_equal(tx_state(self->dataset, "t2"), TRANSACTION_ABORTED);
        CHECK_STATUS(
            ds_append(self->dataset, "large", large, 2500000, &repeat, &result, err), COFFER_OK);
        assert_true(result.repeated);
        CHECK_STATUS(tx_open(self->dataset, "t2", NULL, 60000, false, false, &info, err),
            COFFER_TRANSACTION_ABORTED);
    }
    (void)ds_append_text(self->dataset, "a", "!");
    dataset_restart(self, RESTART_NO_INDEX);
    ds_check_text(self->dataset, "a", "onetwo!");
    CHECK_STATUS(ds_delete(self->dataset, err), COFFER_OK);
    dataset_drop(self->dataset);
    for (int how = 0; how < 2; how++) {
        fixture_close(&self->fixture);
        if (how == 1)
            fixture_remove_index(&self->fixture);
        fixture_open(&self->fixture);
        assert_false(ds_exists(self->fixture.store, "run1"));
    }
    self->dataset = ds_make(self->fixture.store, "run1");
    assert_int_equal(ds_version(self->dataset), 0);
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_ENGINES(datasets_are_made_changed_and_deleted),
        BOTH_ENGINES(a_closed_dataset_takes_nothing),
        BOTH_ENGINES(compressing_changes_no_byte),
        BOTH_ENGINES(a_package_is_kept),
        BOTH_ENGINES(readers_of_many_short_blocks),
        cmocka_unit_test_setup_teardown(
            readers_of_cold_blocks, dataset_set_up_local, dataset_tear_down),
        cmocka_unit_test_setup_teardown(
            everything_comes_back, dataset_set_up_local, dataset_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
