#include "api/json_in.h"

#include <stdio.h>
#include <string.h>

#include "storage/base/clock.h"

enum { LIST_TEXT_SIZE = 160 };

static const char *type_of(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "true or false";
    case JSON_NULL:
    default:
        return "null";
    }
}

static enum coffer_status wrong_type(const struct json_field *field, const json_t *value,
    const char *what, const char *wanted, struct error *err)
{
    return error_set(err, COFFER_BAD_JSON, "\"%s\" of %s is %s, not %s", field->name, what, wanted,
        type_of(value));
}

static size_t add_name(char *list, size_t used, const char *name)
{
    int length = snprintf(list + used, LIST_TEXT_SIZE - used, "%s%s", used == 0 ? "" : ", ", name);

    used += length > 0 ? (size_t)length : 0;
    return used < LIST_TEXT_SIZE ? used : LIST_TEXT_SIZE - 1;
}

static enum coffer_status read_word(
    const struct json_field *field, const json_t *value, const char *what, struct error *err)
{
    char list[LIST_TEXT_SIZE] = "";
    size_t used = 0;

    if (!json_is_string(value))
        return wrong_type(field, value, what, "a text", err);
    for (unsigned i = 0; field->words[i] != NULL; i++) {
        if (strcmp(field->words[i], json_string_value(value)) == 0) {
            *field->into.word = i;
            return COFFER_OK;
        }
        used = add_name(list, used, field->words[i]);
    }
    return error_set(err, COFFER_BAD_REQUEST, "\"%s\" of %s is one of %s, not \"%.60s\"",
        field->name, what, list, json_string_value(value));
}

static enum coffer_status read_count(
    const struct json_field *field, const json_t *value, const char *what, struct error *err)
{
    json_int_t number = json_integer_value(value);

    if (!json_is_number(value))
        return wrong_type(field, value, what, "a number", err);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < field->min ||
        (uint64_t)number > field->max)
        return error_set(err, COFFER_BAD_REQUEST,
            "\"%s\" of %s is a whole number from %llu to %llu", field->name, what,
            (unsigned long long)field->min, (unsigned long long)field->max);
    *field->into.number = (uint64_t)number;
    return COFFER_OK;
}

static enum coffer_status read_ratio(
    const struct json_field *field, const json_t *value, const char *what, struct error *err)
{
    double ratio = json_number_value(value);

    if (!json_is_number(value))
        return wrong_type(field, value, what, "a number", err);
    if (!(ratio >= 0 && ratio <= 1))
        return error_set(
            err, COFFER_BAD_REQUEST, "\"%s\" of %s is a number from 0 to 1", field->name, what);
    *field->into.ratio = ratio;
    return COFFER_OK;
}

static enum coffer_status read_seconds(
    const struct json_field *field, const json_t *value, const char *what, struct error *err)
{
    double ns = json_number_value(value) * NS_PER_S;

    if (!json_is_number(value))
        return wrong_type(field, value, what, "a number of seconds", err);
    if (ns < (double)field->min || ns > (double)field->max)
        return error_set(err, COFFER_BAD_REQUEST,
            "\"%s\" of %s is a number of seconds from %.6g to %.6g", field->name, what,
            (double)field->min / NS_PER_S, (double)field->max / NS_PER_S);
    *field->into.number = (uint64_t)ns;
    return COFFER_OK;
}

static enum coffer_status read_field(
    const struct json_field *field, json_t *value, const char *what, struct error *err)
{
    switch (field->kind) {
    case JSON_FIELD_TEXT:
        if (!json_is_string(value))
            return wrong_type(field, value, what, "a text", err);
        *field->into.text = slice_of(json_string_value(value), json_string_length(value));
        return COFFER_OK;
    case JSON_FIELD_WORD:
        return read_word(field, value, what, err);
    case JSON_FIELD_BOOL:
        if (!json_is_boolean(value))
            return wrong_type(field, value, what, "true or false", err);
        *field->into.flag = json_is_true(value);
        return COFFER_OK;
    case JSON_FIELD_COUNT:
        return read_count(field, value, what, err);
    case JSON_FIELD_RATIO:
        return read_ratio(field, value, what, err);
    case JSON_FIELD_SECONDS:
        return read_seconds(field, value, what, err);
    case JSON_FIELD_LIST:
        if (!json_is_array(value))
            return wrong_type(field, value, what, "a list", err);
        break;
    case JSON_FIELD_OBJECT:
    default:
        if (!json_is_object(value))
            return wrong_type(field, value, what, "an object", err);
        break;
    }
    *field->into.json = value;
    return COFFER_OK;
}

static enum coffer_status unknown_field(const char *name, const char *what,
    const struct json_field *fields, size_t count, struct error *err)
{
    char list[LIST_TEXT_SIZE] = "";
    size_t used = 0;

    for (size_t i = 0; i < count; i++)
        used = add_name(list, used, fields[i].name);
    return error_set(err, COFFER_UNKNOWN_FIELD, "the field \"%.60s\" is not known here; %s has %s",
        name, what, count == 0 ? "none" : list);
}

enum coffer_status json_in_read(json_t *object, const char *what, const struct json_field *fields,
    size_t count, struct error *err)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        enum coffer_status status;
        size_t i = 0;

        while (i < count && strcmp(fields[i].name, name) != 0)
            i++;
        if (i == count)
            return unknown_field(name, what, fields, count, err);
        status = read_field(&fields[i], value, what, err);
        if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}
