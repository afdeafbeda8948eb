#include "api/json_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "storage/base/clock.h"

/* Room for `size` more bytes, or NULL and the writer is full. */
static char *reserve(struct json_out *out, size_t size)
{
    if (out->full)
        return NULL;
    if (size > out->size - out->used) {
        size_t wanted = out->size < 256 ? 512 : out->size * 2;
        char *grown;

        if (!out->owned || size > out->max - out->used) {
            out->full = true;
            return NULL;
        }
        while (wanted - out->used < size)
            wanted *= 2;
        if (wanted > out->max)
            wanted = out->max;
        grown = realloc(out->data, wanted);
        if (grown == NULL) {
            out->full = true;
            return NULL;
        }
        out->data = grown;
        out->size = wanted;
    }
    return out->data + out->used;
}

static void put(struct json_out *out, const void *data, size_t size)
{
    char *at = reserve(out, size);

    if (at == NULL || size == 0)
        return;
    memcpy(at, data, size);
    out->used += size;
}

static void put_char(struct json_out *out, char c)
{
    char *at = reserve(out, 1);

    if (at == NULL)
        return;
    *at = c;
    out->used++;
}

static void before_value(struct json_out *out)
{
    if (out->comma)
        put_char(out, ',');
    out->comma = true;
}

void json_out_fixed(struct json_out *out, char *buffer, size_t size)
{
    *out = (struct json_out){.data = buffer, .size = size, .max = size};
}

void json_out_growable(struct json_out *out, size_t max)
{
    *out = (struct json_out){.max = max, .owned = true};
}

void json_out_release(struct json_out *out)
{
    if (out->owned)
        free(out->data);
    *out = (struct json_out){.full = true};
}

void json_out_reset(struct json_out *out)
{
    json_out_rewind(out, (struct json_out_mark){0, false});
}

void json_out_object(struct json_out *out)
{
    before_value(out);
    put_char(out, '{');
    out->comma = false;
}

void json_out_object_end(struct json_out *out)
{
    put_char(out, '}');
    out->comma = true;
}

void json_out_array(struct json_out *out)
{
    before_value(out);
    put_char(out, '[');
    out->comma = false;
}

void json_out_array_end(struct json_out *out)
{
    put_char(out, ']');
    out->comma = true;
}

void json_out_space(struct json_out *out)
{
    put_char(out, '\n');
}

void json_out_line(struct json_out *out)
{
    put_char(out, '\n');
    out->comma = false;
}

void json_out_name(struct json_out *out, const char *name)
{
    size_t size = strlen(name);
    char *at = reserve(out, size + 4);

    if (at == NULL)
        return;
    if (out->comma)
        *at++ = ',';
    *at++ = '"';
    memcpy(at, name, size);
    at += size;
    *at++ = '"';
    *at++ = ':';
    out->used = (size_t)(at - out->data);
    out->comma = false;
}

