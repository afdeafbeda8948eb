/*
 * body_check.h - what all requests with a JSON or tar body share: the media types they take, and
 * the digest of the body if the client announced one.
 *
 * Order:   start() when the headers are there, data() for all bytes taken, finish() before acting
 *          on the body; release() at the end, also after a failed start().
 * Errors:  COFFER_UNSUPPORTED_MEDIA_TYPE, COFFER_BAD_DIGEST_HEADER, COFFER_DIGEST_MISMATCH.
 * Threads: one at a time.
 */
#pragma once

#include "api/exchange.h"

struct body_check {
    struct digest expected;
    bool expects; /* a digest was announced */
    struct sha256 sha;
};

/* `form` is what the Content-Type stands for. curl -d says that it sends a form, and curl
 * --data-binary too, so that type is taken for any of them, as none at all is. */
enum body_form { BODY_FORM_JSON, BODY_FORM_LINES, BODY_FORM_TAR };

/* `first` is taken, and `second` (may be the same). */
MUST_USE enum coffer_status body_check_start(struct body_check *check, struct exchange *exchange,
    enum body_form first, enum body_form second, enum body_form *form, struct error *err);
void body_check_data(struct body_check *check, const void *data, size_t size);
MUST_USE enum coffer_status body_check_finish(struct body_check *check, struct error *err);
void body_check_release(struct body_check *check);
