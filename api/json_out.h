/*
 * json_out.h - write JSON text straight into a buffer: no tree, no allocation a value.
 *
 * Order:   begin, then values as they stand in the text; commas are put where they belong. Inside
 *          an object each value follows json_out_name(). json_out_text() is the result.
 * Memory:  json_out_fixed() writes into the caller's buffer, json_out_growable() into one of its
 *          own of at most `max` bytes (json_out_release() frees it; also of a fixed one, a no-op).
 * Errors:  what does not fit sets `full` and every later call does nothing, so that one check of
 *          json_out_ok() at the end is enough. json_out_mark() and json_out_rewind() take back an
 *          item that did not fit, for answers that are sent in pieces.
 * Threads: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/slice.h"

struct json_out {
    char *data;
    size_t used;
    size_t size; /* of the buffer now */
    size_t max;  /* what it may grow to */
    bool owned;  /* data is ours */
    bool comma;  /* the next value needs one */
    bool full;
};

struct json_out_mark {
    size_t used;
    bool comma;
};

void json_out_fixed(struct json_out *out, char *buffer, size_t size);
void json_out_growable(struct json_out *out, size_t max);
void json_out_release(struct json_out *out);
/* Start again with an empty text. */
void json_out_reset(struct json_out *out);

static inline bool json_out_ok(const struct json_out *out)
{
    return !out->full;
}

static inline struct slice json_out_text(const struct json_out *out)
{
    return slice_of(out->data, out->used);
}

static inline struct json_out_mark json_out_mark(const struct json_out *out)
{
    return (struct json_out_mark){out->used, out->comma};
}

/* Forget what was written since `mark`, and that it did not fit. */
static inline void json_out_rewind(struct json_out *out, struct json_out_mark mark)
{
    out->used = mark.used;
    out->comma = mark.comma;
    out->full = false;
}

void json_out_object(struct json_out *out);
void json_out_object_end(struct json_out *out);
void json_out_array(struct json_out *out);
void json_out_array_end(struct json_out *out);
/* A line feed between the items of NDJSON; the next value stands alone. */
/* White space where a comma could stand, for a text that goes on. */
void json_out_space(struct json_out *out);
void json_out_line(struct json_out *out);
/* `name` is a constant that needs no escaping. */
void json_out_name(struct json_out *out, const char *name);

/* Any bytes: control characters are escaped, and what is not UTF-8 becomes U+FFFD. */
void json_out_string(struct json_out *out, struct slice text);
void json_out_u64(struct json_out *out, uint64_t value);
void json_out_number_text(struct json_out *out, uint64_t value); /* "12": as a string */
void json_out_bool(struct json_out *out, bool value);
void json_out_null(struct json_out *out);
/* The 64 hexadecimal digits as a string. */
void json_out_digest(struct json_out *out, const struct digest *digest);
/* RFC 3339 in UTC, with milliseconds; null for 0. */
void json_out_time(struct json_out *out, uint64_t wall_ns);
/* Text that is JSON already. */
void json_out_raw(struct json_out *out, struct slice json);
/* Bytes between values as they are: no comma before or after. */
void json_out_bytes(struct json_out *out, struct slice bytes);
/* The same for as many of them as fit into a fixed buffer: how many. */
size_t json_out_some(struct json_out *out, struct slice bytes);

/* "name": value, for objects. */
void json_out_member_string(struct json_out *out, const char *name, struct slice text);
void json_out_member_text(struct json_out *out, const char *name, const char *text);
void json_out_member_u64(struct json_out *out, const char *name, uint64_t value);
void json_out_member_bool(struct json_out *out, const char *name, bool value);
void json_out_member_time(struct json_out *out, const char *name, uint64_t wall_ns);
void json_out_member_digest(struct json_out *out, const char *name, const struct digest *digest);
