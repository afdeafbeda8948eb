/*
 * One append to a channel, by a caller who keeps offsets, epochs and transactions himself.
 */
#include <string.h>

#include "client/appender.h"
#include "client/channel_parts.h"
#include "client/failure.h"

static int append(struct coffer_client *client, const char *dataset, const char *channel,
    const struct appender_body *body, const struct coffer_append_options *options,
    struct coffer_receipt *receipt, struct coffer_error *err)
{
    static const struct coffer_append_options defaults;
    struct appender appender = {
        .client = client, .path = dataset_path(dataset, "/channels/", channel)};
    int result;

    options = options == NULL ? &defaults : options;
    if (appender.path == NULL)
        return failure(err, "no_memory", "no memory for a request");
    appender.has_offset = options->has_offset;
    appender.offset = options->offset;
    appender.has_epoch = options->epoch != 0;
    appender.epoch = options->epoch;
    appender.transaction = options->transaction;
    appender.durability = options->durability;
    result = appender_send_body(&appender, body, options->per_line, receipt, err);
    appender_release(&appender);
    return result;
}

int coffer_append(struct coffer_client *client, const char *dataset, const char *channel,
    const void *data, size_t size, const struct coffer_append_options *options,
    struct coffer_receipt *receipt, struct coffer_error *err)
{
    const struct appender_body body = {.data = data, .size = size};

    return append(client, dataset, channel, &body, options, receipt, err);
}

int coffer_append_file(struct coffer_client *client, const char *dataset, const char *channel,
    FILE *file, const struct coffer_append_options *options, struct coffer_receipt *receipt,
    struct coffer_error *err)
{
    const struct appender_body body = {.file = file};

    return append(client, dataset, channel, &body, options, receipt, err);
}
