#include "tests/support/dataset_feed.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/seed_content.h"

enum {
    SMALL_MAX = 3000,
    LARGE_MIN = 1100000, /* more than a block */
    LARGE_MORE = 400000,
    SYNC_EVERY = 8,
    ID_SIZE = 32,
    PATH_SIZE = 120,
};

static void violation(const struct feed *feed, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void violation(const struct feed *feed, const char *format, ...)
{
    va_list args;

    atomic_fetch_add(&feed->counts->violations, 1);
    va_start(args, format);
    (void)fprintf(stderr, "violation: feed %s: ", feed->channels[0]);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
}

static void note(const struct feed *feed, const char *step, const char *what, int status)
{
    uint64_t known = feed->done + feed->accepted;

    (void)fprintf(feed->file, "%llu %s %s %s %llu %llu %d\n",
        (unsigned long long)clock_monotonic_ns(), step, what, feed->channels[0],
        (unsigned long long)known, (unsigned long long)feed->size, status);
}

void feed_init(struct feed *feed, enum feed_kind kind, unsigned number, uint64_t seed,
    struct kill_counts *counts, FILE *file)
{
    static const char letters[] = {'p', 'b', 't'};

    *feed = (struct feed){.kind = kind,
        .number = number,
        .seed = seed,
        .channel_count = kind == FEED_TRANSACTIONS ? FEED_CHANNELS_MAX : 1,
        .counts = counts,
        .file = file};
    for (unsigned i = 0; i < feed->channel_count; i++)
        (void)snprintf(feed->channels[i], FEED_NAME_SIZE, "%c%u.%u", letters[kind], number, i);
}

/* ---- what records are ---- */

size_t feed_record_size(const struct feed *feed, uint64_t record)
{
    uint64_t state = feed->seed + 7919 * record, dice = seed_next(&state);

    if (dice % 200 == 0)
        return LARGE_MIN + (size_t)(seed_next(&state) % LARGE_MORE);
    return 1 + (size_t)(seed_next(&state) % SMALL_MAX);
}

void feed_fill(const struct feed *feed, unsigned channel, uint64_t record, char *out)
{
    seed_fill(out, feed_record_size(feed, record),
        feed->seed + 1000003 * record + 500009 * (uint64_t)channel);
}

uint64_t feed_records(const struct feed *feed, uint64_t size)
{
    uint64_t records = 0, sum = 0;

    while (sum < size)
        sum += feed_record_size(feed, records++);
    return sum == size ? records : UINT64_MAX;
}

uint64_t feed_bytes(const struct feed *feed, uint64_t records)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < records; i++)
        sum += feed_record_size(feed, i);
    return sum;
}

/* ---- requests ---- */

static void channel_path(const struct feed *feed, unsigned channel, char path[PATH_SIZE])
{
    (void)snprintf(path, PATH_SIZE, FEED_DATASET "/channels/%s", feed->channels[channel]);
}

static void transaction_id(const struct feed *feed, char id[ID_SIZE])
{
    (void)snprintf(
        id, ID_SIZE, "x%u-%llu-%u", feed->number, (unsigned long long)feed->done, feed->attempt);
}

static bool is_answered(const struct http_answer *answer)
{
    return answer->status != 0 && answer->error[0] == '\0';
}

/* Not now: nothing is known of it. */
static bool is_refused(const struct http_answer *answer)
{
    return answer->status == 503 || answer->status == 507;
}

static void unexpected(const struct feed *feed, const char *what, const struct http_answer *answer)
{
    if (!is_refused(answer))
        violation(feed, "%s %llu was answered %d: %.300s", what, (unsigned long long)feed->done,
            answer->status, answer->body);
}

static uint64_t number_of(const struct http_answer *answer, const char *name)
{
    json_t *root = json_loads(answer->body, 0, NULL);
    uint64_t number = (uint64_t)json_integer_value(json_object_get(root, name));

    json_decref(root);
    return number;
}

/* Append record `record` at `offset`; `header`: NULL, or one more. */
static void send_record(const struct feed *feed, struct http_client *client, unsigned channel,
    uint64_t record, uint64_t offset, const char *header, struct http_answer *answer)
{
    size_t size = feed_record_size(feed, record);
    char *body = malloc(size), path[PATH_SIZE], place[64];

    invariant(body != NULL);
    feed_fill(feed, channel, record, body);
    channel_path(feed, channel, path);
    (void)snprintf(place, sizeof(place), "Coffer-Offset: %llu", (unsigned long long)offset);
    note(feed, "begin", "append", 0);
    http_send(client,
        &(struct http_request){
            .method = "POST", .path = path, .headers = {place, header}, .body = body, .size = size},
        answer);
    free(body);
    if (!is_answered(answer))
        return;
    note(feed, "end", "append", answer->status);
    atomic_fetch_add(&feed->counts->answers, 1);
    if (answer->status / 100 == 2 &&
        (number_of(answer, "offset") != offset || number_of(answer, "length") != size))
        violation(feed, "record %llu was to be at %llu: %.300s", (unsigned long long)record,
            (unsigned long long)offset, answer->body);
}

