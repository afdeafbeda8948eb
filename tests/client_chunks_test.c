/*
 * Goal: the calls of libcoffer for chunks do what they say, with a real server. Method: each call
 * against a cofferd on a unix socket, and again through a network that loses answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/coffer.h"
#include "storage/base/invariant.h"
#include "tests/support/client_clock.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/http_client.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum { SAMPLES = 40, LARGE = 3 << 20, TAR_BLOCK = 512 };

static struct server server;
static struct fault_proxy proxy;
static struct coffer_client *client;
static struct fake_clock fake_clock;
static struct coffer_error err;

struct sample {
    char *content;
    size_t size;
    char key[DIGEST_HEX_SIZE + 1];
} samples[SAMPLES];

static void put_samples(void)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        const struct coffer_put_options known = {.key = samples[i].key};
        struct coffer_chunk chunk;

        assert_int_equal(coffer_put(client, samples[i].content, samples[i].size,
                             i % 2 == 0 ? &known : NULL, &chunk, &err),
            0);
        assert_string_equal(chunk.key, samples[i].key);
        assert_int_equal(chunk.size, samples[i].size);
        assert_string_equal(chunk.state, "durable");
    }
}

static void test_put_and_get(void **state)
{
    char *data = malloc(LARGE);

    (void)state;
    put_samples();
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t got, size = samples[i].size;
        struct coffer_chunk chunk;

        assert_int_equal(coffer_get(client, samples[i].key, 0, data, LARGE, &got, &err), 0);
        assert_int_equal(got, size);
        assert_memory_equal(data, samples[i].content, size);
        assert_int_equal(
            coffer_get(client, samples[i].key, size / 3, data, size / 2, &got, &err), 0);
        assert_int_equal(got, size / 2);
        assert_memory_equal(data, samples[i].content + size / 3, got);
        assert_int_equal(coffer_head(client, samples[i].key, &chunk, &err), 0);
        assert_int_equal(chunk.size, size);
        assert_string_equal(chunk.state, "durable");
    }
    free(data);
}

static void test_wrong_digest(void **state)
{
    const struct coffer_put_options wrong = {.key = samples[0].key};

    (void)state;
    assert_int_equal(coffer_put(client, "other", 5, &wrong, NULL, &err), -1);
    assert_string_equal(err.code, "digest_mismatch");
    assert_int_equal(err.number, EBADMSG);
    assert_int_equal(err.status, 422);
    assert_true(err.request_id[0] != '\0');
    assert_int_equal(coffer_head(client, "not a key", NULL, &err), -1);
    assert_int_equal(err.status, 400);
}

static void test_files(void **state)
{
    const struct sample *sample = &samples[SAMPLES - 1];
    FILE *in = fmemopen(sample->content, sample->size, "r"), *out = tmpfile(), *chunk_file;
    char *data = malloc(LARGE);
    struct coffer_chunk chunk;

    (void)state;
    assert_int_equal(coffer_put_file(client, in, NULL, &chunk, &err), 0);
    assert_string_equal(chunk.key, sample->key);
    (void)fclose(in);
    assert_int_equal(coffer_get_file(client, sample->key, 10, UINT64_MAX, out, &err), 0);
    rewind(out);
    assert_int_equal(fread(data, 1, LARGE, out), sample->size - 10);
    assert_memory_equal(data, sample->content + 10, sample->size - 10);
    (void)fclose(out);
    chunk_file = coffer_chunk_open(client, sample->key, &err);
    assert_non_null(chunk_file);
    for (unsigned i = 0; i < 20; i++) {
        size_t at = (i * 7919 * 131) % sample->size, size = sample->size - at < 999 ? 1 : 999;

        assert_int_equal(fseek(chunk_file, (long)at, SEEK_SET), 0);
        assert_int_equal(fread(data, 1, size, chunk_file), size);
        assert_memory_equal(data, sample->content + at, size);
    }
    assert_int_equal(fclose(chunk_file), 0);
    assert_null(coffer_chunk_open(
        client, "0000000000000000000000000000000000000000000000000000000000000000", &err));
    assert_string_equal(err.code, "no_such_chunk");
    assert_int_equal(err.number, ENOENT);
    free(data);
}

static void test_stat(void **state)
{
    const char *keys[SAMPLES + 2];
    struct coffer_chunk chunks[SAMPLES + 2];

    (void)state;
    keys[0] = "00000000000000000000000000000000000000000000000000000000000000aa";
    for (size_t i = 0; i < SAMPLES; i++)
        keys[i + 1] = samples[i].key;
    keys[SAMPLES + 1] = samples[3].key; /* asked twice */
    assert_int_equal(coffer_stat(client, keys, SAMPLES + 2, chunks, &err), 0);
    assert_false(chunks[0].found);
    for (size_t i = 1; i < SAMPLES + 2; i++) {
        assert_true(chunks[i].found);
        assert_string_equal(chunks[i].key, keys[i]);
        assert_int_equal(chunks[i].size, samples[i <= SAMPLES ? i - 1 : 3].size);
        assert_true(chunks[i].stored_size > 0);
    }
}

