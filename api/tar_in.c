#include "api/tar_in.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>

struct tar_in {
    struct archive *archive;
    struct archive_entry *entry;
    tar_in_read *read;
    void *context;
    uint64_t position; /* in the entry's data */
    bool opened;
    bool cancelled;
};

static la_ssize_t read_block(struct archive *archive, void *context, const void **data)
{
    struct tar_in *tar = context;
    size_t size = 0;

    if (!tar->read(tar->context, data, &size)) {
        tar->cancelled = true;
        archive_set_error(archive, 0, "cancelled");
        return -1;
    }
    return (la_ssize_t)size;
}

enum coffer_status tar_in_create(
    tar_in_read *read, void *context, struct tar_in **out, struct error *err)
{
    struct tar_in *tar = calloc(1, sizeof(*tar));

    if (tar == NULL)
        goto no_memory;
    tar->read = read;
    tar->context = context;
    tar->archive = archive_read_new();
    tar->entry = archive_entry_new();
    if (tar->archive == NULL || tar->entry == NULL)
        goto no_memory;
    if (archive_read_support_format_tar(tar->archive) != ARCHIVE_OK)
        goto no_memory;
    *out = tar;
    return COFFER_OK;
no_memory:
    tar_in_destroy(tar);
    return error_set(err, COFFER_OVERLOADED, "no memory to read an archive; try again later");
}

static enum coffer_status failed(struct tar_in *tar, struct error *err)
{
    const char *text = archive_error_string(tar->archive);

    if (tar->cancelled)
        return error_set(err, COFFER_DRAINING, "the archive was not sent to its end");
    return error_set(err, COFFER_BAD_REQUEST, "the tar archive is broken here: %s",
        text == NULL ? "it cannot be read" : text);
}

static const char *why_refused(struct archive_entry *entry)
{
    if (archive_entry_hardlink(entry) != NULL)
        return "a hard link; only regular files are stored";
    if (archive_entry_sparse_count(entry) > 0)
        return "a sparse file; send it with its holes as zeros";
    switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
        return NULL;
    case AE_IFDIR:
        return "a directory; only regular files are stored";
    case AE_IFLNK:
        return "a symbolic link; only regular files are stored";
    default:
        return "a special file; only regular files are stored";
    }
}

enum coffer_status tar_in_next(
    struct tar_in *tar, struct tar_in_entry *entry, bool *more, struct error *err)
{
    const char *name;
    int result;

    *more = false;
    if (!tar->opened) { /* reads the first block, so not in create */
        tar->opened = true;
        if (archive_read_open(tar->archive, tar, NULL, read_block, NULL) != ARCHIVE_OK)
            return failed(tar, err);
    }
    result = archive_read_next_header2(tar->archive, tar->entry);
    if (result == ARCHIVE_EOF)
        return COFFER_OK;
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
        return failed(tar, err);
    name = archive_entry_pathname(tar->entry); /* NULL if the locale cannot say it */
    if (name == NULL)
        name = archive_entry_pathname_utf8(tar->entry);
    if (name == NULL)
        name = "";
    *entry = (struct tar_in_entry){.name = slice_from_text(name),
        .size = (uint64_t)archive_entry_size(tar->entry),
        .refused = why_refused(tar->entry)};
    tar->position = 0;
    *more = true;
    return COFFER_OK;
}

enum coffer_status tar_in_data(
    struct tar_in *tar, const void **data, size_t *size, struct error *err)
{
    la_int64_t offset;
    int result;

    do {
        *size = 0;
        result = archive_read_data_block(tar->archive, data, size, &offset);
    } while (result == ARCHIVE_OK && *size == 0);
    if (result == ARCHIVE_EOF) {
        *size = 0;
        return COFFER_OK;
    }
    if (result != ARCHIVE_OK && result != ARCHIVE_WARN)
        return failed(tar, err);
    if ((uint64_t)offset != tar->position)
        return error_set(err, COFFER_BAD_REQUEST, "the entry has holes");
    tar->position += *size;
    return COFFER_OK;
}

void tar_in_destroy(struct tar_in *tar)
{
    if (tar == NULL)
        return;
    archive_entry_free(tar->entry);
    if (tar->archive != NULL)
        (void)archive_read_free(tar->archive);
    free(tar);
}
