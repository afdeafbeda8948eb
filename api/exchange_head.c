/*
 * The request's head: target, method, known headers, framing, and the query.
 */
#include "api/exchange_head.h"

#include <string.h>

#include "storage/base/invariant.h"

enum { REQUEST_ID_MAX = 128, LENGTH_DIGITS_MAX = 18 };

static void head_is_bad(struct exchange *exchange, enum coffer_status status, const char *why)
{
    if (exchange->bad != COFFER_OK)
        return; /* the first reason is the one to tell */
    exchange->bad = status;
    exchange->bad_text = why;
}

void exchange_refuse(struct exchange *exchange, enum coffer_status status, const char *why)
{
    head_is_bad(exchange, status, why);
}

void exchange_set_target(struct exchange *exchange, const char *target, size_t max)
{
    size_t size = strnlen(target, max + 1);
    const char *copy, *mark;

    if (size > max) {
        head_is_bad(exchange, COFFER_URI_TOO_LONG, NULL);
        size = max;
    }
    copy = exchange_copy(exchange, slice_of(target, size));
    exchange->target = slice_of(copy, size);
    if (unlikely(size > 7 && strncasecmp(copy, "http://", 7) == 0)) {
        /* The absolute form, as for a proxy: what follows the authority counts. */
        size_t skip = 7 + strcspn(copy + 7, "/?");

        copy += skip;
        size -= skip;
    }
    mark = memchr(copy, '?', size);
    if (mark == NULL) {
        exchange->path = slice_of(copy, size);
        return;
    }
    exchange->path = slice_of(copy, (size_t)(mark - copy));
    exchange->query = slice_of(mark + 1, size - exchange->path.size - 1);
}

void exchange_set_method(struct exchange *exchange, const char *method)
{
    static const char *const names[] = {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"};

    exchange->method_text = method;
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++)
        if (strcmp(method, names[i]) == 0) {
            exchange->method = (enum exchange_method)i;
            return;
        }
}

static const struct {
    const char *name;
    bool list;
} known_headers[HEADER_COUNT] = {
#define LIST true
#define SINGLE false
#define HEADER(id, name, kind) [HEADER_##id] = {name, kind},
#include "api/exchange_headers.def"
#undef HEADER
#undef LIST
#undef SINGLE
};

#define HEADER_TAG(size, first) (uint16_t)((size) << 8 | ((uint8_t)(first) | 0x20))

/* Length and first letter of each name: one compare tells nearly all others apart. */
static const uint16_t header_tags[HEADER_COUNT] = {
#define HEADER(id, name, kind) [HEADER_##id] = HEADER_TAG(sizeof(name) - 1, (name)[0]),
#include "api/exchange_headers.def"
#undef HEADER
};

/* `lower` is lower case already. */
static bool equal_ignoring_case(const char *text, const char *lower, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char letter = text[i];

        if (letter >= 'A' && letter <= 'Z')
            letter = (char)(letter | 0x20);
        if (letter != lower[i])
            return false;
    }
    return true;
}

static int header_find(const char *name, size_t size)
{
    uint16_t tag;

    if (size == 0 || size > 255)
        return -1;
    tag = HEADER_TAG(size, name[0]);
    for (int id = 0; id < HEADER_COUNT; id++)
        if (header_tags[id] == tag && equal_ignoring_case(name, known_headers[id].name, size))
            return id;
    return -1;
}

void exchange_add_header(
    struct exchange *exchange, const char *name, size_t name_size, const char *value, size_t size)
{
    int id = header_find(name, name_size);
    struct slice *slot;
    char *joined;

    if (id < 0)
        return;
    slot = &exchange->headers[id];
    if (slot->data == NULL) {
        *slot = slice_of(value, size);
        return;
    }
    if (!known_headers[id].list) {
        head_is_bad(exchange, COFFER_BAD_REQUEST,
            exchange_format(exchange, "the header %s is there twice", known_headers[id].name));
        return;
    }
    joined = exchange_alloc_text(exchange, slot->size + size + 3);
    memcpy(joined, slot->data, slot->size);
    memcpy(joined + slot->size, ", ", 2);
    memcpy(joined + slot->size + 2, value, size);
    joined[slot->size + 2 + size] = '\0';
    *slot = slice_of(joined, slot->size + 2 + size);
}

static void take_request_id(struct exchange *exchange)
{
    struct slice id = exchange->headers[HEADER_REQUEST_ID];
    const char *text = id.data;

    if (text == NULL || id.size == 0 || id.size > REQUEST_ID_MAX)
        return;
    for (size_t i = 0; i < id.size; i++) {
        char c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                c == '.' || c == '_' || c == '-'))
            return;
    }
    exchange->request_id = text;
}

enum coffer_status exchange_length(struct slice text, uint64_t *size)
{
    const char *digits = text.data;

    *size = 0;
    if (text.size == 0)
        return COFFER_BAD_REQUEST;
    for (size_t i = 0; i < text.size; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return COFFER_BAD_REQUEST;
        if (i < LENGTH_DIGITS_MAX)
            *size = *size * 10 + (uint64_t)(digits[i] - '0');
    }
    return text.size > LENGTH_DIGITS_MAX ? COFFER_CONTENT_TOO_LARGE : COFFER_OK;
}

