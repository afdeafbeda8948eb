/*
 * notify.h - tell another server, over HTTP: POST a JSON text to a URL until it is answered with
 * success (libcurl).
 *
 * Any 2xx is success. Everything else, and no answer, is tried again, with pauses that double.
 * Only http and https, also behind redirects. At least once: an answer that is lost makes it come
 * twice.
 *
 * Threads: any; the calls are blocking. notify_init() before other threads use libcurl.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/slice.h"
#include "storage/base/status.h"

enum {
    NOTIFY_TRIES = 5,
    NOTIFY_CONNECT_MS = 10000,
    NOTIFY_ANSWER_MS = 30000, /* for one try as a whole */
    NOTIFY_REDIRECTS_MAX = 5,
};

struct notify_caller {
    bool (*wait)(void *context, uint64_t ns); /* false: stop */
    bool (*stopping)(void *context);
    void *context;
};

struct notify_result {
    unsigned tries;
    int answer; /* HTTP status of the last one; 0: none came */
};

void notify_init(void);
void notify_release(void);
/* COFFER_OK; COFFER_NOTIFY_FAILED after the last try; COFFER_DRAINING when the caller is to stop,
 * which is seen within a second. `delay_ns`: the first pause. */
MUST_USE enum coffer_status notify_send(const char *url, struct slice json, uint64_t delay_ns,
    struct notify_caller *caller, struct notify_result *result, struct error *err);
