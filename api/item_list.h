/*
 * item_list.h - the answer of every list: a page {"NAME":[ITEM,...],"next":...}, or with
 * Accept: application/x-ndjson all of it, an item a line. Made while it is sent (item_stream.h).
 *
 * Order:   item_list_start() reads the query; the resource looks at query.after and query.prefix;
 *          item_list_reply(); item_list_release() in its release(), also after a failed start.
 * Memory:  a buffer, however long the list. An item that is larger than that is made whole, in up
 *          to ITEM_LARGE_MAX bytes.
 * Threads: that of the exchange.
 */
#pragma once

#include "api/exchange.h"
#include "api/json_out.h"
#include "api/list_query.h"

enum { ITEM_LARGE_MAX = 32 << 20 };

enum { ITEM_NEXT_SIZE = 96 };

/* Where a list comes from: pages of items, which the context keeps. */
struct item_source {
    const char *name; /* of the list in an answer */
    size_t page;      /* items that a page may have */
    /* Replace the page by up to `wanted` items behind the last one that was fetched. *last: there
     * are none behind these. Never waits. */
    enum coffer_status (*fetch)(
        void *context, size_t wanted, size_t *found, bool *last, struct error *err);
    /* Whether an item of the page is asked for. NULL: all are. */
    bool (*matches)(void *context, size_t at);
    void (*write)(void *context, size_t at, struct json_out *out); /* may be called again */
    /* The value for `after` that stands for this item, as one JSON value below ITEM_NEXT_SIZE. */
    void (*write_next)(void *context, size_t at, struct json_out *out);
};

struct item_list {
    const struct item_source *source;
    void *context; /* lives as long as the exchange */
    struct list_query query;
    uint64_t left; /* items that the limit still allows */
    size_t at, found;
    bool begun, last_page;
    struct json_out next; /* once the limit is reached */
    char next_text[ITEM_NEXT_SIZE];
    struct json_out large; /* an item that does not fit into a buffer */
    size_t large_sent;
};

MUST_USE enum coffer_status item_list_start(
    struct item_list *list, struct exchange *exchange, struct error *err);
MUST_USE enum coffer_status item_list_reply(struct item_list *list, struct exchange *exchange,
    const struct item_source *source, void *context, struct error *err);
void item_list_release(struct item_list *list);
