#include "tests/support/disk_recorder.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "tests/support/store_fixture.h"

enum { SECTOR = 512, FILES_MAX = 256, NEW_CALLS = 4 };

enum call {
    CALL_MARK,
    CALL_WRITE,
    CALL_TRUNCATE,
    CALL_ALLOCATE,
    CALL_SYNC,
    CALL_FOLDER,
    CALL_UNLINK
};

struct event {
    enum call call;
    unsigned file;
    uint64_t offset, size; /* TRUNCATE: size; ALLOCATE: the file's size is at least offset + size */
    uint8_t *bytes;        /* WRITE */
    struct disk_mark mark;
};

static struct {
    pthread_mutex_t lock;
    bool on;
    char folder[PATH_MAX];
    char files[FILES_MAX][64];
    unsigned file_count;
    struct event *events;
    size_t count, capacity;
} record = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- recording ---- */

void recorder_start(const char *folder)
{
    pthread_mutex_lock(&record.lock);
    invariant(realpath(folder, record.folder) != NULL);
    record.on = true;
    pthread_mutex_unlock(&record.lock);
}

void recorder_stop(void)
{
    pthread_mutex_lock(&record.lock);
    for (size_t i = 0; i < record.count; i++)
        free(record.events[i].bytes);
    free(record.events);
    record.events = NULL;
    record.count = record.capacity = 0;
    record.file_count = 0;
    record.on = false;
    pthread_mutex_unlock(&record.lock);
}

size_t recorder_count(void)
{
    size_t count;

    pthread_mutex_lock(&record.lock);
    count = record.count;
    pthread_mutex_unlock(&record.lock);
    return count;
}

const struct disk_mark *recorder_mark_at(size_t position)
{
    return record.events[position].call == CALL_MARK ? &record.events[position].mark : NULL;
}

bool recorder_new_file_at(size_t position)
{
    for (size_t i = position > NEW_CALLS ? position - NEW_CALLS : 0; i < position; i++)
        if (record.events[i].call == CALL_FOLDER)
            return true;
    return false;
}

/* With the lock. */
static struct event *add_event(enum call call, unsigned file)
{
    struct event *event;

    if (record.count == record.capacity) {
        record.capacity = record.capacity == 0 ? 1024 : 2 * record.capacity;
        record.events = realloc(record.events, record.capacity * sizeof(struct event));
        invariant(record.events != NULL);
    }
    event = &record.events[record.count++];
    *event = (struct event){.call = call, .file = file};
    return event;
}

void recorder_mark(const struct disk_mark *mark)
{
    pthread_mutex_lock(&record.lock);
    add_event(CALL_MARK, 0)->mark = *mark;
    pthread_mutex_unlock(&record.lock);
}

/* With the lock. False: not a file of the folder. */
static bool file_of_path(const char *path, unsigned *file)
{
    size_t size = strlen(record.folder);
    const char *name = path + size + 1;

    if (!record.on || strncmp(path, record.folder, size) != 0 || path[size] != '/' ||
        strchr(name, '/') != NULL)
        return false;
    for (*file = 0; *file < record.file_count; (*file)++)
        if (strcmp(record.files[*file], name) == 0)
            return true;
    invariant(record.file_count < FILES_MAX && strlen(name) < sizeof(record.files[0]));
    memcpy(record.files[record.file_count++], name, strlen(name) + 1);
    return true;
}

static void note(
    int fd, enum call call, uint64_t offset, uint64_t size, const struct iovec *vectors)
{
    char link[64], path[PATH_MAX];
    struct event *event;
    unsigned file = 0;
    ssize_t got;

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    got = readlink(link, path, sizeof(path) - 1);
    if (got <= 0)
        return;
    path[got] = '\0';
    pthread_mutex_lock(&record.lock);
    if (call == CALL_SYNC && record.on && strcmp(path, record.folder) == 0) {
        (void)add_event(CALL_FOLDER, 0);
    } else if (file_of_path(path, &file)) {
        event = add_event(call, file);
        event->offset = offset;
        event->size = size;
        if (call == CALL_WRITE) {
            uint64_t done = 0;

            event->bytes = malloc(size + 1);
            invariant(event->bytes != NULL);
            for (const struct iovec *at = vectors; done < size; at++) {
                size_t part = (size_t)min_u64(at->iov_len, size - done);

                if (part > 0)
                    memcpy(event->bytes + done, at->iov_base, part);
                done += part;
            }
        }
    }
    pthread_mutex_unlock(&record.lock);
}

void recorder_note_write(int fd, const struct iovec *vectors, uint64_t offset, uint64_t written)
{
    note(fd, CALL_WRITE, offset, written, vectors);
}

void recorder_note_truncate(int fd, uint64_t size)
{
    note(fd, CALL_TRUNCATE, 0, size, NULL);
}

