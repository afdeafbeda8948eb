#include "api/conditions.h"

#include <strings.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice text)
{
    const char *at = text.data;

    while (text.size > 0 && is_space(at[0])) {
        at++;
        text.size--;
    }
    while (text.size > 0 && is_space(at[text.size - 1]))
        text.size--;
    return slice_of(at, text.size);
}

static bool equal_ignoring_case(struct slice text, const char *lower)
{
    return text.size == strlen(lower) && strncasecmp(text.data, lower, text.size) == 0;
}

/* Take the text up to `separator` outside of quotes from *rest. False: *rest was empty. */
static bool next_part(struct slice *rest, char separator, struct slice *part)
{
    const char *at = rest->data;
    bool quoted = false;
    size_t i;

    if (rest->data == NULL)
        return false;
    for (i = 0; i < rest->size; i++) {
        if (at[i] == '"')
            quoted = !quoted;
        else if (at[i] == '\\' && quoted && i + 1 < rest->size)
            i++;
        else if (at[i] == separator && !quoted)
            break;
    }
    *part = trim(slice_of(at, i));
    *rest = i < rest->size ? slice_of(at + i + 1, rest->size - i - 1) : slice_of(NULL, 0);
    return true;
}

/* ---- entity tags ---- */

/* Take one entity tag from *rest; its opaque part with the quotes. A tag may hold commas and
 * backslashes (RFC 9110 section 8.8.3), so the list is not cut at commas first. */
static bool next_etag(struct slice *rest, struct slice *opaque, bool *weak)
{
    const char *at = rest->data;
    const char *end = at + rest->size;
    const char *close;

    while (at < end && (is_space(*at) || *at == ','))
        at++;
    *weak = end - at >= 2 && at[0] == 'W' && at[1] == '/';
    if (*weak)
        at += 2;
    if (at == end || *at != '"')
        return false;
    close = memchr(at + 1, '"', (size_t)(end - at - 1));
    if (close == NULL)
        return false;
    *opaque = slice_of(at, (size_t)(close + 1 - at));
    at = close + 1;
    while (at < end && is_space(*at))
        at++;
    if (at < end && *at != ',')
        return false;
    *rest = slice_of(at, (size_t)(end - at));
    return true;
}

bool etag_list_has(struct slice list, struct slice etag, bool weak_compare)
{
    struct slice opaque, own;
    bool weak, own_weak;

    if (list.data == NULL || etag.size == 0)
        return false;
    list = trim(list);
    if (slice_equal(list, slice_of("*", 1)))
        return true;
    if (!next_etag(&etag, &own, &own_weak))
        return false;
    while (next_etag(&list, &opaque, &weak))
        if (slice_equal(opaque, own) && (weak_compare || (!weak && !own_weak)))
            return true;
    return false;
}

enum condition_verdict conditions_check(
    struct slice if_match, struct slice if_none_match, struct slice etag, bool reading)
{
    if (if_match.data != NULL && !etag_list_has(if_match, etag, false))
        return CONDITION_FAILED;
    if (if_none_match.data != NULL && etag_list_has(if_none_match, etag, true))
        return reading ? CONDITION_NOT_MODIFIED : CONDITION_FAILED;
    return CONDITION_PROCEED;
}

/* ---- ranges ---- */

/* Digits to a number that stops at UINT64_MAX; false: not only digits, or none. */
static bool parse_digits(struct slice text, uint64_t *value)
{
    const char *at = text.data;

    *value = 0;
    for (size_t i = 0; i < text.size; i++) {
        unsigned digit = (unsigned)(at[i] - '0');

        if (digit > 9)
            return false;
        if (__builtin_mul_overflow(*value, (uint64_t)10, value) ||
            __builtin_add_overflow(*value, (uint64_t)digit, value)) {
            *value = UINT64_MAX;
            for (i++; i < text.size; i++)
                if (at[i] < '0' || at[i] > '9')
                    return false;
            return true;
        }
    }
    return text.size > 0;
}

/* One range: bytes first to last (UINT64_MAX: all that follow), or the last `last` bytes. */
struct range_spec {
    bool suffix;
    uint64_t first, last;
};

