/*
 * coffer status, sync, packs, channels: how the server is.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/list_printer.h"

enum { INTERVAL_MS = 1000 };

static const char *bytes_cell(char out[HUMAN_SIZE], const json_t *item, const char *name)
{
    return human_bytes(json_u64(item, name), out);
}

/* ---- packs, channels ---- */

static void add_pack(struct text_table *table, const json_t *item)
{
    char id[HUMAN_SIZE], bytes[HUMAN_SIZE], live[HUMAN_SIZE], dead[HUMAN_SIZE], records[HUMAN_SIZE],
        damaged[HUMAN_SIZE];

    table_row(table, number_cell(id, json_u64(item, "id")), json_member(item, "state"),
        bytes_cell(bytes, item, "bytes"), bytes_cell(live, item, "live_bytes"),
        bytes_cell(dead, item, "dead_bytes"), number_cell(records, json_u64(item, "records")),
        number_cell(damaged, json_u64(item, "damaged")));
}

int packs_command(struct cli *cli)
{
    return list_print(
        cli, cli_path("/v1/packs"), ">PACK <STATE >BYTES >LIVE >DEAD >RECORDS >DAMAGED", add_pack);
}

static void add_channel(struct text_table *table, const json_t *item)
{
    char buffered[HUMAN_SIZE], records[HUMAN_SIZE], flushed[HUMAN_SIZE], syncs[HUMAN_SIZE];

    table_row(table, json_member(item, "name"), json_member(item, "state"),
        bytes_cell(buffered, item, "buffered_bytes"),
        number_cell(records, json_u64(item, "buffered_records")),
        bytes_cell(flushed, item, "flushed_bytes"), number_cell(syncs, json_u64(item, "syncs")),
        json_member(item, "last_sync"));
}

static const char CHANNEL_COLUMNS[] =
    "<CHANNEL <STATE >BUFFERED >RECORDS >FLUSHED >SYNCS <LAST-SYNC";

int channels_command(struct cli *cli)
{
    return list_print(cli, cli_path("/v1/channels"), CHANNEL_COLUMNS, add_channel);
}

/* ---- status ---- */

static bool is_bytes(const char *name)
{
    return strstr(name, "_bytes") != NULL || strstr(name, "_space") != NULL ||
           strncmp(name, "memory_", 7) == 0;
}

static void print_member(const char *name, const json_t *value)
{
    char human[HUMAN_SIZE];

    if (json_is_integer(value) && is_bytes(name))
        (void)printf("%-17s %s\n", name, human_bytes((uint64_t)json_integer_value(value), human));
    else if (json_is_integer(value))
        (void)printf("%-17s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
    else if (json_is_boolean(value))
        (void)printf("%-17s %s\n", name, json_is_true(value) ? "yes" : "no");
    else if (json_is_string(value))
        (void)printf("%-17s %s\n", name, json_string_value(value));
}

static int print_status(json_t *status)
{
    const json_t *channel;
    struct text_table *table;
    const char *name;
    json_t *value;
    size_t i;

    json_object_foreach(status, name, value) print_member(name, value);
    (void)putchar('\n');
    table = table_create(CHANNEL_COLUMNS);
    json_array_foreach(json_object_get(status, "channels"), i, channel) add_channel(table, channel);
    return table_print(table);
}

static int show_status(struct cli *cli)
{
    json_t *status;
    int code = cli_call(cli, "GET", "/v1/status", NULL, &status);

    if (code != CLI_DONE)
        return code;
    if (cli->json)
        return cli_print_json(status);
    code = print_status(status);
    json_decref(status);
    return code;
}

int status_command(struct cli *cli)
{
    uint64_t interval_ms = option_number(&cli->line, "interval", INTERVAL_MS);
    const struct timespec interval = {
        .tv_sec = (time_t)(interval_ms / 1000), .tv_nsec = (long)(interval_ms % 1000) * 1000000};
    bool terminal = isatty(STDOUT_FILENO) == 1 && !cli->json;
    int code = CLI_DONE;

    if (!option_given(&cli->line, "watch"))
        return show_status(cli);
    while (code == CLI_DONE) {
        if (terminal)
            (void)fputs("\033[H\033[J", stdout);
        code = cli_flush(show_status(cli));
        if (code == CLI_DONE)
            (void)nanosleep(&interval, NULL);
    }
    return code;
}

/* ---- sync ---- */

int sync_command(struct cli *cli)
{
    const struct command_line *line = &cli->line;
    struct coffer_client *client;
    struct coffer_error err;
    int code;

    client = cli_client(cli, &code);
    if (client != NULL && coffer_sync(client, line->arguments, line->count, &err) != 0)
        return cli_failed(&err, NULL);
    return code;
}
