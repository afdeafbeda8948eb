/*
 * Goal: appends, claims and reads of channels, their records and versions answer as API.md section
 * 4 says, and every bad input has its code. Method: each request is driven over a store in memory,
 * without a socket.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/digest_header.h"
#include "storage/base/invariant.h"
#include "storage/datasets.h"
#include "tests/support/exchange_driver.h"

static struct service service;

#define CHANNEL "/v1/datasets/abc/channels/a"

static int call(const char *request, const char *header, const char *body)
{
    return driver_call(&service, request, header, body, NULL);
}

static void refused(
    const char *request, const char *header, const char *body, int status, const char *code)
{
    driver_call_refused(&service, request, header, body, status, code);
}

static int setup(void **state)
{
    (void)state;
    driver_service_open(&service);
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{}"), 201);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_service_close(&service);
    return 0;
}

/* ---- appends ---- */

static void assert_receipt(const json_t *receipt, int offset, int length, int record, int records)
{
    assert_string_equal(json_text_of(receipt, "channel"), "a");
    assert_int_equal(json_number_of(receipt, "offset"), offset);
    assert_int_equal(json_number_of(receipt, "length"), length);
    assert_int_equal(json_number_of(receipt, "record"), record);
    assert_int_equal(json_number_of(receipt, "records"), records);
}

static json_int_t append(const char *header, const char *body, int status, int offset, int record)
{
    json_int_t version;
    json_t *receipt;

    assert_int_equal(driver_call(&service, "POST " CHANNEL, header, body, &receipt), status);
    assert_receipt(receipt, offset, (int)strlen(body), record, 1);
    assert_string_equal(json_text_of(receipt, "state"), "durable");
    version = json_number_of(receipt, "version");
    json_decref(receipt);
    return version;
}

static void assert_content(const char *request, const char *header, int status, const char *text)
{
    char *body = driver_call_text(&service, request, header, status);

    assert_string_equal(body, text);
    free(body);
}

static void test_append(void **state)
{
    json_int_t first, second;
    struct driven driven;

    (void)state;
    first = append(NULL, "hello", 201, 0, 0);
    second = append(NULL, " world", 201, 5, 1);
    assert_true(first >= 1 && second > first);
    refused("POST " CHANNEL, "Coffer-Durability: synced", "", 400, "bad_request");
    assert_content("GET " CHANNEL, NULL, 200, "hello world");
    driver_run(&driven, &service,
        &(struct driver_request){.method = "POST", .target = CHANNEL, .body = "!", .body_size = 1});
    assert_int_equal(driven.status, 201);
    assert_string_equal(driver_header(&driven, "Content-Type"), "application/json");
    assert_string_equal(driver_header(&driven, "Coffer-State"), "durable");
    assert_null(driver_header(&driven, "Coffer-Ticket"));
    driver_release(&driven);
}

static void test_conditional_append(void **state)
{
    json_int_t first, second;
    json_t *problem;

    (void)state;
    first = append("Coffer-Offset: 0", "hello", 201, 0, 0);
    second = append("Coffer-Offset: 5", " world", 201, 5, 1);
    /* Sent again: the first receipt. */
    assert_int_equal(append("Coffer-Offset: 0", "hello", 200, 0, 0), first);
    assert_int_equal(append("Coffer-Offset: 5", " world", 200, 5, 1), second);
    assert_int_equal(
        driver_call(&service, "POST " CHANNEL, "Coffer-Offset: 5", " wORld", &problem), 409);
    assert_string_equal(json_text_of(problem, "code"), "offset_mismatch");
    assert_int_equal(json_number_of(problem, "offset"), 11);
    json_decref(problem);
    assert_int_equal(
        driver_call(&service, "POST " CHANNEL, "Coffer-Offset: 100", "x", &problem), 409);
    assert_string_equal(json_text_of(problem, "code"), "offset_mismatch");
    assert_int_equal(json_number_of(problem, "offset"), 11);
    json_decref(problem);
    refused("POST " CHANNEL, "Coffer-Offset: 3", "lo", 409, "offset_mismatch");
    assert_content("GET " CHANNEL, NULL, 200, "hello world");
}