void recorder_note_allocate(int fd, uint64_t offset, uint64_t size)
{
    note(fd, CALL_ALLOCATE, offset, size, NULL);
}

void recorder_note_sync(int fd)
{
    note(fd, CALL_SYNC, 0, 0, NULL);
}

void recorder_note_unlink(const char *path)
{
    unsigned file;

    pthread_mutex_lock(&record.lock);
    if (file_of_path(path, &file))
        (void)add_event(CALL_UNLINK, file);
    pthread_mutex_unlock(&record.lock);
}

/* ---- what a cut leaves ---- */

struct image {
    uint8_t *bytes;
    uint64_t size, capacity;
};

static void grow(struct image *image, uint64_t size)
{
    if (size > image->capacity) {
        image->bytes = realloc(image->bytes, size + (1 << 16));
        invariant(image->bytes != NULL);
        memset(image->bytes + image->capacity, 0, size + (1 << 16) - image->capacity);
        image->capacity = size + (1 << 16);
    }
    image->size = max_u64(image->size, size);
}

static void put_bytes(struct image *image, const struct event *event, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    grow(image, event->offset + to);
    memcpy(image->bytes + event->offset + from, event->bytes + from, to - from);
}

static void apply(struct image *image, const struct event *event)
{
    if (event->call == CALL_WRITE) {
        put_bytes(image, event, 0, event->size);
    } else if (event->call == CALL_ALLOCATE) {
        grow(image, event->offset + event->size);
    } else if (event->call == CALL_TRUNCATE) {
        grow(image, event->size);
        memset(image->bytes + event->size, 0, image->size - event->size);
        image->size = event->size;
    }
}

static void apply_torn(struct image *image, const struct event *event, uint64_t *random)
{
    if (event->call != CALL_WRITE) {
        if (random_below(random, 2) == 0)
            apply(image, event);
        return;
    }
    for (uint64_t at = 0; at < event->size;) {
        uint64_t end =
            min_u64((event->offset + at) / SECTOR * SECTOR + SECTOR - event->offset, event->size);

        if (random_below(random, 2) == 0)
            put_bytes(image, event, at, end);
        at = end;
    }
}

/* What came after the last sync. */
static void apply_pending(struct image *image, const struct event *const *pending, size_t count,
    enum cut_mode mode, uint64_t *random)
{
    size_t whole = mode == CUT_KEEP                  ? count
                   : mode == CUT_PREFIX && count > 0 ? (size_t)random_below(random, count)
                                                     : 0;

    for (size_t i = 0; i < whole; i++)
        apply(image, pending[i]);
    if (mode == CUT_PREFIX && whole < count && pending[whole]->call == CALL_WRITE)
        put_bytes(image, pending[whole], 0, random_below(random, pending[whole]->size + 1));
    for (size_t i = 0; mode == CUT_TORN && i < count; i++)
        apply_torn(image, pending[i], random);
}

/* Whether the file's name is there. */
static bool has_name(unsigned file, size_t position, enum cut_mode mode, uint64_t *random)
{
    bool durable = false, now = false;

    for (size_t i = 0; i < position; i++) {
        const struct event *event = &record.events[i];

        if (event->call == CALL_FOLDER)
            durable = now;
        else if (event->call != CALL_MARK && event->file == file)
            now = event->call != CALL_UNLINK;
    }
    if (durable == now || mode == CUT_KEEP)
        return now;
    return mode == CUT_DROP ? durable : random_below(random, 2) == 0;
}

static void build_file(
    unsigned file, size_t position, enum cut_mode mode, uint64_t *random, const char *folder)
{
    const struct event **pending = calloc(position + 1, sizeof(struct event *));
    struct image image = {NULL, 0, 0};
    char path[PATH_MAX];
    size_t count = 0;

    invariant(pending != NULL);
    for (size_t i = 0; i < position; i++) {
        const struct event *event = &record.events[i];

        if (event->call == CALL_MARK || event->call == CALL_FOLDER || event->file != file)
            continue;
        if (event->call != CALL_SYNC) {
            pending[count++] = event;
            continue;
        }
        for (size_t j = 0; j < count; j++)
            apply(&image, pending[j]);
        count = 0;
    }
    if (has_name(file, position, mode, random)) {
        apply_pending(&image, pending, count, mode, random);
        (void)snprintf(path, sizeof(path), "%s/%s", folder, record.files[file]);
        file_put_bytes(path, image.bytes, image.size);
    }
    free(image.bytes);
    free(pending);
}

void recorder_build(size_t position, enum cut_mode mode, uint64_t *random, const char *folder)
{
    bool on = record.on;

    record.on = false; /* nothing of this belongs to it */
    for (unsigned file = 0; file < record.file_count; file++)
        build_file(file, position, mode, random, folder);
    record.on = on;
}
