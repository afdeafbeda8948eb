#include "tests/support/pack_records.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

struct pack_records pack_records_read(const char *path)
{
    struct pack_records records = {.items = NULL};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t header[PACK_HEADER_SIZE];
    struct pack_scan_item item = {.kind = PACK_SCAN_RECORD};
    struct pack_header pack;
    struct pack_scan *scan;

    invariant(fd >= 0 && read(fd, header, sizeof(header)) == sizeof(header));
    assert_int_equal(pack_header_decode(header, &pack, NULL), COFFER_OK);
    records.pack_size = (uint64_t)lseek(fd, 0, SEEK_END);
    scan = pack_scan_begin(
        fd, path, pack.nonce, PACK_HEADER_SIZE, records.pack_size, SCAN_PAYLOADS_ALL);
    for (;;) {
        assert_int_equal(pack_scan_next(scan, &item, NULL), COFFER_OK);
        if (item.kind == PACK_SCAN_END)
            break;
        assert_true(item.kind == PACK_SCAN_RECORD && item.payload_good);
        item.payload = NULL;
        records.sealed = item.header.type == RECORD_SEAL;
        records.items = realloc(records.items, (records.count + 1) * sizeof(item));
        invariant(records.items != NULL);
        records.items[records.count++] = item;
    }
    pack_scan_end(scan);
    close(fd);
    return records;
}

void pack_records_release(struct pack_records *records)
{
    free(records->items);
}

const struct pack_scan_item *pack_record_at(const struct pack_records *records, uint64_t at)
{
    for (size_t i = 0; i < records->count; i++)
        if (at >= records->items[i].offset &&
            at < records->items[i].offset + records->items[i].size)
            return &records->items[i];
    return NULL;
}

bool pack_record_is_padding(const struct pack_scan_item *record, uint64_t at)
{
    return at >= record->offset + RECORD_HEADER_SIZE + record->header.stored_size;
}

bool pack_record_is_known_durable(
    const struct pack_records *records, const struct pack_scan_item *record)
{
    for (size_t i = 0; i < records->count; i++)
        if (records->items[i].header.durable > record->offset)
            return true;
    return records->sealed && record->header.type != RECORD_SEAL;
}
