/*
 * local_engine.h - the engine on local disks: packs that are the truth, and RocksDB as their index.
 *
 * Opening recovers: what a crash left is brought into the index, torn tails are cut, a missing or
 * unusable index is made again from the packs. See recovery.h and ARCHITECTURE.md (crash rules).
 */
#pragma once

#include <stdint.h>

#include "storage/base/status.h"
#include "storage/engine.h"
#include "storage/pack/pack_format.h"

struct local_engine_options {
    const char *data_dir; /* exists and is locked by the caller */
    uint8_t store[STORE_UUID_SIZE];
    uint64_t pack_size;
    uint64_t reserve_space; /* bytes of the disk that only deletions may use */
    uint64_t index_cache_size;
    unsigned lanes;           /* lanes are 0 .. lanes - 1 */
    unsigned descriptors_max; /* of packs */
    enum codec compression;
    int compression_level;
    uint64_t compression_min_size;
};

MUST_USE enum coffer_status local_engine_open(
    const struct local_engine_options *options, struct engine **out, struct error *err);
