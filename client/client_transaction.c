/*
 * Transactions. The server keeps their state; here is who has joined.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "client/call.h"
#include "client/channel_parts.h"
#include "client/failure.h"

struct coffer_transaction {
    struct coffer_client *client;
    char *dataset, *id;
    struct writer **writers; /* joined */
    size_t count;
};

const char *coffer_transaction_id(const struct coffer_transaction *transaction)
{
    return transaction->id;
}

/* ---- joining ---- */

void joined_forget(struct coffer_transaction *transaction, struct writer *writer)
{
    for (size_t i = 0; i < transaction->count; i++)
        if (transaction->writers[i] == writer)
            transaction->writers[i] = transaction->writers[--transaction->count];
}

int joined_add(
    struct coffer_transaction *transaction, struct writer *writer, struct coffer_error *err)
{
    struct writer **grown =
        realloc(transaction->writers, (transaction->count + 1) * sizeof(struct writer *));

    if (grown == NULL)
        return failure(err, "no_memory", "no memory for a stream");
    transaction->writers = grown;
    transaction->writers[transaction->count++] = writer;
    return 0;
}

int coffer_channel_join(
    FILE *file, struct coffer_transaction *transaction, struct coffer_error *err)
{
    struct writer *writer = writer_find(file, err);
    int result;

    if (writer == NULL)
        return -1;
    if (writer_transaction(writer) != NULL)
        return failure(err, "bad_argument", "the channel %s takes part in a transaction already",
            writer_channel(writer));
    flockfile(file);
    result = writer_join(writer, transaction, err);
    funlockfile(file);
    return result;
}

/* All streams leave. */
static void leave_all(struct coffer_transaction *transaction, void (*leave)(struct writer *writer))
{
    for (size_t i = 0; i < transaction->count; i++) {
        FILE *file = writer_file(transaction->writers[i]);

        flockfile(file);
        leave(transaction->writers[i]);
        funlockfile(file);
    }
    transaction->count = 0;
}

/* ---- begin ---- */

/* An id of our own makes the request one that can be sent again. */
static char *make_id(void)
{
    uint64_t parts[2];
    char *id;

    if (getrandom(parts, sizeof(parts), 0) != sizeof(parts) ||
        asprintf(&id, "t-%016" PRIx64 "%016" PRIx64, parts[0], parts[1]) < 0)
        return NULL;
    return id;
}

static json_t *begin_body(
    const struct coffer_transaction *transaction, const struct coffer_transaction_options *options)
{
    json_t *body = json_pack("{s:s}", "id", transaction->id), *channels;

    if (options->ttl != 0)
        (void)json_object_set_new(body, "ttl", json_integer(options->ttl));
    if (options->barrier)
        (void)json_object_set_new(body, "barrier", json_true());
    if (options->commit_when_ready)
        (void)json_object_set_new(body, "commit_when_ready", json_true());
    if (options->channel_count == 0)
        return body;
    channels = json_array();
    for (size_t i = 0; i < options->channel_count; i++)
        (void)json_array_append_new(channels, json_string(options->channels[i]));
    if (json_array_size(channels) == options->channel_count &&
        json_object_set_new(body, "channels", channels) == 0)
        return body;
    json_decref(body);
    return NULL;
}

/* A request on the transaction; `verb` NULL is its beginning. *out gets the answer. */
static int ask(struct coffer_transaction *transaction, const char *method, const char *verb,
    json_t *body, unsigned wait, struct call_answer *answer, json_t **out, struct coffer_error *err)
{
    char *path =
        dataset_path(transaction->dataset, "/transactions/", verb == NULL ? NULL : transaction->id);
    struct text url = {0};
    int result;

    if (path == NULL) {
        json_decref(body);
        *answer = (struct call_answer){0};
        return failure(err, "no_memory", "no memory for a request");
    }
    if (verb == NULL)
        path[strlen(path) - 1] = '\0'; /* the list of them, without the slash */
    text_printf(&url, "%s%s", path, verb == NULL ? "" : verb);
    free(path);
    if (url.failed) {
        json_decref(body);
        *answer = (struct call_answer){0};
        return failure(err, "no_memory", "no memory for a request");
    }
    result = call_with_json(transaction->client, method, url.data, wait, body, answer, out, err);
    text_release(&url);
    return result;
}

static struct coffer_transaction *create(
    struct coffer_client *client, const char *dataset, const char *id)
{
    struct coffer_transaction *transaction = calloc(1, sizeof(*transaction));

    if (transaction == NULL)
        return NULL;
    transaction->client = client;
    transaction->dataset = strdup(dataset);
    transaction->id = id != NULL ? strdup(id) : make_id();
    if (transaction->dataset != NULL && transaction->id != NULL)
        return transaction;
    coffer_transaction_free(transaction);
    return NULL;
}

/* *lost: nobody but this request can have begun it, and it has been aborted since: the server has,
 * but the answer was lost. */
