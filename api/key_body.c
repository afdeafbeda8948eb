#include "api/key_body.h"

enum coffer_status key_body_start(
    struct key_body *body, struct exchange *exchange, struct error *err)
{
    enum body_form form;
    enum coffer_status status =
        body_check_start(&body->check, exchange, BODY_FORM_JSON, BODY_FORM_LINES, &form, err);

    key_list_init(&body->list, form == BODY_FORM_LINES ? KEY_LIST_LINES : KEY_LIST_JSON,
        exchange->service->collect_max, store_spill_create(exchange->service->store, DIGEST_SIZE));
    return status;
}

enum coffer_status key_body_data(struct key_body *body, struct exchange *exchange, const void *data,
    size_t size, size_t *taken, struct error *err)
{
    uint64_t before = spill_count(body->list.keys), after;
    enum coffer_status status = key_list_feed(&body->list, data, size, err);

    *taken = size;
    body_check_data(&body->check, data, size);
    after = spill_count(body->list.keys);
    if (status == COFFER_OK && after > before)
        status = exchange_charge(exchange, (after - before) * DIGEST_SIZE, err);
    return status;
}

enum coffer_status key_body_finish(struct key_body *body, struct error *err)
{
    enum coffer_status status = body_check_finish(&body->check, err);

    return status == COFFER_OK ? key_list_finish(&body->list, err) : status;
}

enum coffer_status key_body_key(const struct key_body *body, struct key_window *window,
    uint64_t position, const struct digest **key, struct error *err)
{
    const struct key_source keys = key_body_keys(body);

    if (position < window->first || position - window->first >= window->count) {
        uint64_t left = keys.count - position;
        size_t count = left < KEY_WINDOW_SIZE ? (size_t)left : KEY_WINDOW_SIZE;
        enum coffer_status status = key_source_read(&keys, position, count, window->keys, err);

        if (status != COFFER_OK)
            return status;
        window->first = position;
        window->count = count;
    }
    *key = &window->keys[position - window->first];
    return COFFER_OK;
}

void key_body_release(struct key_body *body)
{
    key_list_release(&body->list);
    body_check_release(&body->check);
}
