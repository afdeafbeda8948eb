/*
 * A folder of backups: TO/20261125T071500.123Z/ for each of them, a data folder without an index,
 * and TO/unfinished/ for the one that is being made. A name comes by a rename, when all of it is
 * durable.
 */
#include "storage/maintain/backups.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/chunk/store_parts.h"
#include "storage/io/file.h"
#include "storage/maintain/repack.h"
#include "storage/maintenance.h"

enum { MARKER_SIZE = 512, RESULT_SIZE = 512, PATH_SIZE = BACKUP_TO_MAX + NAME_MAX + 16 };
#define UNFINISHED "unfinished"
#define BACKUP_KEY "store" /* one at a time */
#define CONFLICT_WAIT_NS (UINT64_C(200) * NS_PER_MS)

struct folder { /* of backups */
    const char *to;
    char marker[MARKER_SIZE]; /* STORE of the store */
    size_t marker_size;
    char latest[BACKUP_NAME_SIZE]; /* the last backup; empty: none */
};

/* ---- the folder ---- */

/* 20261125T071500.123Z */
static bool is_name(const char *name)
{
    static const char form[] = "00000000T000000.000Z";

    for (size_t i = 0; i < sizeof(form); i++)
        if (form[i] == '0' ? !isdigit((unsigned char)name[i]) : name[i] != form[i])
            return false;
    return true;
}

static void make_name(char out[BACKUP_NAME_SIZE])
{
    uint64_t now = clock_wall_ns();
    time_t seconds = (time_t)(now / NS_PER_S);
    struct tm tm;
    size_t size;

    invariant(gmtime_r(&seconds, &tm) != NULL);
    size = strftime(out, BACKUP_NAME_SIZE, "%Y%m%dT%H%M%S", &tm);
    (void)snprintf(
        out + size, BACKUP_NAME_SIZE - size, ".%03uZ", (unsigned)(now % NS_PER_S / NS_PER_MS));
}

static enum coffer_status check_marker(
    const struct folder *folder, const char *name, struct error *err)
{
    char path[PATH_SIZE], marker[MARKER_SIZE];
    size_t size;
    enum coffer_status status;

    (void)snprintf(path, sizeof(path), "%s/%s/STORE", folder->to, name);
    status = file_load(path, marker, sizeof(marker), &size, err);
    if (status == COFFER_OK &&
        (size != folder->marker_size || memcmp(marker, folder->marker, size) != 0))
        return error_set(
            err, COFFER_BAD_REQUEST, "%s has a backup of another store: %s", folder->to, name);
    return status;
}

/* Nothing but backups of this store, and one that is not finished. */
static enum coffer_status look_through(struct folder *folder, struct error *err)
{
    DIR *listing = opendir(folder->to);
    enum coffer_status status = COFFER_OK;
    struct dirent *entry;

    if (listing == NULL)
        return error_errno(err, "open folder %s", folder->to);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread has this stream */
    while (status == COFFER_OK && (entry = readdir(listing)) != NULL) {
        const char *name = entry->d_name;

        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, UNFINISHED) == 0 ||
            strcmp(name, "lost+found") == 0)
            continue;
        if (!is_name(name))
            status = error_set(err, COFFER_BAD_REQUEST,
                "%s holds something that is no backup: %.64s", folder->to, name);
        else
            status = check_marker(folder, name, err);
        if (status == COFFER_OK && strcmp(name, folder->latest) > 0)
            memcpy(folder->latest, name, strlen(name) + 1);
    }
    closedir(listing);
    return status;
}

/* A backup inside of the store, or the store inside of a backup, would be lost together with it. */
static enum coffer_status check_place(const struct store *store, const char *to, struct error *err)
{
    char data[PATH_MAX], place[PATH_MAX];
    size_t size;

    if (realpath(store->options.data_dir, data) == NULL || realpath(to, place) == NULL)
        return error_errno(err, "look at folder %s", to);
    size = strlen(data);
    if (strncmp(place, data, size) == 0 && (place[size] == '/' || place[size] == '\0'))
        return error_set(err, COFFER_BAD_REQUEST, "%s is inside of the store's own folder", to);
    return COFFER_OK;
}

static enum coffer_status check_options(const struct backup_options *options, struct error *err)
{
    if (options->to[0] != '/')
        return error_set(err, COFFER_BAD_REQUEST, "the folder of a backup is an absolute path");
    if (strlen(options->to) > BACKUP_TO_MAX)
        return error_set(err, COFFER_BAD_REQUEST, "the folder's name has more than %d bytes",
            (int)BACKUP_TO_MAX);
    return COFFER_OK;
}

static enum coffer_status open_folder(
    struct store *store, const char *to, struct folder *folder, struct error *err)
{
    char path[PATH_MAX];
    enum coffer_status status;

    memset(folder, 0, sizeof(*folder));
    folder->to = to;
    (void)snprintf(path, sizeof(path), "%s/STORE", store->options.data_dir);
    status = file_load(path, folder->marker, MARKER_SIZE, &folder->marker_size, err);
    if (status == COFFER_OK)
        status = dir_make(to, err);
    if (status == COFFER_OK)
        status = check_place(store, to, err);
    return status == COFFER_OK ? look_through(folder, err) : status;
}

