/*
 * Goal: a dataset is made, read, listed, patched and deleted as API.md section 4 says, and what is
 * wrong with a request is said. Method: each request is driven over a store in memory, without a
 * socket.
 */
#include "storage/datasets.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/exchange_driver.h"

static struct service service;

static int setup(void **state)
{
    (void)state;
    driver_service_open(&service);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    driver_service_close(&service);
    return 0;
}

static int call(const char *request, const char *header, const char *body)
{
    return driver_call(&service, request, header, body, NULL);
}

/* A header of the answer to a GET, kept until the next call. */
static const char *header_of(const char *target, const char *name)
{
    static char value[256];
    struct driven driven;
    const char *found;

    driver_run(&driven, &service, &(struct driver_request){.target = target});
    assert_int_equal(driven.status, 200);
    found = driver_header(&driven, name);
    assert_non_null(found);
    (void)snprintf(value, sizeof(value), "%s", found);
    driver_release(&driven);
    return value;
}

static void test_put(void **state)
{
    static const char body[] =
        "{\"buffer_size\":65536,\"compression\":\"none\",\"on_close\":[{\"do\":\"verify\"},{\"do\":"
        "\"compress\",\"level\":19},{\"do\":\"compress\"},{\"do\":\"package\"},{\"do\":\"package\","
        "\"format\":\"tar.zst\"},{\"do\":\"notify\",\"url\":\"http://localhost:1/x\"}],"
        "\"metadata\":{\"b\":[1,2.5,null],\"a\":\"\u00fc\"}}";
    struct driver_request request = {.method = "PUT",
        .target = "/v1/datasets/run-1",
        .body = body,
        .body_size = sizeof(body) - 1};
    struct driven driven;
    json_t *answer, *settings, *again;

    (void)state;
    driver_run(&driven, &service, &request);
    assert_int_equal(driven.status, 201);
    assert_string_equal(driver_header(&driven, "Location"), "/v1/datasets/run-1");
    assert_string_equal(driver_header(&driven, "Content-Type"), "application/json");
    assert_non_null(driver_header(&driven, "ETag"));
    assert_non_null(strstr(driven.body, "\"metadata\":{\"b\":[1,2.5,null],\"a\":\"\u00fc\"}"));
    answer = driver_parse(driven.body, driven.body_size);
    driver_release(&driven);
    assert_string_equal(json_text_of(answer, "name"), "run-1");
    assert_string_equal(json_text_of(answer, "state"), "open");
    assert_int_equal(json_number_of(answer, "version"), 0);
    assert_int_equal(json_number_of(answer, "channel_count"), 0);
    assert_int_equal(json_array_size(json_object_get(answer, "channels")), 0);
    assert_int_equal(strlen(json_text_of(answer, "created")), strlen("2026-01-01T00:00:00.000Z"));
    settings = json_object_get(answer, "settings");
    assert_int_equal(json_number_of(settings, "buffer_size"), 65536);
    assert_string_equal(json_text_of(settings, "compression"), "none");
    again = driver_parse(body, sizeof(body) - 1);
    settings = json_object_get(settings, "on_close");
    assert_int_equal(json_array_size(settings), 6);
    assert_int_equal(json_number_of(json_array_get(settings, 1), "level"), 19);
    assert_int_equal(json_number_of(json_array_get(settings, 2), "level"), 9);
    assert_string_equal(json_text_of(json_array_get(settings, 3), "format"), "tar");
    assert_true(json_equal(
        json_array_get(settings, 5), json_array_get(json_object_get(again, "on_close"), 5)));
    json_decref(again);
    json_decref(answer);

    assert_int_equal(call("PUT /v1/datasets/run-1", NULL, body), 200);
    driver_call_refused(&service, "PUT /v1/datasets/run-1", NULL, "{}", 409, "already_exists");
    assert_int_equal(call("GET /v1/datasets/run-1", NULL, NULL), 200);
}

