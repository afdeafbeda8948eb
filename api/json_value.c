#include "api/json_value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_real(struct json_out *out, double value)
{
    char text[40];

    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text) - 2, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    if (strpbrk(text, ".e") == NULL)
        memcpy(text + strlen(text), ".0", 3); /* it was no integer, and is to stay none */
    json_out_raw(out, slice_from_text(text));
}

static void write_integer(struct json_out *out, json_int_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, value);
    json_out_raw(out, slice_from_text(text));
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the tree, which is bounded */
void json_value_write(struct json_out *out, json_t *value)
{
    const char *name;
    json_t *member;
    size_t i;

    switch (json_typeof(value)) {
    case JSON_OBJECT:
        json_out_object(out);
        json_object_foreach(value, name, member)
        {
            json_out_string(out, slice_from_text(name));
            json_out_bytes(out, slice_of(":", 1));
            out->comma = false;
            json_value_write(out, member);
        }
        json_out_object_end(out);
        break;
    case JSON_ARRAY:
        json_out_array(out);
        json_array_foreach(value, i, member) json_value_write(out, member);
        json_out_array_end(out);
        break;
    case JSON_STRING:
        json_out_string(out, slice_of(json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
        write_integer(out, json_integer_value(value));
        break;
    case JSON_REAL:
        write_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        json_out_bool(out, json_is_true(value));
        break;
    case JSON_NULL:
    default:
        json_out_null(out);
    }
}

/* NOLINTNEXTLINE(misc-no-recursion): as deep as the patch, which is bounded */
json_t *merge_patch(json_t *target, json_t *patch)
{
    const char *name;
    json_t *value, *result;

    if (!json_is_object(patch))
        return json_incref(patch);
    result = json_is_object(target) ? json_copy(target) : json_object();
    if (result == NULL)
        return NULL;
    json_object_foreach(patch, name, value)
    {
        json_t *merged;

        if (json_is_null(value)) {
            (void)json_object_del(result, name);
            continue;
        }
        merged = merge_patch(json_object_get(result, name), value);
        if (json_object_set_new(result, name, merged) != 0) { /* also when it is NULL */
            json_decref(result);
            return NULL;
        }
    }
    return result;
}
