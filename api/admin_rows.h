/*
 * admin_rows.h - a pack and a channel as JSON, for /v1/status and the lists.
 */
#pragma once

#include "api/exchange.h"
#include "api/json_out.h"

void pack_row_write(struct json_out *out, const struct pack_info *info);
void channel_row_write(struct json_out *out, const struct channel_info *info);
