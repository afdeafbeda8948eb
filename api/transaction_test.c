/*
 * Goal: transactions open, gather, become ready, commit and abort as API.md section 4 says, and
 * every bad input has its code. Method: each request is driven over a store in memory, without a
 * socket.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/datasets.h"
#include "tests/support/exchange_driver.h"

static struct service service;

#define DATASET "/v1/datasets/abc"
#define TRANSACTIONS DATASET "/transactions"

static int call(const char *request, const char *header, const char *body, json_t **answer)
{
    return driver_call(&service, request, header, body, answer);
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
    assert_int_equal(call("PUT " DATASET, NULL, "{}", NULL), 201);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_service_close(&service);
    return 0;
}

static void open_one(const char *body, int status)
{
    assert_int_equal(call("POST " TRANSACTIONS, NULL, body, NULL), status);
}

static void stage(const char *channel, const char *transaction, const char *body, int offset)
{
    char request[128], header[128];
    json_t *receipt;

    (void)snprintf(request, sizeof(request), "POST " DATASET "/channels/%s", channel);
    (void)snprintf(header, sizeof(header), "Coffer-Transaction: %s", transaction);
    assert_int_equal(call(request, header, body, &receipt), 202);
    assert_string_equal(json_text_of(receipt, "state"), "staged");
    assert_string_equal(json_text_of(receipt, "channel"), channel);
    assert_int_equal(json_number_of(receipt, "offset"), offset);
    assert_int_equal(json_number_of(receipt, "length"), strlen(body));
    assert_null(json_object_get(receipt, "version"));
    assert_null(json_object_get(receipt, "ticket"));
    json_decref(receipt);
}

static void assert_state(const char *id, const char *expected)
{
    char request[128];
    json_t *answer;

    (void)snprintf(request, sizeof(request), "GET " TRANSACTIONS "/%s", id);
    assert_int_equal(call(request, NULL, NULL, &answer), 200);
    assert_string_equal(json_text_of(answer, "id"), id);
    assert_string_equal(json_text_of(answer, "state"), expected);
    json_decref(answer);
}

static void assert_part(const json_t *answer, const char *channel, int offset, int length)
{
    const json_t *part = json_object_get(json_object_get(answer, "channels"), channel);

    assert_int_equal(json_number_of(part, "offset"), offset);
    assert_int_equal(json_number_of(part, "length"), length);
}

static void test_commit(void **state)
{
    json_t *answer, *again;
    char *body;

    (void)state;
    assert_int_equal(call("POST " DATASET "/channels/a", NULL, "before", NULL), 201);
    assert_int_equal(call("POST " TRANSACTIONS, NULL,
                         "{\"id\":\"t1\",\"channels\":[\"b\",\"a\"],\"ttl\":600}", &answer),
        201);
    assert_string_equal(json_text_of(answer, "id"), "t1");
    assert_string_equal(json_text_of(answer, "state"), "open");
    assert_int_equal(json_array_size(json_object_get(answer, "channels")), 2);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(answer, "channels"), 0)), "a");
    assert_true(json_is_false(json_object_get(answer, "whole")));
    assert_non_null(json_text_of(answer, "expires"));
    json_decref(answer);
    open_one("{\"id\":\"t1\",\"channels\":[\"a\",\"b\"]}", 200);

    stage("a", "t1", "one", 6);
    stage("a", "t1", "two!", 9);
    stage("b", "t1", "three", 0);
    body = driver_call_text(&service, "GET " DATASET "/channels/a", NULL, 200);
    assert_string_equal(body, "before");
    free(body);
    refused("GET " DATASET "/channels/b", NULL, NULL, 404, "no_such_channel");
    refused("POST " DATASET "/channels/a", NULL, "x", 409, "channel_busy");
    refused("POST " TRANSACTIONS, NULL, "{\"channels\":[\"c\",\"b\"]}", 409, "channel_busy");

    assert_int_equal(call("POST " TRANSACTIONS "/t1/commit", NULL, "{}", &answer), 200);
    assert_string_equal(json_text_of(answer, "state"), "committed");
    assert_true(json_number_of(answer, "version") >= 2);
    assert_part(answer, "a", 6, 7);
    assert_part(answer, "b", 0, 5);
    assert_int_equal(call("POST " TRANSACTIONS "/t1/commit", NULL, NULL, &again), 200);
    assert_true(json_equal(answer, again));
    json_decref(again);
    assert_int_equal(call("GET " TRANSACTIONS "/t1", NULL, NULL, &again), 200);
    assert_true(json_equal(answer, again));
    json_decref(again);
    json_decref(answer);

    body = driver_call_text(&service, "GET " DATASET "/channels/a", NULL, 200);
    assert_string_equal(body, "beforeonetwo!");
    free(body);
    refused(
        "POST " DATASET "/channels/a", "Coffer-Transaction: t1", "x", 409, "transaction_committed");
    refused("POST " TRANSACTIONS "/t1/abort", NULL, NULL, 409, "transaction_committed");
    assert_int_equal(call("GET " DATASET "/versions", NULL, NULL, &answer), 200);
    assert_string_equal(
        json_text_of(json_array_get(json_object_get(answer, "versions"), 1), "transaction"), "t1");
    json_decref(answer);
}

static void test_made_id(void **state)
{
    struct driver_request request = {
        .method = "POST", .target = TRANSACTIONS, .body = "", .body_size = 0};
    struct driven driven;
    json_t *answer;
    char location[256];

    (void)state;
    driver_run(&driven, &service, &request);
    assert_int_equal(driven.status, 201);
    answer = driver_parse(driven.body, driven.body_size);
    assert_true(json_is_true(json_object_get(answer, "whole")));
    (void)snprintf(location, sizeof(location), "GET %s", driver_header(&driven, "Location"));
    driver_release(&driven);
    assert_non_null(strstr(location, json_text_of(answer, "id")));
    json_decref(answer);
    assert_int_equal(call(location, NULL, NULL, NULL), 200);
}

static void test_abort(void **state)
{
    json_t *answer;

    (void)state;
    open_one("{\"id\":\"t1\",\"channels\":[\"a\"]}", 201);
    stage("a", "t1", "one", 0);
    assert_int_equal(call("POST " TRANSACTIONS "/t1/abort", NULL,
                         "{\"reason\":\"the sensor fell off\"}", &answer),
        200);
    assert_string_equal(json_text_of(answer, "state"), "aborted");
    assert_non_null(strstr(json_text_of(answer, "reason"), "the sensor fell off"));
    json_decref(answer);
    assert_int_equal(call("POST " TRANSACTIONS "/t1/abort", NULL, NULL, NULL), 200);
    assert_state("t1", "aborted");
    refused(
        "POST " DATASET "/channels/a", "Coffer-Transaction: t1", "x", 409, "transaction_aborted");
    refused("POST " TRANSACTIONS "/t1/commit", NULL, NULL, 409, "transaction_aborted");
    refused(
        "POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"a\"}", 409, "transaction_aborted");
    refused("GET " DATASET "/channels/a", NULL, NULL, 404, "no_such_channel");
    assert_int_equal(call("POST " DATASET "/channels/a", NULL, "x", NULL), 201);
}

static void test_claim_aborts(void **state)
{
    (void)state;
    open_one("{\"id\":\"t1\",\"channels\":[\"a\"]}", 201);
    stage("a", "t1", "one", 0);
    assert_int_equal(call("POST " DATASET "/channels/a/claim", NULL, NULL, NULL), 200);
    assert_state("t1", "aborted");
}

static void test_barrier(void **state)
{
    json_t *answer;

    (void)state;
    open_one("{\"id\":\"t1\",\"channels\":[\"a\",\"b\",\"c\"],\"barrier\":true}", 201);
    stage("a", "t1", "one", 0);
    stage("b", "t1", "two", 0);
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"b\"}", &answer), 200);
    assert_string_equal(json_text_of(answer, "state"), "open");
    json_decref(answer);
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/commit", NULL, "{\"wait\":0.01}", &answer), 409);
    assert_string_equal(json_text_of(answer, "code"), "transaction_not_ready");
    assert_int_equal(json_array_size(json_object_get(answer, "missing")), 2);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(answer, "missing"), 0)), "a");
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(answer, "missing"), 1)), "c");
    json_decref(answer);
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"a\"}", NULL), 200);
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"c\"}", NULL), 200);
    assert_int_equal(call("POST " TRANSACTIONS "/t1/commit", NULL, NULL, &answer), 200);
    assert_part(answer, "a", 0, 3);
    json_decref(answer);
    /* What was answered may be asked again. */
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"a\"}", &answer), 200);
    assert_string_equal(json_text_of(answer, "state"), "committed");
    json_decref(answer);
}

