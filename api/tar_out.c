#include "api/tar_out.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"

enum { BLOCK_SIZE = 64 << 10, TAR_BLOCK = 512 };

struct tar_out {
    struct archive *archive;
    struct archive_entry *entry; /* one for all: cleared, not allocated, for each */
    tar_out_write *write;
    void *context;
    uint64_t time_ns;
    uint64_t left; /* bytes of the entry that are still to come */
    bool refused;
    bool closing; /* by destroy */
};

/* Libarchive 3.6 leaks its block when this fails before the archive is closed, so a refusal is kept
 * for finish_call(), and only closing fails: which stops its filling up of what is missing. */
static la_ssize_t write_block(struct archive *archive, void *context, const void *data, size_t size)
{
    struct tar_out *tar = context;

    (void)archive;
    if (tar->closing)
        return -1;
    if (!tar->refused && !tar->write(tar->context, data, size))
        tar->refused = true;
    return (la_ssize_t)size;
}

static enum coffer_status create(
    bool zstd, tar_out_write *write, void *context, struct tar_out **out, struct error *err)
{
    struct tar_out *tar = calloc(1, sizeof(*tar));

    if (tar == NULL)
        goto no_memory;
    tar->write = write;
    tar->context = context;
    tar->archive = archive_write_new();
    tar->entry = archive_entry_new();
    if (tar->archive == NULL || tar->entry == NULL)
        goto no_memory;
    if (archive_write_set_format_gnutar(tar->archive) != ARCHIVE_OK ||
        (zstd ? archive_write_add_filter_zstd(tar->archive)
              : archive_write_add_filter_none(tar->archive)) != ARCHIVE_OK ||
        archive_write_set_bytes_per_block(tar->archive, BLOCK_SIZE) != ARCHIVE_OK ||
        archive_write_set_bytes_in_last_block(tar->archive, 1) != ARCHIVE_OK ||
        archive_write_open(tar->archive, tar, NULL, write_block, NULL) != ARCHIVE_OK)
        goto no_memory;
    *out = tar;
    return COFFER_OK;
no_memory:
    tar_out_destroy(tar);
    return error_set(err, COFFER_OVERLOADED, "no memory to write an archive; try again later");
}

enum coffer_status tar_out_create(
    tar_out_write *write, void *context, struct tar_out **out, struct error *err)
{
    return create(false, write, context, out, err);
}

enum coffer_status tar_out_create_zstd(
    tar_out_write *write, void *context, struct tar_out **out, struct error *err)
{
    return create(true, write, context, out, err);
}

void tar_out_set_time(struct tar_out *tar, uint64_t wall_ns)
{
    tar->time_ns = wall_ns;
}

uint64_t tar_out_entry_size(uint64_t size)
{
    return TAR_BLOCK + round_up(size, TAR_BLOCK);
}

static enum coffer_status finish_call(struct tar_out *tar, bool worked, struct error *err)
{
    const char *text;

    if (tar->refused)
        return error_set(err, COFFER_DRAINING, "nobody reads the archive any more");
    if (worked)
        return COFFER_OK;
    text = archive_error_string(tar->archive);
    return error_set(err, COFFER_INTERNAL, "write an archive: %s", text == NULL ? "" : text);
}

enum coffer_status tar_out_entry(
    struct tar_out *tar, const char *name, uint64_t size, struct error *err)
{
    invariant(tar->left == 0);
    archive_entry_clear(tar->entry);
    archive_entry_set_pathname(tar->entry, name);
    archive_entry_set_size(tar->entry, (la_int64_t)size);
    archive_entry_set_filetype(tar->entry, AE_IFREG);
    archive_entry_set_perm(tar->entry, 0644);
    archive_entry_set_mtime(tar->entry, (time_t)(tar->time_ns / NS_PER_S), 0);
    tar->left = size;
    return finish_call(tar, archive_write_header(tar->archive, tar->entry) == ARCHIVE_OK, err);
}

enum coffer_status tar_out_data(
    struct tar_out *tar, const void *data, size_t size, struct error *err)
{
    invariant(size <= tar->left);
    tar->left -= size;
    return finish_call(
        tar, size == 0 || archive_write_data(tar->archive, data, size) == (la_ssize_t)size, err);
}

enum coffer_status tar_out_end(struct tar_out *tar, struct error *err)
{
    invariant(tar->left == 0);
    return finish_call(tar, archive_write_close(tar->archive) == ARCHIVE_OK, err);
}

void tar_out_destroy(struct tar_out *tar)
{
    if (tar == NULL)
        return;
    tar->closing =
        true; /* archive_write_free() would write a trailer: half an archive stays half */
    archive_entry_free(tar->entry);
    if (tar->archive != NULL)
        (void)archive_write_free(tar->archive);
    free(tar);
}
