/*
 * A pack file grows by preallocated steps, so that an fdatasync does not have to write a new size
 * into the file system's journal each time. Behind the last record it is zeros up to the end of
 * the preallocation; sealing and closing cut them off.
 *
 * The payload of a seal record: u64 number of records, then for each its offset in units of
 * RECORD_ALIGNMENT as u32, so that a reader finds all records also past a damaged header. Its key
 * begins with the dead bytes that a repack could not give back (u64).
 */
#include "storage/pack/pack_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/io/file.h"

enum { ALLOCATION_STEP_MAX = 16 << 20, ALLOCATION_STEP_MIN = 1 << 20 };

struct pack_writer {
    struct pack_set *set;
    struct pack *pack; /* pinned */
    char name[PACK_NAME_SIZE];
    uint64_t nonce;
    uint64_t end, durable, allocated; /* bytes of the file */
    uint64_t ahead;                   /* bytes behind `end`, of records that are not whole yet */
    uint32_t *offsets;                /* of the records, / RECORD_ALIGNMENT */
    size_t count, capacity;
    bool poisoned;
};

static void remember(struct pack_writer *writer, uint64_t offset)
{
    if (writer->count == writer->capacity) {
        writer->capacity = writer->capacity < 1024 ? 1024 : 2 * writer->capacity;
        writer->offsets = realloc(writer->offsets, writer->capacity * sizeof(uint32_t));
        invariant(writer->offsets != NULL);
    }
    writer->offsets[writer->count++] = (uint32_t)(offset / RECORD_ALIGNMENT);
}

/* COFFER_DISK_FULL unless `bytes` more may be taken from the disk. */
static enum coffer_status check_disk(
    const char *dir, uint64_t bytes, uint64_t reserve, struct error *err)
{
    uint64_t available;
    enum coffer_status status = dir_free_space(dir, &available, err);

    if (status == COFFER_OK && reserve > 0 && available < bytes + reserve)
        return error_set(err, COFFER_DISK_FULL,
            "the disk of %s has %llu MiB left, and %llu MiB are kept for deletions and the index",
            dir, (unsigned long long)(available >> 20), (unsigned long long)(reserve >> 20));
    return status;
}

static enum coffer_status allocate(struct pack_writer *writer, uint64_t to, struct error *err)
{
    int fault = fault_errno(FAULT_PACK_ALLOCATE);

    errno = fault;
    if (fault != 0 || fallocate(writer->pack->fd, 0, (off_t)writer->allocated,
                          (off_t)(to - writer->allocated)) != 0) {
        if (fault == 0 && errno == EOPNOTSUPP) { /* the file then simply grows */
            writer->allocated = to;
            return COFFER_OK;
        }
        return error_errno(err, "allocate space for pack %s", writer->name);
    }
    writer->allocated = to;
    return COFFER_OK;
}

static struct pack_writer *writer_of(struct pack_set *set, uint64_t id, uint64_t nonce)
{
    struct pack_writer *writer = calloc(1, sizeof(*writer));

    invariant(writer != NULL);
    writer->set = set;
    writer->nonce = nonce;
    pack_file_name(id, writer->name);
    return writer;
}

/* Make the file with its header, synced: what has records has a header, whatever happens. */
static enum coffer_status make_file(
    const char *path, const struct pack_header *header, int *out, struct error *err)
{
    uint8_t bytes[PACK_HEADER_SIZE];
    struct iovec vector = {bytes, sizeof(bytes)};
    enum coffer_status status;
    int fault = fault_errno(FAULT_PACK_OPEN), fd;

    errno = fault;
    fd = fault != 0 ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_errno(err, "make pack %s", path);
    pack_header_encode(header, bytes);
    status = file_write_all(fd, &vector, 1, 0, path, err);
    if (status == COFFER_OK && fdatasync(fd) != 0)
        status = error_errno(err, "sync pack %s", path);
    if (status != COFFER_OK) {
        close(fd);
        (void)unlink(path);
        return status;
    }
    *out = fd;
    return COFFER_OK;
}