/* ---- plain ---- */

static bool step_plain(struct feed *feed, struct http_client *client)
{
    struct http_answer answer;
    bool again = feed->sent, answered;

    feed->sent = true;
    send_record(feed, client, 0, feed->done, feed->size, NULL, &answer);
    answered = is_answered(&answer);
    if (answered && (answer.status == 200 || answer.status == 201)) {
        uint64_t version = number_of(&answer, "version");

        if ((!again || feed->looked) && (answer.status == 200) != (again && feed->found))
            violation(feed, "record %llu was %s, and answered %d", (unsigned long long)feed->done,
                again && feed->found ? "there" : "not there", answer.status);
        if (version <= feed->version)
            violation(feed, "record %llu has version %llu, the one before it %llu",
                (unsigned long long)feed->done, (unsigned long long)version,
                (unsigned long long)feed->version);
        feed->version = version;
        feed->size += feed_record_size(feed, feed->done);
        feed->done++;
        feed->sent = false;
    } else if (answered) {
        unexpected(feed, "append", &answer);
    }
    feed->looked = false;
    http_answer_release(&answer);
    return answered;
}

/* ---- buffered ---- */

static bool sync_all(struct feed *feed, struct http_client *client)
{
    struct http_answer answer;
    bool answered;

    note(feed, "begin", "sync", 0);
    http_send(client, &(struct http_request){.method = "POST", .path = "/v1/sync"}, &answer);
    answered = is_answered(&answer);
    if (answered) {
        note(feed, "end", "sync", answer.status);
        atomic_fetch_add(&feed->counts->answers, 1);
    }
    if (answered && answer.status == 200) {
        feed->done += feed->accepted;
        feed->size += feed->accepted_size;
        feed->accepted = feed->accepted_size = 0;
    } else if (answered) {
        unexpected(feed, "sync", &answer);
    }
    http_answer_release(&answer);
    return answered;
}

static bool step_buffered(struct feed *feed, struct http_client *client)
{
    uint64_t record = feed->done + feed->accepted;
    struct http_answer answer;
    bool answered;

    if (feed->accepted >= SYNC_EVERY)
        return sync_all(feed, client);
    send_record(feed, client, 0, record, feed->size + feed->accepted_size,
        "Coffer-Durability: buffered", &answer);
    answered = is_answered(&answer);
    if (answered && (answer.status == 201 || answer.status == 202)) {
        feed->accepted++;
        feed->accepted_size += feed_record_size(feed, record);
        if (answer.status == 201) { /* a large one is durable, and so is what was before it */
            feed->done += feed->accepted;
            feed->size += feed->accepted_size;
            feed->accepted = feed->accepted_size = 0;
        }
    } else if (answered) {
        unexpected(feed, "buffered append", &answer);
    }
    http_answer_release(&answer);
    return answered;
}

/* ---- transactions ---- */

static void ask(struct feed *feed, struct http_client *client, const char *what, const char *path,
    const char *body, struct http_answer *answer)
{
    note(feed, "begin", what, 0);
    http_send(client,
        &(struct http_request){.method = "POST", .path = path, .body = body, .size = strlen(body)},
        answer);
    if (!is_answered(answer))
        return;
    note(feed, "end", what, answer->status);
    atomic_fetch_add(&feed->counts->answers, 1);
}

static bool is_problem(const struct http_answer *answer, const char *code)
{
    json_t *root = json_loads(answer->body, 0, NULL);
    const char *got = json_string_value(json_object_get(root, "code"));
    bool is = answer->status / 100 == 4 && got != NULL && strcmp(got, code) == 0;

    json_decref(root);
    return is;
}

/* It is gone, as a crash aborts it: the same again under another id. */
static void start_over(struct feed *feed)
{
    feed->step = STEP_BEGIN;
    feed->attempt++;
    feed->staged = 0;
    feed->sent = false;
}

