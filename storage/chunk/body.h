/*
 * body.h - the bytes of one chunk or segment on their way in: reference counted, because the
 * write-behind, a reader and the uploader may use them at the same time.
 *
 * Memory:  content lies between an engine's headroom and tailroom (engine.h). The bytes that were
 *          charged to a budget are given back with the last reference.
 * Threads: the content is written by one thread before it is shared; references by any.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/channel/budget.h"

struct body {
    _Atomic unsigned references;
    struct budget *budget; /* NULL: not charged */
    uint64_t charged;      /* bytes */
    size_t capacity, size;
    uint8_t *content; /* inside of the same allocation */
};

/* NULL when there is no memory for it. */
struct body *body_create(size_t capacity);
/* Give back what it has beyond its size; nobody else has a reference. The body may move. */
struct body *body_shrink(struct body *body);
struct body *body_ref(struct body *body);
void body_unref(struct body *body); /* NULL is a no-op */