static void test_commit_when_ready(void **state)
{
    json_t *answer;

    (void)state;
    open_one("{\"id\":\"t1\",\"channels\":[\"a\",\"b\"],\"commit_when_ready\":true}", 201);
    stage("a", "t1", "one", 0);
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"a\"}", &answer), 200);
    assert_string_equal(json_text_of(answer, "state"), "open");
    json_decref(answer);
    stage("b", "t1", "two", 0);
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"b\"}", &answer), 200);
    assert_string_equal(json_text_of(answer, "state"), "committed");
    assert_part(answer, "b", 0, 3);
    json_decref(answer);
}

/* A version with so many channels that it does not fit into the buffer of a list. */
static void test_many_channels(void **state)
{
    enum { CHANNELS = 1500 };
    json_t *answer, *list;
    char name[32];

    (void)state;
    assert_int_equal(call("POST " DATASET "/channels/first", NULL, "x", NULL), 201);
    open_one("{\"id\":\"t1\"}", 201);
    for (int i = 0; i < CHANNELS; i++) {
        (void)snprintf(name, sizeof(name), "channel-%04d", i);
        stage(name, "t1", "0123456789", 0);
    }
    assert_int_equal(call("GET " TRANSACTIONS "/t1", NULL, NULL, &answer), 200);
    assert_int_equal(json_array_size(json_object_get(answer, "channels")), CHANNELS);
    json_decref(answer);
    assert_int_equal(call("POST " TRANSACTIONS "/t1/commit", NULL, NULL, &answer), 200);
    assert_int_equal(json_object_size(json_object_get(answer, "channels")), CHANNELS);
    json_decref(answer);
    assert_int_equal(call("POST " DATASET "/channels/last", NULL, "x", NULL), 201);

    assert_int_equal(call("GET " DATASET "/versions", NULL, NULL, &answer), 200);
    list = json_object_get(answer, "versions");
    assert_int_equal(json_array_size(list), 3);
    assert_int_equal(
        json_object_size(json_object_get(json_array_get(list, 1), "channels")), CHANNELS);
    for (int i = 0; i < CHANNELS; i++) {
        (void)snprintf(name, sizeof(name), "channel-%04d", i);
        assert_part(json_array_get(list, 1), name, 0, 10);
    }
    assert_part(json_array_get(list, 2), "last", 0, 1);
    json_decref(answer);
}

