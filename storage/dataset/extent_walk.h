/*
 * extent_walk.h - over the extents of channels, for work that may block: verify, compress.
 *
 * Threads: a walk belongs to one thread; what it gives lives until its next call.
 */
#pragma once

#include "storage/dataset/dataset_parts.h"

struct stream_list { /* what a dataset had at one moment */
    struct {
        struct stream *stream;
        uint64_t size;
    } * items;
    size_t count;
    uint64_t bytes; /* of all of them */
};
MUST_USE enum coffer_status stream_list_take(
    struct dataset *dataset, struct stream_list *list, struct error *err);
void stream_list_release(struct stream_list *list);

struct extent_walk {
    const struct stream *stream;
    uint64_t at, end;
    struct extent extent;
    struct row_buffer copy;
};
struct extent_walk extent_walk_begin(const struct stream *stream, uint64_t from, uint64_t end);
/* walk->extent, or *more false. COFFER_DATA_CORRUPT where the row is missing or damaged. */
MUST_USE enum coffer_status extent_walk_next(
    struct extent_walk *walk, bool *more, struct error *err);
void extent_walk_end(struct extent_walk *walk);
