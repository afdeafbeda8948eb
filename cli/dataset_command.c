/*
 * coffer dataset create, ls, show, patch, rm, versions, records.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/list_printer.h"

/* ---- create ---- */

static json_t *parse_object(const char *text, const char *what, int *code)
{
    json_error_t reason;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &reason);

    if (json_is_object(json))
        return json;
    *code = json == NULL ? cli_say(CLI_WRONG, "%s is no JSON: %s", what, reason.text)
                         : cli_say(CLI_WRONG, "%s is no JSON object", what);
    json_decref(json);
    return NULL;
}

/* "compress:9" is {"do":"compress","level":9}. */
static json_t *parse_action(const char *text, int *code)
{
    uint64_t level;

    if (strcmp(text, "verify") == 0)
        return json_pack("{s:s}", "do", text);
    if (strncmp(text, "compress:", 9) == 0 && value_number(text + 9, &level) && level <= INT32_MAX)
        return json_pack("{s:s, s:I}", "do", "compress", "level", (json_int_t)level);
    if (strcmp(text, "package:tar") == 0 || strcmp(text, "package:tar.zst") == 0)
        return json_pack("{s:s, s:s}", "do", "package", "format", text + 8);
    if (strncmp(text, "notify:", 7) == 0)
        return json_pack("{s:s, s:o}", "do", "notify", "url", json_text(text + 7));
    *code = cli_say(CLI_WRONG,
        "--on-close: \"%.80s\" is none of verify, compress:LEVEL, package:tar, package:tar.zst, "
        "notify:URL",
        text);
    return NULL;
}

static json_t *make_settings(const struct command_line *line, int *code)
{
    const struct option_value *size = option_value(line, "buffer-size");
    const struct option_value *actions = option_value(line, "on-close");
    const char *compression = option_text(line, "compression");
    const char *metadata = option_text(line, "metadata");
    json_t *settings = json_object(), *list = actions->count > 0 ? json_array() : NULL;

    *code = CLI_DONE;
    if (size->given)
        (void)json_object_set_new(settings, "buffer_size", json_integer((json_int_t)size->number));
    if (compression != NULL)
        (void)json_object_set_new(settings, "compression", json_string(compression));
    if (metadata != NULL)
        (void)json_object_set_new(settings, "metadata", parse_object(metadata, "--metadata", code));
    for (size_t i = 0; *code == CLI_DONE && i < actions->count; i++)
        (void)json_array_append_new(list, parse_action(actions->list[i], code));
    if (list != NULL)
        (void)json_object_set_new(settings, "on_close", list);
    return settings;
}

int dataset_create_command(struct cli *cli)
{
    const char *name = cli->line.arguments[0];
    int code;
    json_t *settings = make_settings(&cli->line, &code);
    char *text = json_dumps(settings, JSON_COMPACT);
    struct coffer_client *client = code == CLI_DONE ? cli_client(cli, &code) : NULL;
    struct coffer_error err;
    bool created;

    json_decref(settings);
    if (text == NULL)
        code = cli_no_memory();
    else if (client != NULL && coffer_dataset_create(client, name, text, &created, &err) != 0)
        code = cli_failed(&err, NULL);
    else if (client != NULL && cli->json)
        code = cli_print_json(json_pack("{s:s, s:b}", "name", name, "created", (int)created));
    else if (client != NULL && !created)
        code = cli_say(CLI_DONE, "%s is there already, with the same settings", name);
    free(text);
    return code;
}

/* ---- lists ---- */

static void add_dataset(struct text_table *table, const json_t *item)
{
    char version[HUMAN_SIZE], channels[HUMAN_SIZE];

    table_row(table, json_member(item, "name"), json_member(item, "state"),
        number_cell(version, json_u64(item, "version")),
        number_cell(channels, json_u64(item, "channel_count")), json_member(item, "created"));
}

int dataset_ls_command(struct cli *cli)
{
    const char *prefix = option_text(&cli->line, "prefix");

    return list_print(cli, cli_path("/v1/datasets?prefix=%s", prefix == NULL ? "" : prefix),
        "<NAME <STATE >VERSION >CHANNELS <CREATED", add_dataset);
}

