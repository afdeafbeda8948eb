/*
 * A job is followed by its events; when their stream is cut, because the server stops or the
 * network does, it is asked for again, and the library waits for the server to come back.
 */
#include "cli/job_follow.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/progress.h"

/* ---- what came of it ---- */

static void print_value(const char *name, const json_t *value)
{
    char *text;

    if (json_is_string(value)) {
        (void)printf("%-18s %s\n", name, json_string_value(value));
        return;
    }
    text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    (void)printf("%-18s %s\n", name, text == NULL ? "" : text);
    free(text);
}

/* A list has a line an item. */
static void print_result(json_t *result)
{
    const json_t *item;
    const char *name;
    json_t *value;
    size_t i;

    json_object_foreach(result, name, value)
    {
        if (!json_is_array(value)) {
            print_value(name, value);
            continue;
        }
        (void)printf("%-18s %zu\n", name, json_array_size(value));
        json_array_foreach(value, i, item) print_value("", item);
    }
}

void job_print(const json_t *job)
{
    static const char *const members[] = {
        "id", "kind", "subject", "state", "created", "started", "ended", "progress"};
    const json_t *error = json_object_get(job, "error");

    for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
        const json_t *value = json_object_get(job, members[i]);

        if (value != NULL && !json_is_null(value))
            print_value(members[i], value);
    }
    if (error != NULL)
        (void)printf(
            "%-18s %s (%s)\n", "error", json_member(error, "detail"), json_member(error, "code"));
    print_result(json_object_get(job, "result"));
}

static bool found_damage(const json_t *job)
{
    const json_t *result = json_object_get(job, "result");
    const json_t *damaged = json_object_get(result, "damaged");

    return json_array_size(damaged) > 0 || json_integer_value(damaged) > 0 ||
           json_array_size(json_object_get(result, "missing")) > 0;
}

/* Prints and drops it. */
static int conclude(struct cli *cli, json_t *job)
{
    const json_t *error = json_object_get(job, "error");
    const char *state = json_member(job, "state"), *cause = json_member(error, "code");
    int code = CLI_DONE;

    if (cli->json)
        code = cli_print_json(json_incref(job));
    else
        print_result(json_object_get(job, "result"));
    if (strcmp(state, "failed") == 0)
        code = cli_worse(
            code, cli_say(strcmp(cause, "data_corrupt") == 0 || strncmp(cause, "no_such_", 8) == 0
                              ? CLI_NO
                              : CLI_BROKEN,
                      "job %s failed: %s (%s)", json_member(job, "id"),
                      json_member(error, "detail"), cause));
    else if (strcmp(state, "cancelled") == 0)
        code = cli_worse(code, cli_say(CLI_NO, "job %s was cancelled", json_member(job, "id")));
    else if (found_damage(job))
        code = cli_worse(code, cli_say(CLI_NO, "job %s found damage", json_member(job, "id")));
    json_decref(job);
    return code;
}

/* ---- following ---- */

static bool has_ended(const json_t *job)
{
    const char *state = json_member(job, "state");

    return strcmp(state, "done") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

static void show_progress(const json_t *job)
{
    const json_t *progress = json_object_get(job, "progress");

    if (progress != NULL)
        progress_set(json_u64(progress, "done"), json_u64(progress, "total"));
}

/* The job as the line of an event tells it, or NULL: another line. */
static json_t *read_event(const char *line)
{
    return strncmp(line, "data: ", 6) == 0 ? json_loads(line + 6, 0, NULL) : NULL;
}

/* Until it ends or the stream does. NULL: it has not ended. */
static json_t *follow_events(struct coffer_client *client, const char *path)
{
    FILE *stream = coffer_body_open(client, path, NULL);
    json_t *job = NULL;
    char *line = NULL;
    size_t room = 0;
    bool started = false;

    while (stream != NULL && getline(&line, &room, stream) > 0) {
        json_t *told = read_event(line);

        if (told == NULL)
            continue;
        if (!started)
            progress_start(json_member(told, "kind"), 0,
                strcmp(json_member(json_object_get(told, "progress"), "unit"), "bytes") == 0
                    ? PROGRESS_BYTES
                    : PROGRESS_ITEMS);
        started = true;
        show_progress(told);
        json_decref(job);
        job = told;
        if (has_ended(job))
            break;
    }
    progress_end();
    free(line);
    if (stream != NULL)
        (void)fclose(stream);
    if (job != NULL && !has_ended(job)) {
        json_decref(job);
        job = NULL;
    }
    return job;
}

int job_follow(struct cli *cli, const char *id)
{
    char *path = cli_path("/v1/jobs/%s", id), *events = cli_path("/v1/jobs/%s/events", id);
    json_t *job = NULL;
    int code = path == NULL || events == NULL ? CLI_BROKEN : CLI_DONE;

    /* Asked for itself between two streams: what is wrong with it is said, and a server that stops
     * is waited for. */
    while (code == CLI_DONE && job == NULL) {
        code = cli_call(cli, "GET", path, NULL, &job);
        if (code == CLI_DONE && !has_ended(job)) {
            json_decref(job);
            job = follow_events(cli->client, events);
        }
    }
    free(path);
    free(events);
    return job == NULL ? code : conclude(cli, job);
}

int job_attend(struct cli *cli, json_t *job)
{
    char *id = strdup(json_member(job, "id"));
    int code;

    if (id == NULL) {
        json_decref(job);
        return cli_no_memory();
    }
    if (option_given(&cli->line, "no-wait")) {
        free(id);
        if (cli->json)
            return cli_print_json(job);
        (void)puts(json_member(job, "id"));
        json_decref(job);
        return CLI_DONE;
    }
    json_decref(job);
    code = job_follow(cli, id);
    free(id);
    return code;
}

int job_start(struct cli *cli, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT), *answer = NULL;
    struct coffer_error err = {.status = 0};
    struct coffer_client *client;
    json_t *job;
    int code;

    json_decref(body);
    if (text == NULL)
        return cli_no_memory();
    client = cli_client(cli, &code);
    if (client != NULL && coffer_call(client, "POST", "/v1/jobs", text, &answer, &err) != 0) {
        code = cli_failed(&err, NULL);
        /* A server that does not know this kind is too old: no wrong use, and no answer either. */
        if (err.status == 400 || err.status == 404)
            code = CLI_BROKEN;
    }
    free(text);
    if (code != CLI_DONE)
        return code;
    job = cli_parse(answer, &code);
    return job == NULL ? code : job_attend(cli, job);
}
