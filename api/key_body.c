#include "api/key_body.h"

enum coffer_status key_body_start(
    struct key_body *body, struct exchange *exchange, struct error *err)
{
    enum body_form form;
    enum coffer_status status =
        body_check_start(&body->check, exchange, BODY_FORM_JSON, BODY_FORM_LINES, &form, err);

    key_list_init(&body->list, form == BODY_FORM_LINES ? KEY_LIST_LINES : KEY_LIST_JSON,
        exchange->service->collect_max);
    return status;
}

enum coffer_status key_body_data(struct key_body *body, struct exchange *exchange, const void *data,
    size_t size, size_t *taken, struct error *err)
{
    size_t before = body->list.capacity;
    enum coffer_status status = key_list_feed(&body->list, data, size, err);

    *taken = size;
    body_check_data(&body->check, data, size);
    if (status == COFFER_OK && body->list.capacity > before)
        status =
            exchange_charge(exchange, (body->list.capacity - before) * sizeof(struct digest), err);
    return status;
}

enum coffer_status key_body_finish(struct key_body *body, struct error *err)
{
    enum coffer_status status = body_check_finish(&body->check, err);

    return status == COFFER_OK ? key_list_finish(&body->list, err) : status;
}

void key_body_release(struct key_body *body)
{
    key_list_release(&body->list);
    body_check_release(&body->check);
}
