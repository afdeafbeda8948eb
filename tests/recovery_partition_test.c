/*
 * Goal: a replay brings rows and blocks of partitions to what the record with the highest LSN says,
 * in whatever order records come, and says so when it cannot read one. Method: packs that were away
 * for a while, and records written by hand behind the last one of a closed pack.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/pack/batch_format.h"
#include "tests/support/pack_records.h"
#include "tests/support/partition_suite.h"

static const struct partition_id PART = {"replayed"}, DROPPED = {"dropped"};

static int set_up(void **state)
{
    log_configure(LOG_ERROR + 1, false); /* damage is logged; here it is wanted */
    return suite_set_up_local(state);
}

static struct slice text(const char *bytes)
{
    return slice_from_text(bytes);
}

static const char *pack_path(struct suite *suite, unsigned number)
{
    char name[40];

    (void)snprintf(name, sizeof(name), "packs/%010u.pack", number);
    return fixture_data_path(&suite->fixture, name);
}

static uint64_t rows_live(struct suite *suite)
{
    struct row_list rows = suite_list_all(suite, &PART), others = suite_list_all(suite, &DROPPED);
    uint64_t live = row_list_live(&rows) + row_list_live(&others);

    row_list_release(&rows);
    row_list_release(&others);
    return live;
}

/* ---- packs ---- */

/* What is read late (its pack was away for a while) is older than what is there now. */
static void test_pack_comes_back(void **state)
{
    struct suite *suite = *state;
    struct engine_op drop = op_drop_partition(&DROPPED), op;
    struct item items[] = {item_make(500, 1, CONTENT_RANDOM), item_make(600, 2, CONTENT_RANDOM)};
    struct engine_change change = change_put(text("both"), text("newer"));

    suite_put_row(suite, &PART, "both", "older");
    suite_put_row(suite, &PART, "removed", "older");
    suite_remove_row(suite, &PART, "removed");
    suite_put_row(suite, &PART, "only", "older");
    suite_put_row(suite, &DROPPED, "k", "older");
    suite_commit(suite, 0, &drop, 1);
    op = op_block(&PART, &items[0], 1, 1);
    suite_commit(suite, 0, &op, 1);
    suite_close(suite);
    assert_int_equal(rename(pack_path(suite, 1), fixture_path(&suite->fixture, "away")), 0);
    suite_open(suite);
    op = op_block(&PART, &items[1], 1, 1); /* no layer does that; its number is its LSN */
    op.changes = &change;
    op.change_count = 1;
    suite_commit(suite, 0, &op, 1);
    suite_put_row(suite, &PART, "removed", "newer");
    suite_put_row(suite, &DROPPED, "k", "newer");
    suite_rebuild(suite); /* an index that knows only the second pack */
    suite_close(suite);
    assert_int_equal(rename(fixture_path(&suite->fixture, "away"), pack_path(suite, 1)), 0);
    suite_open(suite);
    for (int pass = 0; pass < 3; pass++) {
        suite_check_text(suite, &PART, "both", "newer");
        suite_check_text(suite, &PART, "removed", "newer");
        suite_check_text(suite, &PART, "only", "older");
        suite_check_text(suite, &DROPPED, "k", "newer");
        assert_int_equal(suite_status(suite).live_bytes,
            rows_live(suite) + suite_check_block(suite, &PART, 1, 1, &items[1]));
        pass == 0 ? suite_reopen(suite) : suite_rebuild(suite);
    }
    items_free(items, 2);
}

/* ---- records by hand ---- */

/* Write one behind the last record of a closed pack. */
static void append_record(
    struct suite *suite, unsigned number, struct record_header *header, const void *payload)
{
    char path[FIXTURE_PATH_SIZE + 80];
    struct pack_records records;
    uint8_t bytes[4096] = {0}, pack[PACK_HEADER_SIZE];
    struct pack_header pack_header;
    uint64_t size = record_size(header->stored_size);
    int fd;

