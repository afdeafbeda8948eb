/*
 * coffer ls: printed as the pages come.
 */
#include <inttypes.h>

#include "cli/cli.h"

static int print_chunk(void *context, const struct coffer_chunk *chunk)
{
    const struct cli *cli = context;

    if (cli->json)
        (void)printf("{\"key\":\"%s\",\"size\":%" PRIu64 ",\"stored_size\":%" PRIu64 "}\n",
            chunk->key, chunk->size, chunk->stored_size);
    else if (option_given(&cli->line, "long"))
        (void)printf(
            "%s %14" PRIu64 " %14" PRIu64 "\n", chunk->key, chunk->size, chunk->stored_size);
    else
        (void)puts(chunk->key);
    return ferror(stdout); /* nobody reads it any more */
}

int ls_command(struct cli *cli)
{
    struct coffer_error err;
    int code, result;
    struct coffer_client *client = cli_client(cli, &code);

    if (client == NULL)
        return code;
    result = coffer_list(client, option_text(&cli->line, "prefix"), print_chunk, cli, &err);
    return result < 0 ? cli_failed(&err, NULL) : CLI_DONE;
}
