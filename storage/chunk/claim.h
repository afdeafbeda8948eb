/*
 * claim.h - the keys of one deletion, which may be a million, as a filter: some bits of a bit map
 * are set for each key. A key that is not of the claim is taken for one of it once in a thousand
 * times, and then only waits for longer than it had to.
 *
 * Order:   create, add all keys, pending_claim(); from then on it is constant, and its parts belong
 *          to pending.c, until pending_unclaim().
 * Memory:  CLAIM_BITS a key, and up to 2 KiB.
 * Threads: one, until it is published.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/status.h"
#include "storage/base/waker.h"

enum { CLAIM_BITS = 16, PENDING_SHARDS = 64 };

struct pending_waiter {
    struct waker waker;
    struct pending_waiter *next;
};

struct claim_part { /* of one shard of the pending table */
    struct claim *claim;
    struct claim_part *next;        /* (shard) the one published next */
    struct pending_waiter *waiters; /* (shard) */
};

struct claim {
    uint64_t words; /* of 64 bits */
    uint64_t *bits;
    uint64_t shards;          /* a bit for each that has one of the keys */
    struct claim_part *parts; /* of those shards, in their order */
};

/* For `keys` keys. COFFER_OVERLOADED without memory. */
MUST_USE enum coffer_status claim_create(uint64_t keys, struct claim **out, struct error *err);
void claim_destroy(struct claim *claim); /* not published any more; NULL is a no-op */
void claim_add(struct claim *claim, const struct digest *key);
/* False: it is not one of them. */
bool claim_has(const struct claim *claim, const struct digest *key);
static inline bool claim_is_in(const struct claim *claim, unsigned shard)
{
    return (claim->shards >> shard & 1) != 0;
}
/* Of a shard that it is in. */
static inline struct claim_part *claim_part(struct claim *claim, unsigned shard)
{
    uint64_t before = claim->shards & ((UINT64_C(1) << shard) - 1);

    return &claim->parts[__builtin_popcountll(before)];
}
/* Which shard of the pending table a key is in. */
static inline unsigned claim_shard(const struct digest *key)
{
    return key->bytes[0] % PENDING_SHARDS;
}
