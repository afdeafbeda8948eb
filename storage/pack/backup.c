#include "storage/pack/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/clock.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/io/file.h"
#include "storage/pack/local_parts.h"

enum { PIECE = 1 << 20, PATH_SIZE = PATH_MAX + PACK_NAME_SIZE + 8, PAUSE_MAX_NS = 20000000 };

struct pack_copy { /* one pack of the backup */
    uint64_t id, end;
    bool sealed;
};

struct backup_run {
    struct local_engine *engine;
    struct engine_backup *backup;
    const struct pack_copy *copies;
    size_t count;
    uint8_t *piece;
    uint64_t started_ns, done, total;
};

static struct local_engine *local_of(struct engine *base)
{
    return container_of(base, struct local_engine, base);
}

/* COFFER_DRAINING when it is to stop; waits where it is faster than asked. */
static enum coffer_status keep_pace(struct backup_run *run, struct error *err)
{
    const struct engine_backup *backup = run->backup;
    uint64_t rate = backup->bytes_per_second;

    while (backup->progress == NULL || backup->progress(backup->context, run->done, run->total)) {
        uint64_t elapsed = clock_monotonic_ns() - run->started_ns, due;
        struct timespec pause;

        due = rate == 0
                  ? 0
                  : (uint64_t)((double)backup->bytes_copied * (double)NS_PER_S / (double)rate);
        if (due <= elapsed)
            return COFFER_OK;
        pause = clock_timespec(min_u64(due - elapsed, PAUSE_MAX_NS));
        (void)nanosleep(&pause, NULL);
    }
    return error_set(err, COFFER_DRAINING, "it was stopped");
}

/* ---- one moment ---- */

static struct pack_copy *note_packs(struct backup_run *run)
{
    struct pack_totals totals;
    struct pack_copy *copies;
    struct pack **packs;

    gate_close(&run->engine->gate);
    pack_set_totals(run->engine->packs, &totals);
    packs = calloc(totals.packs + 1, sizeof(struct pack *));
    copies = calloc(totals.packs + 1, sizeof(struct pack_copy));
    invariant(packs != NULL && copies != NULL);
    run->count = pack_set_list(run->engine->packs, 0, packs, totals.packs);
    for (size_t i = 0; i < run->count; i++) {
        copies[i] = (struct pack_copy){.id = packs[i]->id,
            .end = packs[i]->end,
            .sealed = atomic_load(&packs[i]->state) == PACK_SEALED};
        run->total += packs[i]->end;
    }
    gate_leave(&run->engine->gate);
    free(packs);
    return copies;
}

/* ---- what is there ---- */

/* Whether the file is this sealed pack: its nonce is random, and a sealed pack never changes. */
static bool is_this(const char *path, const struct pack *pack, uint64_t end)
{
    uint8_t bytes[PACK_HEADER_SIZE];
    struct pack_header header;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool same;

    if (fd < 0)
        return false;
    same = fstat(fd, &info) == 0 && (uint64_t)info.st_size == end &&
           file_read_at(fd, bytes, sizeof(bytes), 0, path, NULL) == COFFER_OK &&
           pack_header_decode(bytes, &header, NULL) == COFFER_OK && header.pack_id == pack->id &&
           header.nonce == pack->nonce;
    close(fd);
    return same;
}

static bool link_from(
    const char *folder, const char *name, const char *to, const struct pack *pack, uint64_t end)
{
    char from[PATH_SIZE];

    (void)snprintf(from, sizeof(from), "%s/%s", folder, name);
    return is_this(from, pack, end) && link(from, to) == 0;
}

/* ---- copying ---- */

static enum coffer_status write_copy(struct backup_run *run, const struct pack *pack, uint64_t end,
    int fd, const char *path, uint64_t *checksum, struct error *err)
{
    struct checksum sum;
    enum coffer_status status = COFFER_OK;

    checksum_init(&sum);
    for (uint64_t at = 0; at < end && status == COFFER_OK;) {
        size_t size = (size_t)min_u64(PIECE, end - at);
        struct iovec vector = {run->piece, size};

        status = keep_pace(run, err);
        if (status == COFFER_OK)
            status = file_read_at(pack->fd, run->piece, size, at, "a pack", err);
        if (status != COFFER_OK)
            break;
        checksum_update(&sum, run->piece, size);
        errno = fault_errno(FAULT_BACKUP_WRITE);
        status = errno != 0 ? error_errno(err, "write %s", path)
                            : file_write_all(fd, &vector, 1, at, path, err);
        at += size;
        run->done += size;
        run->backup->bytes_copied += size;
    }
    *checksum = checksum_value(&sum);
    checksum_release(&sum);
    if (status == COFFER_OK && fsync(fd) != 0)
        status = error_errno(err, "sync %s", path);
    return status;
}

