#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"
#include "tests/support/dataset_feed.h"

struct shown { /* of one channel */
    uint64_t size, records;
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

/* ---- looking ---- */

/* What `root`, the dataset, says of a channel; zeros if it is not there. */
static struct shown shown_of(json_t *root, const char *name)
{
    struct shown shown = {0};
    json_t *channel;
    size_t i;

    json_array_foreach(json_object_get(root, "channels"), i, channel)
    {
        if (strcmp(json_string_value(json_object_get(channel, "name")), name) != 0)
            continue;
        shown.size = (uint64_t)json_integer_value(json_object_get(channel, "size"));
        shown.records = (uint64_t)json_integer_value(json_object_get(channel, "records"));
    }
    return shown;
}

/* The dataset; an empty object if there is none; NULL: no answer. */
static json_t *get_dataset(const struct feed *feed, struct http_client *client)
{
    struct http_answer answer;
    json_t *root = NULL;

    http_send(client, &(struct http_request){.path = FEED_DATASET}, &answer);
    if (answer.status == 200 && answer.error[0] == '\0')
        root = json_loads(answer.body, 0, NULL);
    else if (answer.status == 404)
        root = json_object();
    else if (answer.status != 0 && answer.status != 503 && answer.error[0] == '\0')
        violation(feed, "the dataset answers %d: %.300s", answer.status, answer.body);
    http_answer_release(&answer);
    return root;
}

/* ---- after a start ---- */

/* The lengths that a channel of the feed may have. */
static bool may_have(const struct feed *feed, uint64_t size)
{
    uint64_t next = feed->size + feed_record_size(feed, feed->done);
    uint64_t most = feed_bytes(feed, feed->done + feed->accepted + 1);

    switch (feed->kind) {
    case FEED_PLAIN:
        return size == feed->size || (feed->sent && size == next);
    case FEED_BUFFERED: /* the one after those that were accepted may have been sent */
        return size >= feed->size && size <= most && feed_records(feed, size) != UINT64_MAX;
    case FEED_TRANSACTIONS:
        break;
    }
    return size == feed->size ||
           (size == next && feed->step == STEP_COMMIT && feed->sent && !feed_gives_up(feed));
}

static void check_bytes(
    const struct feed *feed, unsigned channel, uint64_t records, struct http_client *client)
{
    uint64_t size = feed_bytes(feed, records), at = 0;
    char path[120], *wanted = malloc(size + 1);
    struct http_answer answer;

    invariant(wanted != NULL);
    for (uint64_t i = 0; i < records; i++) {
        feed_fill(feed, channel, i, wanted + at);
        at += feed_record_size(feed, i);
    }
    (void)snprintf(path, sizeof(path), FEED_DATASET "/channels/%s", feed->channels[channel]);
    http_send(client, &(struct http_request){.path = path}, &answer);
    if (size == 0 ? answer.status != 404 : answer.status != 200)
        violation(
            feed, "channel %s answers %d %s", feed->channels[channel], answer.status, answer.error);
    else if (size > 0 && (answer.size != size || memcmp(answer.body, wanted, size) != 0))
        violation(feed, "channel %s has other bytes", feed->channels[channel]);
    http_answer_release(&answer);
    free(wanted);
}

static void check_feed(struct feed *feed, json_t *root, struct http_client *client)
{
    struct shown first = shown_of(root, feed->channels[0]);

    for (unsigned i = 0; i < feed->channel_count; i++) {
        struct shown shown = shown_of(root, feed->channels[i]);

        if (shown.size != first.size)
            violation(feed, "a transaction is there by half: %llu and %llu bytes",
                (unsigned long long)first.size, (unsigned long long)shown.size);
        else if (!may_have(feed, shown.size))
            violation(feed, "%llu bytes are there, %llu were acknowledged",
                (unsigned long long)shown.size, (unsigned long long)feed->size);
        else if (shown.records != feed_records(feed, shown.size))
            violation(feed, "there are %llu records", (unsigned long long)shown.records);
        else
            check_bytes(feed, i, shown.records, client);
        feed->counts->checked += shown.records;
    }
    feed->looked = true;
    feed->found = first.size > feed->size;
    if (feed->kind != FEED_BUFFERED)
        return;
    feed->size = first.size; /* it goes on there */
    feed->done = first.records;
    feed->accepted = feed->accepted_size = 0;
}

/* ---- the log ---- */

struct position {
    uint64_t size, records; /* that the versions so far have made up */
};

static struct feed *feed_of(struct feed *feeds, size_t count, const char *channel, size_t *at)
{
    for (size_t i = 0; i < count; i++)
        for (unsigned j = 0; j < feeds[i].channel_count; j++)
            if (strcmp(feeds[i].channels[j], channel) == 0) {
                *at = i * FEED_CHANNELS_MAX + j;
                return &feeds[i];
            }
    return NULL;
}

/* One channel of a version, which goes on where the one before it ended. */
static void follow_part(
    struct feed *feeds, size_t count, const char *name, json_t *part, struct position *positions)
{
    uint64_t offset = (uint64_t)json_integer_value(json_object_get(part, "offset"));
    uint64_t length = (uint64_t)json_integer_value(json_object_get(part, "length"));
    size_t at = 0;
    struct feed *feed = feed_of(feeds, count, name, &at);

