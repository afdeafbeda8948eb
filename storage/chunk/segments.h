/*
 * segments.h - a chunk larger than one segment, on its way in: its segments go to the lane as they
 * fill, at most SEGMENTS_IN_FLIGHT at once, so that memory is bounded for any size.
 *
 * Order:   all segments are durable before segments_finish() returns COFFER_OK; then comes the
 *          manifest, in the same lane. Without a manifest they are forgotten, also after a crash
 *          (pack/recovery.h).
 * Threads: one at a time.
 */
#pragma once

#include "storage/chunk/body.h"
#include "storage/chunk/store_parts.h"

enum { SEGMENTS_IN_FLIGHT = 2 };

struct segment_sender;

/* `lane` is borrowed until the manifest is filled in. */
struct segment_sender *segments_create(
    struct store *store, struct lane *lane, uint64_t segment_size);
/* Send a full body (taken, *body becomes NULL), or COFFER_AGAIN; the failure of an earlier one. */
MUST_USE enum coffer_status segments_send(
    struct segment_sender *sender, struct body **body, struct waker waker, struct error *err);
/* Send what is left (*body may be NULL) and wait for all of them. */
MUST_USE enum coffer_status segments_finish(
    struct segment_sender *sender, struct body **body, struct waker waker, struct error *err);
void segments_fill_manifest(
    const struct segment_sender *sender, uint64_t size, struct engine_op *op);
/* The manifest is durable: the segments stay. Otherwise destroying forgets them. */
void segments_keep(struct segment_sender *sender);
/* The lane is still held by the caller. NULL is a no-op. */
void segments_destroy(struct segment_sender *sender);
