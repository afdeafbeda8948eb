/*
 * Looking at transactions: those in memory, and those that have ended, by their rows. A row that
 * still says open, of a transaction that is not in memory, is of an earlier run: it was aborted.
 */
#include "storage/dataset/transaction_look.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"

/* ---- looking ---- */

void transaction_fill_info(const struct transaction *transaction, struct transaction_info *info)
{
    uint64_t now = clock_monotonic_ns();

    memset(info, 0, sizeof(*info));
    memcpy(info->id, transaction->id, sizeof(info->id));
    memcpy(info->reason, transaction->reason, sizeof(info->reason));
    info->whole = transaction->whole;
    info->barrier = transaction->barrier;
    info->commit_when_ready = transaction->commit_when_ready;
    info->state = transaction->phase == PHASE_ENDED      ? transaction->state
                  : transaction->phase == PHASE_ABORTING ? TRANSACTION_ABORTED
                                                         : TRANSACTION_OPEN;
    if (info->state == TRANSACTION_COMMITTED)
        info->version = transaction->version;
    else if (info->state == TRANSACTION_OPEN)
        info->expires_ns =
            clock_wall_ns() + (transaction->deadline_ns > now ? transaction->deadline_ns - now : 0);
}

static enum coffer_status get_row(struct dataset *dataset, const struct row_key *key, void **value,
    size_t *size, bool *found, struct error *err)
{
    struct engine *engine = dataset->store->engine;

    return engine->ops->row_get(engine, &dataset->id, row_key_slice(key), value, size, found, err);
}

static enum coffer_status no_such(struct dataset *dataset, struct slice id, struct error *err)
{
    return error_set(err, COFFER_NO_SUCH_TRANSACTION, "dataset %s has no transaction %.*s",
        dataset->name, (int)(id.size < STREAM_NAME_SIZE ? id.size : STREAM_NAME_SIZE),
        (const char *)id.data);
}

/* The row of a transaction; *value is the caller's to free, and the row points into it. */
static enum coffer_status read_row(struct dataset *dataset, struct slice id,
    struct transaction_row *row, void **value, struct error *err)
{
    struct row_key key = row_key_text(ROW_TRANSACTION, id);
    size_t size;
    bool found = false;
    enum coffer_status status = get_row(dataset, &key, value, &size, &found, err);

    if (status != COFFER_OK)
        return status;
    if (!found)
        return no_such(dataset, id, err);
    if (transaction_row_decode(slice_of(*value, size), row))
        return COFFER_OK;
    return error_set(
        err, COFFER_DATA_CORRUPT, "dataset %s: the row of a transaction is damaged", dataset->name);
}

/* What the row says, as it is. */
static enum coffer_status look_up(
    struct dataset *dataset, struct slice id, struct transaction_info *info, struct error *err)
{
    struct transaction_row row = {0};
    void *value = NULL;
    enum coffer_status status = read_row(dataset, id, &row, &value, err);

    if (status == COFFER_OK) {
        memset(info, 0, sizeof(*info));
        copy_name(info->id, sizeof(info->id), id);
        info->state = row.state;
        info->version = row.version;
        info->whole = row.whole;
        info->barrier = row.barrier;
        info->commit_when_ready = row.commit_when_ready;
        copy_name(info->reason, sizeof(info->reason), row.reason);
    }
    free(value);
    return status;
}

static enum coffer_status check_id(struct slice id, struct error *err)
{
    return stream_name_is_legal(id)
               ? COFFER_OK
               : error_set(err, COFFER_BAD_NAME,
                     "a transaction's id is 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or "
                     "digit");
}

/* The one in memory, with a reference, or NULL. *moves: to compare with later. */
static enum coffer_status get(struct dataset *dataset, struct slice id,
    struct transaction **transaction, uint64_t *moves, struct error *err)
{
    enum coffer_status status;

    lock_take(&dataset->lock);
    status = dataset_check(dataset, err);
    *transaction = status == COFFER_OK ? transaction_get(dataset, id) : NULL;
    *moves = dataset->transaction_moves;
    lock_drop(&dataset->lock);
    return status;
}

static bool has_moved(struct dataset *dataset, uint64_t moves)
{
    bool moved;

    lock_take(&dataset->lock);
    moved = moves != dataset->transaction_moves;
    lock_drop(&dataset->lock);
    return moved;
}

enum coffer_status transaction_get_or_ended(struct dataset *dataset, struct slice id,
    struct transaction **transaction, struct transaction_info *ended, struct error *err)
{
    enum coffer_status status = check_id(id, err);
    uint64_t moves = 0;