static void test_lines(void **state)
{
    static const struct {
        int record, offset, length;
    } places[] = {{0, 0, 2}, {1, 2, 1}, {2, 3, 4}, {3, 7, 3}};
    json_t *answer, *list;

    (void)state;
    assert_int_equal(driver_call(&service, "POST " CHANNEL, "Content-Type: application/x-ndjson",
                         "1\n\n333\n55", &answer),
        201);
    assert_receipt(answer, 0, 9, 0, 4);
    json_decref(answer);
    assert_int_equal(driver_call(&service, "GET " CHANNEL "/records", NULL, NULL, &answer), 200);
    list = json_object_get(answer, "records");
    assert_int_equal(json_array_size(list), 4);
    for (size_t i = 0; i < 3; i++) {
        const json_t *item = json_array_get(list, i);

        assert_int_equal(json_number_of(item, "record"), places[i].record);
        assert_int_equal(json_number_of(item, "offset"), places[i].offset);
        assert_int_equal(json_number_of(item, "length"), places[i].length);
    }
    assert_null(json_object_get(answer, "next"));
    json_decref(answer);
    assert_int_equal(
        driver_call(&service, "GET " CHANNEL "/records?limit=2&after=0", NULL, NULL, &answer), 200);
    list = json_object_get(answer, "records");
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_number_of(json_array_get(list, 0), "record"), 1);
    assert_string_equal(json_text_of(answer, "next"), "2");
    json_decref(answer);
}

static void test_buffered(void **state)
{
    struct driver_request request = {.method = "POST",
        .target = CHANNEL,
        .headers = {"Coffer-Durability: buffered"},
        .body = "hello",
        .body_size = 5};
    struct driven driven;
    json_t *receipt;
    char body[256];

    (void)state;
    driver_run(&driven, &service, &request);
    assert_int_equal(driven.status, 202);
    receipt = driver_parse(driven.body, driven.body_size);
    assert_receipt(receipt, 0, 5, 0, 1);
    assert_string_equal(json_text_of(receipt, "state"), "buffered");
    assert_string_equal(driver_header(&driven, "Coffer-State"), "buffered");
    assert_string_equal(json_text_of(receipt, "ticket"), driver_header(&driven, "Coffer-Ticket"));
    assert_null(json_object_get(receipt, "version"));
    (void)snprintf(body, sizeof(body), "{\"tickets\":[\"%s\"]}", json_text_of(receipt, "ticket"));
    json_decref(receipt);
    driver_release(&driven);
    assert_int_equal(call("POST /v1/sync", NULL, body), 200);
    assert_content("GET " CHANNEL, NULL, 200, "hello");
}

static void test_digests(void **state)
{
    char text[DIGEST_HEADER_SIZE + 1], header[128];
    struct digest digest;

    (void)state;
    sha256_once("hello", 5, &digest);
    digest_header_format(&digest, text);
    (void)snprintf(header, sizeof(header), "Content-Digest: %s", text);
    append(header, "hello", 201, 0, 0);
    refused("POST " CHANNEL, header, "hellO", 422, "digest_mismatch");
    (void)snprintf(header, sizeof(header), "Repr-Digest: %s", text);
    append(header, "hello", 201, 5, 1);
    refused("POST " CHANNEL, header, "hellO", 422, "digest_mismatch");
    assert_content("GET " CHANNEL, NULL, 200, "hellohello");
}

