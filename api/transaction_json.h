/*
 * transaction_json.h - a transaction as an answer:
 *
 *     {"id","state":"open","whole","barrier","commit_when_ready","expires","channels":["a",...]}
 *     {"id","state":"committed","version","channels":{"a":{"offset","length"},...}}
 *     {"id","state":"aborted","reason","channels":["a",...]}
 *
 * Memory:  some 100 bytes a channel, in the exchange.
 * Errors:  those of transaction_parts(); COFFER_OVERLOADED.
 * Threads: that of the exchange.
 */
#pragma once

#include "api/exchange.h"
#include "storage/datasets.h"

/* Reply with what `info` says; its channels are asked of the dataset. */
MUST_USE enum coffer_status transaction_reply(struct exchange *exchange, struct dataset *dataset,
    const struct transaction_info *info, int http_status, struct error *err);

/* Reply 409 with "missing": the names of `parts`. */
void transaction_reply_missing(struct exchange *exchange, const struct version_part *parts,
    size_t count, const struct error *err);