static void test_put_defaults(void **state)
{
    json_t *answer;

    (void)state;
    assert_int_equal(driver_call(&service, "PUT /v1/datasets/abc", NULL, NULL, &answer), 201);
    assert_true(json_is_object(json_object_get(answer, "metadata")));
    assert_string_equal(json_text_of(json_object_get(answer, "settings"), "compression"), "zstd");
    json_decref(answer);
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, " "), 200);
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{\"metadata\":{}}"), 200);
    driver_call_refused(
        &service, "PUT /v1/datasets/abc", NULL, "{\"metadata\":{\"a\":1}}", 409, "already_exists");
}

static void test_put_conditions(void **state)
{
    (void)state;
    driver_call_refused(
        &service, "PUT /v1/datasets/abc", "If-Match: *", "{}", 412, "precondition_failed");
    assert_int_equal(call("PUT /v1/datasets/abc", "If-None-Match: *", "{}"), 201);
    driver_call_refused(
        &service, "PUT /v1/datasets/abc", "If-None-Match: *", "{}", 412, "precondition_failed");
    assert_int_equal(call("PUT /v1/datasets/abc", "If-Match: *", "{}"), 200);
}

static void test_bad_puts(void **state)
{
    static const struct {
        const char *body, *code;
    } cases[] = {{"{\"buffersize\":1}", "unknown_field"}, {"{\"buffer_size\":-1}", "bad_request"},
        {"{\"buffer_size\":1.5}", "bad_request"}, {"{\"buffer_size\":\"8MiB\"}", "bad_json"},
        {"{\"buffer_size\":1000000000000000}", "bad_request"},
        {"{\"compression\":\"lz4\"}", "bad_request"}, {"{\"compression\":1}", "bad_json"},
        {"{\"metadata\":[]}", "bad_json"}, {"{\"metadata\":null}", "bad_json"},
        {"{\"on_close\":{}}", "bad_json"}, {"{\"on_close\":[\"verify\"]}", "bad_json"},
        {"{\"on_close\":[{}]}", "bad_json"}, {"{\"on_close\":[{\"do\":1}]}", "bad_json"},
        {"{\"on_close\":[{\"do\":\"explode\"}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"verify\",\"level\":3}]}", "unknown_field"},
        {"{\"on_close\":[{\"do\":\"verify\",\"what\":3}]}", "unknown_field"},
        {"{\"on_close\":[{\"do\":\"compress\",\"level\":0}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"compress\",\"level\":20}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"package\",\"format\":\"zip\"}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"notify\"}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"notify\",\"url\":\"ftp://a\"}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"notify\",\"url\":\"http://\"}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"notify\",\"url\":\"http://a b\"}]}", "bad_request"},
        {"{\"on_close\":[{\"do\":\"notify\",\"url\":\"http://a\\nb\"}]}", "bad_request"},
        {"{\"a\":1,\"a\":2}", "bad_json"}, {"{", "bad_json"}, {"[]", "bad_json"},
        {"null", "bad_json"}, {"{} {}", "bad_json"},
        {"{\"metadata\":{\"a\":\"\\u0000\"}}", "bad_json"},
        {"{\"metadata\":{\"a\":123456789012345678901234567890}}", "bad_json"}};
    static const char *const names[] = {"ab", "Abc", "-abc", "a%2fb", "a_b%20", ".abc",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        driver_call_refused(
            &service, "PUT /v1/datasets/abc", NULL, cases[i].body, 400, cases[i].code);
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char request[128];

        (void)snprintf(request, sizeof(request), "PUT /v1/datasets/%s", names[i]);
        driver_call_refused(&service, request, NULL, "{}", 400, "bad_name");
    }
    driver_call_refused(&service, "PUT /v1/datasets/abc", "Content-Type: text/plain", "{}", 415,
        "unsupported_media_type");
    driver_call_refused(&service, "GET /v1/datasets/abc", NULL, NULL, 404, "no_such_dataset");
}