static void *commit_main(void *context)
{
    int *status = context;

    *status = call("POST " TRANSACTIONS "/t1/commit", NULL, "{\"wait\":60}", NULL);
    return NULL;
}

/* A commit that waits is woken by the last that is ready. */
static void test_commit_waits(void **state)
{
    pthread_t thread;
    int status = 0;

    (void)state;
    open_one("{\"id\":\"t1\",\"channels\":[\"a\"],\"barrier\":true}", 201);
    stage("a", "t1", "one", 0);
    assert_int_equal(pthread_create(&thread, NULL, commit_main, &status), 0);
    assert_int_equal(
        call("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"a\"}", NULL), 200);
    pthread_join(thread, NULL);
    assert_int_equal(status, 200);
    assert_state("t1", "committed");
}

static void test_expires(void **state)
{
    json_t *answer;
    bool open = true;

    (void)state;
    open_one("{\"id\":\"t1\",\"channels\":[\"a\"],\"ttl\":0.01}", 201);
    while (open) { /* until the time is over */
        assert_int_equal(call("GET " TRANSACTIONS "/t1", NULL, NULL, &answer), 200);
        open = strcmp(json_text_of(answer, "state"), "open") == 0;
        if (!open)
            assert_string_equal(json_text_of(answer, "state"), "aborted");
        json_decref(answer);
    }
    refused("POST " TRANSACTIONS "/t1/commit", NULL, NULL, 409, "transaction_aborted");
}

