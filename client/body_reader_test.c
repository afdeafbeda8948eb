/*
 * Goal: whatever becomes of connections, a reader gets the bytes, each once and in order, or an
 * error. Method: a server of one content that cuts its answers where it is told, and what the
 * reader asked for and got.
 */
#include "client/body_reader.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/client_clock.h"
#include "tests/support/script_server.h"
#include "tests/support/seed_content.h"

enum { CONTENT_SIZE = 3 * 1024 * 1024 + 17, RANGES_MAX = 64 };

struct fixture {
    struct script_server server;
    struct coffer_client *client;
    struct fake_clock clock;
    char *content;
    size_t size; /* that is there now */
    /* What the server does: */
    size_t cut_every;    /* bytes of an answer's body, then it is cut; 0: never */
    unsigned busy;       /* so many answers are 503 */
    bool ignore_range;   /* 200, all of it */
    const char *dataset; /* in the entity tag */
    bool closed;         /* a follower's answer ends */
    /* What it was asked: */
    unsigned requests;
    char ranges[RANGES_MAX][64];
    struct coffer_error err;
};

/* The range that is asked for; false: none. */
static bool asked_range(struct script_request *request, size_t size, size_t *first, size_t *last)
{
    const char *range = script_header(request, "Range");
    unsigned long long from, to;
    int found = range == NULL ? 0 : sscanf(range, "bytes=%llu-%llu", &from, &to);

    *first = 0;
    *last = size - 1;
    if (found >= 1)
        *first = (size_t)from;
    if (found == 2 && to < *last)
        *last = (size_t)to;
    return found > 0;
}

static void reply_follower(struct fixture *fixture, struct script_reply *reply, size_t first)
{
    (void)snprintf(reply->headers, sizeof(reply->headers), "Coffer-Offset: %zu\r\n", first);
    reply->body = fixture->content + first;
    reply->size = fixture->size - first;
    reply->chunked = true;
    if (!fixture->closed) { /* more will come, but this connection breaks */
        reply->fault = SCRIPT_CUT;
        reply->chunked = false;
        reply->cut_at = reply->size;
        reply->size += 1;
        fixture->size = CONTENT_SIZE;
        fixture->closed = true;
    }
}

static void handle(void *context, struct script_request *request, struct script_reply *reply)
{
    struct fixture *fixture = context;
    size_t first, last;
    bool ranged = asked_range(request, fixture->size, &first, &last);
    const char *range = script_header(request, "Range");

    if (strcmp(request->method, "HEAD") != 0 && fixture->requests < RANGES_MAX)
        (void)snprintf(fixture->ranges[fixture->requests++], sizeof(fixture->ranges[0]), "%s",
            range == NULL ? "-" : range);
    if (fixture->busy > 0) {
        fixture->busy--;
        script_problem(reply, 503, "overloaded");
        return;
    }
    if (strstr(request->path, "follow=true") != NULL) {
        reply_follower(fixture, reply, first);
        return;
    }
    if (first >= fixture->size) {
        script_problem(reply, 416, "range_not_satisfiable");
        return;
    }
    if (fixture->ignore_range || !ranged) {
        first = 0;
        last = fixture->size - 1;
    } else {
        reply->status = 206;
    }
    (void)snprintf(reply->headers, sizeof(reply->headers),
        "ETag: \"%s-words-%zu\"\r\nContent-Range: bytes %zu-%zu/%zu\r\n", fixture->dataset,
        fixture->size, first, last, fixture->size);
    reply->body = fixture->content + first;
    reply->size = last - first + 1;
    if (fixture->cut_every > 0 && reply->size > fixture->cut_every &&
        strcmp(request->method, "HEAD") != 0) {
        reply->fault = SCRIPT_CUT;
        reply->cut_at = fixture->cut_every;
    }
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    fixture->content = malloc(CONTENT_SIZE);
    fixture->size = CONTENT_SIZE;
    fixture->dataset = "a";
    seed_fill(fixture->content, CONTENT_SIZE, 8);
    script_server_start(&fixture->server, handle, fixture);
    fixture->client = coffer_open(fixture->server.url, NULL, NULL);
    fake_clock_set(&fixture->clock, fixture->client);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    coffer_close(fixture->client);
    script_server_stop(&fixture->server);
    free(fixture->content);
    free(fixture);
    return 0;
}

