#include "api/digest_header.h"

/* A cursor over the header value; every parse function leaves it behind what it took. */
struct cursor {
    const char *at, *end;
};

static bool at_end(const struct cursor *cursor)
{
    return cursor->at == cursor->end;
}

static char peek(const struct cursor *cursor)
{
    return at_end(cursor) ? '\0' : *cursor->at;
}

static bool take(struct cursor *cursor, char c)
{
    if (at_end(cursor) || *cursor->at != c)
        return false;
    cursor->at++;
    return true;
}

static void skip_spaces(struct cursor *cursor, bool tabs)
{
    while (peek(cursor) == ' ' || (tabs && peek(cursor) == '\t'))
        cursor->at++;
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
    return is_lower((char)(c | 0x20));
}

static bool parse_key(struct cursor *cursor, struct slice *key)
{
    const char *start = cursor->at;

    if (!is_lower(peek(cursor)) && peek(cursor) != '*')
        return false;
    while (!at_end(cursor) && (is_lower(*cursor->at) || is_digit(*cursor->at) ||
                                  (*cursor->at != '\0' && strchr("_-.*", *cursor->at) != NULL)))
        cursor->at++;
    *key = slice_of(start, (size_t)(cursor->at - start));
    return true;
}

static bool parse_bytes(struct cursor *cursor, struct slice *base64)
{
    const char *start;

    if (!take(cursor, ':'))
        return false;
    start = cursor->at;
    while (!at_end(cursor) && *cursor->at != ':') {
        char c = *cursor->at++;

        if (!is_alpha(c) && !is_digit(c) && c != '+' && c != '/' && c != '=')
            return false;
    }
    *base64 = slice_of(start, (size_t)(cursor->at - start));
    return take(cursor, ':');
}

static bool parse_string(struct cursor *cursor)
{
    if (!take(cursor, '"'))
        return false;
    while (!at_end(cursor)) {
        char c = *cursor->at++;

        if (c == '"')
            return true;
        if (c < 0x20 || c == 0x7f)
            return false;
        if (c == '\\' && !take(cursor, '"') && !take(cursor, '\\'))
            return false;
    }
    return false;
}

static bool parse_number(struct cursor *cursor)
{
    size_t digits = 0, fraction = 0;

    (void)take(cursor, '-');
    for (; is_digit(peek(cursor)); digits++)
        cursor->at++;
    if (digits == 0 || digits > 15)
        return false;
    if (!take(cursor, '.'))
        return true;
    for (; is_digit(peek(cursor)); fraction++)
        cursor->at++;
    return digits <= 12 && fraction >= 1 && fraction <= 3;
}

static bool parse_token(struct cursor *cursor)
{
    if (!is_alpha(peek(cursor)) && peek(cursor) != '*')
        return false;
    while (!at_end(cursor) && *cursor->at != '\0' &&
           (is_alpha(*cursor->at) || is_digit(*cursor->at) ||
               strchr("!#$%&'*+-.^_`|~:/", *cursor->at) != NULL))
        cursor->at++;
    return true;
}

/* A bare item; base64 gets its text if it is a byte sequence. */
static bool parse_bare_item(struct cursor *cursor, struct slice *base64)
{
    char c = peek(cursor);

    *base64 = slice_of(NULL, 0);
    if (c == ':')
        return parse_bytes(cursor, base64);
    if (c == '"')
        return parse_string(cursor);
    if (c == '?') {
        cursor->at++;
        return take(cursor, '0') || take(cursor, '1');
    }
    if (c == '-' || is_digit(c))
        return parse_number(cursor);
    return parse_token(cursor);
}

static bool parse_parameters(struct cursor *cursor)
{
    struct slice ignored;

    while (take(cursor, ';')) {
        skip_spaces(cursor, false);
        if (!parse_key(cursor, &ignored))
            return false;
        if (take(cursor, '=') && !parse_bare_item(cursor, &ignored))
            return false;
    }
    return true;
}

static bool parse_inner_list(struct cursor *cursor)
{
    struct slice ignored;

    if (!take(cursor, '('))
        return false;
    for (;;) {
        skip_spaces(cursor, false);
        if (take(cursor, ')'))
            return true;
        if (!parse_bare_item(cursor, &ignored) || !parse_parameters(cursor))
            return false;
        if (peek(cursor) != ' ' && peek(cursor) != ')')
            return false;
    }
}

static bool parse_member(struct cursor *cursor, struct slice *key, struct slice *base64)
{
    *base64 = slice_of(NULL, 0);
    if (!parse_key(cursor, key))
        return false;
    if (take(cursor, '=')) {
        if (peek(cursor) == '(' ? !parse_inner_list(cursor) : !parse_bare_item(cursor, base64))
            return false;
    }
    return parse_parameters(cursor);
}

static bool decode(struct slice base64, struct digest *digest)
{
    char padded[DIGEST_BASE64_SIZE];

    if (base64.size == DIGEST_BASE64_SIZE - 1) { /* RFC 8941: do not insist on the padding */
        memcpy(padded, base64.data, base64.size);
        padded[DIGEST_BASE64_SIZE - 1] = '=';
        base64 = slice_of(padded, DIGEST_BASE64_SIZE);
    }
    /* a '=' in the middle is skipped by some decoders: refuse it here */
    if (base64.size != DIGEST_BASE64_SIZE ||
        memchr(base64.data, '=', DIGEST_BASE64_SIZE - 1) != NULL)
        return false;
    return digest_from_base64(base64, digest);
}

enum coffer_status digest_header_parse(
    struct slice value, struct digest *digest, bool *found, struct error *err)
{
    struct cursor cursor = {value.data, (const char *)value.data + value.size};

    *found = false;
    if (value.data == NULL)
        return COFFER_OK;
    skip_spaces(&cursor, false);
    while (!at_end(&cursor)) {
        struct slice key, base64;

        if (!parse_member(&cursor, &key, &base64))
            goto malformed;
        if (slice_equal(key, slice_of("sha-256", 7))) {
            if (base64.data == NULL || !decode(base64, digest))
                return error_set(err, COFFER_BAD_DIGEST_HEADER,
                    "the sha-256 member is not a byte sequence of 32 bytes; it is written as "
                    "sha-256=:BASE64:");
            *found = true;
        }
        skip_spaces(&cursor, true);
        if (at_end(&cursor))
            return COFFER_OK;
        if (!take(&cursor, ','))
            goto malformed;
        skip_spaces(&cursor, true);
        if (at_end(&cursor))
            goto malformed; /* a comma at the end (RFC 8941 section 4.2.2) */
    }
    return COFFER_OK;
malformed:
    return error_set(err, COFFER_BAD_DIGEST_HEADER,
        "a digest header cannot be read at character %zu; it is written as sha-256=:BASE64:",
        (size_t)(cursor.at - (const char *)value.data) + 1);
}

void digest_header_format(const struct digest *digest, char out[DIGEST_HEADER_SIZE + 1])
{
    memcpy(out, "sha-256=:", 9);
    digest_to_base64(digest, out + 9);
    out[DIGEST_HEADER_SIZE - 1] = ':';
    out[DIGEST_HEADER_SIZE] = '\0';
}