static void test_too_many_actions(void **state)
{
    char body[DATASET_ACTIONS_MAX * 32 + 64] = "{\"on_close\":[";

    (void)state;
    for (int i = 0; i < DATASET_ACTIONS_MAX; i++)
        strcat(body, i == 0 ? "{\"do\":\"verify\"}" : ",{\"do\":\"verify\"}");
    strcat(body, "]}");
    assert_int_equal(call("PUT /v1/datasets/most", NULL, body), 201);
    strcpy(body + strlen(body) - 2, ",{\"do\":\"verify\"}]}");
    driver_call_refused(&service, "PUT /v1/datasets/more", NULL, body, 400, "bad_request");
}

/* Names that nothing has, for every request about a dataset. */
static void test_unknown_datasets(void **state)
{
    static const struct {
        const char *method, *rest;
    } requests[] = {{"GET", ""}, {"PATCH", ""}, {"DELETE", ""}, {"GET", "/versions"},
        {"GET", "/channels"}, {"POST", "/channels/a"}, {"GET", "/channels/a"},
        {"POST", "/channels/a/claim"}, {"GET", "/channels/a/records"}, {"POST", "/transactions"},
        {"GET", "/transactions/t"}, {"POST", "/transactions/t/ready"},
        {"POST", "/transactions/t/commit"}, {"POST", "/transactions/t/abort"}};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(requests); i++) {
        char request[128];

        (void)snprintf(request, sizeof(request), "%s /v1/datasets/nothing%s", requests[i].method,
            requests[i].rest);
        driver_call_refused(&service, request, NULL, NULL, 404, "no_such_dataset");
        (void)snprintf(
            request, sizeof(request), "%s /v1/datasets/NO%s", requests[i].method, requests[i].rest);
        driver_call_refused(&service, request, NULL, NULL, 400, "bad_name");
    }
}

static void test_get(void **state)
{
    char etag[256], header[300];
    struct driven driven;

    (void)state;
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{}"), 201);
    (void)snprintf(etag, sizeof(etag), "%s", header_of("/v1/datasets/abc", "ETag"));
    assert_string_equal(header_of("/v1/datasets/abc", "ETag"), etag);
    (void)snprintf(header, sizeof(header), "If-None-Match: %s", etag);
    driver_run(&driven, &service,
        &(struct driver_request){.target = "/v1/datasets/abc", .headers = {header}});
    assert_int_equal(driven.status, 304);
    assert_string_equal(driver_header(&driven, "ETag"), etag);
    driver_release(&driven);
    (void)snprintf(header, sizeof(header), "If-Match: %s", etag);
    assert_int_equal(call("GET /v1/datasets/abc", header, NULL), 200);
    driver_call_refused(
        &service, "GET /v1/datasets/abc", "If-Match: \"x\"", NULL, 412, "precondition_failed");

    /* An append changes it, and one of another of the same name has another tag. */
    assert_int_equal(call("POST /v1/datasets/abc/channels/a", NULL, "x"), 201);
    assert_string_not_equal(header_of("/v1/datasets/abc", "ETag"), etag);
    driver_call_refused(&service, "GET /v1/datasets/abc", header, NULL, 412, "precondition_failed");
    assert_int_equal(call("DELETE /v1/datasets/abc", NULL, NULL), 204);
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{}"), 201);
    assert_string_not_equal(header_of("/v1/datasets/abc", "ETag"), etag);
}