static void test_large(void **state)
{
    enum { SIZE = 5 << 20 };
    char *body = malloc(SIZE);
    struct driver_request request = {.method = "POST",
        .target = CHANNEL,
        .body = body,
        .body_size = SIZE,
        .piece = 50000,
        .chunked = true};
    struct driven driven;
    char range[64];

    (void)state;
    assert_non_null(body);
    for (size_t i = 0; i < SIZE; i++)
        body[i] = (char)((i * 2654435761U) >> 13);
    append(NULL, "head", 201, 0, 0);
    driver_run(&driven, &service, &request);
    assert_int_equal(driven.status, 201);
    driver_release(&driven);
    driver_run(&driven, &service, &(struct driver_request){.target = CHANNEL});
    assert_int_equal(driven.status, 200);
    assert_int_equal(driven.body_size, SIZE + 4);
    assert_memory_equal(driven.body + 4, body, SIZE);
    driver_release(&driven);
    for (size_t at = 4; at < SIZE; at += 900001) {
        size_t end = at + 1234567 < SIZE ? at + 1234567 : SIZE + 3;

        (void)snprintf(range, sizeof(range), "Range: bytes=%zu-%zu", at, end);
        driver_run(
            &driven, &service, &(struct driver_request){.target = CHANNEL, .headers = {range}});
        assert_int_equal(driven.status, 206);
        assert_int_equal(driven.body_size, end - at + 1);
        assert_memory_equal(driven.body, body + at - 4, driven.body_size);
        driver_release(&driven);
    }
    free(body);
}

/* A client that goes away in the middle leaves no trace. */
static void test_abandoned(void **state)
{
    struct driver_request request = {.method = "POST",
        .target = CHANNEL,
        .body = "hello",
        .body_size = 5,
        .piece = 2,
        .abandon = true};
    struct driven driven;

    (void)state;
    for (int i = 0; i < 2; i++) {
        request.chunked = i == 1;
        driver_run(&driven, &service, &request);
        assert_int_equal(driven.status, 0);
        driver_release(&driven);
    }
    refused("GET " CHANNEL, NULL, NULL, 404, "no_such_channel");
    append(NULL, "x", 201, 0, 0);
}

static void test_bad_appends(void **state)
{
    static const struct {
        const char *header;
        int status;
        const char *code;
    } cases[] = {{"Coffer-Offset: -1", 400, "bad_request"},
        {"Coffer-Offset: x", 400, "bad_request"}, {"Coffer-Offset:", 400, "bad_request"},
        {"Coffer-Offset: 0x10", 400, "bad_request"}, {"Coffer-Offset: 1.5", 400, "bad_request"},
        {"Coffer-Offset: 9223372036854775808", 400, "bad_request"},
        {"Coffer-Offset: 99999999999999999999", 400, "bad_request"},
        {"Coffer-Offset: 9223372036854775807", 409, "offset_mismatch"},
        {"Coffer-Epoch: -1", 400, "bad_request"}, {"Coffer-Epoch: new", 400, "bad_request"},
        {"Coffer-Transaction:", 400, "bad_name"}, {"Coffer-Transaction: a/b", 400, "bad_name"},
        {"Coffer-Transaction: t", 404, "no_such_transaction"},
        {"Coffer-Durability: maybe", 400, "bad_request"},
        {"Content-Encoding: gzip", 415, "unsupported_media_type"},
        {"Content-Digest: sha-256=x", 400, "bad_digest_header"},
        {"Repr-Digest: sha-256=:AAAA:", 400, "bad_digest_header"}};
    static const char *const names[] = {"a%20b", "-a", "%c3%a4", ".a", "a%2fb",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        refused("POST " CHANNEL, cases[i].header, "x", cases[i].status, cases[i].code);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        static const struct {
            const char *before, *after;
        } paths[] = {{"POST /v1/datasets/abc/channels/", ""},
            {"GET /v1/datasets/abc/channels/", ""}, {"POST /v1/datasets/abc/channels/", "/claim"},
            {"GET /v1/datasets/abc/channels/", "/records"},
            {"GET /v1/datasets/abc/transactions/", ""},
            {"POST /v1/datasets/abc/transactions/", "/commit"}};
        char request[160];

        for (size_t p = 0; p < ARRAY_COUNT(paths); p++) {
            (void)snprintf(
                request, sizeof(request), "%s%s%s", paths[p].before, names[i], paths[p].after);
            refused(request, NULL, NULL, 400, "bad_name");
        }
    }
    refused("GET " CHANNEL, NULL, NULL, 404, "no_such_channel");
    refused("GET " CHANNEL "/records", NULL, NULL, 404, "no_such_channel");
}

