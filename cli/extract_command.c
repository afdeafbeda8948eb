/*
 * coffer extract: batches of keys, each as a tar that is taken apart while it comes. When a tar
 * breaks off, what is missing of its batch is asked for chunk by chunk, so that one damaged chunk
 * costs no other.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/hashed_file.h"
#include "cli/key_input.h"
#include "cli/progress.h"
#include "cli/tar_block.h"
#include "cli/work_pool.h"

enum { CONNECTIONS_USUAL = 2, COPY_SIZE = 64 * 1024 };

struct extraction {
    struct cli *cli;
    struct coffer_client *client;
    const char *folder;
    pthread_mutex_t lock;
    int code;                /* (lock) */
    uint64_t written, bytes; /* (lock) */
};

struct key_parcel { /* a batch that one thread works on */
    struct extraction *extraction;
    struct key_batch batch; /* sorted, each key once */
    bool written[KEYS_EACH];
    FILE *tar;
    struct coffer_error err; /* of the tar */
    int code;
    uint64_t files, bytes;
};

/* ---- one file ---- */

static int open_file(
    const struct extraction *extraction, const char *key, char **path, struct hashed_sink *sink)
{
    if (asprintf(path, "%s/%s", extraction->folder, key) < 0) {
        *path = NULL;
        return cli_no_memory();
    }
    return hashed_sink_open(sink, *path);
}

static int check_file(struct hashed_sink *sink, const char *key)
{
    char found[DIGEST_HEX_SIZE + 1];
    struct digest digest;

    hashed_sink_digest(sink, &digest);
    digest_to_hex(&digest, found);
    if (strcmp(found, key) == 0)
        return CLI_DONE;
    return cli_say(CLI_NO, "%s: what came has the SHA-256 %s: it is damaged", key, found);
}

/* As many bytes; fewer: the tar broke off. A short one is no error of the reading. */
static bool read_tar(struct key_parcel *parcel, void *out, size_t size)
{
    size_t got = 0;

    while (got < size) {
        ssize_t part = coffer_stream_read(parcel->tar, (char *)out + got, size - got, &parcel->err);

        if (part <= 0)
            return false;
        got += (size_t)part;
    }
    return true;
}

/* Everything of an entry; `sink` NULL: to nowhere. False: the tar broke off. */
static bool read_entry(
    struct key_parcel *parcel, uint64_t size, struct hashed_sink *sink, int *code)
{
    uint64_t left = size + tar_padding(size);
    char buffer[COPY_SIZE];

    while (left > 0) {
        size_t part = left < COPY_SIZE ? (size_t)left : COPY_SIZE;
        size_t data = size < part ? (size_t)size : part;

        if (!read_tar(parcel, buffer, part))
            return false;
        if (sink != NULL && *code == CLI_DONE && !hashed_sink_write(sink, buffer, data))
            *code = cli_worse(CLI_BROKEN, cli_errno(sink->name));
        size -= data;
        left -= part;
    }
    return true;
}

static int compare_keys(const void *left, const void *right)
{
    return strcmp(left, right);
}

static void count_file(struct key_parcel *parcel, const char *key, uint64_t size)
{
    const char(*found)[KEY_SIZE] = bsearch(
        key, parcel->batch.keys, parcel->batch.count, sizeof(*parcel->batch.keys), compare_keys);

    parcel->written[found - (const char(*)[KEY_SIZE])parcel->batch.keys] = true;
    parcel->files++;
    parcel->bytes += size;
}

static bool is_wanted(const struct key_parcel *parcel, const char *name)
{
    return strlen(name) < KEY_SIZE && bsearch(name, parcel->batch.keys, parcel->batch.count,
                                          sizeof(*parcel->batch.keys), compare_keys) != NULL;
}

/* False: the tar ends here, whole or not. */
static bool take_entry(struct key_parcel *parcel, bool *whole)
{
    uint8_t block[TAR_BLOCK_SIZE];
    char name[TAR_NAME_SIZE], *path = NULL;
    struct hashed_sink sink;
    enum tar_block_kind kind;
    int code = CLI_DONE;
    uint64_t size;
    bool complete;

    if (!read_tar(parcel, block, sizeof(block)))
        return false;
    kind = tar_block_read(block, name, &size);
    *whole = kind == TAR_END;
    if (kind == TAR_END || kind == TAR_BAD)
        return false;
    if (kind == TAR_OTHER || !is_wanted(parcel, name)) /* never a name that was not asked for */
        return read_entry(parcel, size, NULL, &code);
    code = open_file(parcel->extraction, name, &path, &sink);
    if (code != CLI_DONE) {
        complete = read_entry(parcel, size, NULL, &code);
        free(path);
        parcel->code = cli_worse(parcel->code, code);
        count_file(parcel, name, 0); /* it was said: not to be tried again */
        parcel->files--;
        return complete;
    }
    complete = read_entry(parcel, size, &sink, &code);
    if (complete && code == CLI_DONE)
        code = check_file(&sink, name);
    code = hashed_sink_close(&sink, complete ? code : CLI_BROKEN);
    free(path);
    if (!complete)
        return false;
    count_file(parcel, name, size);
    if (code != CLI_DONE)
        parcel->files--;
    parcel->code = cli_worse(parcel->code, code);
    return true;
}