    if (feed == NULL) {
        violation(&feeds[0], "the log has a channel %s", name);
    } else if (offset != positions[at].size) {
        violation(feed, "the log goes on at %llu of channel %s, which ended at %llu",
            (unsigned long long)offset, name, (unsigned long long)positions[at].size);
    } else {
        uint64_t end = offset + length;

        while (positions[at].size < end)
            positions[at].size += feed_record_size(feed, positions[at].records++);
        if (positions[at].size != end)
            violation(feed, "the log has half a record of channel %s", name);
    }
}

/* The transaction of that id, with all of its channels. */
static void check_transaction(struct feed *feeds, size_t count, const char *id, json_t *channels)
{
    unsigned number = 0, attempt;
    unsigned long long done = 0;
    struct feed *feed = NULL;

    if (sscanf(id, "x%u-%llu-%u", &number, &done, &attempt) == 3) /* NOLINT(cert-err34-c): ours */
        for (size_t i = 0; i < count; i++)
            if (feeds[i].kind == FEED_TRANSACTIONS && feeds[i].number == number)
                feed = &feeds[i];
    if (feed == NULL) {
        violation(&feeds[0], "the log has a transaction %s", id);
        return;
    }
    if (json_object_size(channels) != feed->channel_count)
        violation(feed, "transaction %s has %zu channels", id, json_object_size(channels));
    for (unsigned i = 0; i < feed->channel_count; i++) {
        json_t *part = json_object_get(channels, feed->channels[i]);

        if ((uint64_t)json_integer_value(json_object_get(part, "offset")) !=
                feed_bytes(feed, done) ||
            (uint64_t)json_integer_value(json_object_get(part, "length")) !=
                feed_record_size(feed, done))
            violation(feed, "transaction %s is not record %llu of channel %s", id, done,
                feed->channels[i]);
    }
}

static void follow_line(
    struct feed *feeds, size_t count, json_t *version, struct position *positions, uint64_t *last)
{
    uint64_t number = (uint64_t)json_integer_value(json_object_get(version, "version"));
    const char *id = json_string_value(json_object_get(version, "transaction")), *name;
    json_t *channels = json_object_get(version, "channels"), *part;

