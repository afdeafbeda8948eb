/*
 * Datasets: create, show, delete, close; and requests of the caller's own.
 */
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/channel_parts.h"
#include "client/failure.h"

char *dataset_path(const char *dataset, const char *rest, const char *name)
{
    struct text path = {0};

    text_printf(&path, "/v1/datasets/");
    text_escape(&path, dataset);
    text_printf(&path, "%s", rest);
    if (name != NULL)
        text_escape(&path, name);
    return text_take(&path);
}

int coffer_call(struct coffer_client *client, const char *method, const char *path,
    const char *body, char **out, struct coffer_error *err)
{
    struct request request = {.method = method, .path = path};
    struct call_answer answer;
    int result;

    if (out != NULL)
        *out = NULL;
    if (body != NULL) {
        request.type = "application/json";
        request.body = body;
        request.size = strlen(body);
    }
    result = call_send(client, &request, NULL, NULL, &answer, err);
    if (result == 0 && out != NULL) {
        *out = text_take(&answer.body);
        if (*out == NULL)
            result = failure(err, "no_memory", "no memory for an answer");
    }
    call_release(&answer);
    return result;
}

/* One request on a dataset; the path is dropped. The answer is to be released. */
static int ask(struct coffer_client *client, const char *method, char *path, const char *body,
    struct call_answer *answer, struct coffer_error *err)
{
    struct request request = {
        .method = method, .path = path, .told = strcmp(method, "DELETE") == 0};
    int result;

    *answer = (struct call_answer){0};
    if (path == NULL)
        return failure(err, "no_memory", "no memory for a request");
    if (body != NULL) {
        request.type = "application/json";
        request.body = body;
        request.size = strlen(body);
    }
    result = call_send(client, &request, NULL, NULL, answer, err);
    free(path);
    return result;
}

int coffer_dataset_create(struct coffer_client *client, const char *dataset, const char *settings,
    bool *created, struct coffer_error *err)
{
    struct call_answer answer;
    int result = ask(client, "PUT", dataset_path(dataset, "", NULL),
        settings == NULL ? "{}" : settings, &answer, err);

    /* 200 after a lost answer may be this call's own doing, but nobody else's word is better. */
    if (result == 0 && created != NULL)
        *created = answer.status == 201;
    call_release(&answer);
    return result;
}

char *coffer_dataset_show(
    struct coffer_client *client, const char *dataset, struct coffer_error *err)
{
    struct call_answer answer;
    char *text = NULL;

    if (ask(client, "GET", dataset_path(dataset, "", NULL), NULL, &answer, err) == 0) {
        text = text_take(&answer.body);
        if (text == NULL)
            (void)failure(err, "no_memory", "no memory for an answer");
    }
    call_release(&answer);
    return text;
}

int coffer_dataset_delete(
    struct coffer_client *client, const char *dataset, struct coffer_error *err)
{
    struct call_answer answer;
    int result = ask(client, "DELETE", dataset_path(dataset, "", NULL), NULL, &answer, err);

    /* An earlier try, whose answer was lost, has deleted it. */
    if (result != 0 && answer.doubtful && strcmp(answer.code, "no_such_dataset") == 0)
        result = 0;
    call_release(&answer);
    return result;
}

int coffer_dataset_close(
    struct coffer_client *client, const char *dataset, char **job, struct coffer_error *err)
{
    struct call_answer answer;
    int result = ask(client, "POST", dataset_path(dataset, "/close", NULL), NULL, &answer, err);

    if (job != NULL)
        *job = NULL;
    if (result == 0 && job != NULL)
        *job = text_take(&answer.body);
    else if (result != 0 && strcmp(answer.code, "dataset_closed") == 0)
        result = 0; /* what was wanted is so */
    call_release(&answer);
    return result;
}

int coffer_channel_info(struct coffer_client *client, const char *dataset, const char *channel,
    struct coffer_channel_info *info, struct coffer_error *err)
{
    char *path = dataset_path(dataset, "/channels?limit=1&prefix=", channel);
    const json_t *first;
    struct call_answer answer;
    json_t *json = NULL;
    const char *name;
    int result = ask(client, "GET", path, NULL, &answer, err);

    *info = (struct coffer_channel_info){0};
    if (result == 0) {
        json = call_json(&answer, err);
        result = json == NULL ? -1 : 0;
    }
    /* In name order: it comes before those whose name only begins so. */
    first = json_array_get(json_object_get(json, "channels"), 0);
    name = json_string_value(json_object_get(first, "name"));
    if (name != NULL && strcmp(name, channel) == 0) {
        info->size = (uint64_t)json_integer_value(json_object_get(first, "size"));
        info->records = (uint64_t)json_integer_value(json_object_get(first, "records"));
        info->epoch = (uint64_t)json_integer_value(json_object_get(first, "epoch"));
    }
    json_decref(json);
    call_release(&answer);
    return result;
}
