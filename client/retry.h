/*
 * retry.h - when to try again: pauses that double from 50 ms to 5 s, each shortened at random by up
 * to half, so that clients that lost the same server do not come back at once; at least what the
 * server's Retry-After says; and no more once the patience of the client is used up, nor for an
 * impatient client as long as no answer at all ever came.
 */
#pragma once

#include "client/client_parts.h"

enum { RETRY_FIRST_MS = 50, RETRY_MAX_MS = 5000 };

struct retry {
    struct coffer_client *client;
    uint64_t started_ms; /* of the first failure */
    unsigned tries;
};

void retry_init(struct retry *retry, struct coffer_client *client);
/* After a failure: pause, and true; or false: it is enough. */
bool retry_pause(struct retry *retry, unsigned retry_after_s);
/* There was progress: the next failure is the first one. */
void retry_reset(struct retry *retry);
