#include "api/close_actions.h"

#include <string.h>

#include "api/dataset_settings.h"
#include "api/notify.h"
#include "api/packing.h"
#include "storage/base/invariant.h"

enum { SUMMARY_MAX = 2 * JOB_RESULT_MAX, PAGE = 256 };

/* Of every action: how far it is, and whether to go on. */
static bool note_progress(void *context, uint64_t done, uint64_t total)
{
    struct closing *closing = context;

    job_progress(closing->job, done, total);
    return !job_stopping(closing->job);
}

static enum coffer_status run_verify(struct closing *closing, const struct close_action *action,
    struct json_out *out, struct error *err)
{
    struct verify_result result = {.blocks = 0};
    enum coffer_status status =
        dataset_verify(closing->dataset, &result, note_progress, closing, err);

    (void)action;
    json_out_member_u64(out, "blocks", result.blocks);
    json_out_member_u64(out, "bytes", result.bytes);
    json_out_member_u64(out, "damaged", result.damaged);
    if (status == COFFER_OK && result.damaged > 0)
        return error_set(err, COFFER_DATA_CORRUPT, "%llu of %llu blocks failed their checksum",
            (unsigned long long)result.damaged, (unsigned long long)result.blocks);
    return status;
}

static enum coffer_status run_compress(struct closing *closing, const struct close_action *action,
    struct json_out *out, struct error *err)
{
    uint64_t saved = 0;
    enum coffer_status status =
        dataset_compress(closing->dataset, action->level, &saved, note_progress, closing, err);

    json_out_member_u64(out, "level", (uint64_t)action->level);
    json_out_member_u64(out, "saved_bytes", saved);
    return status;
}

/* ---- package ---- */

struct package {
    struct closing *closing;
    struct package_writer *writer;
    uint64_t size;
    enum coffer_status status; /* of the last write */
    struct error *err;
};

static bool write_package(void *context, const void *data, size_t size)
{
    struct package *package = context;

    package->status = package_write(package->writer, data, size, package->err);
    package->size += size;
    return package->status == COFFER_OK;
}

static bool package_progress(void *context, uint64_t done, uint64_t total)
{
    const struct package *package = context;

    return note_progress(package->closing, done, total);
}

static enum coffer_status make_package(
    struct package *package, enum archive_format format, struct error *err)
{
    const struct packing_sink sink = {write_package, package_progress, package};
    struct dataset *dataset = package->closing->dataset;
    struct packing *packing = NULL;
    enum coffer_status status = packing_create(dataset, 0, &packing, err);

    if (status == COFFER_OK)
        status = package_begin(dataset, format, &package->writer, err);
    if (status == COFFER_OK) {
        struct error why;

        package->err = err;
        status = packing_write(packing, format, &sink, &why);
        if (package->status != COFFER_OK)
            status = package->status;
        else if (status != COFFER_OK)
            *err = why;
    }
    if (status == COFFER_OK)
        status = package_finish(package->writer, err);
    package_close(package->writer);
    packing_destroy(packing);
    return status;
}

/* The size of the one that is kept already, from before a restart. */
static enum coffer_status look_at_package(
    const struct closing *closing, uint64_t *size, struct error *err)
{
    struct stream_reader *reader = NULL;
    enum coffer_status status =
        dataset_package_open(closing->dataset, (struct waker){NULL, NULL}, &reader, err);

    if (status == COFFER_OK)
        *size = stream_size(reader);
    stream_close(reader);
    return status;
}

static enum coffer_status run_package(struct closing *closing, const struct close_action *action,
    struct json_out *out, struct error *err)
{
    struct package package = {.closing = closing};
    struct dataset_info info;
    enum coffer_status status;

    dataset_info(closing->dataset, &info);
    if (info.packaged && info.package_format == action->format)
        status = look_at_package(closing, &package.size, err);
    else
        status = make_package(&package, action->format, err);
    json_out_member_text(out, "format", archive_format_name(action->format));
    if (status == COFFER_OK)
        json_out_member_u64(out, "size", package.size);
    return status;
}

/* ---- notify ---- */

struct totals {
    uint64_t channels, bytes, records;
};

static void add_up(struct dataset *dataset, struct totals *totals)
{
    struct stream_info page[PAGE];
    char last[STREAM_NAME_SIZE] = "";
    size_t found;

    do {
        found = dataset_streams(dataset, totals->channels > 0 ? last : NULL, page, PAGE);
        for (size_t i = 0; i < found; i++) {
            totals->bytes += page[i].size;
            totals->records += page[i].records;
        }
        totals->channels += found;
        if (found > 0)
            memcpy(last, page[found - 1].name, sizeof(last));
    } while (found == PAGE);
}

static void write_summary(struct closing *closing, struct json_out *out)
{
    struct totals totals = {.channels = 0};
    char id[2 * sizeof(closing->info.id) + 1];

    add_up(closing->dataset, &totals);
    hex_encode(closing->info.id, sizeof(closing->info.id), id);
    json_out_object(out);
    json_out_member_text(out, "event", "dataset_close");
    json_out_member_text(out, "name", closing->info.name);
    json_out_member_text(out, "id", id);
    json_out_member_u64(out, "version", closing->info.version);
    json_out_member_u64(out, "channels", totals.channels);
    json_out_member_u64(out, "bytes", totals.bytes);
    json_out_member_u64(out, "records", totals.records);
    json_out_name(out, "job");
    json_out_number_text(out, job_id(closing->job));
    json_out_name(out, "actions");
    json_out_array(out);
    json_out_bytes(out, json_out_text(&closing->results));
    json_out_array_end(out);
    json_out_object_end(out);
}

static bool wait_of_job(void *context, uint64_t ns)
{
    return job_wait(context, ns);
}

static bool job_is_stopping(void *context)
{
    return job_stopping(context);
}

static enum coffer_status run_notify(struct closing *closing, const struct close_action *action,
    struct json_out *out, struct error *err)
{
    struct notify_caller caller = {wait_of_job, job_is_stopping, closing->job};
    struct notify_result result;
    struct json_out summary;
    enum coffer_status status;

    json_out_growable(&summary, SUMMARY_MAX);
    write_summary(closing, &summary);
    invariant(json_out_ok(&summary));
    status = notify_send(
        action->url, json_out_text(&summary), closing->notify_delay_ns, &caller, &result, err);
    json_out_release(&summary);
    json_out_member_u64(out, "tries", result.tries);
    if (result.answer > 0)
        json_out_member_u64(out, "answer", (uint64_t)result.answer);
    return status;
}

/* ---- all of them ---- */

static const struct {
    const char *name, *unit;
    enum coffer_status (*run)(struct closing *closing, const struct close_action *action,
        struct json_out *out, struct error *err);
} actions[] = {
    [CLOSE_VERIFY] = {"verify", "bytes", run_verify},
    [CLOSE_COMPRESS] = {"compress", "bytes", run_compress},
    [CLOSE_PACKAGE] = {"package", "bytes", run_package},
    [CLOSE_NOTIFY] = {"notify", "requests", run_notify},
};

const char *close_action_name(enum close_kind kind)
{
    return actions[kind].name;
}

enum coffer_status close_action_run(struct closing *closing, const struct close_action *action,
    struct json_out *out, struct error *err)
{
    job_stage(closing->job, actions[action->kind].name, actions[action->kind].unit);
    return actions[action->kind].run(closing, action, out, err);
}
