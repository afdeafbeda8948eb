/*
 * dataset_view.h - a dataset as an answer: one JSON object with its settings, metadata and
 * channels.
 *
 * It is what the dataset was at one moment, and has the entity tag of that moment.
 *
 * Memory:  the copy: some 90 bytes a channel, and the metadata; charged to the exchange.
 * Errors:  COFFER_OVERLOADED.
 * Threads: that of the exchange.
 */
#pragma once

#include "api/exchange.h"
#include "api/json_out.h"
#include "storage/datasets.h"

struct dataset_view {
    struct dataset_info info;
    char *metadata;
    size_t metadata_size;
    struct json_out head; /* the text up to the channels */
    size_t head_sent;
    struct stream_info *streams;
    size_t stream_count, stream_at;
};

/* Reply 200, or another status, with the dataset. `view` lives as long as the exchange. */
MUST_USE enum coffer_status dataset_view_reply(struct dataset_view *view, struct exchange *exchange,
    struct dataset *dataset, int http_status, struct error *err);
void dataset_view_release(struct dataset_view *view);

/* The members that lists show too: name, state, version, created, channel_count, package. */
void dataset_members_write(struct json_out *out, const struct dataset_info *info);
/* A channel as one object. */
void stream_info_write(struct json_out *out, const struct stream_info *info);
