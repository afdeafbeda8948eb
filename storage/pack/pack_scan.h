/*
 * pack_scan.h - read the records of one pack in order, past whatever is damaged.
 *
 * Order:   offsets ascend. A place where no valid record header is gives PACK_SCAN_GAP up to the
 *          next valid header (found by searching at every RECORD_ALIGNMENT for a header with this
 *          pack's nonce and a right checksum), or to the end.
 * Memory:  one buffer of a fixed size; a record's payload is borrowed until the next call.
 * Threads: one uses a scan; what it is given to look with may be called by others, see below.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/status.h"
#include "storage/pack/pack_format.h"

struct pack_scan; /* opaque: pack_scan.c */

enum pack_scan_kind { PACK_SCAN_RECORD, PACK_SCAN_GAP, PACK_SCAN_END };

struct pack_scan_item {
    enum pack_scan_kind kind;
    uint64_t offset, size; /* of the record with its header and padding, or of the gap */
    struct record_header header;
    /* The payload was read and has its checksum. Always false for payloads not asked for. */
    bool payload_good;
    const uint8_t *payload; /* if payload_good and it fits into the buffer, else NULL */
    uint8_t verdict;        /* what pack_scan_look.record said of it; 0 if it was not asked */
};

/* Who wants more of the payloads than their checksum. Each of the functions may be NULL. */
struct pack_scan_look {
    /* A payload that is good and whole in memory: by several threads at the same time, in any
     * order, before pack_scan_next() gives the item. */
    uint8_t (*record)(void *context, const struct record_header *header, const uint8_t *payload);
    /* A payload too large for that, piece by piece from its beginning, in the thread that calls
     * pack_scan_next() and before that gives the item, which says whether all of it was good. */
    void (*piece)(void *context, const struct pack_scan_item *item, uint64_t at,
        const uint8_t *data, size_t size);
    void *context;
};

enum pack_scan_payloads {
    SCAN_PAYLOADS_SMALL, /* only those of tombstones, manifests and seals */
    SCAN_PAYLOADS_ALL,   /* check every payload */
};

/* Scan bytes [from, to) of the open file `fd` (borrowed), `name` for messages. */
struct pack_scan *pack_scan_begin(int fd, const char *name, uint64_t nonce, uint64_t from,
    uint64_t to, enum pack_scan_payloads payloads);
/* Before the first pack_scan_next(). */
void pack_scan_look_at(struct pack_scan *scan, const struct pack_scan_look *look);
void pack_scan_end(struct pack_scan *scan);
/* COFFER_IO when the file cannot be read. After PACK_SCAN_END it ends again. */
MUST_USE enum coffer_status pack_scan_next(
    struct pack_scan *scan, struct pack_scan_item *item, struct error *err);
