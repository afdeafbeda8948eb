#include "cli/option_values.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Digits only; *end is behind them. */
static bool parse_digits(const char *text, const char **end, uint64_t *out)
{
    uint64_t number = 0;

    for (*end = text; isdigit((unsigned char)**end); (*end)++)
        if (__builtin_mul_overflow(number, 10U, &number) ||
            __builtin_add_overflow(number, (uint64_t)(**end - '0'), &number))
            return false;
    *out = number;
    return *end != text;
}

static bool with_unit(const char *text, const struct unit *units, uint64_t *out)
{
    const char *end;
    uint64_t number;

    if (!parse_digits(text, &end, &number))
        return false;
    for (; units->name != NULL; units++)
        if (strcasecmp(end, units->name) == 0)
            return !__builtin_mul_overflow(number, units->factor, out);
    return false;
}

bool value_number(const char *text, uint64_t *out)
{
    static const struct unit none[] = {{"", 1}, {NULL, 0}};

    return with_unit(text, none, out);
}

bool value_size(const char *text, uint64_t *out)
{
    static const struct unit units[] = {{"", 1}, {"B", 1}, {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20}, {"GiB", UINT64_C(1) << 30}, {"TiB", UINT64_C(1) << 40},
        {NULL, 0}};

    return with_unit(text, units, out);
}

bool value_time(const char *text, uint64_t *out)
{
    static const struct unit units[] = {
        {"", 1000}, {"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}, {NULL, 0}};

    return with_unit(text, units, out);
}

bool value_ratio(const char *text, double *out)
{
    char *end;

    if (!isdigit((unsigned char)text[0]) && text[0] != '.')
        return false;
    *out = strtod(text, &end);
    return *end == '\0' && end != text && *out >= 0 && *out <= 1;
}

bool value_range(const char *text, struct byte_range *out)
{
    const char *end;

    *out = (struct byte_range){.last = UINT64_MAX};
    if (text[0] == '-') {
        out->suffix = true;
        return value_number(text + 1, &out->first) && out->first > 0;
    }
    if (!parse_digits(text, &end, &out->first) || *end != '-')
        return false;
    if (end[1] == '\0')
        return true;
    return value_number(end + 1, &out->last) && out->last >= out->first;
}

bool value_choice(const char *text, const char *choices)
{
    size_t size = strlen(text);

    for (;;) {
        size_t length = strcspn(choices, "|");

        if (length == size && strncmp(choices, text, size) == 0)
            return true;
        if (choices[length] == '\0')
            return false;
        choices += length + 1;
    }
}

bool range_within(const struct byte_range *range, uint64_t size, uint64_t *offset, uint64_t *length)
{
    if (range->suffix) {
        *length = range->first < size ? range->first : size;
        *offset = size - *length;
        return size > 0;
    }
    if (range->first >= size)
        return false;
    *offset = range->first;
    *length = size - range->first;
    if (range->last < size)
        *length = range->last - range->first + 1;
    return true;
}
