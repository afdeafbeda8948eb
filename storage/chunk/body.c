#include "storage/chunk/body.h"

#include <stdlib.h>

#include "storage/engine.h"

struct body *body_create(size_t capacity)
{
    struct body *body = malloc(sizeof(*body) + ENGINE_HEADROOM + capacity + ENGINE_TAILROOM);

    if (body == NULL)
        return NULL;
    atomic_init(&body->references, 1);
    body->budget = NULL;
    body->charged = 0;
    body->capacity = capacity;
    body->size = 0;
    body->content = (uint8_t *)(body + 1) + ENGINE_HEADROOM;
    return body;
}

struct body *body_ref(struct body *body)
{
    atomic_fetch_add_explicit(&body->references, 1, memory_order_relaxed);
    return body;
}

void body_unref(struct body *body)
{
    if (body == NULL || atomic_fetch_sub_explicit(&body->references, 1, memory_order_acq_rel) != 1)
        return;
    if (body->budget != NULL)
        budget_give(body->budget, body->charged);
    free(body);
}
