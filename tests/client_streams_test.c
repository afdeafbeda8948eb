/*
 * Goal: many threads write channels of a real server through a network that loses requests and
 * answers, with transactions and without, and each byte is there once; readers and followers get
 * exactly these. Method: the fault proxy, and byte by byte comparison.
 *
 * COFFER_TEST_SEED repeats a run as far as threads let it.
 */
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/coffer.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/client_clock.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/http_client.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum { WRITERS = 4, LINES = 20000, BATCHES = 12, BATCH_LINES = 300 };

static struct server server;
static struct fault_proxy proxy;
static struct coffer_client *direct, *faulty;
static struct fake_clock fake_clock;
static uint64_t seed;

/* Line `number` of a channel, of a length that varies. */
static int make_line(char *out, size_t size, const char *channel, unsigned number)
{
    return snprintf(out, size, "%s %u %.*s\n", channel, number, (int)(number * 7919 % 60),
        "------------------------------------------------------------");
}

/* The channel has exactly these lines; and so says the reader of it, through either client. */
static void check_lines(
    struct coffer_client *client, const char *dataset, const char *channel, unsigned lines)
{
    struct coffer_channel_info info;
    struct coffer_error err;
    FILE *stream = coffer_channel_open(client, dataset, channel, "r", NULL, &err);
    char expected[128], line[128];

    assert_non_null(stream);
    for (unsigned i = 0; i < lines; i++) {
        (void)make_line(expected, sizeof(expected), channel, i);
        assert_non_null(fgets(line, sizeof(line), stream));
        assert_string_equal(line, expected);
    }
    assert_int_equal(fgetc(stream), EOF);
    assert_int_equal(coffer_stream_error(stream, &err), 0);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(coffer_channel_info(client, dataset, channel, &info, &err), 0);
    assert_int_equal(info.records, lines);
}

struct writer {
    pthread_t thread;
    char channel[16];
    struct coffer_channel_options options;
    struct coffer_error err;
    int result;
};

static void *write_lines(void *context)
{
    struct writer *writer = context;
    FILE *stream =
        coffer_channel_open(faulty, "plain", writer->channel, "a", &writer->options, &writer->err);
    char line[128];

    writer->result = -1;
    if (stream == NULL)
        return NULL;
    for (unsigned i = 0; i < LINES; i++) {
        (void)make_line(line, sizeof(line), writer->channel, i);
        (void)fputs(line, stream);
        if (i % 3333 == 7)
            (void)fflush(stream);
    }
    writer->result = coffer_channel_close(stream, &writer->err);
    return NULL;
}

static void test_plain(void **state)
{
    struct writer writers[WRITERS];
    struct coffer_error err;

    (void)state;
    assert_int_equal(coffer_dataset_create(faulty, "plain", NULL, NULL, &err), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.options = {.per_line = true,
                                         .pipeline = i % 2 == 1,
                                         .buffer_size = 64 << 10,
                                         .writer = i == 2 ? COFFER_GUEST : COFFER_OWNER}};
        (void)snprintf(writers[i].channel, sizeof(writers[i].channel), "w-%u", i);
        invariant(pthread_create(&writers[i].thread, NULL, write_lines, &writers[i]) == 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        (void)pthread_join(writers[i].thread, NULL);
        if (writers[i].result != 0)
            fail_msg("%s: %s", writers[i].err.code, writers[i].err.detail);
        check_lines(direct, "plain", writers[i].channel, LINES);
        check_lines(faulty, "plain", writers[i].channel, LINES);
    }
}

/* ---- transactions ---- */

static const char *const channels[] = {"a", "b"};

static int write_batch(struct coffer_transaction *transaction, FILE *const *streams, unsigned batch,
    struct coffer_error *err)
{
    char line[128];

