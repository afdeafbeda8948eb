/*
 * What is as of the version without a question: the channels as they are now, if no version was
 * published from before the first look at them until after the last. Otherwise each channel is
 * asked for its size as of the version.
 */
#include "api/packing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/dataset_settings.h"
#include "api/json_out.h"
#include "storage/base/invariant.h"

enum {
    PAGE = 512,
    READ_SIZE = 128 << 10,
    DESCRIPTION_MAX = 64 << 20,
    FILE_NAME_SIZE = STREAM_NAME_SIZE + 8,
};

static const char description_name[] = "dataset.json";

struct packing {
    struct dataset *dataset;
    struct dataset_info info;
    uint64_t version, time_ns;
    struct json_out description;
    size_t count, capacity;
    struct stream_info *channels;
};

const char *packing_media_type(enum archive_format format)
{
    return format == ARCHIVE_TAR ? "application/x-tar" : "application/zstd";
}

uint64_t packing_version(const struct packing *packing)
{
    return packing->version;
}

/* The name in the archive. */
static void file_name(const struct stream_info *channel, char out[FILE_NAME_SIZE])
{
    bool taken = strcmp(channel->name, description_name) == 0;

    (void)snprintf(out, FILE_NAME_SIZE, "%s%s", taken ? "channel:" : "", channel->name);
}

/* ---- what belongs into it ---- */

static bool make_room(struct packing *packing)
{
    size_t capacity = packing->capacity == 0 ? PAGE : 2 * packing->capacity;
    struct stream_info *channels;

    if (packing->capacity - packing->count >= PAGE)
        return true;
    channels = realloc(packing->channels, capacity * sizeof(*channels));
    if (channels == NULL)
        return false;
    packing->channels = channels;
    packing->capacity = capacity;
    return true;
}

static enum coffer_status list_channels(struct packing *packing, struct error *err)
{
    char last[STREAM_NAME_SIZE] = "";
    size_t found;

    do {
        if (!make_room(packing))
            return error_set(err, COFFER_OVERLOADED, "no memory for the list of channels");
        if (packing->count > 0)
            memcpy(last, packing->channels[packing->count - 1].name, sizeof(last));
        found = dataset_streams(packing->dataset, packing->count > 0 ? last : NULL,
            packing->channels + packing->count, PAGE);
        packing->count += found;
    } while (found == PAGE);
    return COFFER_OK;
}

/* How many of the channel's records there were: the first number without a record. */
static enum coffer_status count_records(
    const struct packing *packing, struct stream_info *channel, struct error *err)
{
    uint64_t low = 0, high = channel->records;
    enum coffer_status status = COFFER_OK;

    while (low < high && status == COFFER_OK) {
        uint64_t middle = low + (high - low) / 2;
        struct record_place place;
        size_t found;

        status = stream_records(packing->dataset, slice_from_text(channel->name), packing->version,
            middle, &place, 1, &found, err);
        if (status == COFFER_OK && found > 0)
            low = middle + 1;
        else
            high = middle;
    }
    channel->records = low;
    return status;
}

/* The channel as of the version; *there false: it had nothing yet. */
static enum coffer_status go_back(
    const struct packing *packing, struct stream_info *channel, bool *there, struct error *err)
{
    struct stream_reader *reader = NULL;
    enum coffer_status status = stream_open(packing->dataset, slice_from_text(channel->name),
        packing->version, (struct waker){NULL, NULL}, &reader, err);

    *there = status == COFFER_OK;
    if (status == COFFER_NO_SUCH_CHANNEL)
        return COFFER_OK;
    if (status != COFFER_OK)
        return status;
    channel->size = stream_size(reader);
    stream_close(reader);
    return count_records(packing, channel, err);
}

static enum coffer_status go_back_all(struct packing *packing, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    size_t kept = 0;

    for (size_t i = 0; i < packing->count && status == COFFER_OK; i++) {
        struct stream_info channel = packing->channels[i];
        bool there;

        status = go_back(packing, &channel, &there, err);
        if (status == COFFER_OK && there)
            packing->channels[kept++] = channel;
    }
    packing->count = kept;
    return status;
}