enum coffer_status pack_writer_create(struct pack_set *set, const struct pack_header *header,
    uint64_t reserve, struct pack_writer **out, struct error *err)
{
    struct index_pack row = {.state = PACK_OPEN, .end = PACK_HEADER_SIZE};
    struct pack_writer *writer;
    char path[PATH_MAX];
    enum coffer_status status = check_disk(pack_set_dir(set), ALLOCATION_STEP_MIN, reserve, err);
    int fd = -1;

    if (status != COFFER_OK)
        return status;
    writer = writer_of(set, header->pack_id, header->nonce);
    if (snprintf(path, sizeof(path), "%s/%s", pack_set_dir(set), writer->name) >=
        (int)sizeof(path)) {
        free(writer);
        return error_set(err, COFFER_BAD_OPTION, "the data folder's name is too long");
    }
    status = make_file(path, header, &fd, err);
    if (status == COFFER_OK) {
        status = dir_sync(pack_set_dir(set), err);
        if (status != COFFER_OK) {
            close(fd);
            (void)unlink(path);
        }
    }
    if (status != COFFER_OK) {
        free(writer);
        return status;
    }
    (void)pack_set_add(set, header->pack_id, header->nonce, header->base_lsn, fd, &row, 0);
    status = pack_set_pin(set, header->pack_id, &writer->pack, err);
    invariant(status == COFFER_OK); /* its descriptor is open */
    writer->end = writer->allocated = PACK_HEADER_SIZE;
    *out = writer;
    return COFFER_OK;
}

enum coffer_status pack_writer_adopt(struct pack_set *set, struct pack *pack, uint32_t *offsets,
    size_t count, struct pack_writer **out, struct error *err)
{
    struct pack_writer *writer = writer_of(set, pack->id, pack->nonce);
    enum coffer_status status = pack_set_pin(set, pack->id, &writer->pack, err);

    if (status != COFFER_OK) {
        free(writer);
        free(offsets);
        return status;
    }
    writer->end = writer->durable = writer->allocated = pack->end;
    writer->offsets = offsets;
    writer->count = writer->capacity = count;
    *out = writer;
    return COFFER_OK;
}

/* Give back what lies behind `end`. A failure is harmless: recovery cuts it too. */
static void cut(const struct pack_writer *writer, uint64_t end)
{
    struct error error;

    if (ftruncate(writer->pack->fd, (off_t)end) == 0)
        return;
    (void)error_errno(&error, "cut pack %s at %llu bytes", writer->name, (unsigned long long)end);
    log_write(LOG_WARN, "pack_cut", "%s", error.text);
}

void pack_writer_destroy(struct pack_writer *writer)
{
    if (writer == NULL)
        return;
    if (!writer->poisoned && writer->allocated > writer->end)
        cut(writer, writer->end);
    pack_set_unpin(writer->set, writer->pack);
    free(writer->offsets);
    free(writer);
}

struct pack *pack_writer_pack(const struct pack_writer *writer)
{
    return writer->pack;
}

uint64_t pack_writer_end(const struct pack_writer *writer)
{
    return writer->end;
}

uint64_t pack_writer_durable(const struct pack_writer *writer)
{
    return writer->durable;
}

enum coffer_status pack_writer_reserve(
    struct pack_writer *writer, uint64_t bytes, bool spare, uint64_t reserve, struct error *err)
{
    uint64_t need = writer->end + bytes;
    uint64_t step = writer->allocated < ALLOCATION_STEP_MAX
                        ? max_u64(writer->allocated, ALLOCATION_STEP_MIN)
                        : ALLOCATION_STEP_MAX;
    uint64_t to = round_up(need + PACK_WRITER_SPARE, step);
    enum coffer_status status;

    invariant(!writer->poisoned);
    if (need + (spare ? 0 : PACK_WRITER_SPARE) <= writer->allocated)
        return COFFER_OK;
    status = check_disk(pack_set_dir(writer->set), to - writer->allocated, reserve, err);
    if (status == COFFER_OK)
        status = allocate(writer, to, err);
    if (status != COFFER_DISK_FULL)
        return status;
    /* Not a whole step, but perhaps what is needed now. */
    to = need + (spare ? 0 : PACK_WRITER_SPARE);
    status = check_disk(pack_set_dir(writer->set), to - writer->allocated, reserve, err);
    return status == COFFER_OK ? allocate(writer, to, err) : status;
}

static enum coffer_status write_records(
    struct pack_writer *writer, struct iovec *vectors, size_t count, struct error *err)
{
    uint64_t at = writer->end + writer->ahead;
    int fault = fault_errno(FAULT_PACK_WRITE);

    if (fault != 0) {
        if (fault == FAULT_SHORT && file_write_all(writer->pack->fd, vectors, (count + 1) / 2, at,
                                        writer->name, err) == COFFER_OK)
            fault = EIO;
        errno = fault == FAULT_SHORT ? EIO : fault;
        return error_errno(err, "write pack %s", writer->name);
    }
    return file_write_all(writer->pack->fd, vectors, count, at, writer->name, err);
}

enum coffer_status pack_writer_write(struct pack_writer *writer, struct iovec *vectors,
    size_t vector_count, uint64_t bytes, struct error *err)
{
    enum coffer_status status;

    invariant(!writer->poisoned && writer->end + writer->ahead + bytes <= writer->allocated);
    status = write_records(writer, vectors, vector_count, err);
    if (status == COFFER_OK)
        writer->ahead += bytes;
    return status;
}