    for (unsigned i = 0; i < 2; i++)
        if (coffer_channel_join(streams[i], transaction, err) != 0)
            return -1;
    for (unsigned n = 0; n < BATCH_LINES; n++)
        for (unsigned i = 0; i < 2; i++) {
            (void)make_line(line, sizeof(line), channels[i], batch * BATCH_LINES + n);
            (void)fputs(line, streams[i]);
            if (n == BATCH_LINES / 2)
                (void)fflush(streams[i]);
        }
    return coffer_transaction_commit(transaction, 0, NULL, err);
}

static uint64_t dataset_version(const char *dataset)
{
    struct coffer_error err;
    char *text = coffer_dataset_show(direct, dataset, &err);
    json_t *json = json_loads(text, 0, NULL);
    uint64_t version = (uint64_t)json_integer_value(json_object_get(json, "version"));

    json_decref(json);
    free(text);
    return version;
}

/* Each batch is written twice: once to be aborted, half way or whole; once to be committed. */
static void test_transactions(void **state)
{
    struct coffer_error err;
    const struct coffer_channel_options options = {.per_line = true, .pipeline = true};
    FILE *streams[2];

    (void)state;
    assert_int_equal(coffer_dataset_create(faulty, "batches", NULL, NULL, &err), 0);
    for (unsigned i = 0; i < 2; i++) {
        streams[i] = coffer_channel_open(faulty, "batches", channels[i], "a", &options, &err);
        assert_non_null(streams[i]);
    }
    for (unsigned batch = 0; batch < BATCHES; batch++) {
        struct coffer_transaction *transaction =
            coffer_transaction_begin(faulty, "batches", NULL, &err);

        assert_non_null(transaction);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(coffer_channel_join(streams[i], transaction, &err), 0);
            (void)fputs("never seen\n", streams[i]);
            if (batch % 2 == 0)
                assert_int_equal(fflush(streams[i]), 0);
        }
        assert_int_equal(coffer_transaction_abort(transaction, &err), 0);
        coffer_transaction_free(transaction);
        transaction = coffer_transaction_begin(faulty, "batches", NULL, &err);
        assert_non_null(transaction);
        assert_int_equal(write_batch(transaction, streams, batch, &err), 0);
        coffer_transaction_free(transaction);
        for (unsigned i = 0; i < 2; i++)
            check_lines(direct, "batches", channels[i], (batch + 1) * BATCH_LINES);
    }
    assert_int_equal(dataset_version("batches"), BATCHES); /* a batch is one version */
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(coffer_channel_close(streams[i], &err), 0);
}

/* ---- more than one writer, and readers of what grows ---- */

static void test_fenced(void **state)
{
    struct coffer_error err;
    FILE *first, *second;

    (void)state;
    assert_int_equal(coffer_dataset_create(direct, "fenced", NULL, NULL, &err), 0);
    first = coffer_channel_open(direct, "fenced", "c", "a", NULL, &err);
    (void)fputs("one\n", first);
    assert_int_equal(fflush(first), 0);
    (void)fputs("lost\n", first);
    second = coffer_channel_open(direct, "fenced", "c", "a", NULL, &err);
    assert_int_equal(ftell(second), 4);
    assert_int_equal(coffer_channel_close(first, &err), -1);
    assert_string_equal(err.code, "fenced");
    assert_int_equal(errno, EPERM);
    (void)fputs("two\n", second);
    assert_int_equal(coffer_channel_close(second, &err), 0);
}

static void test_large_record(void **state)
{
    size_t size = 9 << 20, got;
    char *data = malloc(size), *copy = malloc(size);
    struct coffer_receipt receipt;
    struct coffer_error err;
    FILE *stream = coffer_channel_open(direct, "fenced", "large", "a", NULL, &err);

    (void)state;
    seed_fill(data, size, 4);
    (void)fwrite(data, 1, 100, stream);
    assert_int_equal(coffer_channel_append(stream, data + 100, size - 100, &receipt, &err), 0);
    assert_int_equal(receipt.offset, 100);
    assert_int_equal(receipt.record, 1);
    assert_true(receipt.version > 0);
    assert_int_equal(fclose(stream), 0);
    stream = coffer_channel_open(faulty, "fenced", "large", "r", NULL, &err);
    got = fread(copy, 1, size, stream);
    assert_int_equal(got, size);
    assert_memory_equal(copy, data, size);
    (void)fclose(stream);
    free(data);
    free(copy);
}

