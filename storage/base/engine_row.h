/*
 * engine_row.h - where and how one chunk or segment is stored: what engines give and indexes keep.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/codec_id.h"

enum { UPLOAD_ID_SIZE = 24 };

struct upload_id { /* random; names the segments of one upload */
    uint8_t bytes[UPLOAD_ID_SIZE];
};

struct engine_row {       /* where and how one chunk or segment is stored */
    uint64_t size;        /* of the content */
    uint64_t stored_size; /* of the payload; of a segmented chunk: of all its segments */
    enum codec codec;
    bool segmented;
    uint64_t pack, offset; /* of the record header; 0 in the memory engine */
    uint64_t lsn;
    uint64_t checksum;       /* XXH3-64 of the payload */
    struct upload_id upload; /* segmented only */
    uint64_t segment_size;   /* segmented only */
};

/* The number of segments of a chunk of `size` bytes. */
static inline uint64_t segment_count(uint64_t size, uint64_t segment_size)
{
    return size / segment_size + (size % segment_size != 0);
}
