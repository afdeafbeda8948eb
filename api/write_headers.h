/*
 * write_headers.h - what the headers of a request that stores bytes say beside their names.
 *
 * Errors:  COFFER_BAD_REQUEST, COFFER_BAD_DIGEST_HEADER, COFFER_DIGEST_MISMATCH,
 *          COFFER_UNSUPPORTED_MEDIA_TYPE.
 * Threads: any.
 */
#pragma once

#include "api/exchange.h"
#include "storage/base/digest.h"

/* Coffer-Durability; the service's own without it. */
MUST_USE enum coffer_status durability_header(
    struct exchange *exchange, enum durability *durability, struct error *err);

/* The sha-256 of Content-Digest and Repr-Digest, if there is one. Both must agree, also with `key`
 * (may be NULL), which says the same another way. */
MUST_USE enum coffer_status digest_headers(struct exchange *exchange, const struct digest *key,
    struct digest *digest, bool *found, struct error *err);

/* Bodies are taken as they come: a Content-Encoding other than identity is refused. */
MUST_USE enum coffer_status encoding_header(struct exchange *exchange, struct error *err);