static void test_versions(void **state)
{
    struct coffer_channel_options options = {0};
    uint64_t versions[3];
    struct coffer_error err;
    char data[16];
    FILE *stream = coffer_channel_open(direct, "fenced", "v", "a", NULL, &err);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct coffer_receipt receipt;

        assert_int_equal(coffer_channel_append(stream, "abc", 3, &receipt, &err), 0);
        versions[i] = receipt.version;
    }
    assert_int_equal(fclose(stream), 0);
    for (unsigned i = 0; i < 3; i++) {
        options.version = versions[i];
        stream = coffer_channel_open(direct, "fenced", "v", "r", &options, &err);
        assert_int_equal(fread(data, 1, sizeof(data), stream), 3 * (i + 1));
        assert_int_equal(fclose(stream), 0);
    }
    assert_null(coffer_channel_open(direct, "fenced", "none", "r", NULL, &err));
    assert_string_equal(err.code, "no_such_channel");
}

static void test_buffered(void **state)
{
    const struct coffer_channel_options options = {.durability = COFFER_BUFFERED, .per_line = true};
    struct coffer_error err;
    FILE *stream;
    char line[128];

    (void)state;
    assert_int_equal(coffer_dataset_create(direct, "buffered", NULL, NULL, &err), 0);
    stream = coffer_channel_open(direct, "buffered", "b", "a", &options, &err);
    for (unsigned i = 0; i < LINES; i++) {
        (void)make_line(line, sizeof(line), "b", i);
        (void)fputs(line, stream);
        if (i % 100 == 0)
            assert_int_equal(fflush(stream), 0);
    }
    assert_int_equal(coffer_channel_close(stream, &err), 0);
    check_lines(direct, "buffered", "b", LINES);
}

/* A follower gets what is committed while it waits, and goes on after the server was away. */
static void *follow(void *context)
{
    const struct coffer_channel_options options = {.follow = true};
    struct writer *writer = context;
    FILE *stream = coffer_channel_open(direct, "followed", "f", "r", &options, &writer->err);
    char expected[128], line[128];

    writer->result = stream == NULL ? -1 : 0;
    for (unsigned i = 0; writer->result == 0 && i < LINES; i++) {
        (void)make_line(expected, sizeof(expected), "f", i);
        if (fgets(line, sizeof(line), stream) == NULL || strcmp(line, expected) != 0)
            writer->result = -1;
    }
    if (stream != NULL)
        (void)fclose(stream);
    return NULL;
}

static void test_follow(void **state)
{
    const struct coffer_channel_options options = {.per_line = true};
    struct writer follower = {0};
    struct coffer_error err;
    FILE *stream;
    char line[128];

    (void)state;
    assert_int_equal(coffer_dataset_create(direct, "followed", NULL, NULL, &err), 0);
    stream = coffer_channel_open(direct, "followed", "f", "a", &options, &err);
    for (unsigned i = 0; i < LINES; i++) {
        (void)make_line(line, sizeof(line), "f", i);
        (void)fputs(line, stream);
        if (i % 500 == 0)
            assert_int_equal(fflush(stream), 0);
        if (i == 500)
            invariant(pthread_create(&follower.thread, NULL, follow, &follower) == 0);
        if (i % 7000 == 6999) {
            server_kill(&server);
            server_start(&server);
        }
    }
    assert_int_equal(coffer_channel_close(stream, &err), 0);
    (void)pthread_join(follower.thread, NULL);
    assert_int_equal(follower.result, 0);
}

/* ---- appends by themselves ---- */