/* ---- what did not come ---- */

static int fetch_alone(struct key_parcel *parcel, const char *key)
{
    struct hashed_sink sink;
    struct coffer_error err;
    char *path;
    int code = open_file(parcel->extraction, key, &path, &sink);
    FILE *file;

    if (code == CLI_DONE) {
        file = hashed_sink_file(&sink);
        if (file == NULL)
            code = cli_no_memory();
        else if (coffer_get_file(parcel->extraction->client, key, 0, UINT64_MAX, file, &err) != 0)
            code = cli_failed(&err, key);
        if (file != NULL && fclose(file) != 0 && code == CLI_DONE)
            code = cli_worse(CLI_BROKEN, cli_errno(path));
        if (code == CLI_DONE)
            code = check_file(&sink, key);
        code = hashed_sink_close(&sink, code);
    }
    parcel->files += code == CLI_DONE ? 1 : 0;
    free(path);
    return code;
}

static void settle_rest(struct key_parcel *parcel, bool whole)
{
    for (size_t i = 0; i < parcel->batch.count; i++) {
        const char *key = parcel->batch.keys[i];
        int code = CLI_DONE;

        if (!parcel->written[i] && whole)
            code = cli_say(CLI_NO, "%s: no such chunk", key);
        else if (!parcel->written[i])
            code = fetch_alone(parcel, key);
        parcel->code = cli_worse(parcel->code, code);
        if (code == CLI_BROKEN)
            return; /* the rest will not do better */
    }
}

/* ---- a batch ---- */

static void sort_keys(struct key_batch *batch)
{
    size_t kept = 0;

    qsort(batch->keys, batch->count, sizeof(*batch->keys), compare_keys);
    for (size_t i = 0; i < batch->count; i++)
        if (kept == 0 || strcmp(batch->keys[kept - 1], batch->keys[i]) != 0)
            memmove(batch->keys[kept++], batch->keys[i], KEY_SIZE);
    batch->count = kept;
}

static void work(void *context, void *item)
{
    struct extraction *extraction = context;
    struct key_parcel *parcel = item;
    const char **keys;
    bool whole = false;

    sort_keys(&parcel->batch);
    keys = calloc(parcel->batch.count, sizeof(*keys));
    for (size_t i = 0; keys != NULL && i < parcel->batch.count; i++)
        keys[i] = parcel->batch.keys[i];
    if (keys == NULL) {
        parcel->code = cli_no_memory();
    } else {
        parcel->tar = coffer_extract_open(
            extraction->client, keys, parcel->batch.count, COFFER_SKIP_MISSING, &parcel->err);
        while (parcel->tar != NULL && take_entry(parcel, &whole))
            ;
        if (parcel->tar != NULL)
            (void)fclose(parcel->tar);
        settle_rest(parcel, whole);
    }
    free((void *)keys);
    pthread_mutex_lock(&extraction->lock);
    extraction->code = cli_worse(extraction->code, parcel->code);
    extraction->written += parcel->files;
    extraction->bytes += parcel->bytes;
    pthread_mutex_unlock(&extraction->lock);
    key_batch_release(&parcel->batch);
    free(parcel);
}

static int give_batches(struct extraction *extraction, struct work_pool *pool)
{
    const struct command_line *line = &extraction->cli->line;
    struct key_source source;
    int code = CLI_DONE;
    bool more = true;

    key_source_init(&source, line->arguments, line->count);
    while (more) {
        struct key_parcel *parcel = calloc(1, sizeof(*parcel));

        if (parcel == NULL) {
            code = cli_no_memory();
            break;
        }
        code = key_source_next(&source, &parcel->batch);
        more = code == CLI_DONE && parcel->batch.count > 0;
        if (more) {
            parcel->extraction = extraction;
            work_pool_give(pool, parcel);
        } else {
            key_batch_release(&parcel->batch);
            free(parcel);
        }
    }
    key_source_release(&source);
    return code;
}

int extract_command(struct cli *cli)
{
    struct extraction extraction = {.cli = cli, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct work_pool *pool;
    char human[HUMAN_SIZE];
    int code;

    extraction.folder = option_text(&cli->line, "output");
    if (extraction.folder == NULL)
        extraction.folder = ".";
    extraction.client = cli_client(cli, &code);
    if (extraction.client == NULL)
        return code;
    if (mkdir(extraction.folder, 0777) != 0 && errno != EEXIST)
        return cli_worse(CLI_BROKEN, cli_errno(extraction.folder));
    pool = work_pool_create(
        (unsigned)option_number(&cli->line, "connections", CONNECTIONS_USUAL), work, &extraction);
    if (pool == NULL)
        return cli_errno("extract");
    progress_start("extract", 0, PROGRESS_BYTES);
    code = give_batches(&extraction, pool);
    work_pool_finish(pool);
    progress_end();
    code = cli_worse(code, extraction.code);
    if (cli->json)
        return cli_worse(
            code, cli_print_json(json_pack("{s:I, s:I}", "files", (json_int_t)extraction.written,
                      "bytes", (json_int_t)extraction.bytes)));
    (void)cli_say(CLI_DONE, "%" PRIu64 " files, %s", extraction.written,
        human_bytes(extraction.bytes, human));
    return code;
}
