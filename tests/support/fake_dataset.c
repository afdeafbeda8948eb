#include "tests/support/fake_dataset.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"

struct fake_channel *fake_channel(struct fake_dataset *fake, const char *name)
{
    for (size_t i = 0; i < FAKE_CHANNELS; i++) {
        struct fake_channel *channel = &fake->channels[i];

        if (channel->name[0] == '\0')
            (void)snprintf(channel->name, sizeof(channel->name), "%s", name);
        if (strcmp(channel->name, name) == 0)
            return channel;
    }
    (void)fprintf(stderr, "the model has %d channels\n", FAKE_CHANNELS);
    abort();
}

bool fake_channel_is(struct fake_dataset *fake, const char *name, const void *data, size_t size)
{
    const struct fake_channel *channel = fake_channel(fake, name);

    return channel->size == size && (size == 0 || memcmp(channel->bytes, data, size) == 0);
}

unsigned fake_requests(const struct fake_dataset *fake, const char *part)
{
    unsigned found = 0;

    for (unsigned i = 0; i < fake->count; i++)
        found += strstr(fake->log[i].path, part) != NULL;
    return found;
}

static struct fake_transaction *find_transaction(struct fake_dataset *fake, const char *id)
{
    for (size_t i = 0; i < FAKE_TRANSACTIONS; i++)
        if (strcmp(fake->transactions[i].id, id) == 0)
            return &fake->transactions[i];
    return NULL;
}

/* ---- answers ---- */

