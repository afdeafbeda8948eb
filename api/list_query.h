/*
 * list_query.h - the query parameters of lists: limit, after, prefix; and words out of a few.
 *
 * Errors:  COFFER_BAD_REQUEST names the parameter and what it may be. Parameters that a request
 * does not know are ignored.
 */
#pragma once

#include "api/exchange.h"

enum { LIST_LIMIT_DEFAULT = 1000, LIST_LIMIT_MAX = 10000 };

struct list_query {
    uint64_t limit;
    bool has_limit;
    struct slice after;  /* data NULL: from the start */
    struct slice prefix; /* empty: all */
    bool lines;          /* Accept asks for NDJSON: all of it, unless there is a limit */
};

MUST_USE enum coffer_status list_query_read(
    struct exchange *exchange, struct list_query *query, struct error *err);

/* *choice: the index in the NULL-terminated `words` of the parameter's value; 0 without it. */
MUST_USE enum coffer_status query_choice(struct exchange *exchange, const char *name,
    const char *const *words, unsigned *choice, struct error *err);

/* A number from min to max in decimal digits. */
MUST_USE bool query_number(struct slice text, uint64_t min, uint64_t max, uint64_t *value);
