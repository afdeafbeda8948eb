#include "storage/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "storage/base/checksum.h"
#include "storage/base/digest.h"
#include "storage/io/file.h"
#include "storage/pack/pack_format.h"

enum { MARKER_SIZE_MAX = 4096, UUID_HEX_SIZE = 2 * STORE_UUID_SIZE, MARKER_TEXT_SIZE = 256 };

static const char MARKER_NAME[] = "STORE";

static int hex_digit(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* The marker of this format for the store with this id. */
static void marker_text(const char *id, char out[MARKER_TEXT_SIZE])
{
    int size = snprintf(
        out, MARKER_TEXT_SIZE, "coffer store, format %d\nid %s\n", FOLDER_FORMAT_VERSION, id);

    (void)snprintf(out + size, MARKER_TEXT_SIZE - (size_t)size, "check %016" PRIx64 "\n",
        checksum_once(out, (size_t)size));
}

static enum coffer_status read_marker(
    const char *dir, uint8_t uuid[STORE_UUID_SIZE], struct error *err)
{
    char path[PATH_MAX], text[MARKER_SIZE_MAX], wanted[MARKER_TEXT_SIZE],
        id[UUID_HEX_SIZE + 1] = "";
    enum coffer_status status;
    size_t size;
    int format = 0;

    (void)snprintf(path, sizeof(path), "%.4000s/%s", dir, MARKER_NAME);
    status = file_load(path, text, sizeof(text), &size, err);
    if (status != COFFER_OK)
        return status;
    /* NOLINTNEXTLINE(cert-err34-c): what does not fit is found by the comparison below */
    if (sscanf(text, "coffer store, format %d\nid %32[0-9a-f]", &format, id) < 1)
        return error_set(
            err, COFFER_FORMAT_UNKNOWN, "%s is not the marker of a coffer store", path);
    if (format != FOLDER_FORMAT_VERSION)
        return error_set(err, COFFER_FORMAT_UNKNOWN,
            "%s is of format %d, this server knows format %d: use a newer coffer", dir, format,
            FOLDER_FORMAT_VERSION);
    marker_text(id, wanted);
    if (strlen(id) != UUID_HEX_SIZE || strlen(wanted) != size || memcmp(text, wanted, size) != 0)
        return error_set(err, COFFER_FORMAT_UNKNOWN,
            "%s is damaged: bring it back from a backup; the packs hold the store's id too", path);
    for (size_t i = 0; i < STORE_UUID_SIZE; i++)
        uuid[i] = (uint8_t)(hex_digit(id[2 * i]) << 4 | hex_digit(id[2 * i + 1]));
    return COFFER_OK;
}

/* Only what a start that was cut short, or a file system, may have left. */
static enum coffer_status check_unmarked(const char *dir, struct error *err)
{
    static const char *const ours[] = {".", "..", "lock", "lost+found", "STORE.new"};
    enum coffer_status status = COFFER_OK;
    DIR *folder = opendir(dir);
    struct dirent *entry;

    if (folder == NULL)
        return error_errno(err, "open folder %s", dir);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread has this stream */
    while (status == COFFER_OK && (entry = readdir(folder)) != NULL) {
        bool known = false;

        for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
            known = known || strcmp(entry->d_name, ours[i]) == 0;
        if (!known)
            status = error_set(err, COFFER_FORMAT_UNKNOWN,
                "%s holds %.100s and no file STORE: it is not a coffer store, and not empty", dir,
                entry->d_name);
    }
    closedir(folder);
    return status;
}

static enum coffer_status write_marker(
    const char *dir, uint8_t uuid[STORE_UUID_SIZE], struct error *err)
{
    char text[MARKER_TEXT_SIZE], id[UUID_HEX_SIZE + 1];

    random_bytes(uuid, STORE_UUID_SIZE);
    hex_encode(uuid, STORE_UUID_SIZE, id);
    marker_text(id, text);
    return file_publish(dir, MARKER_NAME, slice_from_text(text), err);
}

static enum coffer_status take_lock(const char *dir, int *lock_fd, struct error *err)
{
    char path[PATH_MAX];
    int fd;

    (void)snprintf(path, sizeof(path), "%.4000s/lock", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_errno(err, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        enum coffer_status status =
            errno == EWOULDBLOCK ? error_set(err, COFFER_LOCKED, "another server has %s open", dir)
                                 : error_errno(err, "lock %s", path);

        close(fd);
        return status;
    }
    *lock_fd = fd;
    return COFFER_OK;
}

enum coffer_status folder_open(
    const char *dir, uint8_t uuid[STORE_UUID_SIZE], int *lock_fd, struct error *err)
{
    enum coffer_status status = read_marker(dir, uuid, err);
    bool marked = status == COFFER_OK;

    *lock_fd = -1;
    if (status != COFFER_OK && status != COFFER_NO_SUCH_PATH)
        return status;
    if (!marked) {
        status = dir_make(dir, err);
        if (status == COFFER_OK)
            status = check_unmarked(dir, err);
        if (status != COFFER_OK)
            return status;
    }
    status = take_lock(dir, lock_fd, err);
    if (status != COFFER_OK)
        return status;
    if (!marked) { /* another server may have made it meanwhile */
        status = read_marker(dir, uuid, err);
        if (status == COFFER_NO_SUCH_PATH)
            status = write_marker(dir, uuid, err);
    }
    if (status != COFFER_OK) {
        folder_close(*lock_fd);
        *lock_fd = -1;
    }
    return status;
}

void folder_close(int lock_fd)
{
    if (lock_fd >= 0)
        close(lock_fd);
}