static int count_chunk(void *context, const struct coffer_chunk *chunk)
{
    size_t *count = context;

    for (size_t i = 0; i < SAMPLES; i++)
        if (strcmp(samples[i].key, chunk->key) == 0 && samples[i].size == chunk->size)
            ++*count;
    return 0;
}

static int end_at_once(void *context, const char *item)
{
    (void)item;
    ++*(size_t *)context;
    return 7;
}

static void test_list(void **state)
{
    size_t count = 0;

    (void)state;
    assert_int_equal(coffer_list(client, NULL, count_chunk, &count, &err), 0);
    assert_int_equal(count, SAMPLES);
    count = 0;
    assert_int_equal(coffer_pages(client, "/v1/chunks?limit=3", end_at_once, &count, &err), 7);
    assert_int_equal(count, 1);
    count = 0;
    assert_int_equal(coffer_list(client, samples[5].key, count_chunk, &count, &err), 0);
    assert_int_equal(count, 1);
}

/* ---- tar ---- */

/* The entries of a tar that are samples. */
static size_t read_tar(FILE *tar)
{
    char head[TAR_BLOCK], *content = malloc(LARGE + TAR_BLOCK);
    size_t found = 0;

    while (fread(head, 1, TAR_BLOCK, tar) == TAR_BLOCK && head[0] != '\0') {
        size_t size = strtoul(head + 124, NULL, 8);
        size_t padded = (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;

        assert_true(padded <= LARGE + TAR_BLOCK);
        assert_int_equal(fread(content, 1, padded, tar), padded);
        for (size_t i = 0; i < SAMPLES; i++)
            found += strncmp(head, samples[i].key, strlen(samples[i].key)) == 0 &&
                     samples[i].size == size && memcmp(samples[i].content, content, size) == 0;
    }
    while (fread(head, 1, TAR_BLOCK, tar) > 0)
        ;
    free(content);
    return found;
}

static int count_entry(void *context, const struct coffer_entry *entry)
{
    assert_int_equal(entry->status, 0);
    assert_string_equal(entry->name, entry->chunk.key); /* as it was extracted */
    ++*(size_t *)context;
    return 0;
}

static void test_extract_and_insert(void **state)
{
    const char *keys[SAMPLES + 1];
    FILE *tar, *copy = tmpfile();
    size_t count = 0;
    int byte;

    (void)state;
    for (size_t i = 0; i < SAMPLES; i++)
        keys[i] = samples[i].key;
    keys[SAMPLES] = "00000000000000000000000000000000000000000000000000000000000000aa";
    tar = coffer_extract_open(client, keys, SAMPLES + 1, 0, &err);
    assert_int_equal(fgetc(tar), EOF);
    assert_int_equal(coffer_stream_error(tar, &err), -1);
    assert_string_equal(err.code, "no_such_chunk");
    (void)fclose(tar);
    tar = coffer_extract_open(
        client, keys, SAMPLES + 1, COFFER_SKIP_MISSING | COFFER_REQUEST_ORDER, &err);
    while ((byte = fgetc(tar)) != EOF)
        (void)fputc(byte, copy);
    assert_int_equal(coffer_stream_error(tar, &err), 0);
    (void)fclose(tar);
    rewind(copy);
    assert_int_equal(read_tar(copy), SAMPLES);
    rewind(copy);
    assert_int_equal(coffer_insert(client, copy, COFFER_SYNCED, count_entry, &count, &err), 0);
    assert_int_equal(count, SAMPLES);
    (void)fclose(copy);
}

static void test_buffered(void **state)
{
    const struct coffer_put_options options = {.durability = COFFER_BUFFERED, .lane = "l-1"};
    struct coffer_chunk chunk;
    const char *ticket = chunk.ticket;

    (void)state;
    assert_int_equal(coffer_put(client, "wait", 4, &options, &chunk, &err), 0);
    assert_string_equal(chunk.state, "buffered");
    assert_int_equal(coffer_sync(client, &ticket, 1, &err), 0);
    assert_int_equal(coffer_sync(client, NULL, 0, &err), 0);
    ticket = "0123456789abcdef:l-1:1";
    assert_int_equal(coffer_sync(client, &ticket, 1, &err), -1);
}

static void test_delete(void **state)
{
    const char *keys[] = {samples[0].key, samples[1].key};
    struct coffer_chunk chunks[2];
    size_t deleted = 0;

    (void)state;
    assert_int_equal(coffer_delete(client, keys, 2, &deleted, &err), 0);
    assert_int_equal(coffer_stat(client, keys, 2, chunks, &err), 0);
    assert_false(chunks[0].found || chunks[1].found);
    put_samples();
}

static int direct(void **state)
{
    char url[256];

    (void)state;
    (void)snprintf(url, sizeof(url), "%s", server.address);
    client = coffer_open(url, NULL, &err);
    put_samples();
    return 0;
}

static int through_proxy(void **state)
{
    (void)state;
    client = coffer_open(proxy.server.url, NULL, &err);
    fake_clock_set(&fake_clock, client);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    coffer_close(client);
    return 0;
}

int main(void)
{
    static const char *const args[] = {"--segment-size", "256KiB", NULL};
    const struct CMUnitTest well[] = {
        cmocka_unit_test(test_put_and_get),
        cmocka_unit_test(test_wrong_digest),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_extract_and_insert),
        cmocka_unit_test(test_buffered),
        cmocka_unit_test(test_delete),
    };
    const struct CMUnitTest badly[] = {
        cmocka_unit_test(test_put_and_get),
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_delete),
    };
    char listen[256];
    int failed;

    http_client_global();
    for (size_t i = 0; i < SAMPLES; i++) {
        samples[i].size = i + 1 == SAMPLES ? LARGE : 1 + i * i * 331;
        samples[i].content = seed_content(samples[i].size, i + 1, samples[i].key);
    }
    server_init(&server, args);
    (void)snprintf(listen, sizeof(listen), "unix:%s/socket", server.folder);
    server.listen = listen;
    server_start(&server);
    fault_proxy_start(&proxy, server.address, 5);
    proxy.lose_answer = proxy.lose_request = proxy.cut = proxy.busy = 80;
    failed = cmocka_run_group_tests_name("directly", well, direct, leave);
    failed += cmocka_run_group_tests_name("through a bad network", badly, through_proxy, leave);
    fault_proxy_stop(&proxy);
    for (size_t i = 0; i < SAMPLES; i++)
        free(samples[i].content);
    return server_end(&server, failed);
}
