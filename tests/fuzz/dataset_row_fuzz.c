/*
 * Target: the rows of datasets (dataset_rows.h). Each input is tried as a value of every kind. What
 * is accepted points into the input, is within its limits, and can be written again and reads back
 * the same.
 */
#include "storage/dataset/dataset_rows.h"
#include "tests/fuzz/fuzz.h"

static void check_inside(struct slice part, struct slice whole)
{
    const uint8_t *at = part.data, *start = whole.data;

    fuzz_check(part.size == 0 || (at >= start && part.size <= whole.size &&
                                     (size_t)(at - start) <= whole.size - part.size));
}

static void try_small(struct slice in)
{
    uint8_t channel_bytes[CHANNEL_ROW_SIZE], history_bytes[HISTORY_ROW_SIZE];
    struct channel_row channel;
    struct history_row history;

    if (channel_row_decode(in, &channel)) {
        channel_row_encode(&channel, channel_bytes);
        fuzz_check(slice_equal(in, slice_of(channel_bytes, CHANNEL_ROW_SIZE)));
    }
    if (history_row_decode(in, &history)) {
        history_row_encode(&history, history_bytes);
        fuzz_check(slice_equal(in, slice_of(history_bytes, HISTORY_ROW_SIZE)));
    }
}

static void try_extent(struct slice in)
{
    struct row_key key = row_key_channel(ROW_EXTENT, 1, (uint64_t)1 << 40);
    struct row_buffer out = {0};
    struct lengths_reader reader;
    struct extent extent;
    uint64_t length, run;
    size_t runs = 0;

    if (!extent_decode(row_key_slice(&key), in, &extent))
        return;
    check_inside(extent.lengths, in);
    fuzz_check(extent.length > 0 && extent.length <= UINT64_MAX - extent.start);
    reader = (struct lengths_reader){extent.lengths};
    while (lengths_next(&reader, &length, &run)) {
        check_inside(reader.left, in);
        fuzz_check(run > 0 && length <= UINT64_MAX / 2);
        runs++;
    }
    fuzz_check(runs <= extent.lengths.size);
    extent_encode(&extent, &out);
    fuzz_check(slice_equal(in, slice_of(out.data, out.used)));
    row_buffer_release(&out);
}

static void try_version(struct slice in)
{
    struct version_reader reader, again;
    struct version_entry part, part_again;
    struct row_buffer out = {0};
    uint64_t parts = 0;

    if (!version_row_read(in, &reader))
        return;
    check_inside(reader.transaction, in);
    fuzz_check(reader.parts <= in.size);
    again = reader;
    version_row_begin(&out, reader.time_ns, reader.transaction, (size_t)reader.parts);
    for (; parts < reader.parts && version_row_next(&reader, &part); parts++) {
        check_inside(part.name, in);
        version_row_part(&out, &part);
    }
    reader = again;
    if (parts == reader.parts) {
        fuzz_check(version_row_read(slice_of(out.data, out.used), &again));
        fuzz_check(again.time_ns == reader.time_ns && again.parts == parts);
        fuzz_check(slice_equal(again.transaction, reader.transaction));
        for (uint64_t i = 0; i < parts; i++) {
            fuzz_check(version_row_next(&reader, &part) && version_row_next(&again, &part_again));
            fuzz_check(slice_equal(part.name, part_again.name));
            fuzz_check(part.offset == part_again.offset && part.length == part_again.length &&
                       part.records == part_again.records);
        }
    }
    row_buffer_release(&out);
}

static void try_dataset(struct slice in)
{
    static struct dataset_row_value row, again; /* large */
    struct row_buffer out = {0};

    if (!dataset_row_decode(in, &row))
        return;
    check_inside(row.metadata, in);
    fuzz_check(row.state <= DATASET_CLOSED && row.package_format <= ARCHIVE_TAR_ZST);
    fuzz_check(row.settings.action_count <= DATASET_ACTIONS_MAX);
    dataset_row_encode(&row, &out);
    fuzz_check(dataset_row_decode(slice_of(out.data, out.used), &again));
    fuzz_check(again.created_ns == row.created_ns && again.tag == row.tag);
    fuzz_check(again.state == row.state && again.packaged == row.packaged);
    fuzz_check(
        again.package_format == row.package_format && again.package_size == row.package_size);
    fuzz_check(again.settings.buffer_size == row.settings.buffer_size);
    fuzz_check(again.settings.compression == row.settings.compression);
    fuzz_check(again.settings.action_count == row.settings.action_count);
    for (unsigned i = 0; i < row.settings.action_count; i++) {
        const struct close_action *a = &row.settings.actions[i], *b = &again.settings.actions[i];

        fuzz_check(a->kind <= CLOSE_NOTIFY && strnlen(a->url, DATASET_URL_SIZE) < DATASET_URL_SIZE);
        fuzz_check(a->kind == b->kind && a->level == b->level && a->format == b->format);
        fuzz_check(strcmp(a->url, b->url) == 0);
    }
    fuzz_check(slice_equal(again.metadata, row.metadata));
    row_buffer_release(&out);
}

static void try_transaction(struct slice in)
{
    struct transaction_row row, again;
    struct row_buffer out = {0};

    if (!transaction_row_decode(in, &row))
        return;
    check_inside(row.reason, in);
    check_inside(row.channels, in);
    fuzz_check(row.state <= TRANSACTION_ABORTED);
    transaction_row_encode(&row, &out);
    fuzz_check(transaction_row_decode(slice_of(out.data, out.used), &again));
    fuzz_check(again.state == row.state && again.version == row.version);
    fuzz_check(again.whole == row.whole && again.barrier == row.barrier &&
               again.commit_when_ready == row.commit_when_ready);
    fuzz_check(slice_equal(again.reason, row.reason) && slice_equal(again.channels, row.channels));
    row_buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);

    try_small(in);
    try_extent(in);
    try_version(in);
    try_dataset(in);
    try_transaction(in);
    return 0;
}