static void read_some(const char *channel, const char *wanted)
{
    struct coffer_error err;
    FILE *stream = coffer_channel_open(direct, "appended", channel, "r", NULL, &err);
    char found[256];
    size_t size = 0;
    ssize_t got;

    assert_non_null(stream);
    assert_int_equal(coffer_stream_size(stream), strlen(wanted));
    while ((got = coffer_stream_read(stream, found + size, 3, &err)) > 0)
        size += (size_t)got;
    assert_int_equal(got, 0);
    assert_int_equal(size, strlen(wanted));
    assert_memory_equal(found, wanted, size);
    (void)fclose(stream);
}

static void test_append(void **state)
{
    struct coffer_append_options options = {.per_line = true};
    struct coffer_receipt receipt;
    struct coffer_error err;
    FILE *file = tmpfile(), *body;
    char text[256];

    (void)state;
    assert_int_equal(coffer_dataset_create(direct, "appended", NULL, NULL, &err), 0);
    assert_int_equal(
        coffer_append(direct, "appended", "a", "1\n2\n", 4, &options, &receipt, &err), 0);
    assert_int_equal(receipt.record, 0);
    (void)fputs("not this, three", file);
    (void)fseek(file, 10, SEEK_SET);
    options = (struct coffer_append_options){.has_offset = true, .offset = 4};
    /* Said where it belongs, it is there once, whatever the network does. */
    for (int i = 0; i < 20; i++) {
        (void)fseek(file, 10, SEEK_SET);
        assert_int_equal(
            coffer_append_file(faulty, "appended", "a", file, &options, &receipt, &err), 0);
        assert_int_equal(receipt.offset, 4);
        assert_int_equal(receipt.length, 5);
        assert_int_equal(receipt.record, 2);
    }
    (void)fclose(file);
    options.offset = 3;
    assert_int_equal(coffer_append(direct, "appended", "a", "x", 1, &options, NULL, &err), -1);
    assert_string_equal(err.code, "offset_mismatch");
    assert_int_equal(err.offset, 9);
    read_some("a", "1\n2\nthree");
    body = coffer_body_open(direct, "/v1/datasets/appended/channels/a", &err);
    assert_non_null(body);
    assert_int_equal(coffer_stream_size(body), UINT64_MAX);
    assert_int_equal(fread(text, 1, sizeof(text), body), 9);
    (void)fclose(body);
    body = coffer_body_open(direct, "/v1/nowhere", &err);
    assert_non_null(body); /* it is asked for when it is read */
    assert_int_equal(coffer_stream_read(body, text, 1, &err), -1);
    assert_string_equal(err.code, "no_such_path");
    (void)fclose(body);
    assert_int_equal(coffer_stream_read(stdin, text, 1, &err), -1);
    assert_string_equal(err.code, "bad_argument");
}

int main(void)
{
    const char *text = getenv("COFFER_TEST_SEED");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_fenced),
        cmocka_unit_test(test_large_record),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_buffered),
        cmocka_unit_test(test_follow),
        cmocka_unit_test(test_append),
    };
    char listen[256];
    int failed;

    seed = text != NULL ? strtoull(text, NULL, 10) : clock_wall_ns();
    (void)printf("COFFER_TEST_SEED=%llu\n", (unsigned long long)seed);
    http_client_global();
    server_init(&server, NULL);
    /* The same address after each start. */
    (void)snprintf(listen, sizeof(listen), "unix:%s/socket", server.folder);
    server.listen = listen;
    server_start(&server);
    fault_proxy_start(&proxy, server.address, seed);
    proxy.lose_answer = proxy.lose_request = proxy.cut = proxy.busy = 80;
    direct = coffer_open(listen, NULL, NULL);
    faulty = coffer_open(proxy.server.url, NULL, NULL);
    fake_clock_set(&fake_clock, faulty);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)printf("%u requests, %u of them went wrong\n", proxy.server.requests, proxy.faults);
    coffer_close(direct);
    coffer_close(faulty);
    fault_proxy_stop(&proxy);
    return server_end(&server, failed);
}
