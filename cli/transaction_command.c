/*
 * coffer dataset claim, begin, ready, commit, abort, transaction.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "storage/base/digest.h"

enum { RANDOM_ID_BYTES = 12 };

/* One request on a dataset: the path is freed. With --json its answer is printed; else the member
 * `shown` of it (NULL: nothing). */
static int ask(struct cli *cli, const char *method, char *path, json_t *body, const char *shown)
{
    json_t *answer = NULL;
    int code;

    if (path == NULL) {
        json_decref(body);
        return CLI_BROKEN;
    }
    code = cli_call(cli, method, path, body, &answer);
    free(path);
    if (code != CLI_DONE)
        return code;
    if (cli->json)
        return cli_print_json(answer);
    if (shown != NULL && json_is_integer(json_object_get(answer, shown)))
        (void)printf("%" PRIu64 "\n", json_u64(answer, shown));
    else if (shown != NULL)
        (void)puts(json_member(answer, shown));
    json_decref(answer);
    return CLI_DONE;
}

int dataset_claim_command(struct cli *cli)
{
    char *path = cli_path(
        "/v1/datasets/%s/channels/%s/claim", cli->line.arguments[0], cli->line.arguments[1]);
    json_t *answer = NULL;
    int code = path == NULL ? CLI_BROKEN : cli_call(cli, "POST", path, NULL, &answer);

    free(path);
    if (code != CLI_DONE)
        return code;
    if (cli->json)
        return cli_print_json(answer);
    (void)printf("epoch %" PRIu64 "  offset %" PRIu64 "\n", json_u64(answer, "epoch"),
        json_u64(answer, "offset"));
    json_decref(answer);
    return CLI_DONE;
}

static json_t *begin_body(const struct command_line *line)
{
    const struct option_value *channels = option_value(line, "channel");
    const char *id = option_text(line, "id");
    uint64_t ttl_ms = option_number(line, "ttl", 0);
    char made[2 + 2 * RANDOM_ID_BYTES + 1] = "t-";
    uint8_t random[RANDOM_ID_BYTES];
    json_t *body, *list;

    if (id == NULL) { /* with an id the request can be sent again */
        random_bytes(random, sizeof(random));
        hex_encode(random, sizeof(random), made + 2);
    }
    body = json_pack("{s:o}", "id", json_text(id == NULL ? made : id));
    if (channels->count > 0) {
        list = json_array();
        for (size_t i = 0; i < channels->count; i++)
            (void)json_array_append_new(list, json_text(channels->list[i]));
        (void)json_object_set_new(body, "channels", list);
    }
    if (ttl_ms > 0)
        (void)json_object_set_new(body, "ttl", json_integer((json_int_t)((ttl_ms + 999) / 1000)));
    if (option_given(line, "barrier"))
        (void)json_object_set_new(body, "barrier", json_true());
    if (option_given(line, "commit-when-ready"))
        (void)json_object_set_new(body, "commit_when_ready", json_true());
    return body;
}

int dataset_begin_command(struct cli *cli)
{
    return ask(cli, "POST", cli_path("/v1/datasets/%s/transactions", cli->line.arguments[0]),
        begin_body(&cli->line), "id");
}

static char *transaction_path(const struct cli *cli, const char *format)
{
    return cli_path(format, cli->line.arguments[0], cli->line.arguments[1]);
}

int dataset_ready_command(struct cli *cli)
{
    return ask(cli, "POST", transaction_path(cli, "/v1/datasets/%s/transactions/%s/ready"),
        json_pack("{s:o}", "channel", json_text(cli->line.arguments[2])), "state");
}

int dataset_commit_command(struct cli *cli)
{
    uint64_t wait_s = (option_number(&cli->line, "wait", 0) + 999) / 1000;

    cli->timeout_s = wait_s > 0 && wait_s < 3600 ? (unsigned)wait_s + 60 : 0;
    return ask(cli, "POST", transaction_path(cli, "/v1/datasets/%s/transactions/%s/commit"),
        json_pack("{s:I}", "wait", (json_int_t)wait_s), "version");
}

int dataset_abort_command(struct cli *cli)
{
    return ask(
        cli, "POST", transaction_path(cli, "/v1/datasets/%s/transactions/%s/abort"), NULL, NULL);
}

int dataset_transaction_command(struct cli *cli)
{
    return ask(cli, "GET", transaction_path(cli, "/v1/datasets/%s/transactions/%s"), NULL, "state");
}
