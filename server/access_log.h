/*
 * access_log.h - one line a request: at level debug, and at warn when the answer was 5xx (but 505).
 * Of a request that libmicrohttpd refused, method and target may be missing.
 *
 * Costs one load and compare when the level is off.
 */
#pragma once

#include "api/exchange.h"

/* Whether a line may be wanted, and so a clock reading at the start. */
bool access_log_wanted(void);
/* The exchange is over. `sent`: bytes of the reply's body; `whole`: the client got all of it. */
void access_log(const struct exchange *exchange, uint64_t sent, bool whole);
