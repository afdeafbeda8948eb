/*
 * chunk_key.h - what the resources of a single chunk share: its key and its entity tags.
 *
 * Threads: any.
 */
#pragma once

#include "api/exchange.h"
#include "storage/base/digest.h"

/* The first parameter of the path. COFFER_BAD_KEY; COFFER_NO_SUCH_CHUNK for a well-formed name of
 * an imported chunk ("sha1:" and 40 digits) when `reading`. */
MUST_USE enum coffer_status chunk_key_of(
    const struct exchange *exchange, bool reading, struct digest *key, struct error *err);

/* The entity tag of a chunk: its key in quotes; the zstd form of it has one of its own. */
enum { CHUNK_ETAG_SIZE = DIGEST_HEX_SIZE + 2, CHUNK_ETAG_ZSTD_SIZE = CHUNK_ETAG_SIZE + 5 };
const char *chunk_etag(struct exchange *exchange, const struct digest *key, bool zstd);

/* If-Match and If-None-Match of a request that changes something: COFFER_PRECONDITION_FAILED.
 * Looks into the store only if one of them is there. */
MUST_USE enum coffer_status chunk_check_conditions(
    struct exchange *exchange, const struct digest *key, struct error *err);
