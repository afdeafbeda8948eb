#include "tests/support/file_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"

void tree_remove(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;

    if (folder == NULL) {
        (void)unlink(path);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        char inner[TREE_PATH_SIZE];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(inner, sizeof(inner), "%s/%s", path, entry->d_name);
        if (unlink(inner) != 0)
            tree_remove(inner);
    }
    closedir(folder);
    (void)rmdir(path);
}

static void copy_range(int in, int out, off_t from, off_t to)
{
    static _Thread_local uint8_t buffer[256 * 1024];

    while (from < to) {
        size_t part = (size_t)min_u64(sizeof(buffer), (uint64_t)(to - from));
        ssize_t got = pread(in, buffer, part, from);

        if (got <= 0) /* it was cut meanwhile */
            return;
        invariant(pwrite(out, buffer, (size_t)got, from) == got);
        from += got;
    }
}

static void file_copy(const char *from, const char *to)
{
    int in = open(from, O_RDONLY | O_CLOEXEC), out;
    struct stat info;
    off_t at = 0;

    if (in < 0 && errno == ENOENT) /* the index removed it meanwhile */
        return;
    invariant(in >= 0 && fstat(in, &info) == 0);
    out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    invariant(out >= 0 && ftruncate(out, info.st_size) == 0);
    for (;;) { /* preallocated space is a hole */
        off_t data = lseek(in, at, SEEK_DATA), end;

        if (data < 0)
            break;
        end = lseek(in, data, SEEK_HOLE);
        copy_range(in, out, data, end);
        at = end;
    }
    close(in);
    close(out);
}

void tree_copy(const char *from, const char *to)
{
    DIR *folder = opendir(from);
    struct dirent *entry;

    invariant(folder != NULL && mkdir(to, 0750) == 0);
    while ((entry = readdir(folder)) != NULL) {
        char source[TREE_PATH_SIZE], target[TREE_PATH_SIZE];
        struct stat info;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
        (void)snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
        if (stat(source, &info) != 0)
            continue;
        if (S_ISDIR(info.st_mode))
            tree_copy(source, target);
        else
            file_copy(source, target);
    }
    closedir(folder);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

size_t folder_list(const char *path, const char *suffix, char names[][64], size_t max)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    size_t count = 0;

    if (folder == NULL)
        return 0;
    while ((entry = readdir(folder)) != NULL && count < max) {
        size_t size = strlen(entry->d_name), tail = strlen(suffix);

        if (entry->d_name[0] != '.' && size >= tail && size < 64 &&
            strcmp(entry->d_name + size - tail, suffix) == 0)
            memcpy(names[count++], entry->d_name, size + 1);
    }
    closedir(folder);
    qsort(names, count, 64, by_name);
    return count;
}

uint8_t *file_bytes(const char *path, size_t *size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    uint8_t *bytes;

    invariant(fd >= 0 && fstat(fd, &info) == 0);
    *size = (size_t)info.st_size;
    bytes = malloc(*size + 1);
    invariant(bytes != NULL && read(fd, bytes, *size) == info.st_size);
    close(fd);
    return bytes;
}

void file_put_bytes(const char *path, const void *data, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);

    invariant(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

void file_flip(const char *path, uint64_t offset, uint8_t mask)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    invariant(fd >= 0 && pread(fd, &byte, 1, (off_t)offset) == 1);
    byte ^= mask;
    invariant(pwrite(fd, &byte, 1, (off_t)offset) == 1);
    close(fd);
}
