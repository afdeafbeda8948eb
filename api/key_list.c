/*
 * A state machine over the bytes of {"keys":[...]}, since a tree of a 64 MiB body would take some
 * gigabyte. Two ways through a key: key_in_place() when all of it lies in the piece, which is all
 * keys but those at the seams; and byte by byte into `token`, which also knows escapes.
 */
#include "api/key_list.h"

#include "storage/base/invariant.h"

enum key_list_state {
    WANT_OBJECT,        /* { */
    WANT_NAME_OR_CLOSE, /* "keys" or } */
    WANT_NAME,          /* "keys", after a comma */
    WANT_COLON,
    WANT_ARRAY,          /* [ */
    WANT_KEY_OR_CLOSE,   /* a string or ] */
    WANT_KEY,            /* a string, after a comma */
    IN_STRING,           /* a name or a key */
    WANT_COMMA_OR_CLOSE, /* , or ] */
    WANT_END_OF_OBJECT,  /* , or } */
    AT_END,              /* only white space */
    IN_LINE,             /* of the form with a key a line */
};

void key_list_init(
    struct key_list *list, enum key_list_form form, uint64_t body_max, struct spill *keys)
{
    *list = (struct key_list){.keys = keys,
        .form = form,
        .state = form == KEY_LIST_JSON ? WANT_OBJECT : IN_LINE,
        .body_max = body_max};
}

void key_list_release(struct key_list *list)
{
    spill_destroy(list->keys);
    list->keys = NULL;
}

static enum coffer_status bad_json(struct key_list *list, const char *what, struct error *err)
{
    list->failed = true;
    return error_set(err, COFFER_BAD_JSON,
        "byte %llu of the body: %s; the body is {\"keys\":[\"KEY\",...]}",
        (unsigned long long)list->position, what);
}

static enum coffer_status add_key(
    struct key_list *list, const struct digest *key, struct error *err)
{
    enum coffer_status status = spill_append(list->keys, key, 1, err);

    list->failed = status != COFFER_OK;
    return status;
}

static enum coffer_status add_token(struct key_list *list, struct error *err)
{
    struct slice text = slice_of(list->token, list->token_size);
    size_t shown = text.size < 80 ? text.size : 80;
    struct digest key;

    if (text.size <= KEY_LIST_TOKEN_SIZE && digest_from_hex(text, &key))
        return add_key(list, &key, err);
    list->failed = true;
    return error_set(err, COFFER_BAD_KEY,
        "key number %llu, at byte %llu of the body, is not 64 lower-case hexadecimal digits: "
        "\"%.*s\"%s",
        (unsigned long long)spill_count(list->keys) + 1, (unsigned long long)list->token_at,
        (int)shown, list->token, shown < text.size ? "..." : "");
}

static void token_start(struct key_list *list, uint64_t at)
{
    list->token_size = 0;
    list->token_at = at;
    list->escape = 0;
}

static void token_add(struct key_list *list, char c)
{
    if (list->token_size < KEY_LIST_TOKEN_SIZE)
        list->token[list->token_size] = c;
    list->token_size++;
}

/* ---- strings ---- */