static void add_version(struct text_table *table, const json_t *item)
{
    char version[HUMAN_SIZE];
    const char *channel;
    json_t *part;

    number_cell(version, json_u64(item, "version"));
    json_object_foreach(json_object_get(item, "channels"), channel, part)
    {
        char offset[HUMAN_SIZE], length[HUMAN_SIZE];

        table_row(table, version, json_member(item, "time"), channel,
            number_cell(offset, json_u64(part, "offset")),
            number_cell(length, json_u64(part, "length")), json_member(item, "transaction"));
    }
}

int dataset_versions_command(struct cli *cli)
{
    return list_print(cli, cli_path("/v1/datasets/%s/versions", cli->line.arguments[0]),
        ">VERSION <TIME <CHANNEL >OFFSET >LENGTH <TRANSACTION", add_version);
}

static void add_record(struct text_table *table, const json_t *item)
{
    char record[HUMAN_SIZE], offset[HUMAN_SIZE], length[HUMAN_SIZE];

    table_row(table, number_cell(record, json_u64(item, "record")),
        number_cell(offset, json_u64(item, "offset")),
        number_cell(length, json_u64(item, "length")));
}

int dataset_records_command(struct cli *cli)
{
    return list_print(cli,
        cli_path(
            "/v1/datasets/%s/channels/%s/records", cli->line.arguments[0], cli->line.arguments[1]),
        ">RECORD >OFFSET >LENGTH", add_record);
}

/* ---- one ---- */

static void print_member(const json_t *dataset, const char *name)
{
    json_t *value = json_object_get(dataset, name);
    char *text;

    if (value == NULL)
        return;
    text = json_is_string(value) ? strdup(json_string_value(value))
                                 : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    if (text != NULL)
        (void)printf("%-10s %s\n", name, text);
    free(text);
}

static int print_dataset(const json_t *dataset)
{
    static const char *const members[] = {
        "name", "state", "version", "created", "settings", "metadata"};
    struct text_table *table = table_create("<CHANNEL >SIZE >RECORDS >EPOCH");
    const json_t *channel;
    size_t i;

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++)
        print_member(dataset, members[i]);
    (void)putchar('\n');
    json_array_foreach(json_object_get(dataset, "channels"), i, channel)
    {
        char size[HUMAN_SIZE], records[HUMAN_SIZE], epoch[HUMAN_SIZE];

        table_row(table, json_member(channel, "name"), number_cell(size, json_u64(channel, "size")),
            number_cell(records, json_u64(channel, "records")),
            number_cell(epoch, json_u64(channel, "epoch")));
    }
    return table_print(table);
}

int dataset_show_command(struct cli *cli)
{
    char *path = cli_path("/v1/datasets/%s", cli->line.arguments[0]);
    json_t *dataset;
    int code = cli_call(cli, "GET", path, NULL, &dataset);

    free(path);
    if (code != CLI_DONE)
        return code;
    if (cli->json)
        return cli_print_json(dataset);
    code = print_dataset(dataset);
    json_decref(dataset);
    return code;
}

int dataset_patch_command(struct cli *cli)
{
    int code = CLI_DONE;
    json_t *patch = parse_object(cli->line.arguments[1], "the patch", &code), *answer;
    char *path;

    if (patch == NULL)
        return code;
    path = cli_path("/v1/datasets/%s", cli->line.arguments[0]);
    code = cli_call(cli, "PATCH", path, patch, &answer);
    free(path);
    if (code == CLI_DONE && cli->json)
        return cli_print_json(answer);
    json_decref(answer);
    return code;
}

int dataset_rm_command(struct cli *cli)
{
    struct coffer_error err;
    int code;
    struct coffer_client *client = cli_client(cli, &code);

    for (size_t i = 0; client != NULL && i < cli->line.count; i++)
        if (coffer_dataset_delete(client, cli->line.arguments[i], &err) != 0)
            code = cli_worse(code, cli_failed(&err, NULL));
    return code;
}
