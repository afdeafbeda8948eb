/*
 * Goal: what dataset_rows.c writes it reads back, and of anything else it believes only what is in
 * bounds. Method: rows of every kind with values at their limits; then each row cut at every byte
 * and with every bit turned over, in memory of exactly its size, so that a read outside of it is
 * seen by AddressSanitizer; what is still accepted must lie within the row and its limits.
 */
#include "storage/dataset/dataset_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

static bool inside(struct slice part, struct slice whole)
{
    const uint8_t *at = part.data, *start = whole.data;

    return part.size == 0 || (at >= start && part.size <= whole.size &&
                                 (size_t)(at - start) <= whole.size - part.size);
}

/* ---- every way a row can be damaged ---- */

typedef bool try_row(struct slice in); /* whether it was accepted; fails the test out of bounds */

/* In memory of exactly its size. */
static bool try_exactly(try_row *try, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    bool accepted;

    invariant(copy != NULL);
    memcpy(copy, bytes, size);
    accepted = try(slice_of(copy, size));
    free(copy);
    return accepted;
}

/* How many of the damaged forms were accepted all the same. */
static size_t damage(try_row *try, const uint8_t *row, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    size_t accepted = 0;

    invariant(bytes != NULL);
    memcpy(bytes, row, size);
    bytes[size] = 0;
    assert_true(try_exactly(try, bytes, size));
    for (size_t cut = 0; cut < size; cut++)
        accepted += try_exactly(try, bytes, cut);
    (void)try_exactly(try, bytes, size + 1);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        accepted += try_exactly(try, bytes, size);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
    return accepted;
}

/* ---- keys ---- */

static void test_keys(void **state)
{
    static const uint64_t numbers[] = {0, 1, 255, 256, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    struct row_key last = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++) { /* they sort as their numbers do */
        struct row_key version = row_key_version(numbers[i]);
        struct row_key key = row_key_channel(ROW_EXTENT, 7, numbers[i]);
        struct row_key prefix = row_key_channel_prefix(ROW_EXTENT, 7);

        assert_int_equal(row_key_number(row_key_slice(&version)), numbers[i]);
        assert_int_equal(row_key_number(row_key_slice(&key)), numbers[i]);
        assert_memory_equal(key.bytes, prefix.bytes, prefix.size);
        assert_int_equal(key.size, 13);
        assert_true(i == 0 || memcmp(last.bytes, key.bytes, key.size) < 0);
        last = key;
    }
    last = row_key_channel(ROW_EXTENT, 8, 0);
    assert_true(memcmp(last.bytes, row_key_channel(ROW_EXTENT, 7, UINT64_MAX).bytes, 13) > 0);
    last = row_key_text(ROW_CHANNEL, slice_from_text("abc"));
    assert_int_equal(last.size, 4);
    assert_memory_equal(last.bytes, "Cabc", 4);
    assert_int_equal(row_key_text(ROW_DATASET, slice_of(NULL, 0)).size, 1);
}

/* ---- channels, histories ---- */

static bool try_channel(struct slice in)
{
    struct channel_row row;

    return channel_row_decode(in, &row);
}

static bool try_history(struct slice in)
{
    struct history_row row;

    return history_row_decode(in, &row);
}

static void test_channel_and_history(void **state)
{
    struct channel_row row = {7, (uint64_t)1 << 62, 12345, UINT64_MAX}, row_again;
    struct history_row history = {UINT64_MAX, 99}, history_again;
    uint8_t bytes[CHANNEL_ROW_SIZE], history_bytes[HISTORY_ROW_SIZE];

    (void)state;
    channel_row_encode(&row, bytes);
    assert_true(channel_row_decode(slice_of(bytes, sizeof(bytes)), &row_again));
    assert_int_equal(row_again.number, row.number);
    assert_int_equal(row_again.size, row.size);
    assert_int_equal(row_again.records, row.records);
    assert_int_equal(row_again.epoch, row.epoch);
    history_row_encode(&history, history_bytes);
    assert_true(history_row_decode(slice_of(history_bytes, HISTORY_ROW_SIZE), &history_again));
    assert_int_equal(history_again.size, history.size);
    assert_int_equal(history_again.records, history.records);
    /* All but their four bytes of version are numbers of any value; no other size is taken. */
    assert_int_equal(damage(try_channel, bytes, sizeof(bytes)), 8 * (sizeof(bytes) - 4));
    assert_int_equal(damage(try_history, history_bytes, HISTORY_ROW_SIZE), 8 * HISTORY_ROW_SIZE);
    assert_false(try_history(slice_of(bytes, sizeof(bytes))));
}

