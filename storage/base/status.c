#include "storage/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { RETRY_NO = 0, RETRY_YES = 1 };

static const struct {
    const char *code;
    const char *title;
    int http;
    int retry;
} catalogue[COFFER_STATUS_COUNT] = {
#define STATUS(name, http, code, retry, title) [COFFER_##name] = {code, title, http, RETRY_##retry},
#include "storage/base/status.def"
#undef STATUS
};

const char *status_code(enum coffer_status status)
{
    return catalogue[status].code;
}

int status_http(enum coffer_status status)
{
    return catalogue[status].http;
}

const char *status_title(enum coffer_status status)
{
    return catalogue[status].title;
}

int status_retry(enum coffer_status status)
{
    return catalogue[status].retry;
}

enum coffer_status error_set(struct error *err, enum coffer_status status, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return status;
    err->status = status;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return status;
}

enum coffer_status error_errno(struct error *err, const char *format, ...)
{
    int code = errno;
    enum coffer_status status = code == ENOSPC || code == EDQUOT ? COFFER_DISK_FULL : COFFER_IO;
    char reason[128];
    va_list args;
    int used;

    if (err == NULL)
        return status;
    err->status = status;
    va_start(args, format);
    used = vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof(err->text))
        (void)snprintf(err->text + used, sizeof(err->text) - (size_t)used, ": %s",
            strerror_r(code, reason, sizeof(reason)));
    errno = code;
    return status;
}
