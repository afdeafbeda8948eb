/*
 * key_body.h - the request side of the batch resources: a list of keys as JSON or lines.
 *
 * Order:   start, data..., finish, then key_body_keys(); release at the end, always.
 * Memory:  the keys are in a temporary file if they are many; their 32 bytes are charged to the
 *          exchange all the same, for on a full disk they are in memory, and files have an end too.
 * Threads: one at a time; once finished the keys do not change.
 */
#pragma once

#include "api/body_check.h"
#include "api/key_list.h"

struct key_body {
    struct key_list list;
    struct body_check check;
};

enum { KEY_WINDOW_SIZE = 128 };

struct key_window { /* some keys, read together */
    uint64_t first;
    size_t count;
    struct digest keys[KEY_WINDOW_SIZE];
};

MUST_USE enum coffer_status key_body_start(
    struct key_body *body, struct exchange *exchange, struct error *err);
MUST_USE enum coffer_status key_body_data(struct key_body *body, struct exchange *exchange,
    const void *data, size_t size, size_t *taken, struct error *err);
MUST_USE enum coffer_status key_body_finish(struct key_body *body, struct error *err);
static inline struct key_source key_body_keys(const struct key_body *body)
{
    return key_list_keys(&body->list);
}
/* The key at `position`, through a window that begins as zeros and likes ascending positions. */
MUST_USE enum coffer_status key_body_key(const struct key_body *body, struct key_window *window,
    uint64_t position, const struct digest **key, struct error *err);
void key_body_release(struct key_body *body);