static void answer(struct script_reply *reply, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void answer(struct script_reply *reply, int status, const char *format, ...)
{
    char text[512];
    va_list list;

    va_start(list, format);
    (void)vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    script_text(reply, status, text);
}

static void mismatch(struct script_reply *reply, uint64_t end)
{
    answer(reply, 409, "{\"status\":409,\"code\":\"offset_mismatch\",\"offset\":%" PRIu64 "}", end);
}

/* ---- appends ---- */

static uint64_t count_records(const char *body, size_t size, bool lines)
{
    uint64_t found = 0;

    for (size_t i = 0; lines && i < size; i++)
        found += body[i] == '\n' || i + 1 == size;
    return lines ? found : 1;
}

static void add(struct fake_channel *channel, const char *body, size_t size, bool lines)
{
    size_t end = channel->size + channel->staged;

    channel->bytes = realloc(channel->bytes, end + size + 1);
    invariant(channel->bytes != NULL);
    memcpy(channel->bytes + end, body, size);
    channel->last_offset = end;
    channel->last_length = size;
    channel->last_record = channel->records;
    channel->records += count_records(body, size, lines);
}

static bool is_repeat(const struct fake_channel *channel, const struct fake_request *request,
    const char *body, uint64_t end)
{
    return request->has_offset && request->offset < end &&
           request->offset == channel->last_offset && request->size == channel->last_length &&
           memcmp(channel->bytes + request->offset, body, request->size) == 0;
}

static void reply_receipt(struct fake_dataset *fake, const struct fake_request *request,
    const struct fake_channel *channel, bool repeat, struct script_reply *reply)
{
    bool staged = request->transaction[0] != '\0';
    int status = repeat ? 200 : 201;

    if (!repeat && (staged || request->buffered))
        status = 202;
    answer(reply, status,
        "{\"channel\":\"%s\",\"offset\":%" PRIu64 ",\"length\":%zu,\"record\":%" PRIu64
        ",\"version\":%" PRIu64 "}",
        channel->name, channel->last_offset, request->size, channel->last_record,
        staged ? 0 : ++fake->version);
    if (request->buffered && !staged)
        (void)snprintf(
            reply->headers, sizeof(reply->headers), "Coffer-Ticket: b:1:%u\r\n", fake->count);
}

static void append(struct fake_dataset *fake, const struct fake_request *request, const char *body,
    const char *name, struct script_reply *reply)
{
    struct fake_channel *channel = fake_channel(fake, name);
    const struct fake_transaction *transaction = find_transaction(fake, request->transaction);
    bool staged = request->transaction[0] != '\0';
    uint64_t end = channel->size + channel->staged;
    bool repeat = is_repeat(channel, request, body, end);

    if (request->has_epoch && request->epoch != channel->epoch) {
        script_problem(reply, 409, "fenced");
        return;
    }
    if (staged && (transaction == NULL || transaction->state == FAKE_ABORTED)) {
        script_problem(reply, 409, "transaction_aborted");
        return;
    }
    if (request->has_offset && request->offset != end && !repeat) {
        mismatch(reply, end);
        return;
    }
    if (!repeat) {
        add(channel, body, request->size, request->lines);
        channel->staged += staged ? request->size : 0;
        channel->size += staged ? 0 : request->size;
    }
    reply_receipt(fake, request, channel, repeat, reply);
}

static void claim(struct fake_dataset *fake, const char *name, struct script_reply *reply)
{
    struct fake_channel *channel = fake_channel(fake, name);

    channel->epoch++;
    channel->staged = 0;
    answer(reply, 200, "{\"epoch\":%" PRIu64 ",\"offset\":%zu}", channel->epoch, channel->size);
}

static void list_channels(struct fake_dataset *fake, const char *path, struct script_reply *reply)
{
    const char *prefix = strstr(path, "prefix=");
    const struct fake_channel *channel = fake_channel(fake, prefix + strlen("prefix="));

    answer(reply, 200,
        "{\"channels\":[{\"name\":\"%s\",\"size\":%zu,\"records\":%" PRIu64 ",\"epoch\":%" PRIu64
        "}]}",
        channel->name, channel->size, channel->records, channel->epoch);
}

/* ---- transactions ---- */

static void show(struct script_reply *reply, const struct fake_transaction *transaction)
{
    static const char *const states[] = {"open", "committed", "aborted"};

    if (transaction->state == FAKE_COMMITTED)
        answer(reply, 200, "{\"id\":\"%s\",\"state\":\"committed\",\"version\":%" PRIu64 "}",
            transaction->id, transaction->version);
    else
        answer(reply, 200, "{\"id\":\"%s\",\"state\":\"%s\"}", transaction->id,
            states[transaction->state]);
}

static void begin(struct fake_dataset *fake, const char *body, struct script_reply *reply)
{
    json_t *json = json_loads(body, 0, NULL);
    const char *id = json_string_value(json_object_get(json, "id"));
    struct fake_transaction *transaction;

    invariant(id != NULL);
    transaction = find_transaction(fake, id);
    if (transaction == NULL) {
        transaction = find_transaction(fake, "");
        invariant(transaction != NULL);
        (void)snprintf(transaction->id, sizeof(transaction->id), "%s", id);
        transaction->channels = (unsigned)json_array_size(json_object_get(json, "channels"));
        transaction->commit_when_ready = json_is_true(json_object_get(json, "commit_when_ready"));
    }
    if (transaction->state == FAKE_OPEN)
        show(reply, transaction);
    else
        script_problem(reply, 409,
            transaction->state == FAKE_COMMITTED ? "transaction_committed" : "transaction_aborted");
    json_decref(json);
}

static void end_transaction(
    struct fake_dataset *fake, struct fake_transaction *transaction, enum fake_state state)
{
    for (size_t i = 0; i < FAKE_CHANNELS; i++) {
        struct fake_channel *channel = &fake->channels[i];

        channel->size += state == FAKE_COMMITTED ? channel->staged : 0;
        channel->staged = 0;
    }
    transaction->state = state;
    transaction->version = state == FAKE_COMMITTED ? ++fake->version : 0;
}

static void step_transaction(
    struct fake_dataset *fake, const char *path, struct script_reply *reply)
{
    const char *rest = strstr(path, "/transactions/") + strlen("/transactions/");
    struct fake_transaction *transaction;
    char id[64];

    (void)snprintf(id, sizeof(id), "%.*s", (int)strcspn(rest, "/"), rest);
    transaction = find_transaction(fake, id);
    if (transaction == NULL) {
        script_problem(reply, 404, "no_such_transaction");
        return;
    }
    if (strstr(rest, "/abort") != NULL && transaction->state == FAKE_OPEN)
        end_transaction(fake, transaction, FAKE_ABORTED);
    if (strstr(rest, "/ready") != NULL && transaction->state == FAKE_COMMITTED) {
        script_problem(reply, 409, "transaction_committed");
        return;
    }
    if (strstr(rest, "/ready") != NULL && ++transaction->ready == transaction->channels &&
        transaction->commit_when_ready)
        end_transaction(fake, transaction, FAKE_COMMITTED);
    if (strstr(rest, "/commit") != NULL && transaction->state == FAKE_ABORTED) {
        script_problem(reply, 409, "transaction_aborted");
        return;
    }
    if (strstr(rest, "/commit") != NULL && transaction->state == FAKE_OPEN) {
        if (transaction->commit_when_ready) {
            script_problem(reply, 409, "transaction_not_ready");
            return;
        }
        end_transaction(fake, transaction, FAKE_COMMITTED);
    }
    show(reply, transaction);
}

/* ---- requests ---- */

static void copy_header(char *out, size_t size, struct script_request *request, const char *name)
{
    const char *value = script_header(request, name);

    (void)snprintf(out, size, "%s", value == NULL ? "" : value);
}

static bool number_header(struct script_request *request, const char *name, uint64_t *out)
{
    const char *value = script_header(request, name);

    *out = value == NULL ? 0 : strtoull(value, NULL, 10);
    return value != NULL;
}

static struct fake_request *log_request(struct fake_dataset *fake, struct script_request *request)
{
    struct fake_request *logged = &fake->log[fake->count++];
    char text[64];

    invariant(fake->count < FAKE_LOG);
    (void)snprintf(logged->method, sizeof(logged->method), "%.7s", request->method);
    (void)snprintf(logged->path, sizeof(logged->path), "%.159s", request->path);
    copy_header(logged->transaction, sizeof(logged->transaction), request, "Coffer-Transaction");
    copy_header(text, sizeof(text), request, "Content-Type");
    logged->lines = strcmp(text, "application/x-ndjson") == 0;
    copy_header(text, sizeof(text), request, "Coffer-Durability");
    logged->buffered = strcmp(text, "buffered") == 0;
    logged->has_offset = number_header(request, "Coffer-Offset", &logged->offset);
    logged->has_epoch = number_header(request, "Coffer-Epoch", &logged->epoch);
    logged->size = request->size;
    return logged;
}

static void carry_out(struct fake_dataset *fake, struct script_request *request,
    const struct fake_request *logged, struct script_reply *reply)
{
    const char *at = strstr(request->path, "/channels/");
    char name[32];

    if (strcmp(request->path, "/v1/sync") == 0) {
        answer(reply, 200, "{}");
    } else if (at != NULL) {
        at += strlen("/channels/");
        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(at, "/"), at);
        if (strstr(at, "/claim") != NULL)
            claim(fake, name, reply);
        else
            append(fake, logged, request->body, name, reply);
    } else if (strstr(request->path, "/channels?") != NULL) {
        list_channels(fake, request->path, reply);
    } else if (strstr(request->path, "/transactions/") != NULL) {
        step_transaction(fake, request->path, reply);
    } else if (strstr(request->path, "/transactions") != NULL) {
        begin(fake, request->body, reply);
    } else {
        script_problem(reply, 404, "no_such_path");
    }
}

