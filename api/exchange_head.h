/*
 * exchange_head.h - the part of exchange.c that reads the head of a request.
 */
#pragma once

#include "api/exchange.h"

/* The headers are all there: take over the caller's request id, and read how long the body is. */
void exchange_read_head(struct exchange *exchange);
/* The value of a Content-Length: COFFER_OK, COFFER_BAD_REQUEST if it is no number, or
 * COFFER_CONTENT_TOO_LARGE if no body can be that long. */
MUST_USE enum coffer_status exchange_length(struct slice text, uint64_t *size);
