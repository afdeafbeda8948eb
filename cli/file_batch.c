#include "cli/file_batch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "storage/base/digest.h"

enum { READ_SIZE = 256 * 1024, HASH_TRIES = 3 };

bool file_batch_add(struct file_batch *batch, const char *path, uint64_t size)
{
    struct batch_file *file = &batch->files[batch->count];

    *file = (struct batch_file){.path = strdup(path), .size = size};
    if (file->path == NULL)
        return false;
    batch->count++;
    batch->bytes += size;
    return true;
}

bool file_batch_is_full(const struct file_batch *batch)
{
    return batch->count == BATCH_FILES || batch->bytes >= BATCH_BYTES;
}

void file_batch_destroy(struct file_batch *batch)
{
    if (batch == NULL)
        return;
    for (size_t i = 0; i < batch->count; i++)
        free(batch->files[i].path);
    free(batch);
}

/* ---- keys ---- */

static bool is_as_before(const struct stat *before, const struct stat *after)
{
    return before->st_size == after->st_size && before->st_mtim.tv_sec == after->st_mtim.tv_sec &&
           before->st_mtim.tv_nsec == after->st_mtim.tv_nsec &&
           before->st_ctim.tv_sec == after->st_ctim.tv_sec &&
           before->st_ctim.tv_nsec == after->st_ctim.tv_nsec;
}

/* False: errno. */
static bool hash_content(int fd, char *buffer, struct batch_file *file)
{
    struct sha256 sha;
    struct digest digest;
    ssize_t got;

    sha256_init(&sha);
    file->size = 0;
    while ((got = pread(fd, buffer, READ_SIZE, (off_t)file->size)) > 0) {
        sha256_update(&sha, buffer, (size_t)got);
        file->size += (uint64_t)got;
    }
    sha256_final(&sha, &digest);
    sha256_release(&sha);
    digest_to_hex(&digest, file->key);
    return got == 0;
}

/* A file that is being written may be quiet at the next try. */
static int hash_file(struct batch_file *file, char *buffer)
{
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), code = CLI_DONE;
    struct stat before, after;

    file->state = FILE_FAILED;
    if (fd < 0)
        return cli_errno(file->path);
    for (int i = 0; i < HASH_TRIES && code == CLI_DONE && file->state != FILE_HASHED; i++) {
        if (fstat(fd, &before) != 0 || !hash_content(fd, buffer, file) || fstat(fd, &after) != 0)
            code = cli_errno(file->path);
        else if (is_as_before(&before, &after) && (uint64_t)after.st_size == file->size)
            file->state = FILE_HASHED;
    }
    (void)close(fd);
    if (code == CLI_DONE && file->state != FILE_HASHED)
        file->state = FILE_CHANGED;
    return code;
}

static int compare_keys(const void *left, const void *right)
{
    const struct batch_file *one = *(const struct batch_file *const *)left;
    const struct batch_file *other = *(const struct batch_file *const *)right;
    int order = strcmp(one->key, other->key);

    return order != 0 ? order : one < other ? -1 : 1;
}

static void find_repetitions(struct file_batch *batch)
{
    struct batch_file *sorted[BATCH_FILES];
    size_t count = 0;

    for (size_t i = 0; i < batch->count; i++)
        if (batch->files[i].state == FILE_HASHED)
            sorted[count++] = &batch->files[i];
    /* NOLINTNEXTLINE(bugprone-sizeof-expression): pointers are what is sorted */
    qsort(sorted, count, sizeof(sorted[0]), compare_keys);
    for (size_t i = 1; i < count; i++)
        sorted[i]->repeated = strcmp(sorted[i]->key, sorted[i - 1]->key) == 0;
}

int file_batch_hash(struct file_batch *batch)
{
    char *buffer = malloc(READ_SIZE);
    int code = CLI_DONE;

    if (buffer == NULL)
        return cli_no_memory();
    for (size_t i = 0; i < batch->count; i++)
        code = cli_worse(code, hash_file(&batch->files[i], buffer));
    free(buffer);
    find_repetitions(batch);
    return code;
}