/* ---- extents and record lengths ---- */

static bool try_extent(struct slice in)
{
    struct row_key key = row_key_channel(ROW_EXTENT, 1, (uint64_t)1 << 63);
    struct lengths_reader reader;
    struct extent extent;
    uint64_t length, run, runs = 0;

    if (!extent_decode(row_key_slice(&key), in, &extent))
        return false;
    assert_true(inside(extent.lengths, in));
    assert_true(extent.length > 0 && extent.start + extent.length > extent.start);
    reader = (struct lengths_reader){extent.lengths};
    while (lengths_next(&reader, &length, &run)) {
        assert_true(inside(reader.left, in) && run > 0 && length <= UINT64_MAX / 2);
        runs++;
    }
    assert_true(runs <= extent.lengths.size);
    return true;
}

static void test_extents(void **state)
{
    struct row_key key = row_key_channel(ROW_EXTENT, 1, 4096), wrong = row_key_version(1);
    struct row_buffer lengths = {0}, value = {0};
    struct lengths_writer writer = {0};
    struct extent extent = {.start = 4096,
        .length = 1000,
        .block = UINT64_MAX,
        .block_offset = 77,
        .version = 5,
        .first_record = 300,
        .records = 4};
    struct extent again, none;

    (void)state;
    lengths_add(&writer, &lengths, 1, 1);
    lengths_add(&writer, &lengths, 300, 3);
    lengths_add(&writer, &lengths, 99, 1);
    lengths_flush(&writer, &lengths);
    extent.lengths = slice_of(lengths.data, lengths.used);
    extent_encode(&extent, &value);
    assert_true(extent_decode(row_key_slice(&key), slice_of(value.data, value.used), &again));
    assert_int_equal(again.start, extent.start);
    assert_int_equal(again.length, extent.length);
    assert_int_equal(again.block, extent.block);
    assert_int_equal(again.block_offset, extent.block_offset);
    assert_int_equal(again.version, extent.version);
    assert_int_equal(again.first_record, extent.first_record);
    assert_int_equal(again.records, extent.records);
    assert_true(slice_equal(again.lengths, extent.lengths));
    assert_false(extent_decode(row_key_slice(&wrong), slice_of(value.data, value.used), &again));
    (void)damage(try_extent, value.data, value.used);
    value.used = 0; /* one that goes over the end of all offsets, and one of nothing */
    extent.length = UINT64_MAX - 4095;
    extent_encode(&extent, &value);
    assert_false(extent_decode(row_key_slice(&key), slice_of(value.data, value.used), &none));
    value.used = 0;
    extent.length = 0;
    extent_encode(&extent, &value);
    assert_false(extent_decode(row_key_slice(&key), slice_of(value.data, value.used), &none));
    row_buffer_release(&value);
    row_buffer_release(&lengths);
}

static void test_lengths(void **state)
{
    static const uint64_t runs[][2] = {{1, 1}, {1, 1}, {5, 1000000}, {UINT64_MAX / 2, 1},
        {UINT64_MAX / 2, UINT64_MAX / 4}, {63, 1}, {64, 2}, {1, 1}};
    struct row_buffer out = {0};
    struct lengths_writer writer = {0};
    struct lengths_reader reader;
    uint64_t length, run;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(runs); i++)
        lengths_add(&writer, &out, runs[i][0], runs[i][1]);
    lengths_flush(&writer, &out);
    lengths_flush(&writer, &out); /* a second time adds nothing */
    reader = (struct lengths_reader){slice_of(out.data, out.used)};
    assert_true(lengths_next(&reader, &length, &run)); /* equal neighbours are one run */
    assert_true(length == 1 && run == 2);
    assert_true(lengths_next(&reader, &length, &run));
    assert_true(length == 5 && run == 1000000);
    assert_true(lengths_next(&reader, &length, &run));
    assert_true(length == UINT64_MAX / 2 && run == UINT64_MAX / 4 + 1);
    assert_true(lengths_next(&reader, &length, &run));
    assert_true(length == 63 && run == 1);
    assert_true(lengths_next(&reader, &length, &run));
    assert_true(length == 64 && run == 2);
    assert_true(lengths_next(&reader, &length, &run));
    assert_true(length == 1 && run == 1);
    assert_false(lengths_next(&reader, &length, &run));
    reader = (struct lengths_reader){slice_of("\x03\x00", 2)}; /* a run of none */
    assert_false(lengths_next(&reader, &length, &run));
    reader = (struct lengths_reader){slice_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10)};
    assert_false(lengths_next(&reader, &length, &run)); /* more than 64 bits */
    row_buffer_release(&out);
}

