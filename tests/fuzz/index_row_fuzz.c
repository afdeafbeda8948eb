/*
 * Target: the values of the index (index_rows.h). What is accepted can be written again and reads
 * back the same.
 */
#include "storage/index/index_rows.h"
#include "tests/fuzz/fuzz.h"

static void try_row(struct slice in)
{
    struct engine_row row = {0}, again = {0};
    uint8_t written[INDEX_VALUE_MAX];
    size_t size;

    if (!index_row_decode(in, &row))
        return;
    size = index_row_encode(&row, written);
    fuzz_check(size == in.size && size <= INDEX_VALUE_MAX);
    fuzz_check(index_row_decode(slice_of(written, size), &again));
    fuzz_check(again.pack == row.pack && again.offset == row.offset && again.size == row.size);
    fuzz_check(again.stored_size == row.stored_size && again.lsn == row.lsn);
    fuzz_check(again.codec == row.codec && again.segmented == row.segmented);
    fuzz_check(!row.segmented || row.segment_size > 0);
    fuzz_check(again.segment_size == row.segment_size && again.checksum == row.checksum);
}

static void try_pack(struct slice in)
{
    struct index_pack pack;
    uint8_t written[INDEX_VALUE_MAX];

    if (!index_pack_decode(in, &pack))
        return;
    fuzz_check(pack.state >= PACK_OPEN && pack.state <= PACK_REMOVED);
    fuzz_check(index_pack_encode(&pack, written) == in.size);
    fuzz_check(memcmp(written, in.data, in.size) == 0);
}

static void try_stored(struct slice in)
{
    struct index_stored stored;
    uint8_t written[INDEX_STORED_SIZE];
    struct slice value;

    if (!index_stored_decode(in, &stored, &value))
        return;
    fuzz_check(value.size == stored.value_size && value.size <= ENGINE_ROW_VALUE_MAX);
    fuzz_check(value.size + INDEX_STORED_SIZE == in.size);
    index_stored_encode(&stored, written);
    fuzz_check(memcmp(written, in.data, INDEX_STORED_SIZE) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);

    try_row(in);
    try_pack(in);
    try_stored(in);
    return 0;
}
