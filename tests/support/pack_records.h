/*
 * pack_records.h - which records a whole and undamaged pack has, and where.
 */
#pragma once

#include "storage/pack/pack_scan.h"

struct pack_records {
    struct pack_scan_item *items; /* without payloads */
    size_t count;
    uint64_t pack_size; /* of the file */
    bool sealed;
};

struct pack_records pack_records_read(const char *path); /* fails the test if anything is damaged */
void pack_records_release(struct pack_records *records);
/* The record that byte `at` belongs to, or NULL: the header of the pack. */
const struct pack_scan_item *pack_record_at(const struct pack_records *records, uint64_t at);
bool pack_record_is_padding(const struct pack_scan_item *record, uint64_t at);
/* Whether a later record says that everything up to here was durable. */
bool pack_record_is_known_durable(
    const struct pack_records *records, const struct pack_scan_item *record);