static void test_bad_opens(void **state)
{
    static const struct {
        const char *body, *code;
    } cases[] = {{"{\"ttl\":0}", "bad_request"}, {"{\"ttl\":-1}", "bad_request"},
        {"{\"ttl\":31536000}", "bad_request"}, {"{\"ttl\":86400.1}", "bad_request"},
        {"{\"ttl\":\"60s\"}", "bad_json"}, {"{\"id\":\"\"}", "bad_name"},
        {"{\"id\":\"a b\"}", "bad_name"}, {"{\"id\":7}", "bad_json"},
        {"{\"channels\":[]}", "bad_request"}, {"{\"channels\":\"a\"}", "bad_json"},
        {"{\"channels\":[1]}", "bad_json"}, {"{\"channels\":[\"a/b\"]}", "bad_name"},
        {"{\"channels\":[\"a\",\"b\",\"a\"]}", "bad_request"}, {"{\"barrier\":1}", "bad_json"},
        {"{\"commit_when_ready\":true}", "bad_request"}, {"{\"chanels\":[\"a\"]}", "unknown_field"},
        {"[]", "bad_json"}, {"{", "bad_json"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        refused("POST " TRANSACTIONS, NULL, cases[i].body, 400, cases[i].code);
}

static void test_bad_steps(void **state)
{
    (void)state;
    refused("GET " TRANSACTIONS "/t1", NULL, NULL, 404, "no_such_transaction");
    refused("POST " TRANSACTIONS "/t1/commit", NULL, NULL, 404, "no_such_transaction");
    refused("POST " TRANSACTIONS "/t1/abort", NULL, NULL, 404, "no_such_transaction");
    refused(
        "POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"a\"}", 404, "no_such_transaction");
    open_one("{\"id\":\"t1\",\"channels\":[\"a\"]}", 201);
    refused("POST " TRANSACTIONS "/t1/commit", NULL, "{\"wait\":301}", 400, "bad_request");
    refused("POST " TRANSACTIONS "/t1/commit", NULL, "{\"wait\":-1}", 400, "bad_request");
    refused("POST " TRANSACTIONS "/t1/commit", NULL, "{\"wait\":\"1\"}", 400, "bad_json");
    refused("POST " TRANSACTIONS "/t1/commit", NULL, "{\"weight\":1}", 400, "unknown_field");
    refused("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"\"}", 400, "bad_name");
    refused("POST " TRANSACTIONS "/t1/ready", NULL, "{\"channel\":\"z\"}", 404, "no_such_channel");
    refused("POST " TRANSACTIONS "/t1/abort", NULL, "{\"reason\":1}", 400, "bad_json");
    refused("POST " TRANSACTIONS "/t1/abort", NULL,
        "{\"reason\":\"0123456789012345678901234567890123456789012345678901234567890123456789"
        "01234567890123456789012345678901234567890123456789012345678901234567890123456789\"}",
        400, "bad_request");
    refused("POST " DATASET "/channels/b", "Coffer-Transaction: t1", "x", 404, "no_such_channel");
    assert_state("t1", "open");
}

#define TRANSACTION_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TRANSACTION_TEST(test_commit),
        TRANSACTION_TEST(test_made_id),
        TRANSACTION_TEST(test_abort),
        TRANSACTION_TEST(test_claim_aborts),
        TRANSACTION_TEST(test_barrier),
        TRANSACTION_TEST(test_commit_when_ready),
        TRANSACTION_TEST(test_many_channels),
        TRANSACTION_TEST(test_commit_waits),
        TRANSACTION_TEST(test_expires),
        TRANSACTION_TEST(test_bad_opens),
        TRANSACTION_TEST(test_bad_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
