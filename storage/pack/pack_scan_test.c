/*
 * The bytes of packs, and reading them past damage. Packs are made here record by record.
 */
#include "storage/pack/pack_scan.h"

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

enum { NONCE = 12345, PACK_MAX = 4 << 20 };

struct made { /* a pack in memory, and in a file */
    uint8_t *bytes;
    uint64_t size;
    FILE *file;
};

static void made_begin(struct made *made)
{
    made->bytes = calloc(1, PACK_MAX);
    invariant(made->bytes != NULL);
    made->size = PACK_HEADER_SIZE;
    made->file = tmpfile();
    invariant(made->file != NULL);
}

static void made_end(struct made *made)
{
    (void)fclose(made->file);
    free(made->bytes);
}

static uint64_t add_record(struct made *made, enum record_type type, uint64_t size, uint64_t nonce)
{
    struct record_header header = {
        .type = type, .nonce = nonce, .lsn = made->size, .raw_size = size, .stored_size = size};
    uint64_t offset = made->size;
    uint8_t *payload = made->bytes + offset + RECORD_HEADER_SIZE;

    for (uint64_t i = 0; i < size; i++)
        payload[i] = (uint8_t)(i * 7 + offset);
    header.checksum = checksum_once(payload, size);
    record_header_encode(&header, made->bytes + offset);
    made->size += record_size(size);
    return offset;
}

static struct pack_scan *scan_of(struct made *made, enum pack_scan_payloads payloads)
{
    invariant(pwrite(fileno(made->file), made->bytes, made->size, 0) == (ssize_t)made->size);
    return pack_scan_begin(
        fileno(made->file), "made", NONCE, PACK_HEADER_SIZE, made->size, payloads);
}

static struct pack_scan_item next(struct pack_scan *scan)
{
    struct pack_scan_item item;

    assert_int_equal(pack_scan_next(scan, &item, NULL), COFFER_OK);
    return item;
}

static void check_record(struct pack_scan *scan, uint64_t offset, bool good)
{
    struct pack_scan_item item = next(scan);

    assert_int_equal(item.kind, PACK_SCAN_RECORD);
    assert_int_equal(item.offset, offset);
    assert_int_equal(item.header.lsn, offset);
    assert_int_equal(item.payload_good, good);
}

static void check_gap(struct pack_scan *scan, uint64_t from, uint64_t to)
{
    struct pack_scan_item item = next(scan);

    assert_int_equal(item.kind, PACK_SCAN_GAP);
    assert_int_equal(item.offset, from);
    assert_int_equal(item.size, to - from);
}

static void check_end(struct pack_scan *scan)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(next(scan).kind, PACK_SCAN_END);
    pack_scan_end(scan);
}

/* ---- headers ---- */

static void test_pack_header(void **state)
{
    struct pack_header header = {{1, 2, 3}, 4, 5, 6}, back;
    uint8_t bytes[PACK_HEADER_SIZE];

    (void)state;
    pack_header_encode(&header, bytes);
    assert_memory_equal(bytes, "COFFERPK", 8);
    assert_int_equal(pack_header_decode(bytes, &back, NULL), COFFER_OK);
    assert_memory_equal(&back, &header, sizeof(header));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 0x10;
        assert_int_equal(pack_header_decode(bytes, &back, NULL), COFFER_DATA_CORRUPT);
        bytes[i] ^= 0x10;
    }
    put_le32(bytes + 8, PACK_FORMAT_VERSION + 1);
    put_le64(bytes + 56, checksum_once(bytes, 56));
    assert_int_equal(pack_header_decode(bytes, &back, NULL), COFFER_FORMAT_UNKNOWN);
}

static void test_record_header(void **state)
{
    struct record_header header = {.type = RECORD_MANIFEST,
        .codec = CODEC_ZSTD,
        .nonce = NONCE,
        .lsn = 7,
        .durable = 8,
        .key = "key",
        .raw_size = 9,
        .stored_size = 10,
        .checksum = 11};
    struct record_header back = {.type = RECORD_CHUNK};
    uint8_t bytes[RECORD_HEADER_SIZE];

    (void)state;
    record_header_encode(&header, bytes);
    assert_true(record_header_decode(bytes, NONCE, &back));
    assert_int_equal(back.type, header.type);
    assert_int_equal(back.codec, header.codec);
    assert_int_equal(back.lsn, 7);
    assert_int_equal(back.durable, 8);
    assert_memory_equal(back.key, header.key, RECORD_KEY_SIZE);
    assert_int_equal(back.raw_size, 9);
    assert_int_equal(back.stored_size, 10);
    assert_true(back.checksum == 11);
    assert_false(record_header_decode(bytes, NONCE + 1, &back));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 1;
        assert_false(record_header_decode(bytes, NONCE, &back));
        bytes[i] ^= 1;
    }
    header.stored_size = RECORD_PAYLOAD_MAX + 1; /* more than a reader should believe */
    record_header_encode(&header, bytes);
    assert_false(record_header_decode(bytes, NONCE, &back));
    assert_int_equal(record_size(0), 96);
    assert_int_equal(record_size(1), 104);
    assert_int_equal(record_size(8), 104);
}

