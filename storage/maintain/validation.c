/*
 * Validation: what the engine proves, the hashes of large chunks, and what damage belongs to.
 */
#include "storage/maintain/validation.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/chunk/store_parts.h"
#include "storage/maintenance.h"

enum { HASH_PIECE = 256 * 1024 };
#define VALIDATE_KEY "store" /* there is one to validate */

struct validation {
    struct store *store;
    const struct maintenance_watch *watch;
    struct validate_result *result;
    struct spill *large; /* keys of chunks that nobody has hashed yet */
    uint64_t large_bytes, total;
};

/* ---- what is damaged ---- */

/* Names of datasets are the keys of rows `d` of the root partition, whose values begin with the id
 * of the dataset's own (docs/format.md). */
struct name_search {
    const struct partition_id *partition;
    char *out;
    bool found;
};

static bool is_its_name(void *context, struct slice key, struct slice value)
{
    struct name_search *search = context;

    if (value.size < PARTITION_ID_SIZE ||
        memcmp(value.data, search->partition->bytes, PARTITION_ID_SIZE) != 0)
        return true;
    (void)snprintf(search->out, VALIDATE_KEY_SIZE, "dataset %.*s", (int)(key.size - 1),
        (const char *)key.data + 1);
    search->found = true;
    return false;
}

static void name_partition(
    struct store *store, const struct partition_id *partition, char out[VALIDATE_KEY_SIZE])
{
    static const struct partition_id root = {{0}};
    struct name_search search = {partition, out, false};

    if (memcmp(partition, &root, sizeof(root)) == 0) {
        (void)snprintf(out, VALIDATE_KEY_SIZE, "list of datasets");
        return;
    }
    if (store->engine->ops->row_scan(store->engine, &root, slice_of("d", 1), slice_of("", 0), false,
            is_its_name, &search, NULL) != COFFER_OK ||
        !search.found)
        (void)snprintf(out, VALIDATE_KEY_SIZE, "a dataset or the history of jobs");
}

static void note_damage(void *context, const struct engine_damage *damage)
{
    struct validation *validation = context;
    struct validate_result *result = validation->result;
    uint64_t *count = damage->missing ? &result->missing_count : &result->damaged_count;
    struct validate_damage *list = damage->missing ? result->missing : result->damaged, *entry;

    if ((*count)++ >= VALIDATE_LISTED_MAX)
        return;
    entry = &list[*count - 1];
    *entry = (struct validate_damage){
        .pack = damage->pack, .offset = damage->offset, .what = damage->what};
    if (damage->owner == OWNER_CHUNK)
        digest_to_hex(&damage->key, entry->key);
    else if (damage->owner == OWNER_SEGMENT)
        (void)snprintf(entry->key, VALIDATE_KEY_SIZE, "a part of a large chunk");
    else if (damage->owner == OWNER_PARTITION)
        name_partition(validation->store, &damage->partition, entry->key);
}

static bool show_progress(void *context, uint64_t done, uint64_t total)
{
    struct validation *validation = context;

    validation->total = total + validation->large_bytes;
    return validation->watch == NULL || validation->watch->progress == NULL ||
           validation->watch->progress(validation->watch->context, done, validation->total);
}

/* ---- chunks that are hashed while they are read ---- */

static enum coffer_status keep_for_later(
    void *context, const struct digest *key, const struct engine_row *row, struct error *err)
{
    struct validation *validation = context;

    validation->large_bytes += row->size;
    return spill_append(validation->large, key, 1, err);
}

/* COFFER_OK with *good, or the failure that ends the validation. */
static enum coffer_status hash_large(
    struct bulk_reader *bulk, const struct bulk_item *item, void *piece, bool *good)
{
    struct sha256 sha;
    struct digest digest;
    size_t size = 1;
    enum coffer_status status = item->status;

    sha256_init(&sha);
    if (status == COFFER_OK && item->data != NULL)
        sha256_update(&sha, item->data, (size_t)item->info.size);
    while (status == COFFER_OK && item->data == NULL && size > 0) {
        status = bulk_read(bulk, piece, HASH_PIECE, &size, NULL);
        if (status == COFFER_OK)
            sha256_update(&sha, piece, size);
    }
    sha256_final(&sha, &digest);
    *good = status == COFFER_OK && digest_equal(&digest, &item->info.key);
    sha256_release(&sha);
    if (status == COFFER_NO_SUCH_CHUNK) { /* deleted meanwhile */
        *good = true;
        return COFFER_OK;
    }
    return status == COFFER_DATA_CORRUPT ? COFFER_OK : status;
}

static enum coffer_status hash_all_large(struct validation *validation, struct error *err)
{
    const struct bulk_options options = {
        .keys = key_source_spill(validation->large), .order = BULK_STORAGE_ORDER};
    struct bulk_reader *bulk = NULL;
    struct bulk_item item;
    uint64_t done = validation->result->bytes_read;
    bool more = true, good;
    void *piece;
    enum coffer_status status = bulk_open(validation->store, &options, &bulk, err);

