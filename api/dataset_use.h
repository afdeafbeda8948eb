/*
 * dataset_use.h - what all requests about a dataset share: the names and numbers of their paths,
 * headers and queries, and the dataset's entity tag.
 *
 * Threads: that of the exchange.
 */
#pragma once

#include "api/exchange.h"
#include "storage/datasets.h"

/* The dataset that the first parameter of the path names; dataset_drop() it. */
MUST_USE enum coffer_status dataset_of(
    const struct exchange *exchange, struct dataset **out, struct error *err);
/* The second parameter: a `what`, "channel" or "transaction". COFFER_BAD_NAME. */
MUST_USE enum coffer_status stream_name_of(
    const struct exchange *exchange, const char *what, struct slice *name, struct error *err);
MUST_USE enum coffer_status stream_name_check(
    struct slice name, const char *what, struct error *err);
/* A header that is a number from 0 to 2^63 - 1. COFFER_BAD_REQUEST. */
MUST_USE enum coffer_status number_header(const struct exchange *exchange,
    enum exchange_header_id id, const char *name, bool *there, uint64_t *value, struct error *err);
/* ?version=; 0 without it. COFFER_BAD_REQUEST; COFFER_NO_SUCH_VERSION for 0. */
MUST_USE enum coffer_status version_of(
    struct exchange *exchange, uint64_t *version, struct error *err);

/* ---- entity tags ---- */

/* A strong one of what GET of the dataset answers. */
const char *dataset_etag(struct exchange *exchange, const struct dataset_info *info);
/* If-Match and If-None-Match of a request that changes a dataset; `info` NULL: there is none.
 * COFFER_PRECONDITION_FAILED. */
MUST_USE enum coffer_status dataset_check_conditions(
    struct exchange *exchange, const struct dataset_info *info, struct error *err);
