/*
 * A million words through streams: what it costs to write them word by word, by how many channels,
 * with and without transactions, and to read them again.
 *
 *     words URL DATASET [WORDS [CHANNELS]]
 *
 * Each way writes a dataset of its own, DATASET-1 and so on, with a writer (a thread) for each
 * channel. A word is a line of 8 bytes and a record. Prints a line a way, and ends with 1 if a word
 * is missing.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "client/coffer.h"

enum { CHANNELS_MAX = 64, WORD_SIZE = 8 };

struct way {
    const char *name;
    bool print; /* fprintf() instead of fwrite() */
    bool pipeline;
    unsigned long transaction; /* words of one on each channel; 0: none */
    size_t buffer_size;
};

static const struct way ways[] = {
    {.name = "fwrite"},
    {.name = "fprintf", .print = true},
    {.name = "fwrite, pipeline", .pipeline = true},
    {.name = "fprintf, pipeline", .print = true, .pipeline = true},
    {.name = "fwrite, 64 KiB appends", .buffer_size = 65536},
    {.name = "fwrite, transactions of 10000", .transaction = 10000},
    {.name = "fwrite, one transaction", .transaction = ~0UL},
};

struct writer {
    pthread_t thread;
    struct coffer_client *client;
    const struct way *way;
    const char *dataset;
    char channel[16];
    unsigned long first, count;
    struct coffer_error err;
    int result;
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void put_word(FILE *stream, const struct way *way, unsigned long number)
{
    char word[16];

    if (way->print) {
        fprintf(stream, "%07lu\n", number % 10000000);
        return;
    }
    for (unsigned i = WORD_SIZE - 1; i-- > 0; number /= 10)
        word[i] = (char)('0' + number % 10);
    word[WORD_SIZE - 1] = '\n';
    fwrite(word, 1, WORD_SIZE, stream);
}

/* Words from `at` on, as one transaction. */
static int put_batch(struct writer *writer, FILE *stream, unsigned long at, unsigned long count)
{
    const char *channel = writer->channel;
    const struct coffer_transaction_options options = {.channels = &channel, .channel_count = 1};
    struct coffer_transaction *transaction =
        coffer_transaction_begin(writer->client, writer->dataset, &options, &writer->err);
    int result = transaction == NULL ? -1 : coffer_channel_join(stream, transaction, &writer->err);

    for (unsigned long i = 0; result == 0 && i < count; i++)
        put_word(stream, writer->way, at + i);
    if (result == 0)
        result = coffer_transaction_commit(transaction, 0, NULL, &writer->err);
    coffer_transaction_free(transaction);
    return result;
}

static int put_words(struct writer *writer)
{
    const struct coffer_channel_options options = {.per_line = true,
        .pipeline = writer->way->pipeline,
        .buffer_size = writer->way->buffer_size};
    unsigned long step = writer->way->transaction;
    FILE *stream = coffer_channel_open(
        writer->client, writer->dataset, writer->channel, "a", &options, &writer->err);
    int result = 0;

    if (stream == NULL)
        return -1;
    if (step == 0)
        for (unsigned long i = 0; i < writer->count; i++)
            put_word(stream, writer->way, writer->first + i);
    for (unsigned long at = 0; step > 0 && result == 0 && at < writer->count; at += step) {
        if (step > writer->count - at)
            step = writer->count - at;
        result = put_batch(writer, stream, writer->first + at, step);
    }
    if (result != 0) {
        fclose(stream);
        return result;
    }
    return coffer_channel_close(stream, &writer->err);
}

static void *write_words(void *context)
{
    struct writer *writer = context;

    writer->result = put_words(writer);
    return NULL;
}

/* Read all channels, one after the other; the number of words that are right. */
static unsigned long read_words(struct writer *writers, unsigned channels)
{
    unsigned long right = 0;

    for (unsigned i = 0; i < channels; i++) {
        struct writer *writer = &writers[i];
        FILE *stream = coffer_channel_open(
            writer->client, writer->dataset, writer->channel, "r", NULL, &writer->err);
        char word[WORD_SIZE], expected[24];

        for (unsigned long n = 0; stream != NULL && fread(word, WORD_SIZE, 1, stream) == 1; n++) {
            unsigned long number = writer->first + n;

            for (unsigned at = WORD_SIZE - 1; at-- > 0; number /= 10)
                expected[at] = (char)('0' + number % 10);
            expected[WORD_SIZE - 1] = '\n';
            right += memcmp(word, expected, WORD_SIZE) == 0;
        }
        if (stream != NULL && coffer_stream_error(stream, &writer->err) != 0)
            writer->result = -1;
        if (stream != NULL)
            fclose(stream);
    }
    return right;
}

/* 0, or an exit code. */
static int run(struct coffer_client *client, const struct way *way, const char *dataset,
    unsigned long words, unsigned channels)
{
    struct writer writers[CHANNELS_MAX];
    struct coffer_error err;
    double start = now(), written;
    unsigned long right;

    if (coffer_dataset_create(client, dataset, NULL, NULL, &err) != 0) {
        fprintf(stderr, "%s: %s\n", err.code, err.detail);
        return 3;
    }
    for (unsigned i = 0; i < channels; i++) {
        writers[i] = (struct writer){.client = client,
            .way = way,
            .dataset = dataset,
            .first = words / channels * i,
            .count = i + 1 < channels ? words / channels : words - words / channels * i};
        snprintf(writers[i].channel, sizeof(writers[i].channel), "words-%u", i);
        if (pthread_create(&writers[i].thread, NULL, write_words, &writers[i]) != 0)
            abort();
    }
    for (unsigned i = 0; i < channels; i++)
        pthread_join(writers[i].thread, NULL);
    written = now();
    right = read_words(writers, channels);
    for (unsigned i = 0; i < channels; i++)
        if (writers[i].result != 0) {
            fprintf(stderr, "%s: %s: %s\n", writers[i].channel, writers[i].err.code,
                writers[i].err.detail);
            return 3;
        }
    printf("%-32s %2u channels  write %7.3f s  %9.0f words/s   read %7.3f s  %10.0f words/s\n",
        way->name, channels, written - start, (double)words / (written - start), now() - written,
        (double)words / (now() - written));
    fflush(stdout);
    if (right != words)
        fprintf(stderr, "%lu of %lu words are right\n", right, words);
    return right == words ? 0 : 1;
}

int main(int argc, char **argv)
{
    unsigned long words = argc > 3 ? strtoul(argv[3], NULL, 10) : 1000000;
    unsigned long channels = argc > 4 ? strtoul(argv[4], NULL, 10) : 4;
    struct coffer_client *client;
    struct coffer_error err;
    char dataset[80];
    int code = 0;

    if (argc < 3 || channels == 0 || channels > CHANNELS_MAX || words < channels) {
        fprintf(stderr, "usage: words URL DATASET [WORDS [CHANNELS]]\n");
        return 2;
    }
    client = coffer_open(argv[1], NULL, &err);
    if (client == NULL) {
        fprintf(stderr, "%s: %s\n", err.code, err.detail);
        return 2;
    }
    for (size_t i = 0; code == 0 && i < sizeof(ways) / sizeof(ways[0]); i++) {
        snprintf(dataset, sizeof(dataset), "%s-%zu", argv[2], i + 1);
        code = run(client, &ways[i], dataset, words, (unsigned)channels);
    }
    coffer_close(client);
    return code;
}
