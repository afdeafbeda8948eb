/*
 * status.h - the result of every fallible call, and the text that explains it.
 *
 * Errors: functions return enum coffer_status and, through an optional last `struct error *`, a
 *         sentence with the particulars (made where errno is known). err may be NULL.
 * Threads: no state; the catalogue is constant.
 */
#pragma once

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_index, first) __attribute__((format(printf, format_index, first)))

enum coffer_status {
#define STATUS(name, http, code, retry, title) COFFER_##name,
#include "storage/base/status.def"
#undef STATUS
    COFFER_STATUS_COUNT
};

enum { ERROR_TEXT_SIZE = 320 };

struct error {
    enum coffer_status status;
    char text[ERROR_TEXT_SIZE];
};

/* Stable code ("no_such_chunk"), HTTP status, title; for any value of the enum. */
const char *status_code(enum coffer_status status);
int status_http(enum coffer_status status);
const char *status_title(enum coffer_status status);
/* Whether sending the same request again later can succeed. */
int status_retry(enum coffer_status status);

/* Fill err (when not NULL) and return `status`. */
enum coffer_status error_set(struct error *err, enum coffer_status status, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* The same from errno: "DOING: STRERROR". ENOSPC and EDQUOT give COFFER_DISK_FULL, all others
 * COFFER_IO. */
enum coffer_status error_errno(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);