static void test_manifest_and_names(void **state)
{
    struct manifest manifest = {{1}, 2, 3, 4}, back;
    uint8_t bytes[MANIFEST_SIZE];
    char name[PACK_NAME_SIZE];
    uint64_t id;

    (void)state;
    manifest_encode(&manifest, bytes);
    assert_int_equal(manifest_decode(bytes, sizeof(bytes), &back, NULL), COFFER_OK);
    assert_memory_equal(&back, &manifest, sizeof(manifest));
    assert_int_equal(manifest_decode(bytes, sizeof(bytes) - 1, &back, NULL), COFFER_DATA_CORRUPT);
    put_le64(bytes + 24, 0);
    assert_int_equal(manifest_decode(bytes, sizeof(bytes), &back, NULL), COFFER_DATA_CORRUPT);
    pack_file_name(42, name);
    assert_string_equal(name, "0000000042.pack");
    assert_true(pack_id_from_name(name, &id) && id == 42);
    pack_file_name(UINT64_MAX, name);
    assert_true(pack_id_from_name(name, &id) && id == UINT64_MAX);
    assert_false(pack_id_from_name("42.pack", &id));
    assert_false(pack_id_from_name("0000000000.pack", &id));
    assert_false(pack_id_from_name("0000000042.pack~", &id));
    assert_false(pack_id_from_name("-000000042.pack", &id));
    assert_false(pack_id_from_name("", &id));
}

/* ---- scans ---- */

static void test_whole_pack(void **state)
{
    static const uint64_t sizes[] = {0, 1, 7, 8, 9, 1000, 600000, 1 << 20, (1 << 20) + 1, 3};
    uint64_t offsets[ARRAY_COUNT(sizes)];
    struct pack_scan *scan;
    struct made made;

    (void)state;
    made_begin(&made);
    scan = scan_of(&made, SCAN_PAYLOADS_ALL);
    check_end(scan); /* an empty one */
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        offsets[i] = add_record(&made, RECORD_CHUNK, sizes[i], NONCE);
    scan = scan_of(&made, SCAN_PAYLOADS_ALL);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        check_record(scan, offsets[i], true);
    check_end(scan);
    scan = scan_of(&made, SCAN_PAYLOADS_SMALL); /* headers only */
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        check_record(scan, offsets[i], false);
    check_end(scan);
    made_end(&made);
}

static void test_payloads_that_are_parsed(void **state)
{
    static const uint64_t sizes[] = {0, 32, 3200, 600000, 2 << 20};
    struct pack_scan *scan;
    struct made made;

    (void)state;
    made_begin(&made);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        (void)add_record(&made, RECORD_TOMBSTONE, sizes[i], NONCE);
    scan = scan_of(&made, SCAN_PAYLOADS_SMALL);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct pack_scan_item item = next(scan);

        assert_true(item.payload_good && item.payload != NULL);
        assert_memory_equal(item.payload, made.bytes + item.offset + RECORD_HEADER_SIZE, sizes[i]);
    }
    check_end(scan);
    made_end(&made);
}

static void test_past_damage(void **state)
{
    uint64_t offsets[6];
    struct pack_scan *scan;
    struct made made;

    (void)state;
    made_begin(&made);
    for (size_t i = 0; i < 6; i++)
        offsets[i] = add_record(&made, RECORD_CHUNK, i == 2 ? 1500000 : 100, NONCE);
    made.bytes[offsets[0] + 20] ^= 1;                       /* a header, the first */
    made.bytes[offsets[1] + RECORD_HEADER_SIZE + 5] ^= 1;   /* a payload */
    made.bytes[offsets[2]] ^= 1;                            /* a header before much to search */
    made.bytes[offsets[4] + 90] ^= 1;                       /* a header's checksum */
    made.bytes[offsets[5] + RECORD_HEADER_SIZE + 101] ^= 1; /* padding */
    scan = scan_of(&made, SCAN_PAYLOADS_ALL);
    check_gap(scan, offsets[0], offsets[1]);
    check_record(scan, offsets[1], false);
    check_gap(scan, offsets[2], offsets[3]);
    check_record(scan, offsets[3], true);
    check_gap(scan, offsets[4], offsets[5]);
    check_record(scan, offsets[5], true);
    check_end(scan);
    made_end(&made);
}