static int begin(struct coffer_transaction *transaction,
    const struct coffer_transaction_options *options, bool *lost, struct coffer_error *err)
{
    json_t *body = begin_body(transaction, options);
    struct call_answer answer;
    int result;

    *lost = false;
    if (body == NULL)
        return failure(err, "no_memory", "no memory for a transaction");
    result = ask(transaction, "POST", NULL, body, 0, &answer, NULL, err);
    *lost = result != 0 && options->id == NULL && strcmp(answer.code, "transaction_aborted") == 0;
    call_release(&answer);
    return result;
}

struct coffer_transaction *coffer_transaction_begin(struct coffer_client *client,
    const char *dataset, const struct coffer_transaction_options *options, struct coffer_error *err)
{
    static const struct coffer_transaction_options defaults;
    struct coffer_transaction *transaction;
    bool lost;

    options = options == NULL ? &defaults : options;
    do {
        transaction = create(client, dataset, options->id);
        if (transaction == NULL) {
            (void)failure(err, "no_memory", "no memory for a transaction");
            return NULL;
        }
        if (begin(transaction, options, &lost, err) == 0)
            return transaction;
        coffer_transaction_free(transaction);
    } while (lost); /* nobody else knows its id: another one will do */
    return NULL;
}

void coffer_transaction_free(struct coffer_transaction *transaction)
{
    if (transaction == NULL)
        return;
    leave_all(transaction, writer_abandon);
    free(transaction->writers);
    free(transaction->dataset);
    free(transaction->id);
    free(transaction);
}

/* ---- ready, commit, abort ---- */

static void read_commit(const json_t *json, struct coffer_commit *commit)
{
    const char *state = json_string_value(json_object_get(json, "state"));
    const json_t *version = json_object_get(json, "version");

    *commit = (struct coffer_commit){
        .committed = json_is_integer(version) && (state == NULL || strcmp(state, "committed") == 0),
        .version = (uint64_t)json_integer_value(version),
    };
}

/* The state that the server tells. */
static int look_up(
    struct coffer_transaction *transaction, struct coffer_commit *commit, struct coffer_error *err)
{
    struct call_answer answer;
    json_t *json = NULL;
    int result = ask(transaction, "GET", "", NULL, 0, &answer, &json, err);

    if (result == 0)
        read_commit(json, commit);
    json_decref(json);
    call_release(&answer);
    return result;
}

/* POST verb; what ended the transaction earlier, and can only have been this same request, is found
 * in its state. */
static int decide(struct coffer_transaction *transaction, const char *verb, json_t *body,
    unsigned wait, struct coffer_commit *commit, struct coffer_error *err)
{
    struct call_answer answer;
    json_t *json = NULL;
    int result = ask(transaction, "POST", verb, body, wait, &answer, &json, err);

    *commit = (struct coffer_commit){0};
    if (result == 0)
        read_commit(json, commit);
    else if (strcmp(answer.code, "transaction_committed") == 0)
        result = look_up(transaction, commit, err);
    json_decref(json);
    call_release(&answer);
    return result;
}

int coffer_transaction_ready(struct coffer_transaction *transaction, FILE *file,
    struct coffer_commit *commit, struct coffer_error *err)
{
    struct writer *writer = writer_find(file, err);
    struct coffer_commit own;
    int result;

    if (writer == NULL)
        return -1;
    commit = commit == NULL ? &own : commit;
    flockfile(file);
    result = writer_drain(writer, err);
    funlockfile(file);
    if (result == 0)
        result = decide(transaction, "/ready",
            json_pack("{s:s}", "channel", writer_channel(writer)), 0, commit, err);
    if (result == 0 && commit->committed)
        leave_all(transaction, writer_leave);
    return result;
}

int coffer_transaction_commit(struct coffer_transaction *transaction, unsigned wait,
    struct coffer_commit *commit, struct coffer_error *err)
{
    struct coffer_commit own;
    int result = 0;

    commit = commit == NULL ? &own : commit;
    for (size_t i = 0; result == 0 && i < transaction->count; i++) {
        FILE *file = writer_file(transaction->writers[i]);

        flockfile(file);
        result = writer_drain(transaction->writers[i], err);
        funlockfile(file);
    }
    if (result == 0)
        result = decide(transaction, "/commit", json_pack("{s:I}", "wait", (json_int_t)wait), wait,
            commit, err);
    if (result == 0)
        leave_all(transaction, writer_leave);
    return result;
}

int coffer_transaction_abort(struct coffer_transaction *transaction, struct coffer_error *err)
{
    struct call_answer answer;
    int result = ask(transaction, "POST", "/abort", NULL, 0, &answer, NULL, err);

    /* Gone, by its ttl or with the server: what was wanted. */
    if (result != 0 && (strcmp(answer.code, "transaction_aborted") == 0 ||
                           strcmp(answer.code, "no_such_transaction") == 0))
        result = 0;
    call_release(&answer);
    if (result == 0)
        leave_all(transaction, writer_roll_back);
    return result;
}
