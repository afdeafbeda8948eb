/*
 * pack_format.h - the bytes of a pack file: its header and the header of a record. docs/format.md
 * has them in tables. Little-endian; the only place that encodes or decodes them.
 *
 * Every record header carries its pack's nonce, so that a record found by searching through a
 * damaged pack is known to be of this pack, and not a pack that somebody stored as a chunk.
 * Threads: pure functions.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/codec_id.h"
#include "storage/base/status.h"

enum {
    PACK_HEADER_SIZE = 64,
    RECORD_HEADER_SIZE = 96,
    RECORD_ALIGNMENT = 8,
    RECORD_KEY_SIZE = 32,
    PACK_FORMAT_VERSION = 1,
    STORE_UUID_SIZE = 16,
    MANIFEST_SIZE = 48, /* payload of a manifest record */
};

/* The longest payload that a record may claim: bounds what a reader allocates. */
#define RECORD_PAYLOAD_MAX ((uint64_t)1 << 30)

enum record_type { /* never renumbered */
    RECORD_CHUNK = 1,
    RECORD_SEGMENT = 2,   /* key: upload id, then its number (big-endian) */
    RECORD_MANIFEST = 3,  /* key: of the chunk; payload: struct manifest */
    RECORD_TOMBSTONE = 4, /* payload: keys of 32 bytes that are deleted */
    RECORD_SEAL = 5,      /* payload: see pack_writer.c; nothing follows it */
    RECORD_BATCH = 6,     /* key and payload: see batch_format.h */
    RECORD_DROP = 7,      /* key: of a partition that is gone; no payload */
};

struct pack_header {
    uint8_t store[STORE_UUID_SIZE];
    uint64_t pack_id;
    uint64_t nonce;
    uint64_t base_lsn; /* no record in the pack has a lower LSN */
};

struct record_header {
    enum record_type type;
    enum codec codec;
    uint64_t nonce;
    uint64_t lsn;
    /* How far the pack was known to be on stable storage when this record was written: a bad
     * record below the durable offset of a later good one is damage, not a torn tail. */
    uint64_t durable;
    uint8_t key[RECORD_KEY_SIZE];
    uint64_t raw_size;
    uint64_t stored_size; /* of the payload, without padding */
    uint64_t checksum;    /* XXH3-64 of the payload */
};

struct manifest {
    uint8_t upload[24];
    uint64_t segment_size;
    uint64_t size;        /* of the chunk */
    uint64_t stored_size; /* of all its segments */
};

void pack_header_encode(const struct pack_header *header, uint8_t out[PACK_HEADER_SIZE]);
/* COFFER_DATA_CORRUPT: not a pack header, or damaged. COFFER_FORMAT_UNKNOWN: of a newer version. */
MUST_USE enum coffer_status pack_header_decode(
    const uint8_t in[PACK_HEADER_SIZE], struct pack_header *header, struct error *err);

void record_header_encode(const struct record_header *header, uint8_t out[RECORD_HEADER_SIZE]);
/* False: no whole header of a record of the pack with this nonce. */
bool record_header_decode(
    const uint8_t in[RECORD_HEADER_SIZE], uint64_t nonce, struct record_header *header);

/* Bytes that a record takes in its pack: header, payload, padding. */
static inline uint64_t record_size(uint64_t stored_size)
{
    return RECORD_HEADER_SIZE +
           (stored_size + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
}

void manifest_encode(const struct manifest *manifest, uint8_t out[MANIFEST_SIZE]);
MUST_USE enum coffer_status manifest_decode(
    const uint8_t *in, size_t size, struct manifest *manifest, struct error *err);

/* Name of a pack's file in the folder packs/. */
enum { PACK_NAME_SIZE = 32 };
void pack_file_name(uint64_t pack_id, char out[PACK_NAME_SIZE]);
/* False: not the name of a pack. */
bool pack_id_from_name(const char *name, uint64_t *pack_id);
