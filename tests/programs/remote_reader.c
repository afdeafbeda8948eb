/*
 * A reader on some machine, while others write: is what it sees ever half of a commit, or anything
 * else that must not be?
 *
 *     remote_reader watch URL DATASET SEED BATCH CHANNEL...
 *
 * looks again and again, until SIGTERM, at the dataset and at these channels, which are written in
 * transactions over all of them, BATCH lines each at a time:
 *   - one look shows the same number of lines in each, and whole batches only;
 *   - its version and the channels' sizes never go back, whatever becomes of the server;
 *   - a channel read as of that version has just what the look says, and only right lines;
 *   - read as of the version of the look before, it is still what it was then.
 * Ends with 1 if any of this was violated, with 3 if it could not look.
 *
 *     remote_reader follow URL DATASET CHANNEL
 *
 * prints a channel, until the dataset is closed.
 *
 *     remote_reader lines CHANNEL SEED FROM COUNT
 *
 * prints what a writer must have written.
 */
#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/coffer.h"
#include "tests/support/remote_lines.h"

enum { CHANNELS_MAX = 8 };

struct look { /* the dataset at one moment */
    uint64_t version;
    uint64_t sizes[CHANNELS_MAX], records[CHANNELS_MAX];
};

struct reader {
    struct coffer_client *client;
    const char *dataset;
    uint64_t seed, batch;
    char **channels;
    size_t count;
    uint64_t looks, versions, lines, violations;
};

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

static void violated(
    struct reader *reader, const char *what, const char *channel, uint64_t is, uint64_t was)
{
    reader->violations++;
    (void)fprintf(stderr, "violation: %s: %s: %" PRIu64 ", %" PRIu64 "\n", channel, what, is, was);
}

static int look_at_dataset(struct reader *reader, struct look *look, struct coffer_error *err)
{
    char *text = coffer_dataset_show(reader->client, reader->dataset, err);
    json_t *json = text == NULL ? NULL : json_loads(text, 0, NULL), *channel;
    size_t at;

    free(text);
    if (json == NULL)
        return -1;
    *look =
        (struct look){.version = (uint64_t)json_integer_value(json_object_get(json, "version"))};
    json_array_foreach(json_object_get(json, "channels"), at, channel)
    {
        const char *name = json_string_value(json_object_get(channel, "name"));

        for (size_t i = 0; i < reader->count; i++)
            if (name != NULL && strcmp(name, reader->channels[i]) == 0) {
                look->sizes[i] = (uint64_t)json_integer_value(json_object_get(channel, "size"));
                look->records[i] =
                    (uint64_t)json_integer_value(json_object_get(channel, "records"));
            }
    }
    json_decref(json);
    return 0;
}

static void compare_looks(struct reader *reader, const struct look *was, const struct look *is)
{
    if (is->version < was->version)
        violated(reader, "the version goes back", reader->dataset, is->version, was->version);
    for (size_t i = 0; i < reader->count; i++) {
        const char *channel = reader->channels[i];

        if (is->sizes[i] < was->sizes[i])
            violated(reader, "it has shrunk", channel, is->sizes[i], was->sizes[i]);
        if (is->records[i] != is->records[0])
            violated(reader, "half of a commit", channel, is->records[i], is->records[0]);
        if (is->records[i] % reader->batch != 0)
            violated(reader, "part of a batch", channel, is->records[i], reader->batch);
    }
}

/* Channel `i` as of a look has just the lines from `first` (at `offset`) on that the look says. */
static int read_as_of(struct reader *reader, const struct look *look, size_t i, uint64_t first,
    uint64_t offset, struct coffer_error *err)
{
    const struct coffer_channel_options options = {.version = look->version, .offset = offset};
    const char *channel = reader->channels[i];
    char line[REMOTE_LINE_MAX], expected[REMOTE_LINE_MAX];
    FILE *stream;
    int result;

    if (look->records[i] == 0)
        return 0;
    stream = coffer_channel_open(reader->client, reader->dataset, channel, "r", &options, err);
    if (stream == NULL)
        return -1;
    for (; fgets(line, sizeof(line), stream) != NULL; first++) {
        (void)remote_line(expected, channel, reader->seed, first);
        if (strcmp(line, expected) != 0) {
            violated(reader, "a wrong line", channel, first, look->version);
            break;
        }
        reader->lines++;
    }
    result = coffer_stream_error(stream, err);
    if (result == 0 && first != look->records[i])
        violated(reader, "not as many lines as the look says", channel, first, look->records[i]);
    (void)fclose(stream);
    return result;
}

