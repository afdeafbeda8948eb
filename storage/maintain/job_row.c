#include "storage/maintain/job_row.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"

enum {
    VERSION = 1,
    FIXED_SIZE = 28, /* version, state, flags, 0, three times */
    FLAG_RESUME = 1,
    TEXT_COUNT = 6,
};

/* The texts of a row, in their order; kind and status by name, for numbers may change. */
static void texts_of(const struct job_row *row, struct slice texts[TEXT_COUNT])
{
    texts[0] = slice_from_text(job_kind_name(row->kind));
    texts[1] = slice_from_text(status_code(row->status));
    texts[2] = row->subject;
    texts[3] = row->key;
    texts[4] = row->text;
    texts[5] = row->result;
}

void job_row_key(uint64_t id, uint8_t out[JOB_ROW_KEY_SIZE])
{
    out[0] = (uint8_t)JOB_ROW_KEY_PREFIX[0];
    put_be64(out + 1, id);
}

void *job_row_encode(const struct job_row *row, size_t *size)
{
    struct slice texts[TEXT_COUNT];
    size_t total = FIXED_SIZE;
    uint8_t *value, *at;

    texts_of(row, texts);
    for (unsigned i = 0; i < TEXT_COUNT; i++)
        total += sizeof(uint32_t) + texts[i].size;
    value = calloc(1, total);
    invariant(value != NULL);
    value[0] = VERSION;
    value[1] = (uint8_t)row->state;
    value[2] = row->resume ? FLAG_RESUME : 0;
    put_le64(value + 4, row->created_ns);
    put_le64(value + 12, row->started_ns);
    put_le64(value + 20, row->ended_ns);
    at = value + FIXED_SIZE;
    for (unsigned i = 0; i < TEXT_COUNT; i++) {
        put_le32(at, (uint32_t)texts[i].size);
        at += sizeof(uint32_t);
        if (texts[i].size > 0)
            memcpy(at, texts[i].data, texts[i].size);
        at += texts[i].size;
    }
    *size = total;
    return value;
}

static bool take_text(struct slice *rest, struct slice *text)
{
    const uint8_t *at = rest->data;
    uint32_t size;

    if (rest->size < sizeof(size))
        return false;
    size = get_le32(at);
    if (size > rest->size - sizeof(size))
        return false;
    *text = slice_of(at + sizeof(size), size);
    *rest = slice_of(at + sizeof(size) + size, rest->size - sizeof(size) - size);
    return true;
}

static bool kind_of_name(struct slice name, enum job_kind *kind)
{
    for (unsigned i = 0; i < JOB_KIND_COUNT; i++) {
        if (slice_equal(name, slice_from_text(job_kind_name((enum job_kind)i)))) {
            *kind = (enum job_kind)i;
            return true;
        }
    }
    return false;
}

static enum coffer_status status_of_code(struct slice code)
{
    for (unsigned i = 0; i < COFFER_STATUS_COUNT; i++)
        if (slice_equal(code, slice_from_text(status_code((enum coffer_status)i))))
            return (enum coffer_status)i;
    return COFFER_INTERNAL;
}

/* What is copied into an array of `size` bytes, with a NUL that is not in the text. */
static bool is_name(struct slice text, size_t size)
{
    return text.size < size && (text.size == 0 || memchr(text.data, '\0', text.size) == NULL);
}

bool job_row_decode(struct slice key, struct slice value, struct job_row *row)
{
    const uint8_t *key_at = key.data, *at = value.data;
    struct slice texts[TEXT_COUNT], rest;

    if (key.size != JOB_ROW_KEY_SIZE || key_at[0] != (uint8_t)JOB_ROW_KEY_PREFIX[0])
        return false;
    if (value.size < FIXED_SIZE || at[0] != VERSION || at[1] > JOB_CANCELLED ||
        (at[2] & ~FLAG_RESUME) != 0 || at[3] != 0)
        return false;
    rest = slice_of(at + FIXED_SIZE, value.size - FIXED_SIZE);
    for (unsigned i = 0; i < TEXT_COUNT; i++)
        if (!take_text(&rest, &texts[i]))
            return false;
    *row = (struct job_row){.id = get_be64(key_at + 1),
        .state = (enum job_state)at[1],
        .resume = (at[2] & FLAG_RESUME) != 0,
        .created_ns = get_le64(at + 4),
        .started_ns = get_le64(at + 12),
        .ended_ns = get_le64(at + 20),
        .status = status_of_code(texts[1]),
        .subject = texts[2],
        .key = texts[3],
        .text = texts[4],
        .result = texts[5]};
    return rest.size == 0 && row->id > 0 && kind_of_name(texts[0], &row->kind) &&
           is_name(row->subject, JOB_SUBJECT_SIZE) && is_name(row->key, JOB_KEY_SIZE) &&
           is_name(row->text, ERROR_TEXT_SIZE) && is_name(row->result, JOB_RESULT_MAX + 1);
}
