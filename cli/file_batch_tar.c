/*
 * A batch as a tar, made while it is read. Whatever becomes of a file meanwhile, its entry is as
 * long as its header says: what is missing is filled with zeros, and its hash gives it away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/file_batch.h"
#include "cli/tar_block.h"
#include "storage/base/bytes.h"
#include "storage/base/digest.h"

enum { TAR_BUFFER = 256 * 1024, TRAILER = 2 * TAR_BLOCK_SIZE };

struct batch_tar {
    struct file_batch *batch;
    size_t at;         /* the file whose entry comes now */
    uint64_t total;    /* bytes in all */
    uint64_t position; /* where the reader is */
    uint64_t produced; /* where this is */
    uint8_t block[TAR_BLOCK_SIZE];
    size_t block_left; /* bytes of the header still to come */
    int fd;            /* of the file, -1: none */
    uint64_t data_left, zeros_left;
    struct sha256 sha;
};

static bool is_sent(const struct batch_file *file)
{
    return !file->repeated && file->size < BATCH_LARGE &&
           (file->state == FILE_HASHED || file->state == FILE_CHANGED);
}

static void end_file(struct batch_tar *tar)
{
    struct batch_file *file = &tar->batch->files[tar->at];
    char key[DIGEST_HEX_SIZE + 1];
    struct digest digest;

    sha256_final(&tar->sha, &digest);
    sha256_release(&tar->sha);
    digest_to_hex(&digest, key);
    file->state = strcmp(key, file->key) == 0 ? FILE_HASHED : FILE_CHANGED;
    if (tar->fd >= 0)
        (void)close(tar->fd);
    tar->fd = -1;
}

static void begin_file(struct batch_tar *tar)
{
    struct batch_file *file = &tar->batch->files[tar->at];
    char name[24];

    (void)snprintf(name, sizeof(name), "%zu", tar->at);
    tar_block_make(name, file->size, tar->block);
    tar->block_left = TAR_BLOCK_SIZE;
    tar->data_left = file->size;
    tar->zeros_left = tar_padding(file->size);
    tar->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    sha256_init(&tar->sha);
}

/* To the next entry, or to the zeros at the end. */
static void go_to(struct batch_tar *tar, size_t at)
{
    for (tar->at = at; tar->at < tar->batch->count; tar->at++)
        if (is_sent(&tar->batch->files[tar->at])) {
            begin_file(tar);
            return;
        }
    tar->zeros_left = TRAILER;
}

static size_t give_data(struct batch_tar *tar, char *out, size_t size)
{
    size_t part = tar->data_left < size ? (size_t)tar->data_left : size;
    ssize_t got = tar->fd < 0 ? 0 : read(tar->fd, out, part);

    if (got <= 0) {
        memset(out, 0, part);
        got = (ssize_t)part;
    }
    sha256_update(&tar->sha, out, (size_t)got);
    tar->data_left -= (uint64_t)got;
    return (size_t)got;
}

static size_t give_some(struct batch_tar *tar, char *out, size_t size)
{
    size_t part;

    if (tar->block_left > 0) {
        part = size < tar->block_left ? size : tar->block_left;
        memcpy(out, tar->block + TAR_BLOCK_SIZE - tar->block_left, part);
        tar->block_left -= part;
    } else if (tar->data_left > 0) {
        part = give_data(tar, out, size);
    } else {
        part = tar->zeros_left < size ? (size_t)tar->zeros_left : size;
        memset(out, 0, part);
        tar->zeros_left -= part;
    }
    if (tar->at < tar->batch->count && tar->block_left + tar->data_left + tar->zeros_left == 0) {
        end_file(tar);
        go_to(tar, tar->at + 1);
    }
    return part;
}

static void stop(struct batch_tar *tar)
{
    if (tar->at < tar->batch->count)
        sha256_release(&tar->sha);
    if (tar->fd >= 0)
        (void)close(tar->fd);
    tar->fd = -1;
    tar->block_left = 0;
    tar->data_left = tar->zeros_left = 0;
}

static ssize_t read_tar(void *cookie, char *out, size_t size)
{
    struct batch_tar *tar = cookie;
    size_t given = 0;

    if (tar->position == 0 && tar->produced > 0) { /* it is sent again */
        stop(tar);
        tar->produced = 0;
        go_to(tar, 0);
    }
    if (tar->position != tar->produced) {
        errno = ESPIPE;
        return -1;
    }
    while (given < size && tar->produced + given < tar->total)
        given += give_some(tar, out + given, size - given);
    tar->produced += given;
    tar->position = tar->produced;
    return (ssize_t)given;
}

/* To its start, and to ask how long it is. */
static int seek_tar(void *cookie, off64_t *position, int origin)
{
    struct batch_tar *tar = cookie;
    uint64_t base = origin == SEEK_SET ? 0 : origin == SEEK_CUR ? tar->position : tar->total;
    int64_t target = (int64_t)base + *position;

    if (target < 0 || (uint64_t)target > tar->total) {
        errno = EINVAL;
        return -1;
    }
    tar->position = (uint64_t)target;
    *position = target;
    return 0;
}

static int close_tar(void *cookie)
{
    struct batch_tar *tar = cookie;

    stop(tar);
    free(tar);
    return 0;
}

FILE *file_batch_tar(struct file_batch *batch, size_t *count)
{
    static const cookie_io_functions_t functions = {
        .read = read_tar, .seek = seek_tar, .close = close_tar};
    struct batch_tar *tar = calloc(1, sizeof(*tar));
    FILE *file;

    if (tar == NULL)
        return NULL;
    *tar = (struct batch_tar){.batch = batch, .total = TRAILER, .fd = -1};
    *count = 0;
    for (size_t i = 0; i < batch->count; i++)
        if (is_sent(&batch->files[i])) {
            tar->total += TAR_BLOCK_SIZE + round_up(batch->files[i].size, TAR_BLOCK_SIZE);
            *count += 1;
        }
    go_to(tar, 0);
    file = fopencookie(tar, "r", functions);
    if (file == NULL) {
        stop(tar);
        free(tar);
        return NULL;
    }
    (void)setvbuf(file, NULL, _IOFBF, TAR_BUFFER);
    return file;
}
