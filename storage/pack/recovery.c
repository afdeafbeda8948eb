#include "storage/pack/recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/index/index_partition.h"
#include "storage/io/file.h"
#include "storage/pack/partition_apply.h"
#include "storage/pack/replay.h"

enum { UPLOADS_AT_ONCE = 256, BLOCKS_AT_ONCE = 256 };

/* ---- finding the packs ---- */

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static enum coffer_status list_packs(
    const char *dir, uint64_t **out, size_t *count, struct error *err)
{
    DIR *folder = opendir(dir);
    size_t capacity = 64;
    struct dirent *entry;

    if (folder == NULL)
        return error_errno(err, "open folder %s", dir);
    *count = 0;
    *out = malloc(capacity * sizeof(uint64_t));
    invariant(*out != NULL);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread has this stream */
    while ((entry = readdir(folder)) != NULL) {
        uint64_t id;

        if (!pack_id_from_name(entry->d_name, &id))
            continue;
        if (*count == capacity) {
            capacity *= 2;
            *out = realloc(*out, capacity * sizeof(uint64_t));
            invariant(*out != NULL);
        }
        (*out)[(*count)++] = id;
    }
    closedir(folder);
    qsort(*out, *count, sizeof(uint64_t), by_number);
    return COFFER_OK;
}

static void add_replay(struct recovery *recovery, struct pack *pack,
    const struct pack_header *header, const struct index_pack *row, uint64_t file_size)
{
    struct replay *replay;

    recovery->replays = realloc(recovery->replays, (recovery->count + 1) * sizeof(struct replay));
    invariant(recovery->replays != NULL);
    replay = &recovery->replays[recovery->count++];
    memset(replay, 0, sizeof(*replay));
    replay->pack = pack;
    pack_file_name(pack->id, replay->name);
    replay->base_lsn = header->base_lsn;
    replay->row = *row;
    replay->file_size = file_size;
    replay->good_end = row->end;
}

