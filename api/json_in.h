/*
 * json_in.h - take the members out of a JSON object by a table of what it may have.
 *
 *     const struct json_field fields[] = {
 *         JSON_TEXT("id", &id), JSON_BOOL("barrier", &barrier), JSON_COUNT("level", &level, 1,
 * 19)}; status = json_in_read(root, "the body", fields, ARRAY_COUNT(fields), err);
 *
 * All members are optional: what is not there leaves its variable as it is, and null is no value.
 *
 * Errors:  COFFER_UNKNOWN_FIELD names the field and those that exist, COFFER_BAD_JSON one of
 * another type, COFFER_BAD_REQUEST a number with its bounds, or a word with those that are known.
 * Memory:  texts, lists and objects are borrowed from the object.
 * Threads: any.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/slice.h"
#include "storage/base/status.h"

enum json_field_kind {
    JSON_FIELD_TEXT,
    JSON_FIELD_WORD, /* one of `words` */
    JSON_FIELD_BOOL,
    JSON_FIELD_COUNT,   /* a whole number from min to max */
    JSON_FIELD_RATIO,   /* a number from 0 to 1 */
    JSON_FIELD_SECONDS, /* a number of seconds; to nanoseconds, from min to max */
    JSON_FIELD_LIST,
    JSON_FIELD_OBJECT,
};

struct json_field {
    const char *name;
    enum json_field_kind kind;
    union {
        struct slice *text;
        unsigned *word; /* its index */
        bool *flag;
        uint64_t *number;
        double *ratio;
        json_t **json;
    } into;
    uint64_t min, max;
    const char *const *words; /* NULL-terminated */
};

#define JSON_TEXT(field, at)                                                                       \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_TEXT, .into.text = (at)                                \
    }
#define JSON_WORD(field, at, known)                                                                \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_WORD, .into.word = (at), .words = (known)              \
    }
#define JSON_BOOL(field, at)                                                                       \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_BOOL, .into.flag = (at)                                \
    }
#define JSON_COUNT(field, at, low, high)                                                           \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_COUNT, .into.number = (at), .min = (low),              \
        .max = (high)                                                                              \
    }
#define JSON_RATIO(field, at)                                                                      \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_RATIO, .into.ratio = (at)                              \
    }
#define JSON_SECONDS(field, at, low, high)                                                         \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_SECONDS, .into.number = (at), .min = (low),            \
        .max = (high)                                                                              \
    }
#define JSON_LIST(field, at)                                                                       \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_LIST, .into.json = (at)                                \
    }
#define JSON_OBJECT(field, at)                                                                     \
    {                                                                                              \
        .name = (field), .kind = JSON_FIELD_OBJECT, .into.json = (at)                              \
    }

/* `what` names the object in the texts of errors: "the body", "action 2 of on_close". */
MUST_USE enum coffer_status json_in_read(json_t *object, const char *what,
    const struct json_field *fields, size_t count, struct error *err);
