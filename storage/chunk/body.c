#include "storage/chunk/body.h"

#include <stdlib.h>

#include "storage/base/invariant.h"
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

struct body *body_shrink(struct body *body)
{
    struct body *smaller;

    invariant(atomic_load(&body->references) == 1);
    if (body->size == body->capacity)
        return body;
    smaller = realloc(body, sizeof(*body) + ENGINE_HEADROOM + body->size + ENGINE_TAILROOM);
    if (smaller == NULL)
        return body;
    smaller->capacity = smaller->size;
    smaller->content = (uint8_t *)(smaller + 1) + ENGINE_HEADROOM;
    if (smaller->budget != NULL && smaller->charged > smaller->size) {
        budget_give(smaller->budget, smaller->charged - smaller->size);
        smaller->charged = smaller->size;
    }
    return smaller;
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
