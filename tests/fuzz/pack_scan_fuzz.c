/*
 * Target: reading past damage in a pack (pack_scan.h). The input is what follows the header of a
 * pack file; wherever it has the magic of a record, that header's nonce and checksum are made right
 * first. The scan gives every byte exactly once, in order, as part of a record or of a gap.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/pack/pack_scan.h"
#include "tests/fuzz/fuzz.h"

enum { NONCE = 7 };

/* Payloads too, if their record says so with an LSN of 1. */
static void make_right(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + RECORD_HEADER_SIZE <= size; at += RECORD_ALIGNMENT) {
        uint8_t *header = bytes + at;
        uint64_t stored_size;

        if (memcmp(header, "CfR1", 4) != 0)
            continue;
        stored_size = get_le64(header + 72);
        put_le64(header + 8, NONCE);
        if (get_le64(header + 16) == 1 && stored_size <= size - at - RECORD_HEADER_SIZE)
            put_le64(header + 80, checksum_once(header + RECORD_HEADER_SIZE, (size_t)stored_size));
        put_le64(header + 88, checksum_once(header, 88));
    }
}

static void scan_all(int fd, const uint8_t *bytes, size_t size, enum pack_scan_payloads payloads)
{
    uint64_t end = 0;
    struct pack_scan_item item;
    struct pack_scan *scan = pack_scan_begin(fd, "input", NONCE, 0, size, payloads);

    do {
        fuzz_check(pack_scan_next(scan, &item, NULL) == COFFER_OK);
        if (item.kind == PACK_SCAN_END)
            break;
        fuzz_check(item.offset == end && item.size > 0);
        /* Only the payload of the last record may be said to go on past the end: it is not good. */
        fuzz_check(
            item.size <= size - end || (item.kind == PACK_SCAN_RECORD && !item.payload_good));
        end = item.size <= size - end ? end + item.size : size;
        if (item.kind == PACK_SCAN_GAP)
            continue;
        fuzz_check(item.size == record_size(item.header.stored_size));
        if (item.payload_good && item.payload != NULL) {
            const uint8_t *stored = bytes + item.offset + RECORD_HEADER_SIZE;
            size_t stored_size = (size_t)item.header.stored_size;

            fuzz_check(memcmp(item.payload, stored, stored_size) == 0);
            fuzz_check(checksum_once(stored, stored_size) == item.header.checksum);
        }
    } while (end <= size);
    fuzz_check(end == size);
    fuzz_check(pack_scan_next(scan, &item, NULL) == COFFER_OK && item.kind == PACK_SCAN_END);
    pack_scan_end(scan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes = malloc(size + 1);
    int fd = memfd_create("pack", MFD_CLOEXEC);

    fuzz_check(bytes != NULL && fd >= 0);
    memcpy(bytes, data, size);
    make_right(bytes, size);
    fuzz_check(write(fd, bytes, size) == (ssize_t)size);
    scan_all(fd, bytes, size, SCAN_PAYLOADS_SMALL);
    scan_all(fd, bytes, size, SCAN_PAYLOADS_ALL);
    close(fd);
    free(bytes);
    return 0;
}