static bool step_begin(struct feed *feed, struct http_client *client)
{
    char id[ID_SIZE], body[256];
    struct http_answer answer;
    bool again = feed->sent, answered;

    transaction_id(feed, id);
    (void)snprintf(body, sizeof(body), "{\"id\":\"%s\",\"channels\":[\"%s\",\"%s\",\"%s\"]}", id,
        feed->channels[0], feed->channels[1], feed->channels[2]);
    feed->sent = true;
    ask(feed, client, "open", FEED_DATASET "/transactions", body, &answer);
    answered = is_answered(&answer);
    if (answered && answer.status == 201)
        feed->step = STEP_STAGE;
    else if (answered && again && is_problem(&answer, "transaction_aborted"))
        start_over(feed); /* it had been opened */
    else if (answered)
        unexpected(feed, "opening", &answer);
    http_answer_release(&answer);
    return answered;
}

static bool step_stage(struct feed *feed, struct http_client *client)
{
    char id[ID_SIZE], header[64];
    struct http_answer answer;
    bool answered;

    transaction_id(feed, id);
    (void)snprintf(header, sizeof(header), "Coffer-Transaction: %s", id);
    send_record(feed, client, feed->staged, feed->done, feed->size, header, &answer);
    answered = is_answered(&answer);
    if (answered && (answer.status == 202 || answer.status == 200))
        feed->staged++;
    else if (answered && (is_problem(&answer, "transaction_aborted") ||
                             is_problem(&answer, "no_such_transaction")))
        start_over(feed);
    else if (answered)
        unexpected(feed, "staged append", &answer);
    if (feed->staged == feed->channel_count) {
        feed->step = STEP_COMMIT;
        feed->sent = false;
    }
    http_answer_release(&answer);
    return answered;
}

bool feed_gives_up(const struct feed *feed)
{
    uint64_t state = feed->seed + 31 * feed->done + feed->attempt;

    return seed_next(&state) % 7 == 0;
}

static void take_commit(struct feed *feed, const struct http_answer *answer)
{
    json_t *root = json_loads(answer->body, 0, NULL);
    json_t *channels = json_object_get(root, "channels");
    uint64_t size = feed_record_size(feed, feed->done);

    for (unsigned i = 0; i < feed->channel_count; i++) {
        json_t *part = json_object_get(channels, feed->channels[i]);

        if ((uint64_t)json_integer_value(json_object_get(part, "offset")) != feed->size ||
            (uint64_t)json_integer_value(json_object_get(part, "length")) != size)
            violation(feed, "the commit of %llu says %.300s", (unsigned long long)feed->done,
                answer->body);
    }
    feed->version = (uint64_t)json_integer_value(json_object_get(root, "version"));
    json_decref(root);
    feed->size += size;
    feed->done++;
    start_over(feed);
    feed->attempt = 0;
}

static bool step_commit(struct feed *feed, struct http_client *client)
{
    char id[ID_SIZE], path[PATH_SIZE];
    struct http_answer answer;
    bool abort = feed_gives_up(feed), again = feed->sent, answered;

    transaction_id(feed, id);
    (void)snprintf(
        path, sizeof(path), FEED_DATASET "/transactions/%s/%s", id, abort ? "abort" : "commit");
    feed->sent = true;
    ask(feed, client, abort ? "abort" : "commit", path, "{}", &answer);
    answered = is_answered(&answer);
    if (answered && answer.status == 200 && !abort) {
        if (again && feed->looked && !feed->found)
            violation(feed, "transaction %s was not there, and is committed", id);
        take_commit(feed, &answer);
    } else if (answered &&
               (answer.status == 200 || (is_problem(&answer, "transaction_aborted") &&
                                            (again || strstr(answer.body, "stopped") != NULL)))) {
        if (again && feed->looked && feed->found)
            violation(feed, "transaction %s was there, and is aborted", id);
        start_over(feed);
    } else if (answered) {
        unexpected(feed, abort ? "abort" : "commit", &answer);
    }
    feed->looked = false;
    http_answer_release(&answer);
    return answered;
}

bool feed_step(struct feed *feed, struct http_client *client)
{
    switch (feed->kind) {
    case FEED_PLAIN:
        return step_plain(feed, client);
    case FEED_BUFFERED:
        return step_buffered(feed, client);
    case FEED_TRANSACTIONS:
        break;
    }
    return feed->step == STEP_BEGIN   ? step_begin(feed, client)
           : feed->step == STEP_STAGE ? step_stage(feed, client)
                                      : step_commit(feed, client);
}

void feed_crashed(struct feed *feed)
{
    if (feed->kind == FEED_TRANSACTIONS && feed->step == STEP_STAGE)
        start_over(feed); /* whatever was open is aborted */
}

void feed_stopped(struct feed *feed)
{
    if (feed->kind == FEED_BUFFERED) {
        feed->done += feed->accepted;
        feed->size += feed->accepted_size;
        feed->accepted = feed->accepted_size = 0;
    }
    feed_crashed(feed);
}
