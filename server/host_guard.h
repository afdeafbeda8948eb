/*
 * host_guard.h - keeps web pages away from a server that asks nobody who he is.
 *
 * A page that a browser shows can send requests to 127.0.0.1, and by DNS rebinding under a name of
 * its own. So a server that only this machine reaches answers only requests whose Host (and Origin,
 * if there is one) name this machine or an address that it listens on, with any port.
 *
 * Threads: constant after init.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "server/listen.h"
#include "storage/base/slice.h"

enum { HOST_GUARD_MAX = 32 };

struct host_guard {
    bool active; /* false: everything is allowed */
    struct in_addr v4[HOST_GUARD_MAX];
    struct in6_addr v6[HOST_GUARD_MAX];
    size_t v4_count, v6_count;
};

void host_guard_init(
    struct host_guard *guard, bool active, const struct listener *listeners, size_t count);
/* Either may have data NULL: not sent. */
bool host_guard_allows(const struct host_guard *guard, struct slice host, struct slice origin);