/* False: none, one that cannot be read, or several. */
static bool parse_range(struct slice range, struct range_spec *spec)
{
    static const char unit[] = "bytes=";
    const char *at, *dash;
    struct slice head, tail;

    if (range.data == NULL)
        return false;
    range = trim(range);
    if (range.size < sizeof(unit) || strncasecmp(range.data, unit, sizeof(unit) - 1) != 0)
        return false;
    at = (const char *)range.data + sizeof(unit) - 1;
    range = trim(slice_of(at, range.size - (sizeof(unit) - 1)));
    dash = memchr(range.data, '-', range.size);
    if (dash == NULL || memchr(range.data, ',', range.size) != NULL)
        return false;
    head = slice_of(range.data, (size_t)(dash - (const char *)range.data));
    tail = slice_of(dash + 1, range.size - head.size - 1);

    *spec = (struct range_spec){.suffix = head.size == 0, .last = UINT64_MAX};
    if (spec->suffix)
        return parse_digits(tail, &spec->last);
    return parse_digits(head, &spec->first) &&
           (tail.size == 0 || (parse_digits(tail, &spec->last) && spec->last >= spec->first));
}

static enum range_verdict place_range(
    const struct range_spec *spec, uint64_t size, uint64_t *offset, uint64_t *length)
{
    uint64_t last = spec->last;

    if (spec->suffix) {
        if (last == 0)
            return RANGE_UNSATISFIABLE;
        if (size == 0)
            return RANGE_WHOLE; /* satisfiable, but no Content-Range can say so */
        *length = last < size ? last : size;
        *offset = size - *length;
        return RANGE_PART;
    }
    if (spec->first >= size)
        return RANGE_UNSATISFIABLE;
    if (last > size - 1)
        last = size - 1;
    *offset = spec->first;
    *length = last - spec->first + 1;
    return RANGE_PART;
}

enum range_verdict range_select(struct slice range, struct slice if_range, struct slice etag,
    uint64_t size, uint64_t *offset, uint64_t *length)
{
    struct range_spec spec;

    *offset = 0;
    *length = size;
    if (!parse_range(range, &spec))
        return RANGE_WHOLE;
    if (if_range.data != NULL) {
        if_range = trim(if_range);
        if (slice_equal(if_range, slice_of("*", 1)) || !etag_list_has(if_range, etag, false))
            return RANGE_WHOLE;
    }
    return place_range(&spec, size, offset, length);
}

enum range_verdict range_start(struct slice range, uint64_t size, uint64_t *offset)
{
    struct range_spec spec;

    *offset = 0;
    if (!parse_range(range, &spec))
        return RANGE_WHOLE;
    if (spec.suffix)
        *offset = size - (spec.last < size ? spec.last : size);
    else if (spec.first <= size)
        *offset = spec.first;
    else
        return RANGE_UNSATISFIABLE;
    return RANGE_PART;
}

/* ---- negotiation ---- */

enum { Q_ABSENT = -1, Q_MAX = 1000 };

/* "0.5" in thousandths; what cannot be read counts as 1, as if it were not there. */
static int parse_q(struct slice text)
{
    const char *at = text.data;
    int value = 0, scale = 100;

    if (text.size == 0 || (at[0] != '0' && at[0] != '1') || (text.size > 1 && at[1] != '.') ||
        text.size > 5)
        return Q_MAX;
    for (size_t i = 2; i < text.size; i++) {
        if (at[i] < '0' || at[i] > '9')
            return Q_MAX;
        value += (at[i] - '0') * scale;
        scale /= 10;
    }
    return at[0] == '1' ? Q_MAX : value;
}

/* One member of an Accept list: its name and its q. */
static bool next_accepted(struct slice *list, struct slice *name, int *q)
{
    struct slice part, parameter;

    if (!next_part(list, ',', &part))
        return false;
    *q = Q_MAX;
    if (!next_part(&part, ';', name))
        *name = part;
    while (next_part(&part, ';', &parameter)) {
        const char *at = parameter.data;

        if (parameter.size >= 2 && (at[0] == 'q' || at[0] == 'Q') && at[1] == '=')
            *q = parse_q(slice_of(at + 2, parameter.size - 2));
    }
    return true;
}

/* Whether `wanted` is in the list with q > 0, and `other` not with a higher one. */
static bool prefers(struct slice list, const char *wanted, const char *alias, const char *other)
{
    int wanted_q = Q_ABSENT, other_q = Q_ABSENT, q;
    struct slice name;

    while (next_accepted(&list, &name, &q)) {
        if (equal_ignoring_case(name, wanted) || equal_ignoring_case(name, alias))
            wanted_q = q;
        else if (equal_ignoring_case(name, other))
            other_q = q;
    }
    return wanted_q > 0 && wanted_q >= other_q;
}

bool accepts_zstd(struct slice accept_encoding)
{
    return prefers(accept_encoding, "zstd", "zstd", "identity");
}

bool accepts_ndjson(struct slice accept)
{
    return prefers(accept, "application/x-ndjson", "application/ndjson", "application/json");
}

bool media_type_is(struct slice content_type, const char *media_type)
{
    struct slice name;

    return next_part(&content_type, ';', &name) && equal_ignoring_case(name, media_type);
}