/* A pack file whose header cannot be used: kept as it is, and counted as damage. */
static void keep_aside(struct recovery *recovery, uint64_t id, const char *name, uint64_t file_size,
    const struct error *reason)
{
    struct index_pack row = {.state = PACK_POISONED, .end = file_size};

    log_write(LOG_ERROR, "pack_damaged", "pack %s is kept aside: %s", name, reason->text);
    (void)pack_set_add(recovery->engine->packs, id, 0, 0, -1, &row, 0);
    pack_set_add_damaged(recovery->engine->packs, id);
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* A repack was filling the pack. What the index does not know of it are copies whose originals are
 * where they were; some of them may have been deleted since. */
static enum coffer_status cut_copies(struct recovery *recovery, int fd, const char *name,
    struct index_pack *row, struct stat *info, struct error *err)
{
    if ((uint64_t)info->st_size > row->end) {
        if (ftruncate(fd, (off_t)row->end) != 0 || fsync(fd) != 0)
            return error_errno(err, "cut the copies of pack %s", name);
        log_write(LOG_INFO, "pack_cut", "pack %s: cut %" PRIu64 " bytes of copies", name,
            (uint64_t)info->st_size - row->end);
        info->st_size = (off_t)row->end;
    }
    row->state = PACK_OPEN;
    recovery->copies_cut = true;
    return COFFER_OK;
}

/* A repack has emptied the pack and was about to remove it. */
static enum coffer_status remove_emptied(
    struct recovery *recovery, uint64_t id, const char *path, struct error *err)
{
    if (unlink(path) != 0 && errno != ENOENT)
        return error_errno(err, "remove pack %s", path);
    index_batch_delete_pack(recovery->applier.batch, id);
    return dir_sync(recovery->engine->packs_dir, err);
}

/* Open one pack and say what has to be done with it. */
static enum coffer_status take_pack_fd(struct recovery *recovery, uint64_t id, const char *name,
    int fd, bool *taken, struct error *err)
{
    struct local_engine *engine = recovery->engine;
    uint8_t bytes[PACK_HEADER_SIZE] = {0};
    struct index_pack row = {.state = PACK_OPEN, .end = PACK_HEADER_SIZE};
    struct pack_header header;
    struct pack *pack;
    struct stat info;
    uint64_t dead;
    size_t got;
    bool known;
    enum coffer_status status;

    if (fstat(fd, &info) != 0)
        return error_errno(err, "look at pack %s", name);
    status = file_read_some(fd, bytes, sizeof(bytes), 0, &got, name, err);
    if (status == COFFER_OK)
        status = index_find_pack(engine->index, id, &row, &dead, &known, err);
    if (status != COFFER_OK)
        return status;
    recovery->last_lsn = max_u64(recovery->last_lsn, row.last_lsn);
    if (row.state == PACK_REMOVED)
        return remove_emptied(recovery, id, name, err);
    status = pack_header_decode(bytes, &header, err);
    if (status == COFFER_FORMAT_UNKNOWN)
        return status;
    if (status == COFFER_OK &&
        (header.pack_id != id || memcmp(header.store, engine->options.store, STORE_UUID_SIZE) != 0))
        status = error_set(err, COFFER_DATA_CORRUPT, "it belongs to another store or name");
    if (status != COFFER_OK) {
        struct error reason = err == NULL ? (struct error){0} : *err;

        /* A crash right after a pack was made leaves a file without a header: nothing is lost
         * with it, for the header is synced before the first record is written. */
        if (!known && (got < PACK_HEADER_SIZE || is_zero(bytes, sizeof(bytes))) &&
            info.st_size <= PACK_HEADER_SIZE)
            return unlinkat(AT_FDCWD, name, 0) == 0 || errno == ENOENT
                       ? COFFER_OK
                       : error_errno(err, "remove empty pack %s", name);
        keep_aside(recovery, id, name, (uint64_t)info.st_size, &reason);
        return COFFER_OK;
    }
    recovery->last_lsn = max_u64(recovery->last_lsn, max_u64(row.last_lsn, header.base_lsn));
    if (row.state == PACK_COPYING) {
        status = cut_copies(recovery, fd, name, &row, &info, err);
        if (status != COFFER_OK)
            return status;
    }
    if ((uint64_t)info.st_size < row.end) {
        log_write(LOG_ERROR, "pack_damaged", "pack %s has %lld bytes, the index knows of %" PRIu64,
            name, (long long)info.st_size, row.end);
        row.state = PACK_POISONED; /* nothing may be written behind a hole */
    }
    pack = pack_set_add(engine->packs, id, header.nonce, header.base_lsn, fd, &row, dead);
    *taken = true;
    if (row.state == PACK_OPEN)
        add_replay(recovery, pack, &header, &row, (uint64_t)info.st_size);
    else if ((uint64_t)info.st_size < row.end)
        local_count_damage(engine, id, (uint64_t)info.st_size, "the end of the pack is missing");
    return COFFER_OK;
}

static enum coffer_status take_pack(struct recovery *recovery, uint64_t id, struct error *err)
{
    char path[PATH_MAX + PACK_NAME_SIZE], name[PACK_NAME_SIZE];
    bool taken = false;
    enum coffer_status status;
    int fd;

    pack_file_name(id, name);
    (void)snprintf(path, sizeof(path), "%s/%s", recovery->engine->packs_dir, name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, "open pack %s", path);
    status = take_pack_fd(recovery, id, path, fd, &taken, err);
    if (!taken)
        close(fd);
    return status;
}

/* ---- after the replay ---- */

/* The records before the watermark were not scanned: their places, for the seal record. */
static enum coffer_status complete_offsets(
    struct replay *replay, uint64_t watermark, struct error *err)
{
    uint32_t *tail = replay->offsets;
    size_t tail_count = replay->offset_count;
    struct pack_scan *scan;
    struct pack_scan_item item = {.kind = PACK_SCAN_RECORD};
    enum coffer_status status = COFFER_OK;

    if (watermark <= PACK_HEADER_SIZE)
        return COFFER_OK;
    replay->offsets = NULL;
    replay->offset_count = replay->offset_capacity = 0;
    scan = pack_scan_begin(replay->pack->fd, replay->name, replay->pack->nonce, PACK_HEADER_SIZE,
        watermark, SCAN_PAYLOADS_SMALL);
    while (status == COFFER_OK && item.kind != PACK_SCAN_END) {
        status = pack_scan_next(scan, &item, err);
        if (status == COFFER_OK && item.kind == PACK_SCAN_RECORD)
            replay_remember(replay, item.offset);
    }
    pack_scan_end(scan);
    for (size_t i = 0; i < tail_count; i++)
        replay_remember(replay, (uint64_t)tail[i] * RECORD_ALIGNMENT);
    free(tail);
    return status;
}

/* A power cut has kept a later record and lost an earlier one, neither of them acknowledged. If
 * the pack went on, its next records would say that the lost one had been durable, and the next
 * rebuild would take it for damage. */
static enum coffer_status close_holed(
    struct recovery *recovery, struct replay *replay, struct error *err)
{
    struct index_batch *batch = recovery->applier.batch;
    enum coffer_status status;

    replay->row.state = PACK_POISONED;
    index_batch_put_pack(batch, replay->pack->id, &replay->row);
    status = index_write(recovery->engine->index, batch, err);
    index_batch_clear(batch);
    log_write(LOG_INFO, "pack_closed", "pack %s has a hole and is closed to writing", replay->name);
    return status;
}

/* Cut the torn tail and let a lane go on with the pack. */
static enum coffer_status finish_pack(
    struct recovery *recovery, struct replay *replay, uint64_t watermark, struct error *err)
{
    struct local_engine *engine = recovery->engine;
    struct pack *pack = replay->pack;
    struct pack_writer *writer;
    enum coffer_status status;

    if (replay->file_size > replay->good_end) {
        if (ftruncate(pack->fd, (off_t)replay->good_end) != 0 || fsync(pack->fd) != 0)
            return error_errno(err, "cut the torn tail of pack %s", replay->name);
        log_write(LOG_INFO, "pack_cut", "pack %s: cut %" PRIu64 " bytes behind its last record",
            replay->name, replay->file_size - replay->good_end);
    }
    if (replay->holed && replay->row.state == PACK_OPEN) {
        status = close_holed(recovery, replay, err);
        if (status != COFFER_OK)
            return status;
    }
    atomic_store(&pack->state, (int)replay->row.state);
    atomic_store(&pack->end, replay->row.end);
    atomic_store(&pack->records, replay->row.records);
    if (replay->row.state != PACK_OPEN)
        return COFFER_OK;
    status = complete_offsets(replay, watermark, err);
    if (status != COFFER_OK)
        return status;
    status =
        pack_writer_adopt(engine->packs, pack, replay->offsets, replay->offset_count, &writer, err);
    replay->offsets = NULL;
    if (status == COFFER_OK)
        local_free_writer(engine, writer); /* one that is full is sealed by whoever takes it */
    return status;
}

static enum coffer_status drop_unfinished_uploads(struct recovery *recovery, struct error *err)
{
    struct upload_id uploads[UPLOADS_AT_ONCE];
    size_t found = UPLOADS_AT_ONCE;
    enum coffer_status status = COFFER_OK;

    while (status == COFFER_OK && found == UPLOADS_AT_ONCE) {
        status = index_scan_uploads(recovery->engine->index, uploads, UPLOADS_AT_ONCE, &found, err);
        for (size_t i = 0; i < found && status == COFFER_OK; i++) {
            uint64_t segments;

            status = index_count_segments(recovery->engine->index, &uploads[i], &segments, err);
            if (status == COFFER_OK)
                status = local_drop_upload(&recovery->engine->base, &uploads[i], segments, err);
        }
    }
    return status;
}

static enum coffer_status drop_unclaimed_blocks(struct recovery *recovery, struct error *err)
{
    struct partition_id partitions[BLOCKS_AT_ONCE];
    struct block_id blocks[BLOCKS_AT_ONCE];
    size_t found = BLOCKS_AT_ONCE;
    enum coffer_status status = COFFER_OK;

    while (status == COFFER_OK && found == BLOCKS_AT_ONCE) {
        status = index_scan_staged(
            recovery->engine->index, partitions, blocks, BLOCKS_AT_ONCE, &found, err);
        for (size_t i = 0; i < found && status == COFFER_OK; i++)
            status = apply_drop_staged(&recovery->applier, &partitions[i], &blocks[i], err);
        if (status == COFFER_OK)
            status = apply_write(&recovery->applier, err);
    }
    return status;
}

static void note_missing_pack(void *context, uint64_t pack_id, const struct index_pack *row)
{
    struct recovery *recovery = context;
    struct pack *pack;

    struct index_pack missing = {.state = PACK_POISONED, .records = row->records};

    recovery->last_lsn = max_u64(recovery->last_lsn, row->last_lsn);
    if (row->state == PACK_REMOVED) {
        index_batch_delete_pack(recovery->applier.batch, pack_id);
        return;
    }
    if (pack_set_list(recovery->engine->packs, pack_id - 1, &pack, 1) == 1 && pack->id == pack_id)
        return;
    /* It keeps its place in the set: its id is not given to another pack. */
    (void)pack_set_add(recovery->engine->packs, pack_id, 0, 0, -1, &missing, 0);
    local_count_damage(recovery->engine, pack_id, 0, "the pack file is missing");
}

static int by_base_lsn(const void *a, const void *b)
{
    const struct replay *x = a, *y = b;

    return x->base_lsn < y->base_lsn ? -1 : x->base_lsn > y->base_lsn;
}

static enum coffer_status run(
    struct recovery *recovery, const uint64_t *ids, size_t count, struct error *err)
{
    uint64_t *watermarks;
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < count && status == COFFER_OK; i++)
        status = take_pack(recovery, ids[i], err);
    if (status == COFFER_OK)
        status = index_scan_packs(recovery->engine->index, note_missing_pack, recovery, err);
    if (status != COFFER_OK)
        return status;
    if (recovery->count > 0)
        qsort(recovery->replays, recovery->count, sizeof(struct replay), by_base_lsn);
    watermarks = calloc(recovery->count + 1, sizeof(uint64_t));
    invariant(watermarks != NULL);
    for (size_t i = 0; i < recovery->count; i++)
        watermarks[i] = recovery->replays[i].row.end;
    status = replay_all(recovery, err);
    /* What is written to them from now on must not be cut off at the next start. */
    if (status == COFFER_OK && recovery->copies_cut)
        status = index_flush(recovery->engine->index, true, err);
    for (size_t i = 0; i < recovery->count && status == COFFER_OK; i++)
        status = finish_pack(recovery, &recovery->replays[i], watermarks[i], err);
    free(watermarks);
    if (status == COFFER_OK)
        status = drop_unfinished_uploads(recovery, err);
    return status == COFFER_OK ? drop_unclaimed_blocks(recovery, err) : status;
}

