/*
 * coffer add-files: this thread walks through the folders and makes batches; a few others hash
 * them, ask the server what it has, and send the rest.
 */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/file_batch.h"
#include "cli/hashed_file.h"
#include "cli/progress.h"
#include "cli/work_pool.h"

enum { CONNECTIONS_USUAL = 4 };

struct adding {
    struct cli *cli;
    struct coffer_client *client;
    struct work_pool *pool;
    struct file_batch *open; /* of the walk */
    pthread_mutex_t lock;
    int code;                          /* (lock) */
    uint64_t listed, sent, sent_bytes; /* (lock) files, and bytes that the server had not */
    uint64_t left_out;                 /* of the walk */
};

static void worsen(struct adding *adding, int code)
{
    pthread_mutex_lock(&adding->lock);
    adding->code = cli_worse(adding->code, code);
    pthread_mutex_unlock(&adding->lock);
}

/* ---- what the server has ---- */

static int ask_for(struct adding *adding, struct file_batch *batch)
{
    struct coffer_chunk *chunks = calloc(BATCH_FILES, sizeof(*chunks));
    const char *keys[BATCH_FILES];
    size_t places[BATCH_FILES], count = 0;
    struct coffer_error err;
    int code = CLI_DONE;

    if (chunks == NULL)
        return cli_no_memory();
    for (size_t i = 0; i < batch->count; i++)
        if (batch->files[i].state == FILE_HASHED) {
            places[count] = i;
            keys[count++] = batch->files[i].key;
        }
    if (count > 0 && coffer_stat(adding->client, keys, count, chunks, &err) != 0)
        code = cli_failed(&err, NULL);
    /* What is in a buffer only is sent: then it is durable when it is listed. */
    for (size_t i = 0; code == CLI_DONE && i < count; i++)
        if (chunks[i].found && strcmp(chunks[i].state, "durable") == 0)
            batch->files[places[i]].state = FILE_THERE;
    free(chunks);
    return code;
}

/* ---- sending ---- */

struct sending {
    struct file_batch *batch;
    int code;
};

static int take_entry(void *context, const struct coffer_entry *entry)
{
    struct sending *sending = context;
    struct batch_file *file;
    uint64_t at;

    if (entry->name == NULL || !value_number(entry->name, &at) || at >= sending->batch->count) {
        sending->code = cli_say(CLI_BROKEN, "the server could not read what was sent: %s",
            entry->detail == NULL ? "" : entry->detail);
        return 0;
    }
    file = &sending->batch->files[at];
    if (entry->status != 0) {
        file->state = FILE_FAILED;
        sending->code = cli_worse(sending->code, cli_say(CLI_BROKEN, "%s: %s (%s)", file->path,
                                                     entry->detail == NULL ? "" : entry->detail,
                                                     entry->code == NULL ? "" : entry->code));
    } else if (file->state == FILE_HASHED && strcmp(file->key, entry->chunk.key) == 0) {
        file->state = FILE_SENT;
    } else {
        file->state = FILE_CHANGED;
    }
    return 0;
}

static int send_small(struct adding *adding, struct file_batch *batch)
{
    struct sending sending = {.batch = batch};
    struct coffer_error err;
    size_t count;
    FILE *tar = file_batch_tar(batch, &count);

    if (tar == NULL)
        return cli_no_memory();
    if (count > 0 &&
        coffer_insert(adding->client, tar, COFFER_SYNCED, take_entry, &sending, &err) != 0)
        sending.code = cli_worse(sending.code, cli_failed(&err, NULL));
    (void)fclose(tar);
    return sending.code;
}

static int send_large(struct adding *adding, struct batch_file *file)
{
    const struct coffer_put_options options = {.key = file->key, .durability = COFFER_SYNCED};
    int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW), code = CLI_DONE;
    FILE *content = fd < 0 ? NULL : fdopen(fd, "r");
    struct coffer_error err;

    if (content == NULL) {
        code = cli_errno(file->path);
        if (fd >= 0)
            (void)close(fd);
        return code;
    }
    if (coffer_put_file(adding->client, content, &options, NULL, &err) == 0)
        file->state = FILE_SENT;
    else if (strcmp(err.code, "digest_mismatch") == 0)
        file->state = FILE_CHANGED;
    else
        code = cli_failed(&err, file->path);
    (void)fclose(content);
    return code;
}

static int send_missing(struct adding *adding, struct file_batch *batch)
{
    int code = send_small(adding, batch);

    for (size_t i = 0; i < batch->count; i++) {
        struct batch_file *file = &batch->files[i];

        if (file->state == FILE_HASHED && !file->repeated && file->size >= BATCH_LARGE)
            code = cli_worse(code, send_large(adding, file));
    }
    return code;
}

/* The fate of the one that was sent is that of those with the same content. */
static void settle_repeated(struct file_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_file *file = &batch->files[i];

        for (size_t j = 0; file->repeated && file->state == FILE_HASHED && j < batch->count; j++)
            if (batch->files[j].state == FILE_SENT && strcmp(batch->files[j].key, file->key) == 0)
                file->state = FILE_THERE;
    }
}

/* ---- telling ---- */

