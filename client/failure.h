/*
 * failure.h - how a struct coffer_error is filled.
 *
 * Each returns -1 and sets errno, so that a failing function ends with `return failure(...)`.
 */
#pragma once

#include "client/coffer.h"

/* With a code of client_codes.def. */
int failure(struct coffer_error *err, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A local file: errno as it is, the detail is "DOING: STRERROR". */
int failure_errno(struct coffer_error *err, const char *doing);
/* An answer of the server that is not 2xx. `body`: its problem+json, or whatever came. */
int failure_answer(
    struct coffer_error *err, int status, const char *request_id, const char *body, size_t size);
/* The same failure again, for another caller. */
int failure_copy(struct coffer_error *err, const struct coffer_error *from);

/* Whether the request that failed so is worth sending again by itself. */
bool failure_is_passing(const struct coffer_error *err);
/* Whether it may have been carried out nevertheless: no answer came, or one that does not tell. */
bool failure_is_doubtful(const struct coffer_error *err);