static void test_many_channels(void **state)
{
    enum { CHANNELS = 1000 };
    json_t *answer, *channels;
    char request[128];

    (void)state;
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{}"), 201);
    for (int i = 0; i < CHANNELS; i++) {
        (void)snprintf(request, sizeof(request), "POST /v1/datasets/abc/channels/channel-%04d", i);
        assert_int_equal(call(request, NULL, "0123456789"), 201);
    }
    assert_int_equal(driver_call(&service, "GET /v1/datasets/abc", NULL, NULL, &answer), 200);
    assert_int_equal(json_number_of(answer, "channel_count"), CHANNELS);
    channels = json_object_get(answer, "channels");
    assert_int_equal(json_array_size(channels), CHANNELS);
    for (int i = 0; i < CHANNELS; i++) {
        const json_t *channel = json_array_get(channels, (size_t)i);

        (void)snprintf(request, sizeof(request), "channel-%04d", i);
        assert_string_equal(json_text_of(channel, "name"), request);
        assert_int_equal(json_number_of(channel, "size"), 10);
        assert_int_equal(json_number_of(channel, "records"), 1);
        assert_true(json_number_of(channel, "epoch") >= 0);
    }
    json_decref(answer);

    assert_int_equal(
        driver_call(&service,
            "GET /v1/datasets/abc/channels?limit=2&after=channel-0099&prefix=channel-01", NULL,
            NULL, &answer),
        200);
    channels = json_object_get(answer, "channels");
    assert_int_equal(json_array_size(channels), 2);
    assert_string_equal(json_text_of(json_array_get(channels, 0), "name"), "channel-0100");
    assert_string_equal(json_text_of(answer, "next"), "channel-0101");
    json_decref(answer);
    assert_int_equal(driver_call(&service, "GET /v1/datasets/abc/channels?after=channel-0998", NULL,
                         NULL, &answer),
        200);
    assert_int_equal(json_array_size(json_object_get(answer, "channels")), 1);
    assert_null(json_object_get(answer, "next"));
    json_decref(answer);
}

static void test_list(void **state)
{
    enum { DATASETS = 30 };
    char request[128] = "GET /v1/datasets?limit=7", last[DATASET_NAME_SIZE] = "";
    size_t total = 0;
    json_t *answer;
    bool more = true;

    (void)state;
    assert_int_equal(driver_call(&service, "GET /v1/datasets", NULL, NULL, &answer), 200);
    assert_int_equal(json_array_size(json_object_get(answer, "datasets")), 0);
    json_decref(answer);
    for (int i = 0; i < DATASETS; i++) {
        (void)snprintf(request, sizeof(request), "PUT /v1/datasets/set-%d.x", i);
        assert_int_equal(call(request, NULL, "{}"), 201);
    }
    (void)snprintf(request, sizeof(request), "GET /v1/datasets?limit=7");
    while (more) {
        const json_t *list;

        assert_int_equal(driver_call(&service, request, NULL, NULL, &answer), 200);
        list = json_object_get(answer, "datasets");
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *item = json_array_get(list, i);

            assert_true(strcmp(json_text_of(item, "name"), last) > 0);
            assert_string_equal(json_text_of(item, "state"), "open");
            assert_int_equal(json_number_of(item, "version"), 0);
            assert_non_null(json_text_of(item, "created"));
            (void)snprintf(last, sizeof(last), "%s", json_text_of(item, "name"));
            total++;
        }
        more = json_text_of(answer, "next") != NULL;
        (void)snprintf(request, sizeof(request), "GET /v1/datasets?limit=7&after=%s", last);
        json_decref(answer);
    }
    assert_int_equal(total, DATASETS);
    assert_int_equal(
        driver_call(&service, "GET /v1/datasets?prefix=set-2", NULL, NULL, &answer), 200);
    assert_int_equal(json_array_size(json_object_get(answer, "datasets")), 11);
    json_decref(answer);
    driver_call_refused(&service, "GET /v1/datasets?limit=0", NULL, NULL, 400, "bad_request");
    driver_call_refused(&service,
        "GET "
        "/v1/datasets?after=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        NULL, NULL, 400, "bad_name");
}

static void assert_metadata(const char *expected)
{
    json_t *answer, *wanted = driver_parse(expected, strlen(expected));

    assert_int_equal(driver_call(&service, "GET /v1/datasets/abc", NULL, NULL, &answer), 200);
    assert_true(json_equal(json_object_get(answer, "metadata"), wanted));
    json_decref(answer);
    json_decref(wanted);
}