/* As sha256sum does: a line feed in a name is \n, and a backslash stands before the line. */
static void print_line(const struct batch_file *file)
{
    if (strpbrk(file->path, "\n\\") == NULL) {
        (void)printf("%s %s\n", file->key, file->path);
        return;
    }
    (void)printf("\\%s ", file->key);
    for (const char *at = file->path; *at != '\0'; at++)
        if (*at == '\n' || *at == '\\')
            (void)fputs(*at == '\n' ? "\\n" : "\\\\", stdout);
        else
            (void)putchar(*at);
    (void)putchar('\n');
}

static int list_file(struct adding *adding, const struct batch_file *file)
{
    bool sent = file->state == FILE_SENT;

    if (file->state == FILE_CHANGED)
        return cli_say(CLI_NO, "%s: changed while it was read", file->path);
    if (!sent && file->state != FILE_THERE)
        return CLI_DONE; /* why was said */
    adding->listed++;
    adding->sent += sent ? 1 : 0;
    adding->sent_bytes += sent ? file->size : 0;
    if (adding->cli->json)
        return cli_print_json(json_pack("{s:s, s:o, s:I, s:b}", "key", file->key, "path",
            json_text(file->path), "size", (json_int_t)file->size, "sent", (int)sent));
    print_line(file);
    return CLI_DONE;
}

static void list_batch(struct adding *adding, const struct file_batch *batch)
{
    pthread_mutex_lock(&adding->lock);
    for (size_t i = 0; i < batch->count; i++)
        adding->code = cli_worse(adding->code, list_file(adding, &batch->files[i]));
    (void)fflush(stdout); /* what is listed is durable: whoever is waiting may know */
    pthread_mutex_unlock(&adding->lock);
}

static void work(void *context, void *item)
{
    struct adding *adding = context;
    struct file_batch *batch = item;
    int code = file_batch_hash(batch), failed = ask_for(adding, batch);

    if (failed == CLI_DONE)
        failed = send_missing(adding, batch);
    settle_repeated(batch);
    worsen(adding, cli_worse(code, failed));
    list_batch(adding, batch);
    progress_add(batch->count);
    file_batch_destroy(batch);
}

/* ---- the walk ---- */

static void give_batch(struct adding *adding)
{
    if (adding->open != NULL)
        work_pool_give(adding->pool, adding->open);
    adding->open = NULL;
}

static bool add_file(struct adding *adding, const FTSENT *entry)
{
    uint64_t size = (uint64_t)entry->fts_statp->st_size;

    if (size >= BATCH_LARGE)
        give_batch(adding); /* others do not wait for it */
    if (adding->open == NULL)
        adding->open = calloc(1, sizeof(*adding->open));
    if (adding->open == NULL || !file_batch_add(adding->open, entry->fts_path, size)) {
        worsen(adding, cli_no_memory());
        return false;
    }
    if (file_batch_is_full(adding->open) || size >= BATCH_LARGE)
        give_batch(adding);
    return true;
}

static bool visit(struct adding *adding, const FTSENT *entry)
{
    switch (entry->fts_info) {
    case FTS_F:
        return add_file(adding, entry);
    case FTS_D:
    case FTS_DP:
        break;
    case FTS_NS:
    case FTS_DNR:
    case FTS_ERR:
        errno = entry->fts_errno;
        worsen(adding, cli_errno(entry->fts_path));
        break;
    default:
        adding->left_out++;
        (void)cli_say(CLI_DONE, "%s: %s, left out", entry->fts_path,
            entry->fts_info == FTS_SL || entry->fts_info == FTS_SLNONE ? "a symbolic link"
                                                                       : "no regular file");
    }
    return true;
}

static int by_name(const FTSENT **left, const FTSENT **right)
{
    return strcmp((*left)->fts_name, (*right)->fts_name);
}

static void walk(struct adding *adding)
{
    const struct command_line *line = &adding->cli->line;
    char **paths = calloc(line->count + 1, sizeof(*paths));
    const FTSENT *entry;
    FTS *tree = NULL;
    bool more = paths != NULL;

    for (size_t i = 0; more && i < line->count; i++) {
        paths[i] = strdup(line->arguments[i]);
        more = paths[i] != NULL;
    }
    if (more)
        tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    if (tree == NULL)
        worsen(adding, cli_no_memory());
    while (tree != NULL && more && (entry = fts_read(tree)) != NULL)
        more = visit(adding, entry);
    give_batch(adding);
    if (tree != NULL)
        (void)fts_close(tree);
    for (size_t i = 0; paths != NULL && i < line->count; i++)
        free(paths[i]);
    free(paths);
}

int add_files_command(struct cli *cli)
{
    struct adding adding = {.cli = cli, .lock = PTHREAD_MUTEX_INITIALIZER};
    char human[HUMAN_SIZE];

    adding.client = cli_client(cli, &adding.code);
    if (adding.client == NULL)
        return adding.code;
    adding.pool = work_pool_create(
        (unsigned)option_number(&cli->line, "connections", CONNECTIONS_USUAL), work, &adding);
    if (adding.pool == NULL)
        return cli_errno("add-files");
    progress_start("files", 0, PROGRESS_ITEMS);
    walk(&adding);
    work_pool_finish(adding.pool);
    progress_end();
    (void)cli_say(CLI_DONE,
        "%" PRIu64 " files: %" PRIu64 " sent (%s), %" PRIu64 " were there, %" PRIu64 " left out",
        adding.listed, adding.sent, human_bytes(adding.sent_bytes, human),
        adding.listed - adding.sent, adding.left_out);
    return adding.code;
}
