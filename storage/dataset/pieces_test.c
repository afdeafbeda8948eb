/*
 * Goal: pieces.c keeps what was put into it, however it is cut and joined; row_batch.c too. Method:
 * random lists, made by the calls that appends, transactions and the compression make, are compared
 * with a naive list of records and of (block, offset) a byte, which knows nothing of runs, extents
 * or joins.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/dataset/dataset_parts.h"
#include "tests/support/store_fixture.h"

enum { BYTES_MAX = 1 << 16, ROUNDS = 300 };

/* ---- the naive list ---- */

struct place {
    uint64_t block, offset;
};
struct naive {
    struct place bytes[BYTES_MAX]; /* where each byte lies */
    uint64_t starts[BYTES_MAX];    /* of each record */
    size_t byte_count, record_count;
};

static struct naive *naive_create(void)
{
    struct naive *naive = calloc(1, sizeof(*naive));

    invariant(naive != NULL);
    return naive;
}

static void naive_bytes(struct naive *naive, uint64_t block, uint64_t offset, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        naive->bytes[naive->byte_count++] = (struct place){block, offset + i};
}

static void naive_join(struct naive *naive, const struct naive *from)
{
    for (size_t i = 0; i < from->record_count; i++)
        naive->starts[naive->record_count++] = naive->byte_count + from->starts[i];
    memcpy(naive->bytes + naive->byte_count, from->bytes, from->byte_count * sizeof(struct place));
    naive->byte_count += from->byte_count;
}

/* ---- comparing ---- */

/* A piece's records: either its first byte starts one, and all of its records are listed, or none
 * starts in it. */
static void check_records(
    const struct piece_list *list, const struct piece *piece, const struct naive *naive)
{
    struct lengths_reader reader = {piece_lengths(list, piece)};
    uint64_t record = piece->first_record, at = piece->start, length, run;

    assert_true(piece->records > 0 || piece_lengths(list, piece).size == 0);
    while (lengths_next(&reader, &length, &run))
        for (uint64_t i = 0; i < run; i++, record++, at += length) {
            uint64_t next =
                record + 1 < naive->record_count ? naive->starts[record + 1] : naive->byte_count;

            assert_true(record < naive->record_count && at < piece->start + piece->length);
            assert_int_equal(at, naive->starts[record]);
            assert_int_equal(length, next - at);
        }
    assert_int_equal(reader.left.size, 0);
    assert_int_equal(record, piece->first_record + piece->records);
}

static void check(const struct piece_list *list, const struct naive *naive)
{
    uint64_t at = 0, records = 0;

    assert_int_equal(list->length, naive->byte_count);
    assert_int_equal(list->records, naive->record_count);
    for (size_t i = 0; i < list->count; i++) {
        const struct piece *piece = &list->items[i];

        assert_int_equal(piece->start, at);
        assert_int_equal(piece->first_record, records);
        assert_true(piece->length > 0);
        for (uint64_t j = 0; j < piece->length; j++) {
            assert_int_equal(naive->bytes[at + j].block, piece->block);
            assert_int_equal(naive->bytes[at + j].offset, piece->block_offset + j);
        }
        check_records(list, piece, naive);
        at += piece->length;
        records += piece->records;
    }
    assert_int_equal(at, list->length);
    assert_int_equal(records, list->records);
    assert_null(pieces_find(list, list->length));
    for (uint64_t byte = 0; byte < list->length; byte += 1 + list->length / 50) {
        const struct piece *piece = pieces_find(list, byte);

        assert_non_null(piece);
        assert_true(byte >= piece->start && byte - piece->start < piece->length);
    }
}

/* ---- making lists ---- */

static uint64_t a_length(uint64_t *random)
{
    static const uint64_t kinds[] = {1, 2, 10, 70, 300};

    return 1 + random_below(random, kinds[random_below(random, 5)]);
}

/* Whole records in blocks, as small appends make them. */
static void add_records(
    uint64_t *random, uint64_t *block, struct piece_list *list, struct naive *naive)
{
    size_t pieces = 1 + random_below(random, 4);

    while (pieces-- > 0) {
        uint64_t offset = random_below(random, 3) * 100;
        size_t runs = 1 + random_below(random, 5);

        (void)pieces_open(list, ++*block, offset);
        while (runs-- > 0) {
            uint64_t length = a_length(random), count = 1 + random_below(random, 6);

            for (uint64_t i = 0; i < count; i++)
                naive->starts[naive->record_count++] = naive->byte_count + i * length;
            naive_bytes(naive, *block, offset, length * count);
            offset += length * count;
            pieces_records(list, length, count);
        }
    }
}

/* One record over several blocks: the length is told last, for the piece in which it starts. */
static void add_long_record(
    uint64_t *random, uint64_t *block, struct piece_list *list, struct naive *naive)
{
    size_t pieces = 2 + random_below(random, 3), first = list->count;
    struct lengths_writer writer = {0};
    uint64_t total = 0;

    naive->starts[naive->record_count++] = naive->byte_count;
    for (size_t i = 0; i < pieces; i++) {
        uint64_t length = a_length(random);

        (void)pieces_open(list, ++*block, 0);
        if (i == 0) {
            list->items[first].records = 1;
            list->records++;
        }
        pieces_extend(list, length);
        naive_bytes(naive, *block, 0, length);
        total += length;
    }
    lengths_add(&writer, &list->lengths, total, 1);
    lengths_flush(&writer, &list->lengths);
    list->items[first].lengths_size = list->lengths.used - list->items[first].lengths_at;
}

static void make(uint64_t *random, uint64_t *block, struct piece_list *list, struct naive *naive)
{
    if (random_below(random, 4) == 0)
        add_long_record(random, block, list, naive);
    else
        add_records(random, block, list, naive);
    pieces_close(list);
}

