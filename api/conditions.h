/*
 * conditions.h - what the conditional, range and negotiation headers of a request ask for
 * (RFC 9110 sections 8.8, 12.5, 13 and 14). Pure functions over header values.
 *
 * Absent headers are slices with data NULL. Several lines of a header are joined with ", ".
 * What cannot be read never makes an error: a condition that cannot be read does not hold, a
 * range that cannot be read is ignored, as RFC 9110 says.
 * Entity tags are given with their quotes: "\"abc\"", weak ones as "W/\"abc\"".
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/slice.h"

enum condition_verdict {
    CONDITION_PROCEED,
    CONDITION_NOT_MODIFIED, /* 304 */
    CONDITION_FAILED,       /* 412 */
};

/* If-Match, then If-None-Match, against the entity tag of the current representation (empty: there
 * is none). `reading` is for GET and HEAD: a matching If-None-Match is then 304 instead of 412. */
enum condition_verdict conditions_check(
    struct slice if_match, struct slice if_none_match, struct slice etag, bool reading);

/* Whether a list ("*", or entity tags) names `etag`. */
bool etag_list_has(struct slice list, struct slice etag, bool weak_compare);

enum range_verdict {
    RANGE_WHOLE,         /* 200: no range, one that is ignored, or several */
    RANGE_PART,          /* 206: *offset and *length */
    RANGE_UNSATISFIABLE, /* 416 */
};

/* Range with its If-Range (strong comparison; a date never matches: chunks have none), for a
 * content of `size` bytes. */
enum range_verdict range_select(struct slice range, struct slice if_range, struct slice etag,
    uint64_t size, uint64_t *offset, uint64_t *length);

/* Where a Range begins in a content that has `size` bytes and still grows: at most at its end. What
 * it says of its own end does not count. */
enum range_verdict range_start(struct slice range, uint64_t size, uint64_t *offset);

/* Accept-Encoding: zstd is acceptable, and not less wanted than the content as it is. A bare "*"
 * does not ask for it. */
bool accepts_zstd(struct slice accept_encoding);

/* Accept names application/x-ndjson, and application/json not with a higher q. */
bool accepts_ndjson(struct slice accept);

/* Whether a Content-Type is `media_type` (lower case), whatever its parameters. */
bool media_type_is(struct slice content_type, const char *media_type);