/* How long the body is, told so that nobody on the way can have read it differently
 * (RFC 9112 section 6). */
static void read_framing(struct exchange *exchange)
{
    struct slice length = exchange->headers[HEADER_CONTENT_LENGTH];
    struct slice coding = exchange->headers[HEADER_TRANSFER_ENCODING];
    enum coffer_status status;

    if (coding.data != NULL) {
        if (coding.size != 7 || !equal_ignoring_case(coding.data, "chunked", 7))
            head_is_bad(exchange, COFFER_BAD_REQUEST,
                "the only Transfer-Encoding that this server takes is chunked");
        if (length.data != NULL)
            head_is_bad(exchange, COFFER_BAD_REQUEST,
                "Content-Length and Transfer-Encoding contradict one another");
        exchange->body_size = UPLOAD_SIZE_UNKNOWN;
        return;
    }
    if (length.data == NULL)
        return;
    status = exchange_length(length, &exchange->body_size);
    if (status != COFFER_OK)
        head_is_bad(exchange, status, "Content-Length is not a number of bytes that a body has");
}

void exchange_read_head(struct exchange *exchange)
{
    if (exchange->headers[HEADER_REQUEST_ID].data != NULL)
        take_request_id(exchange);
    read_framing(exchange);
}

/* ---- percent-encoding and the query ---- */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool exchange_unescape(struct exchange *exchange, struct slice text, bool plus, struct slice *out)
{
    const char *in = text.data;
    char *copy;
    size_t used = 0;

    *out = text;
    if (text.size == 0 ||
        (memchr(in, '%', text.size) == NULL && (!plus || memchr(in, '+', text.size) == NULL)))
        return true;
    copy = exchange_alloc_text(exchange, text.size + 1);
    for (size_t i = 0; i < text.size; i++) {
        int high, low;

        if (in[i] != '%') {
            copy[used++] = plus && in[i] == '+' ? ' ' : in[i];
            continue;
        }
        if (text.size - i < 3)
            return false;
        high = hex_value(in[i + 1]);
        low = hex_value(in[i + 2]);
        if (high < 0 || low < 0 || (high | low) == 0)
            return false;
        copy[used++] = (char)(high << 4 | low);
        i += 2;
    }
    copy[used] = '\0';
    *out = slice_of(copy, used);
    return true;
}

/* The same, always with a NUL after it. */
static bool unescape_query(struct exchange *exchange, struct slice text, struct slice *out)
{
    if (!exchange_unescape(exchange, text, true, out))
        return false;
    if (out->data == text.data)
        out->data = exchange_copy(exchange, text);
    return true;
}

enum coffer_status exchange_query_next(struct exchange *exchange, size_t *cursor, bool *more,
    struct slice *name, struct slice *value, struct error *err)
{
    const char *query = exchange->query.data;
    size_t end = exchange->query.size;
    const char *part, *equals;
    size_t size;

    while (*cursor < end && query[*cursor] == '&')
        ++*cursor;
    *more = *cursor < end;
    if (!*more)
        return COFFER_OK;
    part = query + *cursor;
    equals = memchr(part, '&', end - *cursor);
    size = equals == NULL ? end - *cursor : (size_t)(equals - part);
    *cursor += size;
    equals = memchr(part, '=', size);
    *name = slice_of(part, equals == NULL ? size : (size_t)(equals - part));
    *value = equals == NULL ? slice_of("", 0) : slice_of(equals + 1, size - name->size - 1);
    if (!unescape_query(exchange, *name, name) || !unescape_query(exchange, *value, value))
        return error_set(err, COFFER_BAD_REQUEST, "the query has a broken percent-escape: \"%.*s\"",
            (int)(size < 100 ? size : 100), part);
    return COFFER_OK;
}

enum coffer_status exchange_query(
    struct exchange *exchange, const char *name, struct slice *value, struct error *err)
{
    struct slice wanted = slice_from_text(name), found_name, found;
    size_t cursor = 0;
    bool more = true;

    *value = slice_of(NULL, 0);
    while (more) {
        enum coffer_status status =
            exchange_query_next(exchange, &cursor, &more, &found_name, &found, err);

        if (status != COFFER_OK)
            return status;
        if (more && slice_equal(found_name, wanted)) {
            *value = found;
            return COFFER_OK;
        }
    }
    return COFFER_OK;
}

enum coffer_status exchange_query_only(
    struct exchange *exchange, const char *const *known, struct error *err)
{
    struct slice name, value;
    size_t cursor = 0;
    bool more = true;

    for (;;) {
        enum coffer_status status =
            exchange_query_next(exchange, &cursor, &more, &name, &value, err);
        const char *const *each = known;

        if (status != COFFER_OK || !more)
            return status;
        while (*each != NULL && !slice_equal(name, slice_from_text(*each)))
            each++;
        if (*each == NULL)
            return error_set(err, COFFER_BAD_REQUEST,
                "this request does not know the parameter \"%.60s\"", (const char *)name.data);
    }
}
