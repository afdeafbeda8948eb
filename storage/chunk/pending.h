/*
 * pending.h - the keys that are being written or deleted right now, so that operations on one key
 * have one order, duplicates are found before they are written, and reads find what is still in
 * the buffers.
 *
 *  A write has an entry, which is made by whoever wants to write the key and removed when that is
 *  durable (and in the index) or has failed. Everybody else who wants to change the key waits for
 *  that and looks again. A reader looks here first and in the index second.
 *
 *  A deletion has a claim on all of its keys (claim.h). As long as that is published nobody makes
 *  an entry for any of them, and the deletion waits for the entries that were there before, and
 *  for the claims published before its own. So nobody waits in a circle: writes that have an entry
 *  wait for no other key, and claims only for older ones.
 *
 * Threads: any; sharded, one lock a shard.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/waker.h"
#include "storage/channel/lane.h"
#include "storage/chunk/body.h"
#include "storage/chunk/claim.h"

struct chunk_write; /* chunk/write.h */

struct pending_entry {
    struct digest key;
    struct chunk_write *write; /* (shard) not NULL: the content is readable, and in the buffer */
    struct pending_waiter *waiters; /* (shard) */
    struct pending_entry *next;     /* (shard) */
};

struct pending_table;

struct pending_table *pending_create(void);
void pending_destroy(struct pending_table *table); /* it is empty */

/* Insert `entry` (owned by the caller, until pending_remove()), or find that there is one. */
enum pending_found {
    PENDING_INSERTED,
    PENDING_BUFFERED, /* a write that is in the buffer: *write has a new reference */
    PENDING_BUSY,     /* something else; the waiter is called when it is over */
};
/* With `wait_for_buffered` a write in the buffer registers the waiter too (and *write is given). */
enum pending_found pending_insert(struct pending_table *table, struct pending_entry *entry,
    bool wait_for_buffered, struct pending_waiter *waiter, struct chunk_write **write);
/* The entry's content may be read from now on. True: somebody waits for the end of it already, who
 * could not know that it would be in a buffer. */
bool pending_publish(
    struct pending_table *table, struct pending_entry *entry, struct chunk_write *write);
/* Over: wakes all who wait. */
void pending_remove(struct pending_table *table, struct pending_entry *entry);
/* The write of this key that is in the buffer, with a new reference; or NULL. */
struct chunk_write *pending_find(struct pending_table *table, const struct digest *key);
/* Keys > *after (NULL: all) that are in the buffer: up to count of them, in no order, but if there
 * are more, then the lowest ones. */
size_t pending_collect(
    struct pending_table *table, const struct digest *after, struct digest *keys, size_t count);

/* From now on the keys of the claim are nobody else's to change, but for what is under way. */
void pending_claim(struct pending_table *table, struct claim *claim);
/* Whether the key, one of the published claim, is free of what was under way: PENDING_INSERTED
 * (which it stays), or as pending_insert() answers. */
enum pending_found pending_await(struct pending_table *table, const struct claim *claim,
    const struct digest *key, bool wait_for_buffered, struct pending_waiter *waiter,
    struct chunk_write **write);
/* Over: wakes all who wait. */
void pending_unclaim(struct pending_table *table, struct claim *claim);
