#include "api/list_query.h"

#include <stdio.h>

#include "api/conditions.h"

bool query_number(struct slice text, uint64_t min, uint64_t max, uint64_t *value)
{
    const char *at = text.data;
    uint64_t number = 0;

    if (text.size == 0)
        return false;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)(at[i] - '0');

        if (digit > 9 || __builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)digit, &number))
            return false;
    }
    *value = number;
    return number >= min && number <= max;
}

static int shown(struct slice text)
{
    return (int)(text.size < 80 ? text.size : 80);
}

enum coffer_status list_query_read(
    struct exchange *exchange, struct list_query *query, struct error *err)
{
    struct slice limit;
    enum coffer_status status;

    *query = (struct list_query){.limit = LIST_LIMIT_DEFAULT,
        .lines = accepts_ndjson(exchange_header(exchange, HEADER_ACCEPT))};
    status = exchange_query(exchange, "limit", &limit, err);
    if (status == COFFER_OK)
        status = exchange_query(exchange, "after", &query->after, err);
    if (status == COFFER_OK)
        status = exchange_query(exchange, "prefix", &query->prefix, err);
    if (status != COFFER_OK)
        return status;
    query->has_limit = limit.data != NULL;
    if (query->has_limit &&
        !query_number(limit, 1, query->lines ? UINT64_MAX : LIST_LIMIT_MAX, &query->limit))
        return error_set(err, COFFER_BAD_REQUEST,
            "limit is a number from 1 to %d, not \"%.*s\"; Accept: application/x-ndjson gives the "
            "whole list",
            LIST_LIMIT_MAX, shown(limit), (const char *)limit.data);
    return COFFER_OK;
}

enum coffer_status query_choice(struct exchange *exchange, const char *name,
    const char *const *words, unsigned *choice, struct error *err)
{
    struct slice value;
    enum coffer_status status = exchange_query(exchange, name, &value, err);
    char list[100];
    size_t used = 0;

    *choice = 0;
    if (status != COFFER_OK || value.data == NULL)
        return status;
    for (unsigned i = 0; words[i] != NULL; i++) {
        if (slice_equal(value, slice_from_text(words[i]))) {
            *choice = i;
            return COFFER_OK;
        }
    }
    for (unsigned i = 0; words[i] != NULL && used < sizeof(list); i++)
        used += (size_t)snprintf(
            list + used, sizeof(list) - used, "%s%s", i == 0 ? "" : " or ", words[i]);
    return error_set(err, COFFER_BAD_REQUEST, "%s is %s, not \"%.*s\"", name, list, shown(value),
        (const char *)value.data);
}
