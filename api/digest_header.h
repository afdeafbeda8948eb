/*
 * digest_header.h - Content-Digest and Repr-Digest (RFC 9530): a dictionary of structured fields
 * (RFC 8941) whose member `sha-256` is a byte sequence.
 *
 * Threads: any.
 */
#pragma once

#include <stdbool.h>

#include "storage/base/digest.h"
#include "storage/base/status.h"

/* Find the sha-256 member. *found is false if there is none: other algorithms are ignored, the
 * last of several wins, as RFC 8941 says. COFFER_BAD_DIGEST_HEADER if the value is no dictionary,
 * or its sha-256 not 32 bytes. */
MUST_USE enum coffer_status digest_header_parse(
    struct slice value, struct digest *digest, bool *found, struct error *err);

/* "sha-256=:...:" and a NUL. */
enum { DIGEST_HEADER_SIZE = 9 + DIGEST_BASE64_SIZE + 1 };
void digest_header_format(const struct digest *digest, char out[DIGEST_HEADER_SIZE + 1]);
