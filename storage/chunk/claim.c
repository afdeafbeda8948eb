/* A Bloom filter. Keys are digests, so that its hashes are made of a key's own bytes. */
#include "storage/chunk/claim.h"

#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"

enum { HASHES = 8, WORD_BITS = 64 };

enum coffer_status claim_create(uint64_t keys, struct claim **out, struct error *err)
{
    struct claim *claim = calloc(1, sizeof(*claim));
    size_t parts = (size_t)min_u64(keys, PENDING_SHARDS);

    invariant(claim != NULL);
    claim->words = keys * CLAIM_BITS / WORD_BITS + 1;
    claim->bits = calloc(claim->words, sizeof(uint64_t));
    claim->parts = calloc(parts + 1, sizeof(struct claim_part));
    if (claim->bits == NULL || claim->parts == NULL) {
        claim_destroy(claim);
        return error_set(
            err, COFFER_OVERLOADED, "no memory to delete %llu chunks", (unsigned long long)keys);
    }
    for (size_t i = 0; i < parts; i++)
        claim->parts[i].claim = claim;
    *out = claim;
    return COFFER_OK;
}

void claim_destroy(struct claim *claim)
{
    if (claim == NULL)
        return;
    free(claim->bits);
    free(claim->parts);
    free(claim);
}

/* Bit number `hash` of the key: made of two halves of it. */
static uint64_t bit_of(const struct claim *claim, const struct digest *key, unsigned hash)
{
    uint64_t mixed = get_le64(key->bytes + 8) + hash * (get_le64(key->bytes + 16) | 1);

    return mixed % (claim->words * WORD_BITS);
}

void claim_add(struct claim *claim, const struct digest *key)
{
    claim->shards |= UINT64_C(1) << claim_shard(key);
    for (unsigned hash = 0; hash < HASHES; hash++) {
        uint64_t bit = bit_of(claim, key, hash);

        claim->bits[bit / WORD_BITS] |= UINT64_C(1) << bit % WORD_BITS;
    }
}

bool claim_has(const struct claim *claim, const struct digest *key)
{
    for (unsigned hash = 0; hash < HASHES; hash++) {
        uint64_t bit = bit_of(claim, key, hash);

        if ((claim->bits[bit / WORD_BITS] >> bit % WORD_BITS & 1) == 0)
            return false;
    }
    return true;
}
