/*
 * tombstone.h - the payload of a tombstone: the keys that are deleted together, which may be more
 * than memory should hold. Such a one is summed and written as it is read from its source.
 *
 * Threads: that of the lane.
 */
#pragma once

#include "storage/base/key_source.h"
#include "storage/pack/pack_writer.h"

enum { TOMBSTONE_LOADED_MAX = 8192 }; /* keys */

/* The checksum of the payload, and the payload itself (malloced, to be freed also on failure), or
 * NULL if it has more than TOMBSTONE_LOADED_MAX keys. */
MUST_USE enum coffer_status tombstone_load(
    const struct key_source *keys, void **payload, uint64_t *checksum, struct error *err);
/* Write the payload behind a header that has just been written. It needs no padding. */
MUST_USE enum coffer_status tombstone_write(
    const struct key_source *keys, struct pack_writer *writer, struct error *err);