static void test_patch(void **state)
{
    char etag[256], header[300];
    struct driver_request request = {
        .method = "PATCH", .target = "/v1/datasets/abc", .body = "{\"x\":0.1}", .body_size = 9};
    struct driven driven;

    (void)state;
    assert_int_equal(
        call("PUT /v1/datasets/abc", NULL, "{\"metadata\":{\"a\":1,\"b\":{\"c\":2,\"d\":3}}}"),
        201);
    assert_int_equal(call("PATCH /v1/datasets/abc", "Content-Type: application/merge-patch+json",
                         "{\"a\":null,\"b\":{\"c\":5},\"e\":[]}"),
        200);
    assert_metadata("{\"b\":{\"c\":5,\"d\":3},\"e\":[]}");

    driver_run(&driven, &service, &request);
    assert_int_equal(driven.status, 200);
    (void)snprintf(etag, sizeof(etag), "%s", driver_header(&driven, "ETag"));
    assert_non_null(strstr(driven.body, "\"x\":0.1}"));
    driver_release(&driven);
    assert_string_equal(header_of("/v1/datasets/abc", "ETag"), etag);
    (void)snprintf(header, sizeof(header), "If-Match: %s", etag);
    assert_int_equal(call("PATCH /v1/datasets/abc", header, "{\"y\":1}"), 200);
    driver_call_refused(
        &service, "PATCH /v1/datasets/abc", header, "{\"y\":2}", 412, "precondition_failed");
    assert_metadata("{\"b\":{\"c\":5,\"d\":3},\"e\":[],\"x\":0.1,\"y\":1}");
    assert_int_equal(call("PATCH /v1/datasets/abc", "If-Match: *", ""), 200);

    driver_call_refused(&service, "PATCH /v1/datasets/abc", NULL, "[]", 400, "bad_json");
    driver_call_refused(&service, "PATCH /v1/datasets/abc", NULL, "null", 400, "bad_json");
    driver_call_refused(&service, "PATCH /v1/datasets/abc", "Content-Type: text/plain", "{}", 415,
        "unsupported_media_type");
    assert_metadata("{\"b\":{\"c\":5,\"d\":3},\"e\":[],\"x\":0.1,\"y\":1}");
}

struct patcher {
    pthread_t thread;
    int number, refused;
};

enum { PATCHERS = 4, PATCHES = 50 };

static void *patch_main(void *context)
{
    struct patcher *patcher = context;
    char body[64];

    for (int i = 0; i < PATCHES; i++) {
        (void)snprintf(body, sizeof(body), "{\"p%d-%d\":%d}", patcher->number, i, i);
        if (call("PATCH /v1/datasets/abc", NULL, body) != 200)
            patcher->refused++;
    }
    exchange_thread_end();
    return NULL;
}

static void *append_main(void *context)
{
    const _Atomic bool *stop = context;

    while (!*stop)
        (void)call("POST /v1/datasets/abc/channels/a", NULL, "0123456789");
    exchange_thread_end();
    return NULL;
}

/* Patches that name no tag never undo one another, and go through while the dataset is written. */
static void test_patches_at_once(void **state)
{
    struct patcher patchers[PATCHERS];
    _Atomic bool stop = false;
    pthread_t appender;
    json_t *answer;
    int refused = 0;

    (void)state;
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{}"), 201);
    assert_int_equal(pthread_create(&appender, NULL, append_main, &stop), 0);
    for (int i = 0; i < PATCHERS; i++) {
        patchers[i] = (struct patcher){.number = i};
        assert_int_equal(pthread_create(&patchers[i].thread, NULL, patch_main, &patchers[i]), 0);
    }
    for (int i = 0; i < PATCHERS; i++) {
        pthread_join(patchers[i].thread, NULL);
        refused += patchers[i].refused;
    }
    stop = true;
    pthread_join(appender, NULL);
    assert_int_equal(driver_call(&service, "GET /v1/datasets/abc", NULL, NULL, &answer), 200);
    assert_int_equal(json_object_size(json_object_get(answer, "metadata")) + (size_t)refused,
        PATCHERS * PATCHES);
    json_decref(answer);
    assert_in_range(refused, 0, PATCHERS * PATCHES / 10);
}

