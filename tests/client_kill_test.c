/*
 * ctest-labels: slow
 *
 * Goal: a server that is killed, again and again, in the middle of what its writers send loses
 * nothing and doubles nothing: each stream goes on by itself, and in the end its channel has each
 * byte once; a batch that a transaction wrote is there whole, once. Method: several threads write
 * without pause through one client; the server dies by SIGKILL at a fault point (before and after
 * its writes, syncs and index), and is started again; then every channel is compared with what was
 * written.
 *
 * COFFER_TEST_LONG=1 kills 60 times instead of 6. COFFER_TEST_SEED repeats a run as far as threads
 * let it.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/coffer.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/http_client.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum { PLAIN = 3, CHANNELS = PLAIN + 2, BATCH = 200, KILLS = 6, KILLS_LONG = 60 };

static const char *const names[CHANNELS] = {"lines", "pipelined", "flushed", "left", "right"};
static const char *const args[] = {
    "--pack-size", "1MiB", "--segment-size", "64KiB", "--flush-interval", "20ms", NULL};

static struct server server;
static struct coffer_client *client;
static _Atomic bool stop;
static unsigned long written[CHANNELS]; /* lines; read after the threads ended */
static _Atomic unsigned violations;
static _Atomic unsigned long batches, aborted;

static void violated(const char *channel, const struct coffer_error *err)
{
    atomic_fetch_add(&violations, 1);
    (void)fprintf(stderr, "violation: %s: %s: %s\n", channel, err->code, err->detail);
}

static int make_line(char *out, size_t size, const char *channel, unsigned long number)
{
    return snprintf(out, size, "%s %lu %.*s\n", channel, number, (int)(number * 7919 % 60),
        "------------------------------------------------------------");
}

static void put_line(FILE *stream, const char *channel, unsigned long number)
{
    char line[128];

    (void)make_line(line, sizeof(line), channel, number);
    (void)fputs(line, stream);
}

/* ---- writers ---- */

static FILE *open_stream(size_t at)
{
    const struct coffer_channel_options options = {
        .per_line = at != 2, .pipeline = at == 1, .buffer_size = 64 << 10};
    struct coffer_error err;
    FILE *stream = coffer_channel_open(client, "killed", names[at], "a", &options, &err);

    if (stream == NULL)
        violated(names[at], &err);
    return stream;
}

static void *write_plain(void *context)
{
    size_t at = *(const size_t *)context;
    FILE *stream = open_stream(at);
    struct coffer_error err;
    unsigned long number = 0;

    for (; stream != NULL && !atomic_load(&stop) && !ferror(stream); number++) {
        put_line(stream, names[at], number);
        if (number % (at == 2 ? 50 : 5000) == 0)
            (void)fflush(stream);
    }
    written[at] = number;
    if (stream != NULL && coffer_channel_close(stream, &err) != 0)
        violated(names[at], &err);
    return NULL;
}

/* 0: committed. 1: aborted by the server, to be written again. -1: a failure that should not be. */
static int write_batch(FILE *const *streams, unsigned long first)
{
    /* Not the whole dataset: the others go on. */
    const struct coffer_transaction_options options = {
        .channels = names + PLAIN, .channel_count = 2};
    struct coffer_error err;
    struct coffer_transaction *transaction =
        coffer_transaction_begin(client, "killed", &options, &err);
    int result = transaction == NULL ? -1 : 0;

    for (size_t i = 0; result == 0 && i < 2; i++)
        result = coffer_channel_join(streams[i], transaction, &err);
    for (unsigned long n = 0; result == 0 && n < BATCH; n++)
        for (size_t i = 0; i < 2; i++) {
            put_line(streams[i], names[PLAIN + i], first + n);
            if (n % 64 == 63)
                (void)fflush(streams[i]);
        }
    if (result == 0)
        result = coffer_transaction_commit(transaction, 0, NULL, &err);
    if (result != 0 && transaction != NULL && strcmp(err.code, "transaction_aborted") == 0 &&
        coffer_transaction_abort(transaction, &err) == 0)
        result = 1;
    if (result < 0)
        violated("a transaction", &err);
    coffer_transaction_free(transaction);
    return result;
}

