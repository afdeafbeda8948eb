/*
 * json_value.h - JSON values as trees of jansson: their text, and what a merge patch makes of them.
 *
 * Threads: any; a tree by one at a time. Depth: trees come from json_body, so it is bounded.
 */
#pragma once

#include <jansson.h>

#include "api/json_out.h"

/* Compact, members in their order. A real number has as many digits as it takes to read the same
 * one again, where jansson writes 0.1 as 0.10000000000000001. */
void json_value_write(struct json_out *out, json_t *value);

/* RFC 7396: what `patch` makes of `target` (NULL: there is nothing). Neither is changed. A new
 * reference; NULL: no memory. */
json_t *merge_patch(json_t *target, json_t *patch);
