#include "server/access_log.h"

#include "api/route.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"

bool access_log_wanted(void)
{
    return log_enabled(LOG_DEBUG);
}

void access_log(const struct exchange *exchange, uint64_t sent, bool whole)
{
    int status = exchange->reply.status;
    /* 505 is the client's doing. */
    enum log_level level = status >= 500 && status != 505 ? LOG_WARN : LOG_DEBUG;
    struct slice trace = exchange->headers[HEADER_TRACEPARENT];
    double ms = 0;

    if (likely(!log_enabled(level)))
        return;
    if (exchange->started_ns != 0)
        ms = (double)(clock_monotonic_ns() - exchange->started_ns) / NS_PER_MS;
    log_write(level, "request",
        "%s \"%.16s %.*s\" %d in=%llu out=%llu ms=%.2f route=%s state=%s%s%s%.*s",
        exchange->request_id, exchange->method_text[0] == '\0' ? "-" : exchange->method_text,
        (int)(exchange->target.size < 400 ? exchange->target.size : 400),
        (const char *)exchange->target.data, status, (unsigned long long)exchange->received,
        (unsigned long long)sent, ms, exchange->route == NULL ? "-" : exchange->route->path,
        exchange->coffer_state == NULL ? "-" : exchange->coffer_state, whole ? "" : " cut",
        trace.data == NULL ? "" : " traceparent=", (int)(trace.size < 64 ? trace.size : 64),
        trace.data == NULL ? "" : (const char *)trace.data);
}
