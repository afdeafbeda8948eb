/*
 * dataset_settings.h - the settings of a dataset as JSON: "buffer_size", "compression", "on_close".
 *
 * Threads: any.
 */
#pragma once

#include <jansson.h>

#include "api/exchange.h"
#include "api/json_out.h"
#include "storage/datasets.h"

/* From the body of a PUT, over the store's defaults; *metadata is its other member, borrowed, or
 * NULL. COFFER_UNKNOWN_FIELD, COFFER_BAD_JSON, COFFER_BAD_REQUEST. */
MUST_USE enum coffer_status dataset_settings_read(json_t *body, const struct store *store,
    struct dataset_settings *settings, json_t **metadata, struct error *err);

/* One object, with the names that dataset_settings_read() takes. */
void dataset_settings_write(struct json_out *out, const struct dataset_settings *settings);

const char *archive_format_name(enum archive_format format); /* "tar", "tar.zst" */
