/*
 * key_body.h - the request side of the batch resources: a list of keys as JSON or lines.
 *
 * Order:   start, data..., finish, then list.keys and list.count; release at the end, always.
 * Memory:  the keys are charged to the exchange as they arrive.
 * Threads: one at a time; once finished the keys do not change.
 */
#pragma once

#include "api/body_check.h"
#include "api/key_list.h"

struct key_body {
    struct key_list list;
    struct body_check check;
};

MUST_USE enum coffer_status key_body_start(
    struct key_body *body, struct exchange *exchange, struct error *err);
MUST_USE enum coffer_status key_body_data(struct key_body *body, struct exchange *exchange,
    const void *data, size_t size, size_t *taken, struct error *err);
MUST_USE enum coffer_status key_body_finish(struct key_body *body, struct error *err);
void key_body_release(struct key_body *body);
