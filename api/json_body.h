/*
 * json_body.h - a small JSON body: collected, its digest compared, and parsed to one object.
 *
 * Order:   start() when the headers are there, data() for each piece, finish() once the body is
 *          complete: `root` is then the object, an empty one for a blank body. drop() as soon as it
 *          is not needed any more; release() at the end, also after a failed start().
 * Errors:  COFFER_UNSUPPORTED_MEDIA_TYPE, COFFER_BAD_DIGEST_HEADER, COFFER_DIGEST_MISMATCH,
 *          COFFER_CONTENT_TOO_LARGE, COFFER_OVERLOADED, COFFER_BAD_JSON.
 * Threads: that of the exchange.
 */
#pragma once

#include <jansson.h>

#include "api/body_check.h"

/* Jansson goes down with each bracket; nothing here needs more of them. */
enum { JSON_DEPTH_MAX = 64 };

struct json_body {
    struct body_check check;
    char *text;
    size_t used, size, max; /* bytes */
    json_t *root;
};

/* `max`: bytes that this request takes. */
MUST_USE enum coffer_status json_body_start(
    struct json_body *body, struct exchange *exchange, size_t max, struct error *err);
MUST_USE enum coffer_status json_body_data(struct json_body *body, struct exchange *exchange,
    const void *data, size_t size, size_t *taken, struct error *err);
MUST_USE enum coffer_status json_body_finish(struct json_body *body, struct error *err);
void json_body_drop(struct json_body *body);
void json_body_release(struct json_body *body);