    *transaction = NULL;
    if (status != COFFER_OK)
        return status;
    do { /* one that was opened, or has ended, between the two looks is looked for again */
        status = get(dataset, id, transaction, &moves, err);
        if (status != COFFER_OK || *transaction != NULL)
            return status;
        status = look_up(dataset, id, ended, err);
    } while ((status == COFFER_NO_SUCH_TRANSACTION ||
                 (status == COFFER_OK && ended->state == TRANSACTION_OPEN)) &&
             has_moved(dataset, moves));
    /* It is not in memory: of an earlier run, or the row of its abort could not be written. */
    if (status == COFFER_OK && ended->state == TRANSACTION_OPEN) {
        ended->state = TRANSACTION_ABORTED;
        copy_name(ended->reason, sizeof(ended->reason),
            slice_from_text("the server was restarted or its disk failed while it was open"));
    }
    return status;
}

enum coffer_status transaction_find(
    struct dataset *dataset, struct slice id, struct transaction_info *info, struct error *err)
{
    struct transaction *transaction;
    enum coffer_status status = transaction_get_or_ended(dataset, id, &transaction, info, err);

    if (transaction == NULL)
        return status;
    lock_take(&dataset->lock);
    transaction_fill_info(transaction, info);
    transaction_unref(transaction);
    lock_drop(&dataset->lock);
    return status;
}

/* ---- parts ---- */

static bool take_parts(void *context, const struct version_info *version)
{
    struct parts *parts = context;

    parts->count = version->part_count;
    parts->items = calloc(parts->count + 1, sizeof(struct version_part));
    invariant(parts->items != NULL);
    if (parts->count > 0)
        memcpy(parts->items, version->parts, parts->count * sizeof(struct version_part));
    return false;
}

enum coffer_status parts_of_version(
    struct dataset *dataset, uint64_t version, struct parts *parts, struct error *err)
{
    bool more;

    return dataset_versions(dataset, version - 1, take_parts, parts, &more, err);
}

static int by_name(const void *a, const void *b)
{
    const struct version_part *x = a, *y = b;

    return strcmp(x->name, y->name);
}

void parts_of_members(const struct transaction *transaction, bool missing, struct parts *parts)
{
    parts->items = calloc(transaction->member_count + 1, sizeof(struct version_part));
    invariant(parts->items != NULL);
    for (size_t i = 0; i < transaction->member_count; i++) {
        const struct member *member = transaction->members[i];

        if (!missing || !member->ready)
            memcpy(parts->items[parts->count++].name, member->stream->name, STREAM_NAME_SIZE);
    }
    qsort(parts->items, parts->count, sizeof(struct version_part), by_name);
}

static void row_names(struct slice names, struct parts *parts)
{
    const uint8_t *at = names.data, *end = at + names.size;

    parts->items = calloc(names.size + 1, sizeof(struct version_part));
    invariant(parts->items != NULL);
    while (at < end && at + 1 + *at <= end) {
        copy_name(parts->items[parts->count++].name, STREAM_NAME_SIZE, slice_of(at + 1, *at));
        at += 1 + *at;
    }
    qsort(parts->items, parts->count, sizeof(struct version_part), by_name);
}

static enum coffer_status find_parts(
    struct dataset *dataset, struct slice id, struct parts *parts, struct error *err)
{
    struct transaction_info info;
    struct transaction_row row;
    struct transaction *transaction;
    void *value = NULL;
    enum coffer_status status = transaction_get_or_ended(dataset, id, &transaction, &info, err);

    if (transaction != NULL) {
        lock_take(&dataset->lock);
        parts_of_members(transaction, false, parts);
        transaction_unref(transaction);
        lock_drop(&dataset->lock);
        return status;
    }
    if (status == COFFER_OK && info.state == TRANSACTION_COMMITTED)
        return parts_of_version(dataset, info.version, parts, err);
    if (status == COFFER_OK)
        status = read_row(dataset, id, &row, &value, err);
    if (status == COFFER_OK)
        row_names(row.channels, parts);
    free(value);
    return status;
}

enum coffer_status transaction_parts(struct dataset *dataset, struct slice id,
    bool (*visit)(void *context, const struct version_part *part), void *context, struct error *err)
{
    struct parts parts = {0};
    enum coffer_status status = find_parts(dataset, id, &parts, err);

    for (size_t i = 0; i < parts.count && status == COFFER_OK; i++)
        if (!visit(context, &parts.items[i]))
            break;
    free(parts.items);
    return status;
}