    (void)snprintf(path, sizeof(path), "%s", pack_path(suite, number));
    records = pack_records_read(path);
    assert_true(size <= sizeof(bytes) && records.count > 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    invariant(fd >= 0 && pread(fd, pack, sizeof(pack), 0) == sizeof(pack));
    assert_int_equal(pack_header_decode(pack, &pack_header, NULL), COFFER_OK);
    header->nonce = pack_header.nonce;
    header->lsn = records.items[records.count - 1].header.lsn + 1;
    header->durable = records.pack_size;
    header->checksum = checksum_once(payload, (size_t)header->stored_size);
    record_header_encode(header, bytes);
    memcpy(bytes + RECORD_HEADER_SIZE, payload, (size_t)header->stored_size);
    assert_int_equal(pwrite(fd, bytes, (size_t)size, (off_t)records.pack_size), size);
    close(fd);
    pack_records_release(&records);
}

/* The LSN of record `i` of a closed pack. */
static uint64_t lsn_of(struct suite *suite, unsigned number, size_t i)
{
    struct pack_records records = pack_records_read(pack_path(suite, number));
    uint64_t lsn;

    assert_true(i < records.count);
    lsn = records.items[i].header.lsn;
    pack_records_release(&records);
    return lsn;
}

static size_t carry_rows(const struct batch_entry *entries, size_t count, uint8_t *payload)
{
    uint8_t *at = payload;

    for (size_t i = 0; i < count; i++)
        at = batch_entry_encode(&entries[i], at);
    memset(at, 0, BATCH_TAIL_SIZE);
    put_le32(at + 16, (uint32_t)count);
    return (size_t)(at - payload) + BATCH_TAIL_SIZE;
}

/* A record may carry rows of older ones: each keeps its place in the order. */
static void test_carried_rows(void **state)
{
    struct suite *suite = *state;
    struct engine_change change = change_put(text("own"), text("older"));
    struct engine_op op = op_rows(&PART, &change, 1);
    struct record_header header = {.type = RECORD_BATCH};
    struct batch_entry entries[4];
    uint8_t payload[1024];

    suite_put_row(suite, &PART, "same", "value");     /* record 0 */
    suite_put_row(suite, &PART, "changed", "before"); /* record 1 */
    suite_put_row(suite, &PART, "changed", "afterwards");
    suite_commit(suite, 1, &op, 1); /* to a second pack, which is where they are carried to */
    suite_close(suite);
    entries[0] = (struct batch_entry){
        .lsn = lsn_of(suite, 1, 0), .key = text("same"), .value = text("value")};
    entries[1] = (struct batch_entry){
        .lsn = lsn_of(suite, 1, 1), .key = text("changed"), .value = text("before")};
    entries[2] = (struct batch_entry){.lsn = 0, .key = text("own"), .value = text("newest")};
    entries[3] =
        (struct batch_entry){.lsn = lsn_of(suite, 1, 1), .key = text("changed"), .remove = true};
    header.stored_size = carry_rows(entries, 4, payload);
    batch_key_encode(&PART, NULL, header.key);
    append_record(suite, 2, &header, payload);
    suite_open(suite);
    for (int pass = 0; pass < 3; pass++) {
        suite_check_text(suite, &PART, "same", "value");
        suite_check_text(suite, &PART, "changed", "afterwards");
        suite_check_text(suite, &PART, "own", "newest");
        assert_int_equal(suite_status(suite).live_bytes, rows_live(suite));
        assert_int_equal(suite_status(suite).damaged_records, 0);
        pass == 0 ? suite_crash(suite) : suite_rebuild(suite);
    }
    suite_put_row(suite, &PART, "goes", "on");
    suite_rebuild(suite);
    suite_check_text(suite, &PART, "goes", "on");
}

/* A batch with a right checksum and a payload that is none: reported, and all else is there. */
static void test_a_batch_that_cannot_be_read(void **state)
{
    struct suite *suite = *state;
    struct record_header header = {.type = RECORD_BATCH, .raw_size = 40, .stored_size = 72};
    const struct block_id block = {.channel = 1, .number = 1};
    uint8_t payload[72] = {0};
    struct engine_source source;
    struct engine_row row;

    suite_put_row(suite, &PART, "k", "v");
    suite_close(suite);
    payload[70] = 1; /* a tail that says more than there is */
    batch_key_encode(&PART, &block, header.key);
    append_record(suite, 1, &header, payload);
    suite_open(suite);
    for (int pass = 0; pass < 2; pass++) {
        struct engine *engine = suite->engine;
        uint8_t bytes[72];

        assert_int_equal(suite_status(suite).damaged_records, 1);
        suite_check_text(suite, &PART, "k", "v");
        assert_int_equal(engine->ops->find_block(engine, &PART, &block, &row, NULL), COFFER_OK);
        assert_int_equal(engine->ops->pin(engine, &row, &source, NULL), COFFER_OK);
        assert_int_equal(row.stored_size, sizeof(bytes));
        assert_int_equal(pread(source.fd, bytes, sizeof(bytes), (off_t)source.offset), 72);
        assert_true(checksum_once(bytes, sizeof(bytes)) != row.checksum);
        engine->ops->unpin(engine, &source);
        suite_rebuild(suite);
    }
    suite_put_row(suite, &PART, "k", "new");
    suite_rebuild(suite);
    suite_check_text(suite, &PART, "k", "new");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_pack_comes_back, set_up, suite_tear_down),
        cmocka_unit_test_setup_teardown(test_carried_rows, set_up, suite_tear_down),
        cmocka_unit_test_setup_teardown(test_a_batch_that_cannot_be_read, set_up, suite_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
