/*
 * item_stream.h - replies that are a list: made a buffer at a time while they are sent.
 *
 * A list that fits into the first buffer is sent with a Content-Length; a failure before that is
 * full is a problem as any other. A later one cuts the reply.
 * Memory:  ITEM_STREAM_SIZE in the exchange, however long the list.
 * Threads: that of the exchange.
 */
#pragma once

#include "api/exchange.h"
#include "api/json_out.h"

enum { ITEM_STREAM_SIZE = 32 << 10 };

/*
 * Append what fits and remember how far it came; an item that does not fit is taken back with
 * json_out_rewind(). *done: that was the last of it. Never waits. An item is smaller than a buffer.
 */
typedef enum coffer_status item_stream_fill(
    void *context, struct json_out *out, bool *done, struct error *err);

/* Reply 200 with what `fill` makes; `context` lives as long as the exchange. */
MUST_USE enum coffer_status item_stream_reply(struct exchange *exchange, const char *media_type,
    item_stream_fill *fill, void *context, struct error *err);