/* ---- claims ---- */

static void claim(int epoch, int offset)
{
    json_t *answer;

    assert_int_equal(driver_call(&service, "POST " CHANNEL "/claim", NULL, NULL, &answer), 200);
    assert_string_equal(json_text_of(answer, "channel"), "a");
    assert_int_equal(json_number_of(answer, "epoch"), epoch);
    assert_int_equal(json_number_of(answer, "offset"), offset);
    json_decref(answer);
}

static void test_claim(void **state)
{
    (void)state;
    claim(1, 0);
    append("Coffer-Epoch: 1", "one", 201, 0, 0);
    claim(2, 3);
    refused("POST " CHANNEL, "Coffer-Epoch: 1", "late", 409, "fenced");
    append("Coffer-Epoch: 2", "two", 201, 3, 1);
    refused("POST " CHANNEL "/claim", NULL, "{\"epoch\":7}", 400, "unknown_field");
    refused("POST " CHANNEL "/claim", NULL, "7", 400, "bad_json");
    assert_content("GET " CHANNEL, NULL, 200, "onetwo");
}

/* ---- reads ---- */

static void test_ranges(void **state)
{
    static const struct {
        const char *range;
        int status;
        const char *content_range, *body;
    } cases[] = {{"Range: bytes=1-3", 206, "bytes 1-3/11", "ell"},
        {"Range: bytes=6-", 206, "bytes 6-10/11", "world"},
        {"Range: bytes=-5", 206, "bytes 6-10/11", "world"},
        {"Range: bytes=6-1000", 206, "bytes 6-10/11", "world"},
        {"Range: bytes=0-0,2-3", 200, NULL, "hello world"},
        {"Range: bytes=11-", 416, "bytes */11", NULL},
        {"Range: bytes=-0", 416, "bytes */11", NULL}};

    (void)state;
    append(NULL, "hello", 201, 0, 0);
    append(NULL, " world", 201, 5, 1);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct driver_request request = {.target = CHANNEL, .headers = {cases[i].range}};
        struct driven driven;
        const char *found;

        driver_run(&driven, &service, &request);
        assert_int_equal(driven.status, cases[i].status);
        found = driver_header(&driven, "Content-Range");
        if (cases[i].content_range == NULL)
            assert_null(found);
        else
            assert_string_equal(found, cases[i].content_range);
        if (cases[i].body != NULL)
            assert_string_equal(driven.body, cases[i].body);
        driver_release(&driven);
    }
}

static void test_conditions(void **state)
{
    char etag[200], header[300];
    struct driven driven;

    (void)state;
    append(NULL, "hello", 201, 0, 0);
    driver_run(&driven, &service, &(struct driver_request){.target = CHANNEL});
    (void)snprintf(etag, sizeof(etag), "%s", driver_header(&driven, "ETag"));
    assert_string_equal(driver_header(&driven, "Accept-Ranges"), "bytes");
    assert_string_equal(driver_header(&driven, "Content-Type"), "application/octet-stream");
    driver_release(&driven);
    (void)snprintf(header, sizeof(header), "If-None-Match: %s", etag);
    assert_int_equal(call("GET " CHANNEL, header, NULL), 304);
    append(NULL, " world", 201, 5, 1);
    assert_content("GET " CHANNEL, header, 200, "hello world");
    (void)snprintf(header, sizeof(header), "If-Match: %s", etag);
    refused("GET " CHANNEL, header, NULL, 412, "precondition_failed");
    (void)snprintf(header, sizeof(header), "If-Range: %s", etag);
    driver_run(&driven, &service,
        &(struct driver_request){.target = CHANNEL, .headers = {"Range: bytes=0-1", header}});
    assert_int_equal(driven.status, 200);
    driver_release(&driven);
}