struct time_search {
    uint64_t version, time_ns;
};

static bool see_version(void *context, const struct version_info *version)
{
    struct time_search *search = context;

    if (version->version == search->version)
        search->time_ns = version->time_ns;
    return false;
}

static enum coffer_status find_time(struct packing *packing, struct error *err)
{
    struct time_search search = {packing->version, packing->info.created_ns};
    enum coffer_status status = COFFER_OK;
    bool more;

    if (packing->version > 0)
        status = dataset_versions(
            packing->dataset, packing->version - 1, see_version, &search, &more, err);
    packing->time_ns = search.time_ns;
    return status;
}

static enum coffer_status select_version(
    struct packing *packing, uint64_t version, struct error *err)
{
    struct dataset_info after;
    enum coffer_status status;

    dataset_info(packing->dataset, &packing->info);
    packing->version = version == 0 ? packing->info.version : version;
    status = list_channels(packing, err);
    if (status != COFFER_OK)
        return status;
    dataset_info(packing->dataset, &after);
    if (packing->version == 0) { /* nothing had been committed */
        packing->count = 0;
    } else if (packing->version != packing->info.version || after.version != packing->version) {
        status = dataset_version_check(packing->dataset, packing->version, err);
        if (status == COFFER_OK)
            status = go_back_all(packing, err);
    }
    return status == COFFER_OK ? find_time(packing, err) : status;
}

/* ---- dataset.json ---- */

static void describe_channel(struct json_out *out, const struct stream_info *channel)
{
    char file[FILE_NAME_SIZE];

    file_name(channel, file);
    json_out_object(out);
    json_out_member_text(out, "name", channel->name);
    json_out_member_u64(out, "size", channel->size);
    json_out_member_u64(out, "records", channel->records);
    if (strcmp(file, channel->name) != 0)
        json_out_member_text(out, "file", file);
    json_out_object_end(out);
}

static void describe_metadata(struct json_out *out, struct dataset *dataset)
{
    size_t size;
    char *text = dataset_metadata(dataset, &size);

    json_out_name(out, "metadata");
    json_out_raw(out, size == 0 ? slice_from_text("{}") : slice_of(text, size));
    free(text);
}

static enum coffer_status describe(struct packing *packing, struct error *err)
{
    struct json_out *out = &packing->description;
    struct dataset_settings *settings = malloc(sizeof(*settings));
    char id[2 * sizeof(packing->info.id) + 1];

    if (settings == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory to describe the dataset");
    dataset_settings(packing->dataset, settings);
    hex_encode(packing->info.id, sizeof(packing->info.id), id);
    json_out_growable(out, DESCRIPTION_MAX);
    json_out_object(out);
    json_out_member_text(out, "name", packing->info.name);
    json_out_member_text(out, "id", id);
    json_out_member_u64(out, "version", packing->version);
    json_out_member_time(out, "time", packing->time_ns);
    json_out_member_time(out, "created", packing->info.created_ns);
    describe_metadata(out, packing->dataset);
    json_out_name(out, "settings");
    dataset_settings_write(out, settings);
    json_out_name(out, "channels");
    json_out_array(out);
    for (size_t i = 0; i < packing->count; i++)
        describe_channel(out, &packing->channels[i]);
    json_out_array_end(out);
    json_out_object_end(out);
    json_out_line(out);
    free(settings);
    if (!json_out_ok(out))
        return error_set(err, COFFER_OVERLOADED, "no memory to describe the dataset");
    return COFFER_OK;
}

enum coffer_status packing_create(
    struct dataset *dataset, uint64_t version, struct packing **out, struct error *err)
{
    struct packing *packing = calloc(1, sizeof(*packing));
    enum coffer_status status;