/* ---- tests ---- */

static void test_joins(void **state)
{
    uint64_t random = test_seed() | 1, block = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct naive *all = naive_create();
        struct piece_list list = {0};
        size_t parts = random_below(&random, 8);

        while (parts-- > 0 && all->byte_count < BYTES_MAX / 2) {
            struct naive *part = naive_create();
            struct piece_list from = {0};

            make(&random, &block, &from, part);
            check(&from, part);
            pieces_join(&list, &from);
            naive_join(all, part);
            check(&from, part); /* it keeps its own */
            pieces_release(&from);
            free(part);
            if (random_below(&random, 3) == 0)
                add_records(&random, &block, &list, all); /* left open before the next join */
        }
        pieces_close(&list);
        check(&list, all);
        pieces_close(&list); /* again changes nothing */
        check(&list, all);
        pieces_release(&list);
        free(all);
    }
}

/* The extents of a list, merged into new blocks: the same records, other places. */
static void test_merging(void **state)
{
    uint64_t random = test_seed() | 1, block = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct naive *all = naive_create();
        struct piece_list list = {0}, merged = {0};
        size_t parts = 1 + random_below(&random, 6);
        uint64_t offset = 0;

        while (parts-- > 0)
            make(&random, &block, &list, all);
        for (size_t i = 0; i < list.count; i++) {
            const struct piece *piece = &list.items[i];
            struct extent extent = {.start = piece->start,
                .length = piece->length,
                .first_record = piece->first_record,
                .records = piece->records,
                .lengths = piece_lengths(&list, piece)};

            if (i == 0 || random_below(&random, 5) == 0) {
                (void)pieces_open(&merged, ++block, 0);
                offset = 0;
            }
            for (uint64_t j = 0; j < piece->length; j++)
                all->bytes[piece->start + j] = (struct place){block, offset++};
            pieces_take(&merged, &extent);
        }
        pieces_close(&merged);
        check(&merged, all);
        pieces_release(&list);
        pieces_release(&merged);
        free(all);
    }
}

/* No extent's lengths take much more than EXTENT_LENGTHS_MAX: they must fit into a row. */
static void test_lengths_are_bounded(void **state)
{
    enum { RECORDS = 100000, LONGEST_RUN = 20 /* two varints */ };
    struct piece_list list = {0}, merged = {0};
    uint64_t at = 0;

    (void)state;
    (void)pieces_open(&list, 1, 0);
    for (uint64_t i = 0; i < RECORDS; i++)
        pieces_records(&list, 200 + i % 2, 1); /* no two in a row are equally long */
    pieces_close(&list);
    assert_true(list.count > 2 * RECORDS / EXTENT_LENGTHS_MAX);
    (void)pieces_open(&merged, 2, 0);
    for (size_t i = 0; i < list.count; i++) {
        const struct piece *piece = &list.items[i];
        struct extent extent = {.length = piece->length,
            .records = piece->records,
            .lengths = piece_lengths(&list, piece)};

        assert_true(piece->lengths_size <= EXTENT_LENGTHS_MAX + LONGEST_RUN);
        assert_int_equal(piece->block, 1);
        assert_int_equal(piece->block_offset, at);
        at += piece->length;
        pieces_take(&merged, &extent);
    }
    pieces_close(&merged);
    assert_int_equal(merged.records, RECORDS);
    assert_int_equal(merged.length, list.length);
    for (size_t i = 0; i < merged.count; i++)
        assert_true(merged.items[i].lengths_size <= EXTENT_LENGTHS_MAX + LONGEST_RUN);
    pieces_release(&list);
    pieces_release(&merged);
}

/* A batch of rows as the engine gets it: each key and value as it was put, after all the moves of
 * the buffer that they lie in. */
static void test_row_batch(void **state)
{
    enum { ROWS = 500 };
    struct partition_id id = {.bytes = {7}};
    struct row_batch batch = {0};
    struct engine_op op = {0};

    (void)state;
    for (uint32_t i = 0; i < ROWS; i++) {
        struct row_key key = row_key_channel(ROW_HISTORY, 1, i);

        if (i % 5 == 4) {
            row_batch_remove(&batch, &key);
        } else if (i % 5 == 3) { /* a value that grows */
            row_batch_begin(&batch, &key, false);
            for (uint32_t j = 0; j < i; j++)
                row_buffer_bytes(&batch.bytes, &j, 1);
            row_batch_end(&batch);
        } else {
            row_batch_put(&batch, &key, &i, sizeof(i), i % 5 == 0);
        }
    }
    row_batch_fill(&batch, &id, &op);
    assert_int_equal(op.kind, ENGINE_BATCH);
    assert_memory_equal(&op.partition, &id, sizeof(id));
    assert_int_equal(op.change_count, ROWS);
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct engine_change *change = &op.changes[i];
        struct row_key key = row_key_channel(ROW_HISTORY, 1, i);

        assert_true(slice_equal(change->key, row_key_slice(&key)));
        assert_int_equal(change->remove, i % 5 == 4);
        assert_int_equal(change->fresh, i % 5 == 0);
        if (i % 5 == 3)
            assert_int_equal(change->value.size, i);
        else if (i % 5 != 4)
            assert_true(slice_equal(change->value, slice_of(&i, sizeof(i))));
    }
    row_batch_release(&batch);
    row_batch_fill(&batch, &id, &op); /* one of nothing is a batch too */
    assert_int_equal(op.change_count, 0);
    row_batch_release(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joins),
        cmocka_unit_test(test_merging),
        cmocka_unit_test(test_lengths_are_bounded),
        cmocka_unit_test(test_row_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