    if (number <= *last)
        violation(&feeds[0], "version %llu comes after %llu", (unsigned long long)number,
            (unsigned long long)*last);
    *last = number;
    json_object_foreach(channels, name, part) follow_part(feeds, count, name, part, positions);
    if (id != NULL)
        check_transaction(feeds, count, id, channels);
    else if (json_object_size(channels) != 1)
        violation(&feeds[0], "version %llu has %zu channels", (unsigned long long)number,
            json_object_size(channels));
}

static void check_log(struct feed *feeds, size_t count, json_t *root, struct http_client *client)
{
    struct position positions[FEEDS_MAX * FEED_CHANNELS_MAX] = {{0}};
    struct http_answer answer;
    uint64_t last = 0;

    http_send(client,
        &(struct http_request){
            .path = FEED_DATASET "/versions", .headers = {"Accept: application/x-ndjson"}},
        &answer);
    if (answer.status != 200 || answer.error[0] != '\0')
        violation(&feeds[0], "the log answers %d %s", answer.status, answer.error);
    for (char *line = answer.body, *next; (next = strchr(line, '\n')) != NULL; line = next + 1) {
        json_t *version = json_loadb(line, (size_t)(next - line), 0, NULL);

        follow_line(feeds, count, version, positions, &last);
        json_decref(version);
    }
    http_answer_release(&answer);
    for (size_t i = 0; i < count; i++)
        for (unsigned j = 0; j < feeds[i].channel_count; j++)
            if (positions[i * FEED_CHANNELS_MAX + j].size !=
                shown_of(root, feeds[i].channels[j]).size)
                violation(&feeds[i], "the log has not all of channel %s", feeds[i].channels[j]);
}

static void check_status(const struct feed *feed, struct http_client *client)
{
    struct http_answer answer;
    json_t *root;

    http_send(client, &(struct http_request){.path = "/v1/status"}, &answer);
    root = json_loads(answer.body, 0, NULL);
    if (json_integer_value(json_object_get(root, "damaged_records")) != 0)
        violation(feed, "the status tells of damaged records");
    json_decref(root);
    http_answer_release(&answer);
}

void feeds_check(struct feed *feeds, size_t count, const char *address)
{
    struct http_client *client = http_client_create(address);
    json_t *root = get_dataset(&feeds[0], client);

    if (root == NULL)
        violation(&feeds[0], "the dataset is not answered for");
    for (size_t i = 0; i < count; i++)
        check_feed(&feeds[i], root, client);
    if (json_object_size(root) > 0)
        check_log(feeds, count, root, client);
    check_status(&feeds[0], client);
    json_decref(root);
    http_client_destroy(client);
}

/* ---- while it lives ---- */

/* As of `version` the channel has just as many bytes. */
static bool check_as_of(const struct feed *feed, unsigned channel, uint64_t version, uint64_t size,
    struct http_client *client)
{
    struct http_answer answer;
    char path[160], length[32];
    const char *got;
    bool answered;

    (void)snprintf(path, sizeof(path), FEED_DATASET "/channels/%s?version=%llu",
        feed->channels[channel], (unsigned long long)version);
    (void)snprintf(length, sizeof(length), "%llu", (unsigned long long)size);
    http_send(client, &(struct http_request){.method = "HEAD", .path = path}, &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    if (answered && answer.status != 503) {
        got = http_header(&answer, "Content-Length");
        if (answer.status != (size == 0 ? 404 : 200) ||
            (size > 0 && (got == NULL || strcmp(got, length) != 0)))
            violation(feed, "channel %s as of version %llu: %d, %s bytes, not %s",
                feed->channels[channel], (unsigned long long)version, answer.status,
                got == NULL ? "no" : got, length);
    }
    http_answer_release(&answer);
    return answered;
}

bool feeds_watch(
    const struct feed *feeds, size_t count, struct feed_watch *last, struct http_client *client)
{
    json_t *root = get_dataset(&feeds[0], client);
    uint64_t version = (uint64_t)json_integer_value(json_object_get(root, "version"));
    bool answered = root != NULL;

    if (answered && version < last->version)
        violation(&feeds[0], "version %llu was shown after %llu", (unsigned long long)version,
            (unsigned long long)last->version);
    for (size_t i = 0; answered && i < count; i++) {
        uint64_t size = shown_of(root, feeds[i].channels[0]).size;

        if (size < last->sizes[i] || feed_records(&feeds[i], size) == UINT64_MAX)
            violation(&feeds[i], "%llu bytes are shown, after %llu", (unsigned long long)size,
                (unsigned long long)last->sizes[i]);
        for (unsigned j = 0; answered && j < feeds[i].channel_count; j++) {
            if (shown_of(root, feeds[i].channels[j]).size != size)
                violation(&feeds[i], "half of a transaction is shown");
            if (version > 0)
                answered = check_as_of(&feeds[i], j, version, size, client);
        }
        last->sizes[i] = size;
    }
    last->version = version;
    if (answered)
        atomic_fetch_add(&feeds[0].counts->answers, 1);
    json_decref(root);
    return answered;
}
