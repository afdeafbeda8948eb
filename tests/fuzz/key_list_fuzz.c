/*
 * Target: the key lists of batch requests (key_list.h). Input: a byte - the form and the size of
 * the pieces - then the body. Two properties: the pieces make no difference, and what is taken as
 * JSON is what a JSON library takes, with the same keys.
 */
#include <jansson.h>

#include "api/key_list.h"
#include "tests/fuzz/fuzz.h"

enum { BODY_MAX = 1 << 20 };

static enum coffer_status parse(
    struct key_list *list, enum key_list_form form, struct slice body, size_t piece)
{
    enum coffer_status status = COFFER_OK;
    struct error err = {0};

    key_list_init(list, form, BODY_MAX, spill_create(DIGEST_SIZE, (struct spill_place){0}));
    for (size_t at = 0; at < body.size && status == COFFER_OK; at += piece) {
        size_t left = body.size - at, size = piece < left ? piece : left;
        uint8_t *copy = malloc(size); /* exactly its size: a byte read behind it is seen */

        fuzz_check(copy != NULL);
        memcpy(copy, (const uint8_t *)body.data + at, size);
        status = key_list_feed(list, copy, size, &err);
        free(copy);
    }
    if (status == COFFER_OK)
        status = key_list_finish(list, &err);
    fuzz_check(status == COFFER_OK || (err.status == status && err.text[0] != '\0'));
    return status;
}

static struct digest key_at(const struct key_list *list, size_t position)
{
    const struct key_source keys = key_list_keys(list);
    struct digest key;

    fuzz_check(key_source_read(&keys, position, 1, &key, NULL) == COFFER_OK);
    return key;
}

/* Whether a JSON library sees {"keys":[...]} with these keys only; *is_list: with any. */
static bool same_as_json(const struct key_list *list, struct slice body, bool *is_list)
{
    json_t *root = json_loadb(body.data, body.size, JSON_REJECT_DUPLICATES, NULL);
    json_t *keys = json_object_get(root, "keys");
    bool same = json_is_array(keys) && json_array_size(keys) == key_list_keys(list).count;

    *is_list = json_is_array(keys) && json_object_size(root) == 1;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *item = json_array_get(keys, i);
        const char *text = json_string_value(item);
        struct digest key;

        if (text == NULL || !digest_from_hex(slice_of(text, json_string_length(item)), &key)) {
            *is_list = false;
            same = false;
        } else {
            struct digest ours = same ? key_at(list, i) : key;

            same = same && digest_equal(&key, &ours);
        }
    }
    json_decref(root);
    return same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum key_list_form form;
    struct key_list whole, pieces;
    struct slice body;
    enum coffer_status status;

    if (size < 2)
        return 0;
    form = (data[0] & 1) != 0 ? KEY_LIST_LINES : KEY_LIST_JSON;
    body = slice_of(data + 1, size - 1);
    status = parse(&whole, form, body, body.size);
    fuzz_check(parse(&pieces, form, body, (size_t)(data[0] >> 1) + 1) == status);
    if (status == COFFER_OK) {
        fuzz_check(key_list_keys(&whole).count == key_list_keys(&pieces).count);
        for (size_t i = 0; i < key_list_keys(&whole).count; i++) {
            struct digest one = key_at(&whole, i), other = key_at(&pieces, i);

            fuzz_check(digest_equal(&one, &other));
        }
    }
    if (form == KEY_LIST_JSON) {
        bool is_list, same = same_as_json(&whole, body, &is_list);

        fuzz_check(status == COFFER_OK ? same : !is_list);
    }
    key_list_release(&pieces);
    key_list_release(&whole);
    return 0;
}
