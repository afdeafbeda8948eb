#include "api/dataset_view.h"

#include <stdlib.h>

#include "api/dataset_settings.h"
#include "api/dataset_use.h"
#include "api/item_stream.h"

enum {
    /* All but the metadata: the settings with their URLs, every byte of them escaped. */
    HEAD_SIZE_MAX = 4096 + 6 * DATASET_ACTIONS_MAX * DATASET_URL_SIZE,
    LOOKS_MAX = 100, /* at a dataset whose metadata changes all the time */
};

void dataset_members_write(struct json_out *out, const struct dataset_info *info)
{
    json_out_member_text(out, "name", info->name);
    json_out_member_text(out, "state", dataset_state_name(info->state));
    json_out_member_u64(out, "version", info->version);
    json_out_member_time(out, "created", info->created_ns);
    json_out_member_u64(out, "channel_count", info->channels);
    if (info->packaged)
        json_out_member_text(out, "package", archive_format_name(info->package_format));
}

void stream_info_write(struct json_out *out, const struct stream_info *info)
{
    json_out_object(out);
    json_out_member_text(out, "name", info->name);
    json_out_member_u64(out, "size", info->size);
    json_out_member_u64(out, "records", info->records);
    json_out_member_u64(out, "epoch", info->epoch);
    json_out_object_end(out);
}

/* ---- what there is to tell ---- */

static bool same_metadata(struct dataset *dataset, const struct dataset_view *view)
{
    size_t size = 0;
    char *text = dataset_metadata(dataset, &size);
    bool same = slice_equal(slice_of(text, size), slice_of(view->metadata, view->metadata_size));

    free(text);
    return same;
}

/* All that changes, as it was at one moment. The metadata is not in the snapshot; but if it is the
 * same before and after, it was so then. */
static enum coffer_status look(struct dataset_view *view, struct exchange *exchange,
    struct dataset *dataset, struct error *err)
{
    enum coffer_status status;

    dataset_info(dataset, &view->info);
    status = exchange_charge(exchange, view->info.channels * sizeof(*view->streams), err);
    for (unsigned looks = 0; status == COFFER_OK; looks++) {
        uint64_t tag = view->info.tag;

        free(view->metadata);
        view->metadata = dataset_metadata(dataset, &view->metadata_size);
        free(view->streams);
        dataset_snapshot(dataset, &view->info, &view->streams, &view->stream_count);
        if (view->info.tag == tag || same_metadata(dataset, view))
            break;
        if (looks == LOOKS_MAX)
            status = error_set(err, COFFER_OVERLOADED,
                "the metadata changes too quickly to be read; try again later");
    }
    return status;
}

static enum coffer_status write_head(
    struct dataset_view *view, struct dataset *dataset, struct error *err)
{
    struct dataset_settings *settings = malloc(sizeof(*settings));
    struct json_out *out = &view->head;

    json_out_growable(out, HEAD_SIZE_MAX + view->metadata_size);
    json_out_object(out);
    dataset_members_write(out, &view->info);
    json_out_name(out, "settings");
    if (settings != NULL) {
        dataset_settings(dataset, settings);
        dataset_settings_write(out, settings);
        free(settings);
    }
    json_out_name(out, "metadata");
    json_out_raw(out, slice_of(view->metadata, view->metadata_size));
    json_out_name(out, "channels");
    json_out_array(out);
    if (settings != NULL && json_out_ok(out))
        return COFFER_OK;
    return error_set(err, COFFER_OVERLOADED, "no memory for the dataset; try again later");
}

/* ---- the reply ---- */

static enum coffer_status fill(void *context, struct json_out *out, bool *done, struct error *err)
{
    struct dataset_view *view = context;
    struct slice head = json_out_text(&view->head);

    (void)err;
    view->head_sent += json_out_some(
        out, slice_of((const char *)head.data + view->head_sent, head.size - view->head_sent));
    while (view->head_sent == head.size) {
        struct json_out_mark mark = json_out_mark(out);
        bool last = view->stream_at == view->stream_count;

        if (last) {
            json_out_array_end(out);
            json_out_object_end(out);
            json_out_line(out);
        } else {
            stream_info_write(out, &view->streams[view->stream_at]);
        }
        if (!json_out_ok(out)) {
            json_out_rewind(out, mark);
            break;
        }
        view->stream_at++;
        if (last) {
            *done = true;
            break;
        }
    }
    return COFFER_OK;
}

enum coffer_status dataset_view_reply(struct dataset_view *view, struct exchange *exchange,
    struct dataset *dataset, int http_status, struct error *err)
{
    enum coffer_status status;

    *view = (struct dataset_view){.head_sent = 0};
    status = look(view, exchange, dataset, err);
    if (status == COFFER_OK)
        status = write_head(view, dataset, err);
    if (status == COFFER_OK)
        status = item_stream_reply(exchange, "application/json", fill, view, err);
    if (status != COFFER_OK)
        return status;
    exchange->reply.status = http_status;
    exchange_reply_header(exchange, "ETag", dataset_etag(exchange, &view->info));
    return COFFER_OK;
}

void dataset_view_release(struct dataset_view *view)
{
    json_out_release(&view->head);
    free(view->metadata);
    free(view->streams);
    view->metadata = NULL;
    view->streams = NULL;
}