/* ---- versions ---- */

static bool try_version(struct slice in)
{
    struct version_reader reader;
    struct version_entry part;
    uint64_t parts = 0;

    if (!version_row_read(in, &reader))
        return false;
    assert_true(inside(reader.transaction, in) && inside(reader.left, in));
    assert_true(reader.parts <= in.size);
    for (; parts < reader.parts && version_row_next(&reader, &part); parts++)
        assert_true(inside(part.name, in) && inside(reader.left, in));
    return parts == reader.parts;
}

static void test_versions(void **state)
{
    struct version_entry parts[] = {{slice_from_text("a"), 0, 1, 1},
        {slice_from_text("channel-two"), UINT64_MAX, UINT64_MAX, UINT64_MAX},
        {slice_from_text(""), 0, 0, 0}};
    struct row_buffer out = {0};
    struct version_reader reader;
    struct version_entry part;

    (void)state;
    version_row_begin(&out, UINT64_MAX, slice_from_text("tx-1"), ARRAY_COUNT(parts));
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++)
        version_row_part(&out, &parts[i]);
    assert_true(version_row_read(slice_of(out.data, out.used), &reader));
    assert_int_equal(reader.time_ns, UINT64_MAX);
    assert_true(slice_equal(reader.transaction, slice_from_text("tx-1")));
    assert_int_equal(reader.parts, ARRAY_COUNT(parts));
    for (size_t i = 0; i < ARRAY_COUNT(parts); i++) {
        assert_true(version_row_next(&reader, &part));
        assert_true(slice_equal(part.name, parts[i].name));
        assert_int_equal(part.offset, parts[i].offset);
        assert_int_equal(part.length, parts[i].length);
        assert_int_equal(part.records, parts[i].records);
    }
    assert_false(version_row_next(&reader, &part));
    (void)damage(try_version, out.data, out.used);
    out.used = 0;
    version_row_begin(&out, 1, slice_of(NULL, 0), (size_t)1 << 40); /* more than can be there */
    assert_false(version_row_read(slice_of(out.data, out.used), &reader));
    row_buffer_release(&out);
}

/* ---- datasets ---- */

static bool try_dataset(struct slice in)
{
    struct dataset_row_value row;

    if (!dataset_row_decode(in, &row))
        return false;
    assert_true(inside(row.metadata, in));
    assert_true(row.state <= DATASET_CLOSED && row.package_format <= ARCHIVE_TAR_ZST);
    assert_true(row.settings.compression <= CODEC_ZSTD);
    assert_true(row.settings.action_count <= DATASET_ACTIONS_MAX);
    for (unsigned i = 0; i < row.settings.action_count; i++) {
        const struct close_action *action = &row.settings.actions[i];

        assert_true(action->kind <= CLOSE_NOTIFY && action->format <= ARCHIVE_TAR_ZST);
        assert_true(strnlen(action->url, DATASET_URL_SIZE) < DATASET_URL_SIZE);
    }
    return true;
}