    if (status != COFFER_OK)
        return status;
    piece = malloc(HASH_PIECE);
    invariant(piece != NULL);
    while (status == COFFER_OK) {
        status = bulk_next(bulk, &item, &more, err);
        if (status != COFFER_OK || !more)
            break;
        status = hash_large(bulk, &item, piece, &good);
        if (status != COFFER_OK)
            (void)error_set(err, status, "a large chunk cannot be read");
        if (status == COFFER_OK && !good) {
            struct engine_damage damage = {.pack = item.info.pack,
                .offset = item.info.offset,
                .owner = OWNER_CHUNK,
                .key = item.info.key,
                .what = "the content cannot be read, or does not have the hash that names it"};

            note_damage(validation, &damage);
        }
        done += item.info.size;
        if (!show_progress(validation, done, validation->total - validation->large_bytes))
            status = error_set(err, COFFER_DRAINING, "it was stopped");
    }
    free(piece);
    bulk_close(bulk);
    return status;
}

/* ---- the call ---- */

enum coffer_status store_validate(struct store *store, const struct validate_options *options,
    const struct maintenance_watch *watch, struct validate_result *result, struct error *err)
{
    struct validation validation = {.store = store, .watch = watch, .result = result};
    struct engine_validation engine = {.bytes_per_second = options->bytes_per_second,
        .place = store_spill_place(store),
        .progress = show_progress,
        .damage = note_damage,
        .hash_later = keep_for_later,
        .context = &validation};
    enum coffer_status status;

    memset(result, 0, sizeof(*result));
    if (store->engine->ops->validate == NULL)
        return COFFER_OK;
    validation.large = store_spill_create(store, DIGEST_SIZE);
    status = store->engine->ops->validate(store->engine, &engine, err);
    result->checked = engine.records;
    result->chunks = engine.chunks;
    result->bytes_read = engine.bytes_read;
    result->unreferenced_bytes = engine.unreferenced_bytes;
    if (status == COFFER_OK && spill_count(validation.large) > 0)
        status = hash_all_large(&validation, err);
    spill_destroy(validation.large);
    if (status == COFFER_OK)
        log_write(result->damaged_count + result->missing_count > 0 ? LOG_ERROR : LOG_INFO,
            "validated", "%" PRIu64 " records, %" PRIu64 " damaged, %" PRIu64 " missing",
            result->checked, result->damaged_count, result->missing_count);
    return status;
}

/* ---- the job ---- */

struct text {
    char bytes[JOB_RESULT_MAX];
    size_t size;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...)
{
    va_list arguments;
    int size;

    va_start(arguments, format);
    size = vsnprintf(text->bytes + text->size, sizeof(text->bytes) - text->size, format, arguments);
    va_end(arguments);
    invariant(size >= 0 && (size_t)size < sizeof(text->bytes) - text->size);
    text->size += (size_t)size;
}

/* As many as the result has room for: names of datasets need no escapes. */
static void add_list(
    struct text *text, const struct validate_damage *list, uint64_t count, size_t size_max)
{
    for (uint64_t i = 0; i < count && i < VALIDATE_LISTED_MAX && text->size < size_max; i++) {
        const struct validate_damage *damage = &list[i];

        add(text, "%s{\"pack\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"key\":", i > 0 ? "," : "",
            damage->pack, damage->offset);
        if (damage->key[0] != '\0')
            add(text, "\"%s\"", damage->key);
        else
            add(text, "null");
        add(text, ",\"what\":\"%s\"}", damage->what);
    }
}

static void give_result(struct job *job, const struct validate_result *result)
{
    enum { ENTRY_MAX = 512 };
    struct text *text = calloc(1, sizeof(*text));

    invariant(text != NULL);
    add(text, "{\"checked\":%" PRIu64 ",\"damaged\":[", result->checked);
    add_list(text, result->damaged, result->damaged_count, JOB_RESULT_MAX / 2);
    add(text, "],\"missing\":[");
    add_list(text, result->missing, result->missing_count, JOB_RESULT_MAX - 2 * ENTRY_MAX);
    add(text,
        "],\"damaged_count\":%" PRIu64 ",\"missing_count\":%" PRIu64
        ",\"unreferenced_bytes\":%" PRIu64 ",\"chunks\":%" PRIu64 ",\"bytes_read\":%" PRIu64 "}",
        result->damaged_count, result->missing_count, result->unreferenced_bytes, result->chunks,
        result->bytes_read);
    job_result(job, slice_of(text->bytes, text->size));
    free(text);
}

static bool show_job_progress(void *context, uint64_t done, uint64_t total)
{
    struct job *job = context;

    job_progress(job, done, total);
    return !job_stopping(job);
}

enum coffer_status validate_job_run(struct job *job, void *context, struct error *err)
{
    const struct maintenance_watch watch = {show_job_progress, job};
    struct validate_options options = {
        .bytes_per_second = strtoull(job_subject(job), NULL, 10)}; /* its first word */
    struct validate_result *result = calloc(1, sizeof(*result));
    enum coffer_status status;

    invariant(result != NULL);
    job_stage(job, "validate", "bytes");
    status = store_validate(context, &options, &watch, result, err);
    if (status == COFFER_OK)
        give_result(job, result);
    free(result);
    return status;
}

enum coffer_status store_validate_start(
    struct store *store, const struct validate_options *options, uint64_t *id, struct error *err)
{
    char subject[JOB_SUBJECT_SIZE];
    const struct job_options job = {JOB_VALIDATE, subject, VALIDATE_KEY, true};

    (void)snprintf(
        subject, sizeof(subject), "%" PRIu64 " bytes per second", options->bytes_per_second);
    return job_start(store, &job, id, err);
}
