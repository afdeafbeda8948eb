#include "storage/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"

enum coffer_status dir_sync(const char *path, struct error *err)
{
    int fault = fault_errno(FAULT_DIR_SYNC);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum coffer_status status = COFFER_OK;

    if (fd < 0)
        return error_errno(err, "open folder %s", path);
    errno = fault;
    if (fault != 0 || fsync(fd) != 0)
        status = error_errno(err, "sync folder %s", path);
    close(fd);
    return status;
}

static enum coffer_status sync_parent(const char *path, struct error *err)
{
    char parent[PATH_MAX];
    char *slash;

    (void)snprintf(parent, sizeof(parent), "%s", path);
    slash = strrchr(parent, '/');
    if (slash == NULL)
        return dir_sync(".", err);
    if (slash == parent)
        return dir_sync("/", err);
    *slash = '\0';
    return dir_sync(parent, err);
}

enum coffer_status dir_make(const char *path, struct error *err)
{
    char part[PATH_MAX];
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof(part))
        return error_set(err, COFFER_BAD_OPTION, "folder name is empty or too long");
    for (size_t i = 1; i <= size; i++) {
        enum coffer_status status;

        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0750) != 0) {
            struct stat info;

            if (errno != EEXIST)
                return error_errno(err, "make folder %s", part);
            if (stat(part, &info) != 0)
                return error_errno(err, "look at %s", part);
            if (!S_ISDIR(info.st_mode))
                return error_set(err, COFFER_IO, "%s is not a folder", part);
            continue;
        }
        status = sync_parent(part, err);
        if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}

enum coffer_status dir_free_space(const char *path, uint64_t *bytes, struct error *err)
{
    struct statvfs info;

    if (statvfs(path, &info) != 0)
        return error_errno(err, "ask for the free space of %s", path);
    *bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return COFFER_OK;
}

enum coffer_status file_read_some(int fd, void *data, size_t size, uint64_t offset, size_t *got,
    const char *name, struct error *err)
{
    *got = 0;
    while (*got < size) {
        ssize_t part = pread(fd, (char *)data + *got, size - *got, (off_t)(offset + *got));

        if (part < 0 && errno == EINTR)
            continue;
        if (part < 0)
            return error_errno(err, "read %s", name);
        if (part == 0)
            break;
        *got += (size_t)part;
    }
    return COFFER_OK;
}

enum coffer_status file_read_at(
    int fd, void *data, size_t size, uint64_t offset, const char *name, struct error *err)
{
    size_t got;
    enum coffer_status status = file_read_some(fd, data, size, offset, &got, name, err);

    if (status == COFFER_OK && got != size)
        return error_set(err, COFFER_IO, "read %s: it ends at %llu, %llu were expected", name,
            (unsigned long long)offset + got, (unsigned long long)offset + size);
    return status;
}

/* Drop the first `written` bytes of the vectors. */
static void advance(struct iovec **vectors, size_t *count, size_t written)
{
    while (*count > 0 && (written > 0 || (*vectors)->iov_len == 0)) {
        size_t part = written < (*vectors)->iov_len ? written : (*vectors)->iov_len;

        (*vectors)->iov_base = (char *)(*vectors)->iov_base + part;
        (*vectors)->iov_len -= part;
        written -= part;
        if ((*vectors)->iov_len == 0) {
            (*vectors)++;
            (*count)--;
        }
    }
}

enum coffer_status file_write_all(int fd, struct iovec *vectors, size_t count, uint64_t offset,
    const char *name, struct error *err)
{
    advance(&vectors, &count, 0);
    while (count > 0) {
        size_t batch = count < IOV_MAX ? count : IOV_MAX;
        ssize_t written = pwritev(fd, vectors, (int)batch, (off_t)offset);

        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return error_errno(err, "write %s", name);
        offset += (uint64_t)written;
        advance(&vectors, &count, (size_t)written);
    }
    return COFFER_OK;
}

enum coffer_status file_publish(
    const char *dir, const char *name, struct slice content, struct error *err)
{
    char temporary[PATH_MAX], final[PATH_MAX];
    struct iovec vector = {(void *)(uintptr_t)content.data, content.size};
    enum coffer_status status;
    int fd, fault;

    if (snprintf(temporary, sizeof(temporary), "%s/%s.new", dir, name) >= (int)sizeof(temporary) ||
        snprintf(final, sizeof(final), "%s/%s", dir, name) >= (int)sizeof(final))
        return error_set(err, COFFER_BAD_OPTION, "path %s/%s is too long", dir, name);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0)
        return error_errno(err, "make %s", temporary);
    status = file_write_all(fd, &vector, 1, 0, temporary, err);
    if (status == COFFER_OK && fdatasync(fd) != 0)
        status = error_errno(err, "sync %s", temporary);
    fault = fault_errno(FAULT_FILE_PUBLISH);
    errno = fault;
    if (status == COFFER_OK && (fault != 0 || rename(temporary, final) != 0))
        status = error_errno(err, "rename %s", temporary);
    close(fd);
    if (status != COFFER_OK) {
        (void)unlink(temporary);
        return status;
    }
    return dir_sync(dir, err);
}

enum coffer_status file_load(
    const char *path, char *out, size_t capacity, size_t *size, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    enum coffer_status status;

    invariant(capacity > 0);
    if (fd < 0 && errno == ENOENT)
        return error_set(err, COFFER_NO_SUCH_PATH, "%s is not there", path);
    if (fd < 0)
        return error_errno(err, "open %s", path);
    status = file_read_some(fd, out, capacity - 1, 0, size, path, err);
    close(fd);
    if (status == COFFER_OK)
        out[*size] = '\0';
    return status;
}