enum coffer_status pack_writer_append(struct pack_writer *writer, struct iovec *vectors,
    size_t vector_count, uint64_t bytes, const uint64_t *sizes, size_t records, struct error *err)
{
    enum coffer_status status = pack_writer_write(writer, vectors, vector_count, bytes, err);
    uint64_t whole = writer->end + writer->ahead;

    if (status != COFFER_OK)
        return status;
    for (size_t i = 0; i < records; i++) {
        remember(writer, writer->end);
        writer->end += sizes[i];
    }
    invariant(writer->end == whole);
    writer->ahead = 0;
    return COFFER_OK;
}

enum coffer_status pack_writer_sync(struct pack_writer *writer, struct error *err)
{
    int fault = fault_errno(FAULT_PACK_SYNC);

    errno = fault;
    if (fault != 0 || fdatasync(writer->pack->fd) != 0)
        return error_errno(err, "sync pack %s", writer->name);
    writer->durable = writer->end;
    atomic_store(&writer->pack->end, writer->end);
    atomic_store(&writer->pack->records, writer->count);
    return COFFER_OK;
}

/* Of a pack with so many records before its seal. */
static uint64_t seal_payload_size(uint64_t records)
{
    return 8 + 4 * records;
}

uint64_t pack_seal_fixed(const struct pack *pack, int fd)
{
    uint64_t records = pack->records, end = pack->end, size;
    uint8_t bytes[RECORD_HEADER_SIZE];
    struct record_header header;

    if (records == 0)
        return 0;
    size = record_size(seal_payload_size(records - 1));
    if (end < size + PACK_HEADER_SIZE ||
        file_read_at(fd, bytes, sizeof(bytes), end - size, "a seal", NULL) != COFFER_OK ||
        !record_header_decode(bytes, pack->nonce, &header) || header.type != RECORD_SEAL)
        return 0;
    return min_u64(get_le64(header.key), end);
}

enum coffer_status pack_writer_seal(
    struct pack_writer *writer, uint64_t lsn, uint64_t fixed, struct error *err)
{
    uint64_t payload_size = seal_payload_size(writer->count);
    uint64_t size = record_size(payload_size);
    uint8_t *record = calloc(1, size);
    struct iovec vector = {record, size};
    struct record_header header = {.type = RECORD_SEAL,
        .codec = CODEC_NONE,
        .nonce = writer->nonce,
        .lsn = lsn,
        .durable = writer->durable,
        .raw_size = payload_size,
        .stored_size = payload_size};
    enum coffer_status status;
    int fault;

    invariant(record != NULL);
    status = pack_writer_reserve(writer, size, true, 0, err);
    if (status != COFFER_OK) {
        free(record);
        return status;
    }
    put_le64(header.key, fixed + size);
    put_le64(record + RECORD_HEADER_SIZE, writer->count);
    for (size_t i = 0; i < writer->count; i++)
        put_le32(record + RECORD_HEADER_SIZE + 8 + 4 * i, writer->offsets[i]);
    header.checksum = checksum_once(record + RECORD_HEADER_SIZE, payload_size);
    record_header_encode(&header, record);
    fault = fault_errno(FAULT_SEAL);
    errno = fault;
    status = fault != 0 ? error_errno(err, "seal pack %s", writer->name)
                        : pack_writer_append(writer, &vector, 1, size, &size, 1, err);
    free(record);
    if (status == COFFER_OK)
        status = pack_writer_sync(writer, err);
    if (status != COFFER_OK)
        return status;
    cut(writer, writer->end);
    writer->allocated = writer->end;
    atomic_store(&writer->pack->state, (int)PACK_SEALED);
    return COFFER_OK;
}

void pack_writer_poison(struct pack_writer *writer)
{
    writer->poisoned = true;
    atomic_store(&writer->pack->state, (int)PACK_POISONED);
    atomic_store(&writer->pack->end, writer->durable > 0 ? writer->durable : PACK_HEADER_SIZE);
    log_write(LOG_ERROR, "pack_poisoned",
        "pack %s is closed to writing at %llu bytes, the last known to be on disk", writer->name,
        (unsigned long long)atomic_load(&writer->pack->end));
    cut(writer, atomic_load(&writer->pack->end));
    /* So that no power cut brings back what its writers are told has failed, and other records may
     * contradict by then. It says nothing of the bytes before the end, which stay as they are. */
    if (fsync(writer->pack->fd) != 0)
        log_write(LOG_WARN, "pack_cut", "the end of pack %s may come back after a power cut",
            writer->name);
}
