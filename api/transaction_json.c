#include "api/transaction_json.h"

#include "api/json_out.h"
#include "api/problem.h"

enum { REPLY_SIZE_MAX = 1024 + DATASET_CHANNELS_MAX * (STREAM_NAME_SIZE + 64) };

struct parts_writer {
    struct json_out out;
    bool committed;
};

static bool write_part(void *context, const struct version_part *part)
{
    struct parts_writer *writer = context;
    struct json_out *out = &writer->out;

    if (!writer->committed) {
        json_out_string(out, slice_from_text(part->name));
        return json_out_ok(out);
    }
    json_out_name(out, part->name);
    json_out_object(out);
    json_out_member_u64(out, "offset", part->offset);
    json_out_member_u64(out, "length", part->length);
    json_out_object_end(out);
    return json_out_ok(out);
}

static void write_state(struct json_out *out, const struct transaction_info *info)
{
    json_out_member_text(out, "id", info->id);
    json_out_member_text(out, "state", transaction_state_name(info->state));
    switch (info->state) {
    case TRANSACTION_COMMITTED:
        json_out_member_u64(out, "version", info->version);
        break;
    case TRANSACTION_ABORTED:
        json_out_member_text(out, "reason", info->reason);
        break;
    case TRANSACTION_OPEN:
    default:
        json_out_member_bool(out, "whole", info->whole);
        json_out_member_bool(out, "barrier", info->barrier);
        json_out_member_bool(out, "commit_when_ready", info->commit_when_ready);
        json_out_member_time(out, "expires", info->expires_ns);
    }
}

static enum coffer_status write_transaction(struct parts_writer *writer, struct dataset *dataset,
    const struct transaction_info *info, struct error *err)
{
    struct json_out *out = &writer->out;
    enum coffer_status status;

    json_out_object(out);
    write_state(out, info);
    json_out_name(out, "channels");
    if (writer->committed)
        json_out_object(out);
    else
        json_out_array(out);
    status = transaction_parts(dataset, slice_from_text(info->id), write_part, writer, err);
    if (status != COFFER_OK)
        return status;
    if (writer->committed)
        json_out_object_end(out);
    else
        json_out_array_end(out);
    json_out_object_end(out);
    json_out_line(out);
    if (json_out_ok(out))
        return COFFER_OK;
    return error_set(err, COFFER_OVERLOADED, "no memory for the channels; try again later");
}

enum coffer_status transaction_reply(struct exchange *exchange, struct dataset *dataset,
    const struct transaction_info *info, int http_status, struct error *err)
{
    struct parts_writer writer = {.committed = info->state == TRANSACTION_COMMITTED};
    enum coffer_status status;
    struct slice text;

    json_out_growable(&writer.out, REPLY_SIZE_MAX);
    status = write_transaction(&writer, dataset, info, err);
    if (status == COFFER_OK) {
        text = json_out_text(&writer.out);
        exchange_reply(exchange, http_status);
        exchange_reply_header(exchange, "Content-Type", "application/json");
        exchange_reply_memory(exchange, exchange_copy(exchange, text), text.size);
    }
    json_out_release(&writer.out);
    return status;
}

void transaction_reply_missing(struct exchange *exchange, const struct version_part *parts,
    size_t count, const struct error *err)
{
    struct parts_writer writer = {.committed = false};
    struct json_out *out = &writer.out;

    json_out_growable(out, REPLY_SIZE_MAX);
    json_out_name(out, "missing");
    json_out_array(out);
    for (size_t i = 0; i < count; i++)
        (void)write_part(&writer, &parts[i]);
    json_out_array_end(out);
    problem_reply_members(exchange, COFFER_TRANSACTION_NOT_READY, err,
        json_out_ok(out) ? json_out_text(out) : slice_of(NULL, 0));
    json_out_release(out);
}