enum coffer_status recovery_run(struct local_engine *engine, struct error *err)
{
    struct recovery *recovery = calloc(1, sizeof(*recovery));
    uint64_t started = clock_monotonic_ns(), *ids = NULL, chunks = 0;
    size_t count = 0;
    enum coffer_status status;

    invariant(recovery != NULL);
    recovery->engine = engine;
    recovery->applier = (struct applier){
        .index = engine->index, .batch = index_batch_create(), .packs = engine->packs};
    status = list_packs(engine->packs_dir, &ids, &count, err);
    if (status == COFFER_OK)
        status = run(recovery, ids, count, err);
    if (status == COFFER_OK) {
        atomic_store(&engine->next_lsn, recovery->last_lsn + 1);
        atomic_store(&engine->next_pack, pack_set_last_id(engine->packs) + 1);
        atomic_store(&engine->unflushed_records, recovery->applied);
        status = index_count_chunks(engine->index, &chunks, err);
        atomic_store(&engine->chunks, chunks);
    }
    if (status == COFFER_OK && recovery->applied > 0)
        log_write(LOG_INFO, "recovered",
            "%" PRIu64 " records of %zu packs were brought into the index in %" PRIu64 " ms",
            recovery->applied, recovery->count, (clock_monotonic_ns() - started) / NS_PER_MS);
    for (size_t i = 0; i < recovery->count; i++) {
        pack_scan_end(recovery->replays[i].scan);
        free(recovery->replays[i].offsets);
    }
    free(recovery->replays);
    index_batch_destroy(recovery->applier.batch);
    touched_release(&recovery->touched);
    free(recovery);
    free(ids);
    return status;
}