static void token_add_code(struct key_list *list, uint32_t code)
{
    if (code < 0x80) {
        token_add(list, (char)code);
    } else if (code < 0x800) {
        token_add(list, (char)(0xc0 | code >> 6));
        token_add(list, (char)(0x80 | (code & 0x3f)));
    } else { /* halves of a surrogate pair too: no legal name or key has one */
        token_add(list, (char)(0xe0 | code >> 12));
        token_add(list, (char)(0x80 | (code >> 6 & 0x3f)));
        token_add(list, (char)(0x80 | (code & 0x3f)));
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum coffer_status escaped_byte(struct key_list *list, char c, struct error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";

    if (list->escape == 2) {
        int digit = hex_digit(c);

        if (digit < 0)
            return bad_json(list, "\\u needs four hexadecimal digits", err);
        list->code = list->code << 4 | (uint32_t)digit;
        if (++list->code_digits == 4) {
            token_add_code(list, list->code);
            list->escape = 0;
        }
        return COFFER_OK;
    }
    if (c == 'u') {
        list->escape = 2;
        list->code = list->code_digits = 0;
        return COFFER_OK;
    }
    for (size_t i = 0; i < sizeof(from) - 1; i++) {
        if (c == from[i]) {
            token_add(list, to[i]);
            list->escape = 0;
            return COFFER_OK;
        }
    }
    return bad_json(list, "an escape that JSON does not have", err);
}

static enum coffer_status end_of_string(struct key_list *list, struct error *err)
{
    struct slice name;

    if (!list->in_name) {
        list->state = WANT_COMMA_OR_CLOSE;
        return add_token(list, err);
    }
    name = slice_of(list->token,
        list->token_size < KEY_LIST_TOKEN_SIZE ? list->token_size : KEY_LIST_TOKEN_SIZE);
    list->state = WANT_COLON;
    if (!slice_equal(name, slice_of("keys", 4))) {
        list->failed = true;
        return error_set(err, COFFER_UNKNOWN_FIELD,
            "the field \"%.*s\" is not known here; the body is {\"keys\":[\"KEY\",...]}",
            (int)name.size, (const char *)name.data);
    }
    if (list->seen_keys)
        return bad_json(list, "\"keys\" is there twice", err);
    list->seen_keys = true;
    return COFFER_OK;
}

static enum coffer_status string_byte(struct key_list *list, char c, struct error *err)
{
    if (list->escape != 0)
        return escaped_byte(list, c, err);
    if (c == '"')
        return end_of_string(list, err);
    if ((unsigned char)c < 0x20)
        return bad_json(list, "a control character in a string", err);
    if (c == '\\')
        list->escape = 1;
    else
        token_add(list, c);
    return COFFER_OK;
}

/* ---- between the strings ---- */

static void begin_string(struct key_list *list, bool in_name)
{
    list->in_name = in_name;
    list->state = IN_STRING;
    token_start(list, list->position);
}

/* One byte of the list, outside of its strings. */
static enum coffer_status array_byte(struct key_list *list, char c, struct error *err)
{
    if (list->state == WANT_COMMA_OR_CLOSE) {
        if (c != ',' && c != ']')
            return bad_json(list, "a comma or ] is expected", err);
        list->state = c == ',' ? WANT_KEY : WANT_END_OF_OBJECT;
        return COFFER_OK;
    }
    if (c == ']' && list->state == WANT_KEY_OR_CLOSE) {
        list->state = WANT_END_OF_OBJECT;
        return COFFER_OK;
    }
    if (c != '"')
        return bad_json(list, "a key in quotes is expected", err);
    begin_string(list, false);
    return COFFER_OK;
}

/* One byte around the list, outside of the names of fields. */
static enum coffer_status object_byte(struct key_list *list, char c, struct error *err)
{
    switch ((enum key_list_state)list->state) {
    case WANT_OBJECT:
        if (c != '{')
            return bad_json(list, "it does not begin with {", err);
        list->state = WANT_NAME_OR_CLOSE;
        return COFFER_OK;
    case WANT_NAME_OR_CLOSE:
        if (c == '}')
            return bad_json(list, "\"keys\" is missing", err);
        __attribute__((fallthrough));
    case WANT_NAME:
        if (c != '"')
            return bad_json(list, "the name of a field is expected", err);
        begin_string(list, true);
        return COFFER_OK;
    case WANT_COLON:
        if (c != ':')
            return bad_json(list, "a colon is expected", err);
        list->state = WANT_ARRAY;
        return COFFER_OK;
    case WANT_ARRAY:
        if (c != '[')
            return bad_json(list, "\"keys\" is not a list", err);
        list->state = WANT_KEY_OR_CLOSE;
        return COFFER_OK;
    case WANT_END_OF_OBJECT:
        if (c != ',' && c != '}')
            return bad_json(list, "a comma or } is expected", err);
        list->state = c == ',' ? WANT_NAME : AT_END;
        return COFFER_OK;
    default:
        return bad_json(list, "something stands behind the end", err);
    }
}

/* One byte that is not in a string. */
static enum coffer_status json_byte(struct key_list *list, char c, struct error *err)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return COFFER_OK;
    if (list->state == WANT_KEY || list->state == WANT_KEY_OR_CLOSE ||
        list->state == WANT_COMMA_OR_CLOSE)
        return array_byte(list, c, err);
    return object_byte(list, c, err);
}

/* The whole of `"HEX"` in the piece, which is what nearly every key is. */
static bool key_in_place(const char *at, size_t left, struct digest *key)
{
    return left >= DIGEST_HEX_SIZE + 2 && at[0] == '"' && at[DIGEST_HEX_SIZE + 1] == '"' &&
           digest_from_hex(slice_of(at + 1, DIGEST_HEX_SIZE), key);
}

static enum coffer_status feed_json(
    struct key_list *list, const char *at, size_t size, struct error *err)
{
    const char *end = at + size;

    while (at < end) {
        enum coffer_status status;
        struct digest key;

        if ((list->state == WANT_KEY || list->state == WANT_KEY_OR_CLOSE) &&
            key_in_place(at, (size_t)(end - at), &key)) {
            status = add_key(list, &key, err);
            if (status != COFFER_OK)
                return status;
            list->state = WANT_COMMA_OR_CLOSE;
            at += DIGEST_HEX_SIZE + 2;
            list->position += DIGEST_HEX_SIZE + 2;
            continue;
        }
        list->position++;
        status = list->state == IN_STRING ? string_byte(list, *at, err) : json_byte(list, *at, err);
        if (status != COFFER_OK)
            return status;
        at++;
    }
    return COFFER_OK;
}

/* ---- a key a line ---- */

static enum coffer_status end_of_line(struct key_list *list, struct error *err)
{
    if (list->token_size > 0 && list->token_size <= KEY_LIST_TOKEN_SIZE &&
        list->token[list->token_size - 1] == '\r')
        list->token_size--;
    if (list->token_size > 0) {
        enum coffer_status status = add_token(list, err);

        if (status != COFFER_OK)
            return status;
    }
    list->token_size = 0;
    return COFFER_OK;
}

static enum coffer_status feed_lines(
    struct key_list *list, const char *at, size_t size, struct error *err)
{
    const char *end = at + size;

    while (at < end) {
        struct digest key;

        if (list->token_size == 0 && (size_t)(end - at) > DIGEST_HEX_SIZE &&
            at[DIGEST_HEX_SIZE] == '\n' && digest_from_hex(slice_of(at, DIGEST_HEX_SIZE), &key)) {
            enum coffer_status status = add_key(list, &key, err);

            if (status != COFFER_OK)
                return status;
            at += DIGEST_HEX_SIZE + 1;
            list->position += DIGEST_HEX_SIZE + 1;
            continue;
        }
        list->position++;
        if (*at == '\n') {
            enum coffer_status status = end_of_line(list, err);

            if (status != COFFER_OK)
                return status;
        } else {
            if (list->token_size == 0)
                token_start(list, list->position);
            token_add(list, *at);
        }
        at++;
    }
    return COFFER_OK;
}

/* ---- both ---- */

static enum coffer_status failed_before(struct error *err)
{
    return error_set(err, COFFER_BAD_JSON, "the list of keys could not be read");
}

enum coffer_status key_list_feed(
    struct key_list *list, const void *data, size_t size, struct error *err)
{
    if (list->failed)
        return failed_before(err);
    if (size > list->body_max - list->position) {
        list->failed = true;
        return error_set(err, COFFER_CONTENT_TOO_LARGE,
            "a list of keys may have %llu bytes; send several requests",
            (unsigned long long)list->body_max);
    }
    return list->form == KEY_LIST_JSON ? feed_json(list, data, size, err)
                                       : feed_lines(list, data, size, err);
}

enum coffer_status key_list_finish(struct key_list *list, struct error *err)
{
    if (list->failed)
        return failed_before(err);
    if (list->form == KEY_LIST_LINES)
        return end_of_line(list, err);
    if (list->state != AT_END)
        return bad_json(list, "it ends too early", err);
    return COFFER_OK;
}
