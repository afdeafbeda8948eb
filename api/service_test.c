/*
 * Goal: the lists, sync, and what says how the server is, answer as API.md sections 1, 2 and 5 say.
 * Method: each request is driven over a store in memory, without a socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/exchange_driver.h"

enum { CHUNKS = 40 };

struct fixture {
    struct service service;
    char keys[CHUNKS][DIGEST_HEX_SIZE + 1];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct store_options options;
    struct error err;

    assert_non_null(fixture);
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &fixture->service.store, &err), COFFER_OK);
    fixture->service.state = SERVICE_READY;
    fixture->service.version = "test";
    fixture->service.collect_max = 1 << 20;
    fixture->service.memory_max = 64 << 20;
    fixture->service.started_ns = clock_wall_ns();
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    assert_int_equal(fixture->service.memory_used, 0);
    assert_int_equal(store_close(fixture->service.store, &err), COFFER_OK);
    free(fixture);
    exchange_thread_end();
    return 0;
}

static void put_all(struct fixture *fixture)
{
    for (int i = 0; i < CHUNKS; i++) {
        char content[32];
        json_t *body = NULL;

        (void)snprintf(content, sizeof(content), "chunk number %d", i);
        assert_int_equal(
            driver_ask(&fixture->service, driver_post("/v1/chunks", content), &body), 201);
        memcpy(fixture->keys[i], json_text_of(body, "key"), sizeof(fixture->keys[i]));
        json_decref(body);
    }
}

static void test_list_pages(void **state)
{
    struct fixture *fixture = *state;
    char target[128] = "/v1/chunks?limit=7", last[DIGEST_HEX_SIZE + 1] = "";
    struct driver_request request = {.target = target};
    size_t total = 0;
    bool more = true;

    put_all(fixture);
    while (more) {
        json_t *body = NULL, *chunks;
        const char *next;

        assert_int_equal(driver_ask(&fixture->service, request, &body), 200);
        chunks = json_object_get(body, "chunks");
        for (size_t i = 0; i < json_array_size(chunks); i++) {
            const char *key = json_text_of(json_array_get(chunks, i), "key");

            assert_true(strcmp(key, last) > 0);
            memcpy(last, key, sizeof(last));
            total++;
        }
        next = json_text_of(body, "next");
        more = next != NULL;
        if (more)
            assert_string_equal(next, last);
        (void)snprintf(target, sizeof(target), "/v1/chunks?limit=7&after=%s", last);
        json_decref(body);
    }
    assert_int_equal(total, CHUNKS);
}

static void test_list_forms(void **state)
{
    struct fixture *fixture = *state;
    struct driver_request request = {
        .target = "/v1/chunks", .headers = {"Accept: application/x-ndjson"}};
    struct driven driven;
    char target[64];
    json_t *body = NULL;
    size_t lines = 0;

    put_all(fixture);
    driver_run(&driven, &fixture->service, &request);
    assert_int_equal(driven.status, 200);
    for (const char *at = driven.body; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, CHUNKS);
    driver_release(&driven);

    (void)snprintf(target, sizeof(target), "/v1/chunks?prefix=%.5s", fixture->keys[5]);
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = target}, &body), 200);
    assert_int_equal(json_array_size(json_object_get(body, "chunks")), 1);
    assert_null(json_object_get(body, "next"));
    json_decref(body);
    (void)snprintf(target, sizeof(target), "/v1/chunks?limit=%d", CHUNKS);
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = target}, &body), 200);
    assert_null(json_object_get(body, "next")); /* exactly all of them: no further page */
    json_decref(body);
}

static void test_bad_queries(void **state)
{
    static const char *const targets[] = {"/v1/chunks?limit=0", "/v1/chunks?limit=10001",
        "/v1/chunks?limit=-1", "/v1/chunks?limit=", "/v1/chunks?limit=1x", "/v1/chunks?prefix=G",
        "/v1/chunks?prefix=AB", "/v1/chunks?limit=%zz", "/v1/packs?after=x",
        "/v1/channels?limit=99999999999999999999999"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(targets); i++)
        driver_refused(
            &fixture->service, (struct driver_request){.target = targets[i]}, 400, "bad_request");
    driver_refused(&fixture->service, (struct driver_request){.target = "/v1/chunks?after=12"}, 400,
        "bad_key");
    assert_int_equal(driver_ask(&fixture->service,
                         (struct driver_request){.target = "/v1/chunks?colour=red"}, NULL),
        200);
}

static void test_sync(void **state)
{
    struct fixture *fixture = *state;
    json_t *body = NULL;

    put_all(fixture);
    assert_int_equal(driver_ask(&fixture->service, driver_post("/v1/sync", "{}"), NULL), 200);
    assert_int_equal(driver_ask(&fixture->service, driver_post("/v1/sync", ""), NULL), 200);
    assert_int_equal(
        driver_ask(&fixture->service, driver_post("/v1/sync", "{\"tickets\":[]}"), NULL), 200);
    driver_refused(
        &fixture->service, driver_post("/v1/sync", "{\"ticket\":[]}"), 400, "unknown_field");
    driver_refused(
        &fixture->service, driver_post("/v1/sync", "{\"tickets\":[1]}"), 400, "bad_json");
    driver_refused(&fixture->service, driver_post("/v1/sync", "{\"tickets\":{}}"), 400, "bad_json");
    driver_refused(&fixture->service, driver_post("/v1/sync", "[]"), 400, "bad_json");
    driver_refused(
        &fixture->service, driver_post("/v1/sync", "[[[[[[[[[[[]]]]]]]]]]]"), 400, "bad_json");
    driver_refused(
        &fixture->service, driver_post("/v1/sync", "{\"tickets\":[\"x\"]}"), 400, "bad_request");
    assert_int_equal(
        driver_ask(&fixture->service,
            driver_post("/v1/sync", "{\"tickets\":[\"0123456789abcdef:a:1\"]}"), &body),
        410);
    assert_string_equal(json_text_of(body, "code"), "ticket_lost");
    assert_string_equal(json_string_value(json_array_get(json_object_get(body, "lost"), 0)),
        "0123456789abcdef:a:1");
    json_decref(body);
}

static void test_state(void **state)
{
    struct fixture *fixture = *state;
    json_t *body = NULL;

    put_all(fixture);
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = "/v1/status"}, &body), 200);
    assert_int_equal(json_number_of(body, "chunks"), CHUNKS);
    assert_string_equal(json_text_of(body, "engine"), "memory");
    assert_true(json_is_array(json_object_get(body, "channels")));
    json_decref(body);
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = "/v1/packs"}, &body), 200);
    assert_true(json_is_array(json_object_get(body, "packs")));
    json_decref(body);
    assert_int_equal(driver_ask(&fixture->service,
                         (struct driver_request){.target = "/v1/channels?prefix=default"}, &body),
        200);
    assert_true(json_array_size(json_object_get(body, "channels")) > 0);
    json_decref(body);

    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = "/readyz"}, NULL), 200);
    fixture->service.state = SERVICE_DRAINING;
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = "/readyz"}, &body), 503);
    assert_true(json_is_false(json_object_get(body, "ready")));
    assert_int_equal(json_array_size(json_object_get(body, "reasons")), 1);
    json_decref(body);
    assert_int_equal(
        driver_ask(&fixture->service, (struct driver_request){.target = "/healthz"}, NULL), 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_list_pages),
        TEST(test_list_forms),
        TEST(test_bad_queries),
        TEST(test_sync),
        TEST(test_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