    if (packing == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for an archive; try again later");
    packing->dataset = dataset;
    status = select_version(packing, version, err);
    if (status == COFFER_OK)
        status = describe(packing, err);
    if (status == COFFER_OK)
        *out = packing;
    else
        packing_destroy(packing);
    return status;
}

void packing_destroy(struct packing *packing)
{
    if (packing == NULL)
        return;
    json_out_release(&packing->description);
    free(packing->channels);
    free(packing);
}

static uint64_t content_size(const struct packing *packing)
{
    uint64_t size = 0;

    for (size_t i = 0; i < packing->count; i++)
        size += packing->channels[i].size;
    return size;
}

uint64_t packing_size(const struct packing *packing)
{
    uint64_t size = tar_out_entry_size(json_out_text(&packing->description).size);

    for (size_t i = 0; i < packing->count; i++)
        size += tar_out_entry_size(packing->channels[i].size);
    return size + TAR_OUT_END_SIZE;
}

/* ---- writing it ---- */

struct packer {
    const struct packing *packing;
    const struct packing_sink *sink;
    struct tar_out *tar;
    struct gate gate;
    uint64_t done, total; /* bytes of content */
    char buffer[READ_SIZE];
};

static enum coffer_status read_some(
    struct packer *packer, struct stream_reader *reader, size_t *size, struct error *err)
{
    enum coffer_status status;

    while ((status = stream_read(reader, packer->buffer, READ_SIZE, size, err)) == COFFER_AGAIN)
        gate_wait(&packer->gate);
    return status;
}

static enum coffer_status copy_channel(
    struct packer *packer, struct stream_reader *reader, uint64_t left, struct error *err)
{
    const struct packing_sink *sink = packer->sink;

    while (left > 0) {
        size_t size = 0;
        enum coffer_status status = read_some(packer, reader, &size, err);

        if (status != COFFER_OK)
            return status;
        if (size == 0 || size > left)
            return error_set(err, COFFER_INTERNAL, "a channel has another size than its version");
        status = tar_out_data(packer->tar, packer->buffer, size, err);
        if (status != COFFER_OK)
            return status;
        left -= size;
        packer->done += size;
        if (sink->progress != NULL && !sink->progress(sink->context, packer->done, packer->total))
            return error_set(err, COFFER_DRAINING, "the archive is not wanted any more");
    }
    return COFFER_OK;
}

static enum coffer_status write_channel(
    struct packer *packer, const struct stream_info *channel, struct error *err)
{
    const struct packing *packing = packer->packing;
    struct stream_reader *reader = NULL;
    char name[FILE_NAME_SIZE];
    enum coffer_status status;

    file_name(channel, name);
    status = tar_out_entry(packer->tar, name, channel->size, err);
    if (status != COFFER_OK || channel->size == 0)
        return status;
    status = stream_open(packing->dataset, slice_from_text(channel->name), packing->version,
        gate_waker(&packer->gate), &reader, err);
    if (status != COFFER_OK)
        return status;
    stream_select(reader, 0, channel->size, false);
    status = copy_channel(packer, reader, channel->size, err);
    stream_close(reader);
    return status;
}

static enum coffer_status write_entries(struct packer *packer, struct error *err)
{
    const struct packing *packing = packer->packing;
    struct slice text = json_out_text(&packing->description);
    enum coffer_status status;

    tar_out_set_time(packer->tar, packing->time_ns);
    status = tar_out_entry(packer->tar, description_name, text.size, err);
    if (status == COFFER_OK)
        status = tar_out_data(packer->tar, text.data, text.size, err);
    for (size_t i = 0; i < packing->count && status == COFFER_OK; i++)
        status = write_channel(packer, &packing->channels[i], err);
    return status == COFFER_OK ? tar_out_end(packer->tar, err) : status;
}

enum coffer_status packing_write(const struct packing *packing, enum archive_format format,
    const struct packing_sink *sink, struct error *err)
{
    struct packer *packer = malloc(sizeof(*packer));
    enum coffer_status status;

    if (packer == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for an archive; try again later");
    packer->packing = packing;
    packer->sink = sink;
    packer->tar = NULL;
    packer->done = 0;
    packer->total = content_size(packing);
    gate_init(&packer->gate);
    status = format == ARCHIVE_TAR
                 ? tar_out_create(sink->write, sink->context, &packer->tar, err)
                 : tar_out_create_zstd(sink->write, sink->context, &packer->tar, err);
    if (status == COFFER_OK)
        status = write_entries(packer, err);
    tar_out_destroy(packer->tar);
    gate_release(&packer->gate);
    free(packer);
    return status;
}
