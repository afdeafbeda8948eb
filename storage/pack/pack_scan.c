#include "storage/pack/pack_scan.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/io/file.h"

enum { BUFFER_SIZE = 1 << 20 };

struct pack_scan {
    int fd;
    const char *name;
    uint64_t nonce;
    uint64_t at, to;
    enum pack_scan_payloads payloads;
    struct pack_scan_look look;
    uint64_t buffer_offset; /* of buffer[0] in the file */
    size_t buffer_size;
    uint8_t *buffer;
    uint8_t *large; /* a wanted payload that does not fit into the buffer */
};

struct pack_scan *pack_scan_begin(int fd, const char *name, uint64_t nonce, uint64_t from,
    uint64_t to, enum pack_scan_payloads payloads)
{
    struct pack_scan *scan = calloc(1, sizeof(*scan));

    invariant(scan != NULL);
    scan->fd = fd;
    scan->name = name;
    scan->nonce = nonce;
    scan->at = from;
    scan->to = to;
    scan->payloads = payloads;
    scan->buffer = malloc(BUFFER_SIZE);
    invariant(scan->buffer != NULL);
    return scan;
}

void pack_scan_look_at(struct pack_scan *scan, const struct pack_scan_look *look)
{
    scan->look = *look;
}

void pack_scan_end(struct pack_scan *scan)
{
    if (scan == NULL)
        return;
    free(scan->large);
    free(scan->buffer);
    free(scan);
}

/* Bytes [offset, offset + size) through the buffer; NULL at the end of the file or past `to`. */
static enum coffer_status view(
    struct pack_scan *scan, uint64_t offset, size_t size, const uint8_t **out, struct error *err)
{
    *out = NULL;
    invariant(size <= BUFFER_SIZE);
    if (offset + size > scan->to)
        return COFFER_OK;
    if (offset < scan->buffer_offset || offset + size > scan->buffer_offset + scan->buffer_size) {
        size_t want = (size_t)min_u64(BUFFER_SIZE, scan->to - offset);
        enum coffer_status status = file_read_some(
            scan->fd, scan->buffer, want, offset, &scan->buffer_size, scan->name, err);

        scan->buffer_offset = offset;
        if (status != COFFER_OK) {
            scan->buffer_size = 0;
            return status;
        }
        if (scan->buffer_size < size)
            return COFFER_OK;
    }
    *out = scan->buffer + (offset - scan->buffer_offset);
    return COFFER_OK;
}

static enum coffer_status header_at(struct pack_scan *scan, uint64_t offset,
    struct record_header *header, bool *good, struct error *err)
{
    const uint8_t *bytes;
    enum coffer_status status = view(scan, offset, RECORD_HEADER_SIZE, &bytes, err);

    *good =
        status == COFFER_OK && bytes != NULL && record_header_decode(bytes, scan->nonce, header);
    return status;
}

static bool is_wanted(const struct pack_scan *scan, enum record_type type)
{
    return scan->payloads == SCAN_PAYLOADS_ALL || type == RECORD_TOMBSTONE ||
           type == RECORD_MANIFEST || type == RECORD_SEAL;
}

/* Check a payload larger than the buffer; keep it only if it is one that somebody parses. */
static enum coffer_status check_large(
    struct pack_scan *scan, struct pack_scan_item *item, struct error *err)
{
    uint64_t size = item->header.stored_size, done = 0;
    bool keep = item->header.type == RECORD_TOMBSTONE || item->header.type == RECORD_SEAL ||
                item->header.type == RECORD_BATCH;
    struct checksum sum;
    enum coffer_status status = COFFER_OK;

    free(scan->large);
    scan->large = NULL;
    if (keep) {
        scan->large = malloc(size);
        invariant(scan->large != NULL);
    }
    checksum_init(&sum);
    while (done < size) {
        size_t part = (size_t)min_u64(BUFFER_SIZE / 2, size - done);
        const uint8_t *bytes;

        status = view(scan, item->offset + RECORD_HEADER_SIZE + done, part, &bytes, err);
        if (status != COFFER_OK || bytes == NULL)
            break;
        checksum_update(&sum, bytes, part);
        if (scan->look.piece != NULL)
            scan->look.piece(scan->look.context, item, done, bytes, part);
        if (keep)
            memcpy(scan->large + done, bytes, part);
        done += part;
    }
    item->payload_good = done == size && checksum_value(&sum) == item->header.checksum;
    item->payload = item->payload_good ? scan->large : NULL;
    checksum_release(&sum);
    return status;
}

static enum coffer_status check_payload(
    struct pack_scan *scan, struct pack_scan_item *item, struct error *err)
{
    const uint8_t *bytes;
    enum coffer_status status;

    item->payload_good = false;
    item->payload = NULL;
    if (item->offset + item->size > scan->to || !is_wanted(scan, item->header.type))
        return COFFER_OK;
    if (item->header.stored_size > BUFFER_SIZE / 2)
        return check_large(scan, item, err);
    status = view(
        scan, item->offset + RECORD_HEADER_SIZE, (size_t)item->header.stored_size, &bytes, err);
    if (status != COFFER_OK || bytes == NULL)
        return status;
    item->payload_good =
        checksum_once(bytes, (size_t)item->header.stored_size) == item->header.checksum;
    item->payload = item->payload_good ? bytes : NULL;
    if (item->payload_good && scan->look.record != NULL)
        item->verdict = scan->look.record(scan->look.context, &item->header, bytes);
    return COFFER_OK;
}

/* Search for the next header from scan->at on. */
static enum coffer_status find_gap(
    struct pack_scan *scan, struct pack_scan_item *item, struct error *err)
{
    uint64_t at = scan->at + RECORD_ALIGNMENT;
    struct record_header header;
    bool good = false;
    enum coffer_status status = COFFER_OK;

    while (!good && at + RECORD_HEADER_SIZE <= scan->to) {
        status = header_at(scan, at, &header, &good, err);
        if (status != COFFER_OK)
            return status;
        if (!good)
            at += RECORD_ALIGNMENT;
    }
    item->kind = PACK_SCAN_GAP;
    item->offset = scan->at;
    item->size = (good ? at : scan->to) - scan->at;
    scan->at = good ? at : scan->to;
    return COFFER_OK;
}

enum coffer_status pack_scan_next(
    struct pack_scan *scan, struct pack_scan_item *item, struct error *err)
{
    enum coffer_status status;
    bool good;

    memset(item, 0, sizeof(*item));
    item->kind = PACK_SCAN_END;
    item->offset = scan->at;
    if (scan->at >= scan->to)
        return COFFER_OK;
    status = header_at(scan, scan->at, &item->header, &good, err);
    if (status != COFFER_OK)
        return status;
    if (!good)
        return find_gap(scan, item, err);
    item->kind = PACK_SCAN_RECORD;
    item->offset = scan->at;
    item->size = record_size(item->header.stored_size);
    status = check_payload(scan, item, err);
    scan->at = min_u64(scan->at + item->size, scan->to);
    return status;
}
