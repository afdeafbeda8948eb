/*
 * coffer get: a chunk, or a part of it.
 */
#include <string.h>

#include "cli/cli.h"
#include "cli/hashed_file.h"
#include "cli/key_input.h"
#include "cli/progress.h"

struct part {
    uint64_t offset, length;
    bool whole;
};

static bool is_sha1_name(const char *key)
{
    return strncmp(key, "sha1:", 5) == 0 && strlen(key) == 45 &&
           strspn(key + 5, "0123456789abcdef") == 40;
}

static int find_part(const struct cli *cli, const struct coffer_chunk *chunk, struct part *part)
{
    const struct option_value *range = option_value(&cli->line, "range");

    *part = (struct part){.length = chunk->size, .whole = !range->given};
    if (range->given && !range_within(&range->range, chunk->size, &part->offset, &part->length))
        return cli_say(CLI_NO, "%s: %s begins behind its end, it has %llu bytes", chunk->key,
            range->text, (unsigned long long)chunk->size);
    return CLI_DONE;
}

static int copy(struct coffer_client *client, const char *key, const struct part *part,
    struct hashed_sink *sink)
{
    FILE *file = hashed_sink_file(sink);
    struct coffer_error err;
    struct digest digest;
    char found[DIGEST_HEX_SIZE + 1];
    int result;

    if (file == NULL)
        return cli_no_memory();
    result = coffer_get_file(
        client, key, part->offset, part->whole ? UINT64_MAX : part->length, file, &err);
    if (fclose(file) != 0 && result == 0)
        return cli_worse(CLI_BROKEN, cli_errno(sink->name));
    if (result != 0)
        return cli_failed(&err, NULL);
    if (!part->whole || is_sha1_name(key))
        return CLI_DONE;
    hashed_sink_digest(sink, &digest);
    digest_to_hex(&digest, found);
    if (strcmp(found, key) != 0)
        return cli_say(CLI_NO, "%s: what came has the SHA-256 %s: it is damaged", key, found);
    return CLI_DONE;
}

int get_command(struct cli *cli)
{
    const char *key = cli->line.arguments[0];
    struct coffer_client *client;
    struct coffer_chunk chunk;
    struct coffer_error err;
    struct hashed_sink sink;
    struct part part;
    int code;

    if (!key_is_valid(key) && !is_sha1_name(key))
        return cli_say(
            CLI_WRONG, "\"%.80s\" is no key, which is 64 lower-case hexadecimal digits", key);
    client = cli_client(cli, &code);
    if (client == NULL)
        return code;
    if (coffer_head(client, key, &chunk, &err) != 0)
        return cli_failed(&err, NULL);
    code = find_part(cli, &chunk, &part);
    if (code == CLI_DONE)
        code = hashed_sink_open(&sink, option_text(&cli->line, "output"));
    if (code != CLI_DONE)
        return code;
    progress_start("get", part.length, PROGRESS_BYTES);
    code = copy(client, key, &part, &sink);
    progress_end();
    return hashed_sink_close(&sink, code);
}