static void test_datasets(void **state)
{
    struct dataset_row_value *row = calloc(1, sizeof(*row)), *again = calloc(1, sizeof(*again));
    struct row_buffer out = {0};

    (void)state;
    invariant(row != NULL && again != NULL);
    *row = (struct dataset_row_value){.created_ns = UINT64_MAX,
        .tag = 1,
        .state = DATASET_CLOSING,
        .packaged = true,
        .package_format = ARCHIVE_TAR_ZST,
        .package_size = (uint64_t)1 << 40,
        .settings = {.buffer_size = 8 << 20, .compression = CODEC_ZSTD, .action_count = 3},
        .metadata = slice_from_text("{\"a\":1}")};
    row->settings.actions[0] = (struct close_action){.kind = CLOSE_COMPRESS, .level = 19};
    row->settings.actions[1] = (struct close_action){.kind = CLOSE_PACKAGE, .format = ARCHIVE_TAR};
    row->settings.actions[2] = (struct close_action){.kind = CLOSE_NOTIFY, .url = "http://h/p"};
    dataset_row_encode(row, &out);
    assert_true(dataset_row_decode(slice_of(out.data, out.used), again));
    assert_int_equal(again->created_ns, row->created_ns);
    assert_int_equal(again->tag, row->tag);
    assert_int_equal(again->state, row->state);
    assert_true(again->packaged);
    assert_int_equal(again->package_format, row->package_format);
    assert_int_equal(again->package_size, row->package_size);
    assert_int_equal(again->settings.buffer_size, row->settings.buffer_size);
    assert_int_equal(again->settings.compression, row->settings.compression);
    assert_int_equal(again->settings.action_count, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(again->settings.actions[i].kind, row->settings.actions[i].kind);
        assert_int_equal(again->settings.actions[i].level, row->settings.actions[i].level);
        assert_int_equal(again->settings.actions[i].format, row->settings.actions[i].format);
        assert_string_equal(again->settings.actions[i].url, row->settings.actions[i].url);
    }
    assert_true(slice_equal(again->metadata, row->metadata));
    (void)damage(try_dataset, out.data, out.used);
    row->settings.action_count = DATASET_ACTIONS_MAX; /* as much as there may be */
    for (unsigned i = 0; i < DATASET_ACTIONS_MAX; i++)
        memset(row->settings.actions[i].url, 'u', DATASET_URL_SIZE - 1);
    out.used = 0;
    dataset_row_encode(row, &out);
    assert_true(try_dataset(slice_of(out.data, out.used)));
    row_buffer_release(&out);
    free(row);
    free(again);
}

/* A row with one action whose address has `size` bytes. */
static bool try_address(size_t size)
{
    static const uint8_t head[] = {
        1, 1, 1, DATASET_OPEN, 0, 0, 0, 0, CODEC_NONE, 1, CLOSE_NOTIFY, 0, 0};
    char address[2 * DATASET_URL_SIZE];
    struct row_buffer out = {0};
    bool accepted;

    memset(address, 'u', sizeof(address));
    row_buffer_bytes(&out, head, sizeof(head));
    row_buffer_varint(&out, size);
    row_buffer_bytes(&out, address, size);
    row_buffer_varint(&out, 0); /* no metadata */
    accepted = try_exactly(try_dataset, out.data, out.used);
    row_buffer_release(&out);
    return accepted;
}

static void test_addresses(void **state)
{
    (void)state;
    assert_true(try_address(0));
    assert_true(try_address(DATASET_URL_SIZE - 1));
    assert_false(try_address(DATASET_URL_SIZE));
    assert_false(try_address(2 * DATASET_URL_SIZE));
}

/* ---- transactions ---- */

static bool try_transaction(struct slice in)
{
    struct transaction_row row;

    if (!transaction_row_decode(in, &row))
        return false;
    assert_true(inside(row.reason, in) && inside(row.channels, in));
    assert_true(row.state <= TRANSACTION_ABORTED);
    return true;
}

static void test_transactions(void **state)
{
    struct row_buffer out = {0};

    (void)state;
    for (unsigned form = 0; form < 8; form++) {
        struct transaction_row row = {.state = TRANSACTION_ABORTED,
            .version = UINT64_MAX >> form,
            .whole = form & 1,
            .barrier = form & 2,
            .commit_when_ready = form & 4,
            .reason = slice_from_text("it took too long"),
            .channels = slice_of("\x01"
                                 "a"
                                 "\x02"
                                 "bc",
                5)};
        struct transaction_row again;

        out.used = 0;
        transaction_row_encode(&row, &out);
        assert_true(transaction_row_decode(slice_of(out.data, out.used), &again));
        assert_int_equal(again.state, row.state);
        assert_int_equal(again.version, row.version);
        assert_int_equal(again.whole, row.whole);
        assert_int_equal(again.barrier, row.barrier);
        assert_int_equal(again.commit_when_ready, row.commit_when_ready);
        assert_true(slice_equal(again.reason, row.reason));
        assert_true(slice_equal(again.channels, row.channels));
        (void)damage(try_transaction, out.data, out.used);
    }
    row_buffer_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_channel_and_history),
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_datasets),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_transactions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