static void test_versions(void **state)
{
    json_int_t first, second;
    json_t *answer, *list, *part;
    char request[128];

    (void)state;
    first = append(NULL, "hello", 201, 0, 0);
    second = append(NULL, " world", 201, 5, 1);
    assert_int_equal(call("POST /v1/datasets/abc/channels/b", NULL, "x"), 201);
    (void)snprintf(request, sizeof(request), "GET " CHANNEL "?version=%d", (int)first);
    assert_content(request, NULL, 200, "hello");
    assert_content(request, "Range: bytes=-2", 206, "lo");
    (void)snprintf(request, sizeof(request), "GET " CHANNEL "/records?version=%d", (int)first);
    assert_int_equal(driver_call(&service, request, NULL, NULL, &answer), 200);
    assert_int_equal(json_array_size(json_object_get(answer, "records")), 1);
    json_decref(answer);
    (void)snprintf(
        request, sizeof(request), "GET /v1/datasets/abc/channels/b?version=%d", (int)first);
    refused(request, NULL, NULL, 404, "no_such_channel");
    refused("GET " CHANNEL "?version=1000", NULL, NULL, 404, "no_such_version");
    refused("GET " CHANNEL "?version=0", NULL, NULL, 404, "no_such_version");
    refused("GET " CHANNEL "?version=-1", NULL, NULL, 400, "bad_request");
    refused("GET " CHANNEL "?version=latest", NULL, NULL, 400, "bad_request");
    refused("GET " CHANNEL "/records?version=1000", NULL, NULL, 404, "no_such_version");
    refused("GET " CHANNEL "/records?after=x", NULL, NULL, 400, "bad_request");
    refused("GET /v1/datasets/abc/versions?after=-1", NULL, NULL, 400, "bad_request");

    assert_int_equal(
        driver_call(&service, "GET /v1/datasets/abc/versions", NULL, NULL, &answer), 200);
    list = json_object_get(answer, "versions");
    assert_int_equal(json_array_size(list), 3);
    assert_int_equal(json_number_of(json_array_get(list, 0), "version"), first);
    assert_non_null(json_text_of(json_array_get(list, 0), "time"));
    assert_null(json_object_get(json_array_get(list, 0), "transaction"));
    part = json_object_get(json_object_get(json_array_get(list, 1), "channels"), "a");
    assert_int_equal(json_number_of(part, "offset"), 5);
    assert_int_equal(json_number_of(part, "length"), 6);
    json_decref(answer);
    (void)snprintf(
        request, sizeof(request), "GET /v1/datasets/abc/versions?limit=1&after=%d", (int)first);
    assert_int_equal(driver_call(&service, request, NULL, NULL, &answer), 200);
    list = json_object_get(answer, "versions");
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(json_number_of(json_array_get(list, 0), "version"), second);
    assert_int_equal(strtoll(json_text_of(answer, "next"), NULL, 10), second);
    json_decref(answer);
}

/* ---- following ---- */

struct follower {
    struct driver_request request;
    struct driven driven;
    pthread_t thread;
};

static void *follow_main(void *context)
{
    struct follower *follower = context;

    driver_run(&follower->driven, &service, &follower->request);
    return NULL;
}

static void close_dataset(void)
{
    struct dataset *dataset;
    struct gate gate;

    gate_init(&gate);
    assert_int_equal(
        dataset_hold(service.store, slice_from_text("abc"), &dataset, NULL), COFFER_OK);
    for (int step = 0; step < 2; step++) {
        struct change *change = NULL;
        enum coffer_status status;

        assert_int_equal((step == 0 ? dataset_close_begin : dataset_closed)(
                             dataset, gate_waker(&gate), &change, NULL),
            COFFER_OK);
        while ((status = change_finish(change, NULL)) == COFFER_AGAIN)
            gate_wait(&gate);
        assert_int_equal(status, COFFER_OK);
        change_close(change);
    }
    dataset_drop(dataset);
    gate_release(&gate);
}

