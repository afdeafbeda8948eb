#include "api/json_body.h"

#include <stdlib.h>
#include <string.h>

enum coffer_status json_body_start(
    struct json_body *body, struct exchange *exchange, size_t max, struct error *err)
{
    enum body_form form;

    *body = (struct json_body){.max = max};
    return body_check_start(&body->check, exchange, BODY_FORM_JSON, BODY_FORM_JSON, &form, err);
}

static enum coffer_status grow(
    struct json_body *body, struct exchange *exchange, size_t size, struct error *err)
{
    size_t wanted = body->size == 0 ? 1024 : body->size * 2;
    enum coffer_status status;
    char *grown;

    while (wanted - body->used < size)
        wanted *= 2;
    status = exchange_charge(exchange, wanted - body->size, err);
    if (status != COFFER_OK)
        return status;
    grown = realloc(body->text, wanted);
    if (grown == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for the body; try again later");
    body->text = grown;
    body->size = wanted;
    return COFFER_OK;
}

enum coffer_status json_body_data(struct json_body *body, struct exchange *exchange,
    const void *data, size_t size, size_t *taken, struct error *err)
{
    *taken = size;
    if (size > body->max - body->used)
        return error_set(err, COFFER_CONTENT_TOO_LARGE,
            "the body of this request may have %zu bytes", body->max);
    if (size > body->size - body->used) {
        enum coffer_status status = grow(body, exchange, size, err);

        if (status != COFFER_OK)
            return status;
    }
    if (size > 0)
        memcpy(body->text + body->used, data, size);
    body->used += size;
    body_check_data(&body->check, data, size);
    return COFFER_OK;
}

static bool is_blank(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] != ' ' && text[i] != '\t' && text[i] != '\r' && text[i] != '\n')
            return false;
    return true;
}

static bool too_deep(const char *text, size_t size)
{
    size_t depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < size; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted && (text[i] == '[' || text[i] == '{') && ++depth > JSON_DEPTH_MAX)
            return true;
        else if (!quoted && (text[i] == ']' || text[i] == '}') && depth > 0)
            depth--;
    }
    return false;
}

enum coffer_status json_body_finish(struct json_body *body, struct error *err)
{
    enum coffer_status status = body_check_finish(&body->check, err);
    json_error_t where;

    if (status != COFFER_OK)
        return status;
    if (is_blank(body->text, body->used)) {
        body->root = json_object();
        return body->root != NULL
                   ? COFFER_OK
                   : error_set(err, COFFER_OVERLOADED, "no memory for the body; try again later");
    }
    if (too_deep(body->text, body->used))
        return error_set(
            err, COFFER_BAD_JSON, "the body has more than %d brackets in another", JSON_DEPTH_MAX);
    body->root =
        json_loadb(body->text, body->used, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &where);
    if (body->root == NULL)
        return error_set(
            err, COFFER_BAD_JSON, "byte %d of the body: %s", where.position, where.text);
    if (!json_is_object(body->root))
        return error_set(err, COFFER_BAD_JSON, "the body of this request is a JSON object: {...}");
    return COFFER_OK;
}

void json_body_drop(struct json_body *body)
{
    json_decref(body->root);
    free(body->text);
    body->root = NULL;
    body->text = NULL;
    body->used = body->size = 0;
}

void json_body_release(struct json_body *body)
{
    json_body_drop(body);
    body_check_release(&body->check);
}