/* From the disk, if the kernel lets go of what it has of the file in memory. */
static enum coffer_status read_again(struct backup_run *run, uint64_t end, int fd, const char *path,
    uint64_t wanted, struct error *err)
{
    struct checksum sum;
    enum coffer_status status = COFFER_OK;
    bool same;

    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    checksum_init(&sum);
    for (uint64_t at = 0; at < end && status == COFFER_OK; at += PIECE) {
        size_t size = (size_t)min_u64(PIECE, end - at);

        status = file_read_at(fd, run->piece, size, at, path, err);
        if (status == COFFER_OK)
            checksum_update(&sum, run->piece, size);
    }
    same = checksum_value(&sum) == wanted;
    checksum_release(&sum);
    return status != COFFER_OK || same
               ? status
               : error_set(err, COFFER_IO, "%s does not hold what was written to it", path);
}

static enum coffer_status copy_pack(struct backup_run *run, const struct pack *pack, uint64_t end,
    const char *path, struct error *err)
{
    char part[PATH_SIZE + 8];
    uint64_t checksum;
    enum coffer_status status;
    int fd;

    (void)snprintf(part, sizeof(part), "%s.part", path);
    fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(err, "make %s", part);
    status = write_copy(run, pack, end, fd, part, &checksum, err);
    if (status == COFFER_OK)
        status = read_again(run, end, fd, part, checksum, err);
    close(fd);
    if (status == COFFER_OK && rename(part, path) != 0)
        status = error_errno(err, "rename %s", part);
    if (status != COFFER_OK)
        (void)unlink(part);
    return status;
}

static enum coffer_status place(struct backup_run *run, const struct pack_copy *copy,
    const struct pack *pack, struct error *err)
{
    char name[PACK_NAME_SIZE], path[PATH_SIZE];
    struct engine_backup *backup = run->backup;

    pack_file_name(copy->id, name);
    (void)snprintf(path, sizeof(path), "%s/%s", backup->to, name);
    if (copy->sealed) {
        if (is_this(path, pack, copy->end)) {
            run->done += copy->end;
            return COFFER_OK;
        }
        (void)unlink(path); /* of an unfinished backup, as it was when it was open */
        if ((backup->earlier != NULL && link_from(backup->earlier, name, path, pack, copy->end)) ||
            link_from(run->engine->packs_dir, name, path, pack, copy->end)) {
            run->done += copy->end;
            backup->bytes_linked += copy->end;
            return COFFER_OK;
        }
    }
    return copy_pack(run, pack, copy->end, path, err);
}

static enum coffer_status back_up_pack(
    struct backup_run *run, const struct pack_copy *copy, struct error *err)
{
    struct pack *pack;
    enum coffer_status status = pack_set_pin(run->engine->packs, copy->id, &pack, err);

    invariant(status != COFFER_NO_SUCH_CHUNK); /* nobody removes packs now */
    if (status != COFFER_OK)
        return status;
    if (pack->nonce == 0)
        status = error_set(err, COFFER_DATA_CORRUPT, "pack %llu cannot be read as one",
            (unsigned long long)copy->id);
    else
        status = place(run, copy, pack, err);
    pack_set_unpin(run->engine->packs, pack);
    (void)fault_errno(FAULT_BACKUP_PLACED);
    run->backup->packs++;
    run->backup->bytes += copy->end;
    return status == COFFER_OK ? keep_pace(run, err) : status;
}

/* What an unfinished backup of earlier has and this one has not: packs that were removed since,
 * with all that was deleted in them. */
static enum coffer_status remove_strangers(struct backup_run *run, struct error *err)
{
    DIR *folder = opendir(run->backup->to);
    enum coffer_status status = COFFER_OK;
    struct dirent *entry;

    if (folder == NULL)
        return error_errno(err, "open folder %s", run->backup->to);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread has this stream */
    while (status == COFFER_OK && (entry = readdir(folder)) != NULL) {
        char path[PATH_SIZE + NAME_MAX];
        bool known = false;
        uint64_t id;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        for (size_t i = 0; i < run->count && pack_id_from_name(entry->d_name, &id) && !known; i++)
            known = run->copies[i].id == id;
        (void)snprintf(path, sizeof(path), "%s/%s", run->backup->to, entry->d_name);
        if (!known && unlink(path) != 0)
            status = error_errno(err, "remove %s", path);
    }
    closedir(folder);
    return status;
}

enum coffer_status local_backup(
    struct engine *base, struct engine_backup *backup, struct error *err)
{
    struct backup_run run = {.engine = local_of(base),
        .backup = backup,
        .piece = malloc(PIECE),
        .started_ns = clock_monotonic_ns()};
    enum coffer_status status = COFFER_OK;
    struct pack_copy *copies;

    invariant(run.piece != NULL);
    if (atomic_exchange(&run.engine->compacting, true)) {
        free(run.piece);
        return error_set(err, COFFER_JOB_CONFLICT, "a repack or another backup is under way");
    }
    run.copies = copies = note_packs(&run);
    status = remove_strangers(&run, err);
    for (size_t i = 0; i < run.count && status == COFFER_OK; i++)
        status = back_up_pack(&run, &copies[i], err);
    atomic_store(&run.engine->compacting, false);
    free(copies);
    free(run.piece);
    return status == COFFER_OK ? dir_sync(backup->to, err) : status;
}
