/*
 * exchange_head.h - the part of exchange.c that reads the head of a request.
 */
#pragma once

#include "api/exchange.h"

/* The headers are all there: take over the caller's request id, and read how long the body is. */
void exchange_read_head(struct exchange *exchange);