/* A pack that somebody stored as a chunk is not searched for records. */
static void test_a_pack_in_a_pack(void **state)
{
    struct pack_scan *scan;
    uint64_t first, last;
    struct made made;

    (void)state;
    made_begin(&made);
    first = made.size;
    (void)add_record(&made, RECORD_CHUNK, 100, NONCE + 1);
    (void)add_record(&made, RECORD_CHUNK, 100, NONCE + 2);
    last = add_record(&made, RECORD_CHUNK, 100, NONCE);
    scan = scan_of(&made, SCAN_PAYLOADS_ALL);
    check_gap(scan, first, last);
    check_record(scan, last, true);
    check_end(scan);
    made_end(&made);
}

static void test_cut_anywhere(void **state)
{
    struct made made;
    uint64_t first, last, whole;

    (void)state;
    made_begin(&made);
    first = add_record(&made, RECORD_CHUNK, 50, NONCE);
    last = add_record(&made, RECORD_CHUNK, 50, NONCE);
    whole = made.size;
    for (made.size = first; made.size < whole; made.size++) {
        struct pack_scan *scan = scan_of(&made, SCAN_PAYLOADS_ALL);
        struct pack_scan_item item;

        do {
            item = next(scan);
            if (item.kind == PACK_SCAN_RECORD && item.payload_good)
                assert_true(item.offset == first && made.size >= last);
            assert_true(item.kind != PACK_SCAN_GAP || item.offset + item.size == made.size);
        } while (item.kind != PACK_SCAN_END);
        pack_scan_end(scan);
    }
    made_end(&made);
}

/* ---- looking ---- */

struct looked {
    uint64_t records, record_bytes, pieces, piece_bytes, last_at;
};

static uint8_t look_record(
    void *context, const struct record_header *header, const uint8_t *payload)
{
    struct looked *looked = context;

    looked->records++;
    looked->record_bytes += header->stored_size;
    return (uint8_t)(payload[0] | 1);
}

static void look_piece(
    void *context, const struct pack_scan_item *item, uint64_t at, const uint8_t *data, size_t size)
{
    struct looked *looked = context;

    assert_int_equal(at, looked->piece_bytes);
    assert_int_equal(data[0], (uint8_t)(at * 7 + item->offset));
    looked->pieces++;
    looked->piece_bytes += size;
}

static void test_look(void **state)
{
    struct looked looked = {0};
    const struct pack_scan_look look = {look_record, look_piece, &looked};
    struct made made;
    struct pack_scan *scan;
    struct pack_scan_item item;
    uint64_t bad, small;

    (void)state;
    made_begin(&made);
    small = add_record(&made, RECORD_CHUNK, 1000, NONCE);
    bad = add_record(&made, RECORD_CHUNK, 1000, NONCE);
    made.bytes[bad + RECORD_HEADER_SIZE + 5] ^= 1;
    add_record(&made, RECORD_CHUNK, 3 << 20, NONCE);
    scan = scan_of(&made, SCAN_PAYLOADS_ALL);
    pack_scan_look_at(scan, &look);
    item = next(scan);
    assert_true(item.payload_good);
    assert_int_equal(item.verdict, (uint8_t)small | 1);
    item = next(scan);
    assert_false(item.payload_good);
    assert_int_equal(item.verdict, 0);
    item = next(scan);
    assert_true(item.payload_good);
    assert_int_equal(item.verdict, 0);
    assert_int_equal(looked.records, 1);
    assert_int_equal(looked.record_bytes, 1000);
    assert_true(looked.pieces > 1);
    assert_int_equal(looked.piece_bytes, 3 << 20);
    pack_scan_end(scan);
    made_end(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pack_header),
        cmocka_unit_test(test_record_header),
        cmocka_unit_test(test_manifest_and_names),
        cmocka_unit_test(test_whole_pack),
        cmocka_unit_test(test_payloads_that_are_parsed),
        cmocka_unit_test(test_past_damage),
        cmocka_unit_test(test_a_pack_in_a_pack),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_look),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