static int watch(struct reader *reader, struct coffer_error *err)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    struct look was = {0}, is;
    int result = 0;

    for (; result == 0 && !stopped; was = is) {
        result = look_at_dataset(reader, &is, err);
        if (result != 0)
            break;
        compare_looks(reader, &was, &is);
        for (size_t i = 0; result == 0 && i < reader->count; i++)
            if (is.sizes[i] > was.sizes[i])
                result = read_as_of(reader, &is, i, was.records[i], was.sizes[i], err);
        if (result == 0)
            result = read_as_of(reader, &was, reader->looks % reader->count, 0, 0, err);
        reader->looks++;
        reader->versions += is.version != was.version;
        (void)nanosleep(&pause, NULL); /* poll: what is committed meanwhile */
    }
    return result;
}

/* Short, so that connections to a server that is no more are left soon. */
static const struct coffer_options options = {.connect_timeout = 2, .timeout = 4, .patience = 120};

static int watch_main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_signal};
    struct reader reader = {.dataset = argv[3],
        .seed = strtoull(argv[4], NULL, 10),
        .batch = strtoull(argv[5], NULL, 10),
        .channels = argv + 6,
        .count = (size_t)argc - 6};
    struct coffer_error err;
    int result = -1;

    (void)sigaction(SIGTERM, &action, NULL);
    reader.client = coffer_open(argv[2], &options, &err);
    if (reader.client != NULL)
        result = watch(&reader, &err);
    coffer_close(reader.client);
    (void)printf("%" PRIu64 " looks at %" PRIu64 " versions, %" PRIu64 " lines compared, %" PRIu64
                 " violations\n",
        reader.looks, reader.versions, reader.lines, reader.violations);
    if (result != 0)
        (void)fprintf(stderr, "%s: %s\n", err.code, err.detail);
    if (reader.violations > 0)
        return 1;
    return result == 0 ? 0 : 3;
}

static int follow(char **argv)
{
    const struct coffer_channel_options following = {.follow = true};
    struct coffer_error err;
    struct coffer_client *client = coffer_open(argv[2], &options, &err);
    FILE *stream = client == NULL
                       ? NULL
                       : coffer_channel_open(client, argv[3], argv[4], "r", &following, &err);
    char line[REMOTE_LINE_MAX];
    int result = -1;

    if (stream != NULL) {
        while (fgets(line, sizeof(line), stream) != NULL)
            (void)fputs(line, stdout);
        result = coffer_stream_error(stream, &err);
        (void)fclose(stream);
    }
    coffer_close(client);
    if (result != 0)
        (void)fprintf(stderr, "%s: %s\n", err.code, err.detail);
    return result == 0 && fflush(stdout) == 0 ? 0 : 3;
}

static int print_lines(char **argv)
{
    uint64_t seed = strtoull(argv[3], NULL, 10), from = strtoull(argv[4], NULL, 10),
             count = strtoull(argv[5], NULL, 10);
    char line[REMOTE_LINE_MAX];

    for (uint64_t i = from; i < from + count; i++) {
        (void)remote_line(line, argv[2], seed, i);
        (void)fputs(line, stdout);
    }
    return fflush(stdout) == 0 ? 0 : 3;
}

int main(int argc, char **argv)
{
    if (argc > 6 && argc - 6 <= CHANNELS_MAX && strcmp(argv[1], "watch") == 0)
        return watch_main(argc, argv);
    if (argc == 5 && strcmp(argv[1], "follow") == 0)
        return follow(argv);
    if (argc == 6 && strcmp(argv[1], "lines") == 0)
        return print_lines(argv);
    (void)fprintf(stderr, "usage: remote_reader watch URL DATASET SEED BATCH CHANNEL...\n"
                          "       remote_reader follow URL DATASET CHANNEL\n"
                          "       remote_reader lines CHANNEL SEED FROM COUNT\n");
    return 2;
}
