/*
 * coffer jobs, the commands that start one, and dataset close.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/job_follow.h"
#include "cli/list_printer.h"

/* ---- those there are ---- */

static void add_job(struct text_table *table, const json_t *item)
{
    const json_t *progress = json_object_get(item, "progress");
    uint64_t total = json_u64(progress, "total");
    char part[HUMAN_SIZE] = "";

    if (total > 0)
        (void)snprintf(
            part, sizeof(part), "%.0f%%", 100 * (double)json_u64(progress, "done") / (double)total);
    table_row(table, json_member(item, "id"), json_member(item, "kind"), json_member(item, "state"),
        part, json_member(item, "subject"), json_member(item, "created"),
        json_member(item, "ended"));
}

int jobs_ls_command(struct cli *cli)
{
    return list_print(
        cli, cli_path("/v1/jobs"), ">JOB <KIND <STATE >PART <SUBJECT <CREATED <ENDED", add_job);
}

int jobs_show_command(struct cli *cli)
{
    char *path = cli_path("/v1/jobs/%s", cli->line.arguments[0]);
    json_t *job = NULL;
    int code = cli_call(cli, "GET", path, NULL, &job);

    free(path);
    if (code != CLI_DONE)
        return code;
    if (cli->json)
        return cli_print_json(job);
    job_print(job);
    json_decref(job);
    return CLI_DONE;
}

int jobs_watch_command(struct cli *cli)
{
    return job_follow(cli, cli->line.arguments[0]);
}

int jobs_cancel_command(struct cli *cli)
{
    int code = CLI_DONE;

    for (size_t i = 0; i < cli->line.count; i++) {
        char *path = cli_path("/v1/jobs/%s", cli->line.arguments[i]);
        json_t *job = NULL;
        int failed = cli_call(cli, "DELETE", path, NULL, &job);

        free(path);
        if (failed == CLI_DONE && cli->json)
            failed = cli_print_json(json_incref(job));
        json_decref(job);
        code = cli_worse(code, failed);
    }
    return code;
}

/* ---- those to be made ---- */

int pack_command(struct cli *cli)
{
    return job_start(cli, json_pack("{s:s}", "kind", "pack"));
}

int repack_command(struct cli *cli)
{
    const struct option_value *ratio = option_value(&cli->line, "dead-ratio");
    const struct option_value *level = option_value(&cli->line, "recompress");
    json_t *body = json_pack("{s:s}", "kind", "repack");

    if (ratio->given)
        (void)json_object_set_new(body, "dead_ratio", json_real(ratio->ratio));
    if (level->given)
        (void)json_object_set_new(
            body, "compression_level", json_integer((json_int_t)level->number));
    return job_start(cli, body);
}

int validate_command(struct cli *cli)
{
    return job_start(cli, json_pack("{s:s}", "kind", "validate"));
}

/* The folder is the server's: what is relative is meant from here, if the two share a disk. */
int backup_command(struct cli *cli)
{
    const char *to = cli->line.arguments[0];
    char *here = NULL, *path = NULL;
    json_t *body;

    if (to[0] != '/') {
        here = getcwd(NULL, 0);
        if (here == NULL || asprintf(&path, "%s/%s", here, to) < 0)
            path = NULL;
        free(here);
        if (path == NULL)
            return cli_no_memory();
    }
    body = json_pack("{s:s, s:o}", "kind", "backup", "to", json_text(path == NULL ? to : path));
    free(path);
    return job_start(cli, body);
}

int dataset_close_command(struct cli *cli)
{
    struct coffer_error err;
    char *answer = NULL;
    json_t *job;
    int code;
    struct coffer_client *client = cli_client(cli, &code);

    if (client == NULL)
        return code;
    if (coffer_dataset_close(client, cli->line.arguments[0], &answer, &err) != 0)
        return cli_failed(&err, NULL);
    if (answer == NULL)
        return cli_say(CLI_DONE, "%s was closed already", cli->line.arguments[0]);
    job = cli_parse(answer, &code);
    return job == NULL ? code : job_attend(cli, job);
}
