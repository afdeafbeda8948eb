/*
 * Blocks of as many whole records as fit. Block number N is in the file if N < filed, then in
 * kept[N - filed], and the last one, which is not full, in `tail`. Once a block was not taken by
 * the disk, none goes there any more.
 */
#include "storage/base/spill.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/base/invariant.h"
#include "storage/base/temp_file.h"

enum {
    TAIL_MIN = 512,  /* bytes */
    LOOK_EVERY = 16, /* blocks between two looks at the free space */
};

struct spill {
    struct spill_place place;
    size_t record_size, block_records;
    int fd; /* -1: none yet */
    bool refused;
    uint64_t filed;
    char **kept;
    size_t kept_count, kept_room;
    char *tail;
    size_t tail_count, tail_room; /* records */
};

struct spill *spill_create(size_t record_size, struct spill_place place)
{
    struct spill *spill = calloc(1, sizeof(*spill));

    invariant(spill != NULL && record_size > 0 && record_size <= SPILL_BLOCK_SIZE);
    spill->place = place;
    spill->record_size = record_size;
    spill->block_records = SPILL_BLOCK_SIZE / record_size;
    spill->fd = -1;
    return spill;
}

void spill_destroy(struct spill *spill)
{
    if (spill == NULL)
        return;
    if (spill->fd >= 0)
        close(spill->fd);
    for (size_t i = 0; i < spill->kept_count; i++)
        free(spill->kept[i]);
    free(spill->kept);
    free(spill->tail);
    free(spill);
}

uint64_t spill_count(const struct spill *spill)
{
    return (spill->filed + spill->kept_count) * spill->block_records + spill->tail_count;
}

bool spill_is_kept(const struct spill *spill)
{
    return spill->refused;
}

/* ---- appending ---- */

static size_t block_size(const struct spill *spill)
{
    return spill->block_records * spill->record_size;
}

static bool write_all(int fd, const char *data, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t done = pwrite(fd, data, size, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        data += done;
        size -= (size_t)done;
        offset += (uint64_t)done;
    }
    return true;
}

static bool has_space(const struct spill *spill)
{
    uint64_t needed = (uint64_t)LOOK_EVERY * SPILL_BLOCK_SIZE + spill->place.disk_spare;
    struct statvfs info;

    return spill->filed % LOOK_EVERY != 0 ||
           (fstatvfs(spill->fd, &info) == 0 && (uint64_t)info.f_bavail * info.f_frsize >= needed);
}

/* The tail is full: to the file with it. */
static bool file_tail(struct spill *spill)
{
    if (spill->refused)
        return false;
    if (spill->fd < 0 && temp_file_open(spill->place.folder, &spill->fd, NULL) != COFFER_OK)
        return false;
    if (!has_space(spill) ||
        !write_all(spill->fd, spill->tail, block_size(spill), spill->filed * block_size(spill)))
        return false;
    spill->filed++;
    spill->tail_count = 0;
    return true;
}

static enum coffer_status keep_tail(struct spill *spill, struct error *err)
{
    if (spill->kept_count == spill->kept_room) {
        size_t room = spill->kept_room == 0 ? 64 : 2 * spill->kept_room;
        char **kept = realloc(spill->kept, room * sizeof(char *));

        if (kept == NULL)
            return error_set(err, COFFER_OVERLOADED, "no memory for a list; try again later");
        spill->kept = kept;
        spill->kept_room = room;
    }
    spill->kept[spill->kept_count++] = spill->tail;
    spill->tail = NULL;
    spill->tail_count = spill->tail_room = 0;
    return COFFER_OK;
}

/* Room for one more record in the tail. */
static enum coffer_status make_room(struct spill *spill, struct error *err)
{
    size_t room, size;
    char *tail;

    if (spill->tail_count == spill->block_records && !file_tail(spill)) {
        enum coffer_status status = keep_tail(spill, err);

        spill->refused = true;
        if (status != COFFER_OK)
            return status;
    }
    if (spill->tail_count < spill->tail_room)
        return COFFER_OK;
    room = spill->tail_room == 0 ? TAIL_MIN / spill->record_size + 1 : 2 * spill->tail_room;
    if (room > spill->block_records)
        room = spill->block_records;
    size = room * spill->record_size;
    invariant(size > 0);
    tail = realloc(spill->tail, size);
    if (tail == NULL)
        return error_set(err, COFFER_OVERLOADED, "no memory for a list; try again later");
    spill->tail = tail;
    spill->tail_room = room;
    return COFFER_OK;
}

enum coffer_status spill_append(
    struct spill *spill, const void *records, size_t count, struct error *err)
{
    const char *from = records;

    while (count > 0) {
        enum coffer_status status = COFFER_OK;
        size_t part;

        if (spill->tail_count == spill->tail_room)
            status = make_room(spill, err);
        if (status != COFFER_OK)
            return status;
        invariant(spill->tail != NULL);
        part = spill->tail_room - spill->tail_count;
        part = part < count ? part : count;
        memcpy(
            spill->tail + spill->tail_count * spill->record_size, from, part * spill->record_size);
        spill->tail_count += part;
        from += part * spill->record_size;
        count -= part;
    }
    return COFFER_OK;
}

/* ---- reading ---- */

static enum coffer_status read_file(
    const struct spill *spill, uint64_t offset, char *out, size_t size, struct error *err)
{
    while (size > 0) {
        ssize_t done = pread(spill->fd, out, size, (off_t)offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return error_errno(err, "read a temporary file");
        if (done == 0)
            return error_set(err, COFFER_IO, "a temporary file was cut");
        out += done;
        size -= (size_t)done;
        offset += (uint64_t)done;
    }
    return COFFER_OK;
}

enum coffer_status spill_read(
    const struct spill *spill, uint64_t first, size_t count, void *out, struct error *err)
{
    uint64_t filed = spill->filed * spill->block_records;
    char *to = out;

    invariant(first + count <= spill_count(spill));
    if (first < filed && count > 0) {
        size_t part = filed - first < count ? (size_t)(filed - first) : count;
        enum coffer_status status =
            read_file(spill, first * spill->record_size, to, part * spill->record_size, err);

        if (status != COFFER_OK)
            return status;
        first += part;
        count -= part;
        to += part * spill->record_size;
    }
    while (count > 0) {
        size_t block = (size_t)((first - filed) / spill->block_records);
        size_t at = (size_t)((first - filed) % spill->block_records);
        const char *from = block < spill->kept_count ? spill->kept[block] : spill->tail;
        size_t part = spill->block_records - at < count ? spill->block_records - at : count;

        memcpy(to, from + at * spill->record_size, part * spill->record_size);
        first += part;
        count -= part;
        to += part * spill->record_size;
    }
    return COFFER_OK;
}