static void handle(void *context, struct script_request *request, struct script_reply *reply)
{
    struct fake_dataset *fake = context;
    struct fake_request *logged = log_request(fake, request);
    struct fake_step step = {0};

    if (strcmp(request->method, "POST") == 0 && fake->step < FAKE_STEPS)
        step = fake->steps[fake->step++];
    switch (step.what) {
    case FAKE_REFUSE:
        script_problem(reply, step.status, step.code);
        return;
    case FAKE_LOSE_REQUEST:
        reply->fault = SCRIPT_RESET;
        return;
    case FAKE_WELL:
    case FAKE_LOSE_ANSWER:
        carry_out(fake, request, logged, reply);
        break;
    }
    if (step.what == FAKE_LOSE_ANSWER)
        reply->fault = SCRIPT_RESET;
}

void fake_dataset_script(struct fake_dataset *fake, const struct fake_step *steps, unsigned count)
{
    pthread_mutex_lock(&fake->server.lock);
    memset(fake->steps, 0, sizeof(fake->steps));
    memcpy(fake->steps, steps, count * sizeof(*steps));
    fake->step = 0;
    pthread_mutex_unlock(&fake->server.lock);
}

void fake_dataset_start(struct fake_dataset *fake)
{
    memset(fake, 0, sizeof(*fake));
    script_server_start(&fake->server, handle, fake);
}

void fake_dataset_stop(struct fake_dataset *fake)
{
    script_server_stop(&fake->server);
    for (size_t i = 0; i < FAKE_CHANNELS; i++)
        free(fake->channels[i].bytes);
}
