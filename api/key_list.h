/*
 * key_list.h - the keys of a batch request, parsed while the body arrives.
 *
 * Two forms: {"keys":["HEX",...]}, and a key a line (text/plain; CR LF and empty lines are taken).
 * Order:   init, feed for each piece, finish at the end of the body; then key_list_keys(). Keys
 *          stay in the order of the body and may repeat.
 * Memory:  that of a spill, which has them, however many they are and whatever the pieces.
 * Errors:  COFFER_BAD_JSON, COFFER_UNKNOWN_FIELD, COFFER_BAD_KEY with the place in err;
 *          COFFER_CONTENT_TOO_LARGE past body_max; COFFER_OVERLOADED without memory. A failed list
 *          stays failed.
 * Threads: one at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/digest.h"
#include "storage/base/key_source.h"
#include "storage/base/slice.h"
#include "storage/base/status.h"

enum key_list_form { KEY_LIST_JSON, KEY_LIST_LINES };
enum { KEY_LIST_TOKEN_SIZE = 96 };

struct key_list {
    struct spill *keys;

    /* Of the parser. */
    enum key_list_form form;
    int state;                   /* enum key_list_state of key_list.c */
    uint64_t body_max, position; /* bytes of the body; those parsed */
    uint64_t token_at;           /* where the string or line began */
    uint32_t code;               /* of a \u escape */
    unsigned code_digits;
    unsigned escape; /* 0: none, 1: after a backslash, 2: in \uXXXX */
    bool in_name, seen_keys, failed;
    size_t token_size; /* may be larger than what is kept of it */
    char token[KEY_LIST_TOKEN_SIZE];
};

/* `keys` (taken) is empty, of DIGEST_SIZE a record. */
void key_list_init(
    struct key_list *list, enum key_list_form form, uint64_t body_max, struct spill *keys);
MUST_USE enum coffer_status key_list_feed(
    struct key_list *list, const void *data, size_t size, struct error *err);
MUST_USE enum coffer_status key_list_finish(struct key_list *list, struct error *err);
void key_list_release(struct key_list *list);
static inline struct key_source key_list_keys(const struct key_list *list)
{
    return key_source_spill(list->keys);
}