/* Bytes of the UTF-8 character at `in`, or 0 if it is none (RFC 3629 section 4). */
static size_t utf8_length(const unsigned char *in, size_t left)
{
    unsigned char first = in[0];
    unsigned char low = 0x80, high = 0xbf; /* what the second byte may be */
    size_t length;

    if (first >= 0xc2 && first <= 0xdf) {
        length = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        length = 3;
        if (first == 0xe0)
            low = 0xa0;
        else if (first == 0xed)
            high = 0x9f; /* no surrogates */
    } else if (first >= 0xf0 && first <= 0xf4) {
        length = 4;
        if (first == 0xf0)
            low = 0x90;
        else if (first == 0xf4)
            high = 0x8f;
    } else {
        return 0;
    }
    if (left < length || in[1] < low || in[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((in[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* The bytes from `in` on that stand in a JSON string as they are. */
static size_t plain_run(const unsigned char *in, size_t left)
{
    size_t size = 0;

    while (size < left) {
        unsigned char c = in[size];

        if (c >= 0x80) {
            size_t length = utf8_length(in + size, left - size);

            if (length == 0)
                break;
            size += length;
        } else if (c < 0x20 || c == '"' || c == '\\' || c == 0x7f) {
            break;
        } else {
            size++;
        }
    }
    return size;
}

static void put_escaped(struct json_out *out, unsigned char c)
{
    static const char digits[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', digits[c >> 4], digits[c & 15]};

    switch (c) {
    case '"':
        put(out, "\\\"", 2);
        break;
    case '\\':
        put(out, "\\\\", 2);
        break;
    case '\n':
        put(out, "\\n", 2);
        break;
    case '\t':
        put(out, "\\t", 2);
        break;
    default:
        if (c >= 0x80)
            put(out, "\xef\xbf\xbd", 3); /* U+FFFD in the place of what is no UTF-8 */
        else
            put(out, text, sizeof(text));
    }
}

void json_out_string(struct json_out *out, struct slice text)
{
    const unsigned char *in = text.data;
    size_t left = text.size;

    before_value(out);
    put_char(out, '"');
    while (left > 0) {
        size_t run = plain_run(in, left);

        put(out, in, run);
        in += run;
        left -= run;
        if (left > 0) {
            put_escaped(out, *in++);
            left--;
        }
    }
    put_char(out, '"');
}

static void put_digits(struct json_out *out, uint64_t value)
{
    char digits[20];
    size_t at = sizeof(digits);

    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put(out, digits + at, sizeof(digits) - at);
}

void json_out_u64(struct json_out *out, uint64_t value)
{
    before_value(out);
    put_digits(out, value);
}

void json_out_number_text(struct json_out *out, uint64_t value)
{
    before_value(out);
    put_char(out, '"');
    put_digits(out, value);
    put_char(out, '"');
}

void json_out_bool(struct json_out *out, bool value)
{
    before_value(out);
    if (value)
        put(out, "true", 4);
    else
        put(out, "false", 5);
}

void json_out_null(struct json_out *out)
{
    before_value(out);
    put(out, "null", 4);
}

void json_out_digest(struct json_out *out, const struct digest *digest)
{
    char *at;

    before_value(out);
    at = reserve(out, DIGEST_HEX_SIZE + 2 + 1); /* digest_to_hex() ends with a NUL */
    if (at == NULL)
        return;
    at[0] = '"';
    digest_to_hex(digest, at + 1);
    at[DIGEST_HEX_SIZE + 1] = '"';
    out->used += DIGEST_HEX_SIZE + 2;
}

void json_out_time(struct json_out *out, uint64_t wall_ns)
{
    char text[40];
    time_t seconds = (time_t)(wall_ns / NS_PER_S);
    struct tm utc;
    size_t used;

    if (wall_ns == 0 || gmtime_r(&seconds, &utc) == NULL) {
        json_out_null(out);
        return;
    }
    used = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(
        text + used, sizeof(text) - used, ".%03uZ", (unsigned)(wall_ns % NS_PER_S / NS_PER_MS));
    json_out_string(out, slice_from_text(text));
}

void json_out_raw(struct json_out *out, struct slice json)
{
    before_value(out);
    put(out, json.data, json.size);
}

void json_out_bytes(struct json_out *out, struct slice bytes)
{
    put(out, bytes.data, bytes.size);
}

size_t json_out_some(struct json_out *out, struct slice bytes)
{
    size_t room = out->size - out->used;
    size_t size = bytes.size < room ? bytes.size : room;

    put(out, bytes.data, size);
    return size;
}

void json_out_member_string(struct json_out *out, const char *name, struct slice text)
{
    json_out_name(out, name);
    json_out_string(out, text);
}

void json_out_member_text(struct json_out *out, const char *name, const char *text)
{
    json_out_name(out, name);
    json_out_string(out, slice_from_text(text));
}

void json_out_member_u64(struct json_out *out, const char *name, uint64_t value)
{
    json_out_name(out, name);
    json_out_u64(out, value);
}

void json_out_member_bool(struct json_out *out, const char *name, bool value)
{
    json_out_name(out, name);
    json_out_bool(out, value);
}

void json_out_member_time(struct json_out *out, const char *name, uint64_t wall_ns)
{
    json_out_name(out, name);
    json_out_time(out, wall_ns);
}

void json_out_member_digest(struct json_out *out, const char *name, const struct digest *digest)
{
    json_out_name(out, name);
    json_out_digest(out, digest);
}
