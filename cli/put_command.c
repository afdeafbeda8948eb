/*
 * coffer put: files, one at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/hashed_file.h"
#include "cli/progress.h"

static enum coffer_durability asked_durability(const struct cli *cli)
{
    const char *text = option_text(&cli->line, "durability");

    if (text == NULL)
        return COFFER_DURABILITY_DEFAULT;
    return strcmp(text, "synced") == 0 ? COFFER_SYNCED : COFFER_BUFFERED;
}

static int print_chunk(const struct cli *cli, const char *name, const struct coffer_chunk *chunk)
{
    json_t *json;

    if (!cli->json) {
        (void)puts(chunk->key);
        return CLI_DONE;
    }
    json = json_pack("{s:s, s:o, s:I, s:b, s:s}", "key", chunk->key, "file", json_text(name),
        "size", (json_int_t)chunk->size, "created", (int)chunk->created, "state", chunk->state);
    if (json != NULL && chunk->ticket[0] != '\0')
        (void)json_object_set_new(json, "ticket", json_string(chunk->ticket));
    return cli_print_json(json);
}

static int put_open_file(
    struct cli *cli, struct coffer_client *client, const char *name, struct hashed_source *source)
{
    const struct coffer_put_options options = {
        .durability = asked_durability(cli), .lane = option_text(&cli->line, "channel")};
    struct coffer_chunk chunk;
    struct coffer_error err;
    struct digest read;
    char key[DIGEST_HEX_SIZE + 1];

    if (coffer_put_file(client, source->file, &options, &chunk, &err) != 0)
        return cli_failed(&err, name);
    if (!hashed_source_digest(source, &read))
        return cli_say(CLI_BROKEN, "%s: could not be read in one go", name);
    digest_to_hex(&read, key);
    if (strcmp(key, chunk.key) != 0)
        return cli_say(CLI_NO, "%s: %s was read, but the server has got %s", name, key, chunk.key);
    return print_chunk(cli, name, &chunk);
}

static int put_one(struct cli *cli, struct coffer_client *client, const char *name)
{
    bool standard = strcmp(name, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(name, O_RDONLY | O_CLOEXEC), code;
    struct hashed_source source;
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0) {
        code = cli_errno(name);
    } else if (S_ISDIR(info.st_mode)) {
        code = cli_say(CLI_WRONG, "%s: is a folder; see: coffer help add-files", name);
    } else if (!hashed_source_open(&source, fd)) {
        code = cli_no_memory();
    } else {
        progress_start(name, S_ISREG(info.st_mode) ? (uint64_t)info.st_size : 0, PROGRESS_BYTES);
        code = put_open_file(cli, client, standard ? "standard input" : name, &source);
        progress_end();
        hashed_source_close(&source);
    }
    if (fd >= 0 && !standard)
        (void)close(fd);
    return code;
}

int put_command(struct cli *cli)
{
    int code;
    struct coffer_client *client = cli_client(cli, &code);

    for (size_t i = 0; client != NULL && i < cli->line.count; i++)
        code = cli_worse(code, put_one(cli, client, cli->line.arguments[i]));
    return code;
}