/* ---- one backup ---- */

/* All of it is durable: from now on it is one. */
static enum coffer_status give_name(const struct folder *folder, const char *unfinished,
    char name[BACKUP_NAME_SIZE], struct error *err)
{
    char path[PATH_SIZE];
    enum coffer_status status =
        file_publish(unfinished, "STORE", slice_of(folder->marker, folder->marker_size), err);

    (void)fault_errno(FAULT_BACKUP_WHOLE);
    if (status != COFFER_OK)
        return status;
    make_name(name);
    (void)snprintf(path, sizeof(path), "%s/%s", folder->to, name);
    if (rename(unfinished, path) != 0)
        return error_errno(err, "rename %s", unfinished);
    return dir_sync(folder->to, err);
}

enum coffer_status store_backup(struct store *store, const struct backup_options *options,
    const struct maintenance_watch *watch, struct backup_result *result, struct error *err)
{
    char unfinished[PATH_SIZE], packs[PATH_SIZE], earlier[PATH_SIZE];
    struct engine_backup backup = {.to = packs, .bytes_per_second = options->bytes_per_second};
    struct folder folder;
    enum coffer_status status;

    memset(result, 0, sizeof(*result));
    if (store->engine->ops->backup == NULL)
        return error_set(err, COFFER_BAD_REQUEST, "a store in memory has nothing to back up");
    status = check_options(options, err);
    if (status == COFFER_OK)
        status = open_folder(store, options->to, &folder, err);
    if (status != COFFER_OK)
        return status;
    (void)snprintf(unfinished, sizeof(unfinished), "%s/" UNFINISHED, folder.to);
    (void)snprintf(packs, sizeof(packs), "%s/" UNFINISHED "/packs", folder.to);
    (void)snprintf(earlier, sizeof(earlier), "%s/%s/packs", folder.to, folder.latest);
    if (folder.latest[0] != '\0')
        backup.earlier = earlier;
    if (watch != NULL) {
        backup.progress = watch->progress;
        backup.context = watch->context;
    }
    status = write_out_buffers(store, err);
    if (status == COFFER_OK)
        status = dir_make(packs, err);
    if (status == COFFER_OK)
        status = store->engine->ops->backup(store->engine, &backup, err);
    if (status == COFFER_OK)
        status = give_name(&folder, unfinished, result->name, err);
    result->packs = backup.packs;
    result->bytes = backup.bytes;
    result->bytes_linked = backup.bytes_linked;
    result->bytes_copied = backup.bytes_copied;
    if (status == COFFER_OK)
        log_write(LOG_INFO, "backup", "%s/%s: %" PRIu64 " bytes, of which %" PRIu64 " were copied",
            folder.to, result->name, result->bytes, result->bytes_copied);
    return status;
}

/* ---- the job ---- */

static void give_result(struct job *job, const struct backup_result *result)
{
    char text[RESULT_SIZE];
    int size = snprintf(text, sizeof(text),
        "{\"name\":\"%s\",\"packs\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"bytes_linked\":%" PRIu64
        ",\"bytes_copied\":%" PRIu64 "}",
        result->name, result->packs, result->bytes, result->bytes_linked, result->bytes_copied);

    invariant(size > 0 && size < RESULT_SIZE);
    job_result(job, slice_of(text, (size_t)size));
}

static bool show_progress(void *context, uint64_t done, uint64_t total)
{
    struct job *job = context;

    job_progress(job, done, total);
    return !job_stopping(job);
}

/* The subject is the rate, a space, and the folder. */
enum coffer_status backup_job_run(struct job *job, void *context, struct error *err)
{
    const struct maintenance_watch watch = {show_progress, job};
    struct backup_options options = {0};
    struct backup_result result;
    char *to;
    enum coffer_status status;

    options.bytes_per_second = strtoull(job_subject(job), &to, 10);
    options.to = to + 1;
    job_stage(job, "backup", "bytes");
    do {
        if (job_stopping(job))
            return error_set(err, COFFER_DRAINING, "it was stopped");
        status = store_backup(context, &options, &watch, &result, err);
    } while (status == COFFER_JOB_CONFLICT && job_wait(job, CONFLICT_WAIT_NS));
    if (status == COFFER_JOB_CONFLICT)
        return error_set(err, COFFER_DRAINING, "it was stopped");
    if (status == COFFER_OK)
        give_result(job, &result);
    return status;
}

enum coffer_status store_backup_start(
    struct store *store, const struct backup_options *options, uint64_t *id, struct error *err)
{
    char subject[JOB_SUBJECT_SIZE];
    const struct job_options job = {JOB_BACKUP, subject, BACKUP_KEY, true};
    struct folder folder;
    enum coffer_status status;

    if (store->engine->ops->backup == NULL)
        return error_set(err, COFFER_BAD_REQUEST, "a store in memory has nothing to back up");
    status = check_options(options, err);
    if (status == COFFER_OK)
        status = open_folder(store, options->to, &folder, err);
    if (status != COFFER_OK)
        return status;
    (void)snprintf(
        subject, sizeof(subject), "%" PRIu64 " %s", options->bytes_per_second, options->to);
    return job_start(store, &job, id, err);
}