static void test_follow(void **state)
{
    static const struct {
        const char *range, *offset, *body;
    } cases[] = {{NULL, "0", "hello world and more"}, {"Range: bytes=5-", "5", " world and more"},
        {"Range: bytes=6-8", "6", "world and more"}, {"Range: bytes=11-", "11", " and more"},
        {"Range: bytes=-5", "6", "world and more"},
        {"Range: bytes=5-,8-", "0", "hello world and more"}};
    struct follower followers[ARRAY_COUNT(cases)];

    (void)state;
    append(NULL, "hello world", 201, 0, 0);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        followers[i].request =
            (struct driver_request){.target = CHANNEL "?follow=true", .headers = {cases[i].range}};
        assert_int_equal(pthread_create(&followers[i].thread, NULL, follow_main, &followers[i]), 0);
    }
    append(NULL, " and", 201, 11, 1);
    append(NULL, " more", 201, 15, 2);
    close_dataset();
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct driven *driven = &followers[i].driven;

        pthread_join(followers[i].thread, NULL);
        assert_int_equal(driven->status, 200);
        assert_int_equal(driven->body_status, COFFER_OK);
        driven->body[driven->body_size] = '\0';
        if (i == 4) /* when it began decides what the last five bytes are */
            assert_true(driven->body_size >= 5);
        else
            assert_string_equal(driven->body, cases[i].body);
        if (i != 4)
            assert_string_equal(driver_header(driven, "Coffer-Offset"), cases[i].offset);
        assert_null(driver_header(driven, "ETag"));
        driver_release(driven);
    }
    refused("POST " CHANNEL, NULL, "late", 409, "dataset_closed");
    assert_content("GET " CHANNEL "?follow=true", "Range: bytes=16-", 200, "more");
    assert_content("GET " CHANNEL "?follow=true", "Range: bytes=20-", 200, "");
    refused("GET " CHANNEL "?follow=true", "Range: bytes=21-", NULL, 416, "range_not_satisfiable");
    assert_content("GET " CHANNEL "?follow=false", NULL, 200, "hello world and more");
    assert_int_equal(call("HEAD " CHANNEL "?follow=true", NULL, NULL), 200);
    refused("GET " CHANNEL "?follow=yes", NULL, NULL, 400, "bad_request");
    refused("GET " CHANNEL "?follow=true&version=1", NULL, NULL, 400, "bad_request");
    refused("GET /v1/datasets/abc/channels/b?follow=true", NULL, NULL, 404, "no_such_channel");
}

/* One that waits ends when its client is gone. */
static void test_cancel(void **state)
{
    struct follower follower = {.request = {.target = CHANNEL "?follow=true"}};

    (void)state;
    append(NULL, "hello", 201, 0, 0);
    follower.request.cancel = true;
    (void)follow_main(&follower);
    assert_int_equal(follower.driven.status, 200);
    assert_int_equal(follower.driven.body_status, COFFER_DRAINING);
    assert_int_equal(follower.driven.body_size, 5);
    driver_release(&follower.driven);
}

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STREAM_TEST(test_append),
        STREAM_TEST(test_conditional_append),
        STREAM_TEST(test_lines),
        STREAM_TEST(test_buffered),
        STREAM_TEST(test_digests),
        STREAM_TEST(test_large),
        STREAM_TEST(test_abandoned),
        STREAM_TEST(test_bad_appends),
        STREAM_TEST(test_claim),
        STREAM_TEST(test_ranges),
        STREAM_TEST(test_conditions),
        STREAM_TEST(test_versions),
        STREAM_TEST(test_follow),
        STREAM_TEST(test_cancel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
