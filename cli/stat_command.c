/*
 * coffer stat, coffer rm: many keys a request.
 */
#include <inttypes.h>

#include "cli/cli.h"
#include "cli/key_input.h"

static json_t *keys_body(const struct key_batch *batch)
{
    json_t *keys = json_array();

    for (size_t i = 0; i < batch->count; i++)
        if (json_array_append_new(keys, json_string(batch->keys[i])) != 0) {
            json_decref(keys);
            return NULL;
        }
    return json_pack("{s:o}", "keys", keys);
}

static int say_missing(const json_t *answer)
{
    const json_t *key;
    int code = CLI_DONE;
    size_t i;

    json_array_foreach(json_object_get(answer, "missing"), i, key) code =
        cli_say(CLI_NO, "%s: no such chunk", json_string_value(key));
    return code;
}

static void print_stat(const json_t *chunk)
{
    (void)printf("%s %14" PRIu64 " %14" PRIu64 " %-5s %-8s %8" PRIu64 " %14" PRIu64 "\n",
        json_member(chunk, "key"), json_u64(chunk, "size"), json_u64(chunk, "stored_size"),
        json_member(chunk, "codec"), json_member(chunk, "state"), json_u64(chunk, "pack"),
        json_u64(chunk, "offset"));
}

typedef int answer_function(struct cli *cli, json_t *answer);

static int each_batch(struct cli *cli, const char *path, answer_function *use)
{
    struct key_source source;
    struct key_batch batch;
    int code = CLI_DONE;
    bool more = true;

    key_source_init(&source, cli->line.arguments, cli->line.count);
    while (more) {
        json_t *answer = NULL;
        int failed = key_source_next(&source, &batch);

        more = failed == CLI_DONE && batch.count > 0;
        if (more)
            failed = cli_call(cli, "POST", path, keys_body(&batch), &answer);
        if (more && failed == CLI_DONE)
            code = cli_worse(code, use(cli, answer));
        more = more && failed == CLI_DONE;
        code = cli_worse(code, failed);
        json_decref(answer);
        key_batch_release(&batch);
    }
    key_source_release(&source);
    return code;
}

static int use_stat(struct cli *cli, json_t *answer)
{
    json_t *chunk;
    size_t i;

    json_array_foreach(json_object_get(answer, "chunks"), i, chunk)
    {
        if (!cli->json)
            print_stat(chunk);
        else if (cli_print_json(json_incref(chunk)) != CLI_DONE)
            return CLI_BROKEN;
    }
    return say_missing(answer);
}

int stat_command(struct cli *cli)
{
    if (!cli->json)
        (void)printf("%-64s %14s %14s %-5s %-8s %8s %14s\n", "KEY", "SIZE", "STORED", "CODEC",
            "STATE", "PACK", "OFFSET");
    return each_batch(cli, "/v1/chunks/stat", use_stat);
}

static int use_delete(struct cli *cli, json_t *answer)
{
    int code = say_missing(answer);

    return cli->json ? cli_worse(code, cli_print_json(json_incref(answer))) : code;
}

int rm_command(struct cli *cli)
{
    return each_batch(cli, "/v1/chunks/delete", use_delete);
}