static FILE *open_channel(struct fixture *fixture, const struct coffer_channel_options *options)
{
    FILE *file = coffer_channel_open(fixture->client, "run", "words", "r", options, &fixture->err);

    assert_non_null(file);
    return file;
}

/* Read to the end: it must be content[offset..]. */
static void check_rest(struct fixture *fixture, FILE *file, size_t offset)
{
    char *data = malloc(CONTENT_SIZE + 1);
    size_t size = fread(data, 1, CONTENT_SIZE + 1, file);

    assert_int_equal(ferror(file), 0);
    assert_int_equal(size, CONTENT_SIZE - offset);
    assert_memory_equal(data, fixture->content + offset, size);
    free(data);
}

static void test_whole(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = open_channel(fixture, NULL);

    check_rest(fixture, file, 0);
    assert_int_equal(coffer_stream_error(file, &fixture->err), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(fixture->requests, 1);
    file = open_channel(fixture, &(const struct coffer_channel_options){.offset = 1000});
    assert_int_equal(ftell(file), 1000);
    check_rest(fixture, file, 1000);
    assert_int_equal(fclose(file), 0);
}

static void test_cut(void **state)
{
    static const size_t cuts[] = {100001, 65536, 1 << 20, CONTENT_SIZE - 1};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        unsigned long long last = CONTENT_SIZE - 1;
        char expected[64];
        FILE *file;

        fixture->cut_every = cuts[i];
        fixture->requests = 0;
        file = open_channel(fixture, NULL);
        check_rest(fixture, file, 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(fixture->requests, (CONTENT_SIZE + cuts[i] - 1) / cuts[i]);
        for (unsigned n = 0; n < fixture->requests; n++) {
            (void)snprintf(expected, sizeof(expected), "bytes=%llu-%llu",
                (unsigned long long)n * cuts[i], last);
            assert_string_equal(fixture->ranges[n], expected);
        }
    }
}

/* Each cut brings something: so it goes on, however often. Without progress it ends. */
static void test_patience(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = open_channel(fixture, NULL);
    char byte;

    fixture->busy = 5;
    check_rest(fixture, file, 0);
    assert_int_equal(fixture->clock.count, 5);
    assert_int_equal(fclose(file), 0);
    file = open_channel(fixture, NULL);
    fixture->busy = 1000;
    assert_int_equal(fread(&byte, 1, 1, file), 0);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(coffer_stream_error(file, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "overloaded");
    (void)fclose(file);
}

static void test_range_ignored(void **state)
{
    struct fixture *fixture = *state;
    FILE *file;

    fixture->ignore_range = true;
    fixture->cut_every = 2000000;
    file = open_channel(fixture, &(const struct coffer_channel_options){.offset = 5});
    fixture->cut_every = 0;
    check_rest(fixture, file, 5);
    assert_int_equal(fclose(file), 0);
}

/* A channel that grows meanwhile goes on; another one in its place does not. */
static void test_content_changes(void **state)
{
    struct fixture *fixture = *state;
    char part[1000];
    FILE *file;

    fixture->size = 2000000;
    file = open_channel(fixture, NULL);
    fixture->size = CONTENT_SIZE;
    fixture->cut_every = 700000;
    for (size_t at = 0; at < 2000000; at += sizeof(part)) {
        assert_int_equal(fread(part, 1, sizeof(part), file), sizeof(part));
        assert_memory_equal(part, fixture->content + at, sizeof(part));
    }
    assert_int_equal(fread(part, 1, 1, file), 0); /* as it was at open */
    assert_true(feof(file));
    assert_int_equal(fclose(file), 0);
    file = open_channel(fixture, NULL);
    fixture->dataset = "b";
    assert_int_equal(fread(part, 1, 1, file), 0);
    assert_true(ferror(file));
    assert_int_equal(errno, EPROTO);
    (void)fclose(file);
}

static void test_seek(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = open_channel(fixture, NULL);
    uint64_t dice = 11;
    char part[5000];

    fixture->cut_every = 300000;
    for (unsigned i = 0; i < 300; i++) {
        size_t at = seed_next(&dice) % CONTENT_SIZE, size = seed_next(&dice) % sizeof(part);

        if (i % 3 == 0)
            at = CONTENT_SIZE - 3000 + at % 3000; /* over the end */
        assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
        assert_int_equal(ftell(file), at);
        if (size > CONTENT_SIZE - at)
            size = CONTENT_SIZE - at;
        assert_int_equal(fread(part, 1, size, file), size);
        assert_memory_equal(part, fixture->content + at, size);
    }
    assert_int_equal(fseek(file, -10, SEEK_END), 0);
    assert_int_equal(fread(part, 1, 20, file), 10);
    assert_memory_equal(part, fixture->content + CONTENT_SIZE - 10, 10);
    assert_int_equal(fseek(file, -1, SEEK_SET), -1);
    rewind(file);
    check_rest(fixture, file, 0);
    assert_int_equal(fclose(file), 0);
}

/* A seek asks for little, then for more. */
static void test_spans(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = open_channel(fixture, NULL);

    assert_int_equal(fseek(file, 65536, SEEK_SET), 0);
    check_rest(fixture, file, 65536);
    assert_string_equal(fixture->ranges[0], "bytes=65536-327679");    /* 256 KiB */
    assert_string_equal(fixture->ranges[1], "bytes=327680-1376255");  /* 1 MiB */
    assert_string_equal(fixture->ranges[2], "bytes=1376256-3145744"); /* up to 4 MiB */
    assert_int_equal(fixture->requests, 3);
    assert_int_equal(fclose(file), 0);
}

static void test_follow(void **state)
{
    struct fixture *fixture = *state;
    FILE *file;

    fixture->size = 1000000;
    file =
        open_channel(fixture, &(const struct coffer_channel_options){.follow = true, .offset = 10});
    check_rest(fixture, file, 10);
    assert_int_equal(fixture->requests, 2);
    assert_string_equal(fixture->ranges[0], "bytes=10-");
    assert_string_equal(fixture->ranges[1], "bytes=1000000-");
    assert_int_equal(fseek(file, 0, SEEK_SET), -1);
    assert_int_equal(fclose(file), 0);
}

static void test_get(void **state)
{
    struct fixture *fixture = *state;
    char *data = malloc(CONTENT_SIZE);
    size_t got;

    fixture->cut_every = 1000000;
    assert_int_equal(
        coffer_get(fixture->client, "k", 0, data, CONTENT_SIZE, &got, &fixture->err), 0);
    assert_int_equal(got, CONTENT_SIZE);
    assert_memory_equal(data, fixture->content, got);
    assert_int_equal(coffer_get(fixture->client, "k", 100, data, 50, &got, &fixture->err), 0);
    assert_int_equal(got, 50);
    assert_memory_equal(data, fixture->content + 100, got);
    assert_int_equal(
        coffer_get(fixture->client, "k", CONTENT_SIZE - 5, data, 50, &got, &fixture->err), 0);
    assert_int_equal(got, 5);
    assert_int_equal(coffer_get(fixture->client, "k", CONTENT_SIZE, data, 50, &got, NULL), 0);
    assert_int_equal(got, 0);
    free(data);
}

static void test_get_file(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = tmpfile(), *full;

    fixture->cut_every = 123456;
    assert_int_equal(coffer_get_file(fixture->client, "k", 3, UINT64_MAX, file, &fixture->err), 0);
    rewind(file);
    check_rest(fixture, file, 3);
    (void)fclose(file);
    full = fopen("/dev/full", "w");
    assert_int_equal(coffer_get_file(fixture->client, "k", 0, UINT64_MAX, full, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "local_file");
    assert_int_equal(fixture->err.number, ENOSPC);
    (void)fclose(full);
}

/* It has no ranges: what is cut stays cut, but what never began may begin again. */
static void test_extract_cut(void **state)
{
    static const char *const keys[] = {"k"};
    struct fixture *fixture = *state;
    char *data = malloc(CONTENT_SIZE);
    FILE *file = coffer_extract_open(fixture->client, keys, 1, 0, &fixture->err);

    fixture->busy = 2;
    check_rest(fixture, file, 0);
    (void)fclose(file);
    fixture->cut_every = 100000;
    file = coffer_extract_open(fixture->client, keys, 1, 0, &fixture->err);
    assert_int_equal(fread(data, 1, CONTENT_SIZE, file), 100000);
    assert_true(ferror(file));
    assert_int_equal(coffer_stream_error(file, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "answer_lost");
    (void)fclose(file);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_patience, setup, teardown),
        cmocka_unit_test_setup_teardown(test_range_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_content_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_seek, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spans, setup, teardown),
        cmocka_unit_test_setup_teardown(test_follow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_get, setup, teardown),
        cmocka_unit_test_setup_teardown(test_get_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extract_cut, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