static void *write_batches(void *context)
{
    FILE *streams[2] = {open_stream(PLAIN), open_stream(PLAIN + 1)};
    struct coffer_error err;
    unsigned long number = 0;
    int result = 0;

    (void)context;
    while (result >= 0 && !atomic_load(&stop)) {
        result = write_batch(streams, number);
        number += result == 0 ? BATCH : 0;
        atomic_fetch_add(result == 0 ? &batches : &aborted, 1);
    }
    for (size_t i = 0; i < 2; i++) {
        written[PLAIN + i] = number;
        if (coffer_channel_close(streams[i], &err) != 0)
            violated(names[PLAIN + i], &err);
    }
    return NULL;
}

/* ---- what is there in the end ---- */

static void check_channel(size_t at)
{
    struct coffer_error err;
    FILE *stream = coffer_channel_open(client, "killed", names[at], "r", NULL, &err);
    char line[128], expected[128];
    unsigned long number = 0;

    if (stream == NULL) {
        violated(names[at], &err);
        return;
    }
    while (fgets(line, sizeof(line), stream) != NULL) {
        (void)make_line(expected, sizeof(expected), names[at], number++);
        if (strcmp(line, expected) != 0) {
            (void)fprintf(
                stderr, "violation: %s has \"%s\" in place of \"%s\"\n", names[at], line, expected);
            atomic_fetch_add(&violations, 1);
            break;
        }
    }
    if (number != written[at] || coffer_stream_error(stream, &err) != 0) {
        (void)fprintf(stderr, "violation: %s: %lu lines were written, %lu are there\n", names[at],
            written[at], number);
        atomic_fetch_add(&violations, 1);
    }
    (void)fclose(stream);
}

/* ---- the server's deaths ---- */

static void die_and_come_back(uint64_t *seed)
{
    static const char *const sites[] = {
        "after_sync", "after_index", "pack_write", "pack_sync", "index_write"};
    char faults[100];

    (void)snprintf(faults, sizeof(faults), "COFFER_FAULTS=%s=kill@%u",
        sites[seed_next(seed) % ARRAY_COUNT(sites)], 1 + (unsigned)(seed_next(seed) % 100));
    server.env[0] = faults;
    server_spawn(&server);
    if (server_wait(&server) != 128 + SIGKILL) {
        (void)fprintf(stderr, "violation: %s did not kill it\n", faults);
        atomic_fetch_add(&violations, 1);
    }
    server.env[0] = NULL;
}

int main(void)
{
    const char *text = getenv("COFFER_TEST_SEED"), *full = getenv("COFFER_TEST_LONG");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : clock_wall_ns();
    unsigned kills = full != NULL && strcmp(full, "1") == 0 ? KILLS_LONG : KILLS;
    size_t numbers[PLAIN] = {0, 1, 2};
    pthread_t threads[PLAIN + 1];
    struct coffer_error err;
    char listen[256];

    (void)printf("COFFER_TEST_SEED=%llu\n", (unsigned long long)seed);
    (void)fflush(stdout);
    http_client_global();
    server_init(&server, args);
    /* The same address after each start. */
    (void)snprintf(listen, sizeof(listen), "unix:%s/socket", server.folder);
    server.listen = listen;
    server_start(&server);
    client = coffer_open(listen, NULL, NULL);
    if (coffer_dataset_create(client, "killed", NULL, NULL, &err) != 0)
        violated("the dataset", &err);
    for (size_t i = 0; i < PLAIN; i++)
        invariant(pthread_create(&threads[i], NULL, write_plain, &numbers[i]) == 0);
    invariant(pthread_create(&threads[PLAIN], NULL, write_batches, NULL) == 0);
    server_kill(&server);
    for (unsigned i = 0; i < kills && atomic_load(&violations) == 0; i++)
        die_and_come_back(&seed);
    server_start(&server);
    atomic_store(&stop, true);
    for (size_t i = 0; i <= PLAIN; i++)
        (void)pthread_join(threads[i], NULL);
    for (size_t i = 0; i < CHANNELS; i++)
        check_channel(i);
    (void)printf("%u kills, %lu + %lu + %lu lines, %lu batches, %lu more aborted, %u violations\n",
        kills + 1, written[0], written[1], written[2], atomic_load(&batches), atomic_load(&aborted),
        atomic_load(&violations));
    coffer_close(client);
    return server_end(&server, atomic_load(&violations) > 0);
}