/* A body that is too large is refused, and so is one that makes the metadata too large. */
static void test_metadata_limit(void **state)
{
    enum { PART = 200 * 1024 };
    char *body = malloc(3 * PART + 1);
    json_t *answer;

    (void)state;
    assert_non_null(body);
    memset(body, ' ', 3 * PART);
    body[3 * PART] = '\0';
    memcpy(body, "{\"metadata\":{\"a\":\"", 18);
    memset(body + 18, 'x', PART);
    memcpy(body + 18 + PART, "\"}}", 4);
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, body), 201);
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, body), 200);
    assert_int_equal(driver_call(&service, "GET /v1/datasets/abc", NULL, NULL, &answer), 200);
    assert_int_equal(
        json_string_length(json_object_get(json_object_get(answer, "metadata"), "a")), PART);
    json_decref(answer);
    memcpy(body, "{\"b\":\"          \"", 16);
    memset(body + 6, 'x', PART);
    memcpy(body + 6 + PART, "\"}", 3);
    driver_call_refused(&service, "PATCH /v1/datasets/abc", NULL, body, 413, "content_too_large");
    memset(body + 6, 'x', 1000);
    memcpy(body + 6 + 1000, "\"}", 3);
    assert_int_equal(call("PATCH /v1/datasets/abc", NULL, body), 200);
    memset(body, ' ', 3 * PART);
    memcpy(body, "{\"metadata\":{\"a\":\"", 18);
    memset(body + 18, 'x', DATASET_METADATA_MAX);
    memcpy(body + 18 + DATASET_METADATA_MAX, "\"}}", 4);
    driver_call_refused(&service, "PUT /v1/datasets/more", NULL, body, 413, "content_too_large");
    memset(body, ' ', 3 * PART);
    driver_call_refused(&service, "PATCH /v1/datasets/abc", NULL, body, 413, "content_too_large");
    free(body);
}

static void test_delete(void **state)
{
    (void)state;
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{}"), 201);
    assert_int_equal(call("POST /v1/datasets/abc/channels/a", NULL, "x"), 201);
    driver_call_refused(
        &service, "DELETE /v1/datasets/abc", "If-Match: \"x\"", NULL, 412, "precondition_failed");
    assert_int_equal(call("DELETE /v1/datasets/abc", "If-Match: *", NULL), 204);
    driver_call_refused(&service, "DELETE /v1/datasets/abc", NULL, NULL, 404, "no_such_dataset");
    driver_call_refused(
        &service, "GET /v1/datasets/abc/channels/a", NULL, NULL, 404, "no_such_dataset");
    driver_call_refused(
        &service, "POST /v1/datasets/abc/channels/a", NULL, "x", 404, "no_such_dataset");
    assert_int_equal(call("PUT /v1/datasets/abc", NULL, "{}"), 201);
    driver_call_refused(
        &service, "GET /v1/datasets/abc/channels/a", NULL, NULL, 404, "no_such_channel");
}

#define DATASET_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DATASET_TEST(test_put),
        DATASET_TEST(test_put_defaults),
        DATASET_TEST(test_put_conditions),
        DATASET_TEST(test_bad_puts),
        DATASET_TEST(test_too_many_actions),
        DATASET_TEST(test_unknown_datasets),
        DATASET_TEST(test_get),
        DATASET_TEST(test_many_channels),
        DATASET_TEST(test_list),
        DATASET_TEST(test_patch),
        DATASET_TEST(test_patches_at_once),
        DATASET_TEST(test_metadata_limit),
        DATASET_TEST(test_delete),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
