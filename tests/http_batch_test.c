/*
 * Goal: lists, stat, delete of many, sync and the pages about the server answer as API.md says,
 * however many there are and however wrong the request. Method: libcurl against a real cofferd
 * with small limits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

enum { STORED = 40, KEY_ROOM = DIGEST_HEX_SIZE + 8 };

static struct server server;
static struct http_client *client;
static struct sample samples[STORED]; /* stored, in key order */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct sample *)a)->key, ((const struct sample *)b)->key);
}

static int store_samples(void **state)
{
    (void)state;
    client = http_client_create(server.address);
    for (size_t i = 0; i < STORED; i++)
        sample_init(&samples[i], 100 + i * 37, i + 1);
    qsort(samples, STORED, sizeof(samples[0]), by_key);
    for (size_t i = 0; i < STORED; i++)
        if (i % 4 == 3) /* a lane of their own: no sync of others takes them along */
            CHECK_STATUS(client, 202, .method = "PUT", .path = samples[i].path,
                .headers = {"Coffer-Durability: buffered", "Coffer-Channel: late"},
                .body = samples[i].content, .size = samples[i].size);
        else
            check_put(client, &samples[i], NULL, 201);
    return 0;
}

static int drop_samples(void **state)
{
    (void)state;
    http_client_destroy(client);
    for (size_t i = 0; i < STORED; i++)
        sample_release(&samples[i]);
    return 0;
}

static json_t *get_json(const char *path, int status)
{
    struct http_answer answer;
    json_t *root;

    CHECK_SEND(client, status, &answer, .path = path);
    check_header(&answer, "Content-Type", "application/json");
    root = check_json(&answer);
    http_answer_release(&answer);
    return root;
}

static json_t *post_json(const char *path, const char *body)
{
    struct http_answer answer;
    json_t *root;

    CHECK_SEND(client, 200, &answer, .method = "POST", .path = path, .body = body,
        .size = strlen(body), .headers = {"Content-Type: application/json"});
    check_header(&answer, "Content-Type", "application/json");
    root = check_json(&answer);
    http_answer_release(&answer);
    return root;
}

/* {"keys":[...]} of samples and of keys that are not stored; the caller frees it. */
static char *keys_body(size_t first, size_t count, size_t unknown)
{
    char *body = calloc(1, (count + unknown + 1) * KEY_ROOM);
    size_t used;

    assert_non_null(body);
    used = (size_t)sprintf(body, "{\"keys\":[");
    for (size_t i = 0; i < count + unknown; i++)
        used += i < count
                    ? (size_t)sprintf(
                          body + used, "%s\"%s\"", i == 0 ? "" : ",", samples[first + i].key)
                    : (size_t)sprintf(body + used, "%s\"%064zx\"", i == 0 ? "" : ",", i - count);
    (void)sprintf(body + used, "]}");
    return body;
}

/* ---- lists ---- */

static void check_list_item(json_t *item, const struct sample *sample)
{
    const char *key;
    json_int_t size, stored;
    json_error_t error;

    assert_int_equal(json_unpack_ex(item, &error, JSON_STRICT, "{s:s,s:I,s:I}", "key", &key, "size",
                         &size, "stored_size", &stored),
        0);
    assert_string_equal(key, sample->key);
    assert_int_equal(size, sample->size);
    assert_true(stored > 0 && (size_t)stored <= sample->size);
}

static void test_list_pages(void **state)
{
    static const size_t limits[] = {1, 3, 39, 40, 41, 10000};

    (void)state;
    for (size_t l = 0; l < ARRAY_COUNT(limits); l++) {
        char path[200];
        size_t at = 0;

        (void)snprintf(path, sizeof(path), "/v1/chunks?limit=%zu", limits[l]);
        for (;;) {
            json_t *root = get_json(path, 200);
            json_t *list = json_object_get(root, "chunks"), *next = json_object_get(root, "next");
            size_t count = json_array_size(list);

            assert_true(count <= limits[l] && at + count <= STORED);
            assert_int_equal(json_object_size(root), next == NULL ? 1 : 2);
            for (size_t i = 0; i < count; i++)
                check_list_item(json_array_get(list, i), &samples[at + i]);
            at += count;
            if (next == NULL) { /* not even when the page is just full */
                json_decref(root);
                break;
            }
            assert_int_equal(count, limits[l]);
            assert_string_equal(json_string_value(next), samples[at - 1].key);
            (void)snprintf(path, sizeof(path), "/v1/chunks?after=%s&limit=%zu",
                json_string_value(next), limits[l]);
            json_decref(root);
        }
        assert_int_equal(at, STORED);
    }
}

static void test_list_prefix(void **state)
{
    (void)state;
    for (int digit = 0; digit < 16; digit++) {
        char path[200], text[2];
        size_t expected = 0;
        json_t *root;

        (void)snprintf(text, sizeof(text), "%x", (unsigned)digit);
        (void)snprintf(path, sizeof(path), "/v1/chunks?prefix=%s", text);
        for (size_t i = 0; i < STORED; i++)
            expected += samples[i].key[0] == text[0];
        root = get_json(path, 200);
        assert_int_equal(json_array_size(json_object_get(root, "chunks")), expected);
        json_decref(root);
    }
    for (size_t length = 1; length <= DIGEST_HEX_SIZE; length += 7) {
        char path[200];
        json_t *root;

        (void)snprintf(
            path, sizeof(path), "/v1/chunks?limit=1&prefix=%.*s", (int)length, samples[7].key);
        root = get_json(path, 200);
        assert_int_equal(json_array_size(json_object_get(root, "chunks")), 1);
        json_decref(root);
    }
}

static void test_list_lines(void **state)
{
    static const char *const paths[] = {"/v1/chunks", "/v1/chunks?limit=5"};

    (void)state;
    for (size_t p = 0; p < 2; p++) {
        struct http_answer answer;
        const char *line;
        size_t at = 0;

        CHECK_SEND(
            client, 200, &answer, .path = paths[p], .headers = {"Accept: application/x-ndjson"});
        check_header(&answer, "Content-Type", "application/x-ndjson");
        for (line = answer.body; *line != '\0'; line = strchr(line, '\n') + 1) {
            json_t *item = json_loads(line, JSON_DISABLE_EOF_CHECK, NULL);

            assert_non_null(item);
            assert_non_null(strchr(line, '\n'));
            check_list_item(item, &samples[at++]);
            json_decref(item);
        }
        assert_int_equal(at, p == 0 ? STORED : 5);
        http_answer_release(&answer);
    }
}

static void test_list_refusals(void **state)
{
    static const char *const bad[] = {"?limit=0", "?limit=10001", "?limit=x",
        "?limit=", "?limit=-1", "?limit=1.5", "?limit=99999999999999999999", "?prefix=g",
        "?prefix=A", "?limit=%zz",
        "?prefix=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        char path[200];

        (void)snprintf(path, sizeof(path), "/v1/chunks%s", bad[i]);
        CHECK_PROBLEM(client, 400, "bad_request", .path = path);
    }
    CHECK_PROBLEM(client, 400, "bad_key", .path = "/v1/chunks?after=zz");
}

/* ---- stat ---- */

static void test_stat(void **state)
{
    char *body = keys_body(0, STORED, 3);
    json_t *root = post_json("/v1/chunks/stat", body);
    json_t *chunks = json_object_get(root, "chunks"), *missing = json_object_get(root, "missing");

    (void)state;
    assert_int_equal(json_object_size(root), 2);
    assert_int_equal(json_array_size(chunks), STORED);
    for (size_t i = 0; i < STORED; i++) {
        const char *key, *codec, *chunk_state;
        json_int_t size, stored, pack, offset;
        json_error_t error;

        assert_int_equal(
            json_unpack_ex(json_array_get(chunks, i), &error, JSON_STRICT,
                "{s:s,s:I,s:I,s:s,s:s,s:I,s:I}", "key", &key, "size", &size, "stored_size", &stored,
                "codec", &codec, "state", &chunk_state, "pack", &pack, "offset", &offset),
            0);
        assert_string_equal(key, samples[i].key);
        assert_int_equal(size, samples[i].size);
        assert_string_equal(chunk_state, i % 4 == 3 ? "buffered" : "durable");
        assert_true(i % 4 == 3 ? pack == 0 : pack > 0 && offset > 0);
        assert_true(strcmp(codec, "none") == 0 || strcmp(codec, "zstd") == 0);
    }
    assert_int_equal(json_array_size(missing), 3);
    assert_int_equal(strlen(json_string_value(json_array_get(missing, 2))), DIGEST_HEX_SIZE);
    json_decref(root);
    free(body);
    root = post_json("/v1/chunks/stat", "{\"keys\":[]}");
    assert_int_equal(json_array_size(json_object_get(root, "chunks")), 0);
    assert_int_equal(json_array_size(json_object_get(root, "missing")), 0);
    json_decref(root);
}

/* As text, a key a line; keys may repeat, and come back as often. */
static void test_stat_of_lines(void **state)
{
    struct http_answer answer;
    char body[400];
    json_t *root;

    (void)state;
    (void)snprintf(body, sizeof(body), "%s\n%s\r\n\n%064d\n%s", samples[1].key, samples[0].key, 7,
        samples[1].key);
    CHECK_SEND(client, 200, &answer, .method = "POST", .path = "/v1/chunks/stat", .body = body,
        .size = strlen(body), .headers = {"Content-Type: text/plain; charset=utf-8"});
    root = check_json(&answer);
    assert_int_equal(json_array_size(json_object_get(root, "chunks")), 3);
    assert_int_equal(json_array_size(json_object_get(root, "missing")), 1);
    json_decref(root);
    http_answer_release(&answer);
}

/* No cliff on the way to many. */
static void test_stat_of_many(void **state)
{
    char *body = keys_body(0, STORED, 10000);
    json_t *root = post_json("/v1/chunks/stat", body);

    (void)state;
    assert_int_equal(json_array_size(json_object_get(root, "chunks")), STORED);
    assert_int_equal(json_array_size(json_object_get(root, "missing")), 10000);
    json_decref(root);
    free(body);
}

static void test_bad_bodies(void **state)
{
    static const char *const paths[] = {
        "/v1/chunks/stat", "/v1/chunks/extract", "/v1/chunks/delete"};
    static const struct {
        const char *body, *code;
    } cases[] = {
        {"", "bad_json"},
        {"nonsense", "bad_json"},
        {"{", "bad_json"},
        {"[]", "bad_json"},
        {"{}", "bad_json"},
        {"{\"keys\":7}", "bad_json"},
        {"{\"keys\":[7]}", "bad_json"},
        {"{\"keys\":[\"", "bad_json"},
        {"{\"keys\":[]} x", "bad_json"},
        {"{\"keys\":[],\"keys\":[]}", "bad_json"},
        {"{\"keys\":[\"\xff\"]}", NULL},
        {"{\"keys\":[\"short\"]}", "bad_key"},
        {"{\"keyz\":[]}", "unknown_field"},
        {"{\"keys\":[],\"more\":1}", "unknown_field"},
    };

    (void)state;
    for (size_t p = 0; p < ARRAY_COUNT(paths); p++) {
        for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
            if (cases[i].code == NULL) /* not UTF-8: bad_json or bad_key, both are right */
                CHECK_STATUS(client, 400, .method = "POST", .path = paths[p], .body = cases[i].body,
                    .size = strlen(cases[i].body));
            else
                CHECK_PROBLEM(client, 400, cases[i].code, .method = "POST", .path = paths[p],
                    .body = cases[i].body, .size = strlen(cases[i].body));
        }
        CHECK_PROBLEM(client, 400, "bad_key", .method = "POST", .path = paths[p], .body = "abc\n",
            .size = 4, .headers = {"Content-Type: text/plain"});
        CHECK_PROBLEM(client, 415, "unsupported_media_type", .method = "POST", .path = paths[p],
            .body = "<x/>", .size = 4, .headers = {"Content-Type: application/xml"});
        CHECK_PROBLEM(client, 415, "unsupported_media_type", .method = "POST", .path = paths[p],
            .body = "{}", .size = 2, .headers = {"Content-Encoding: gzip"});
        CHECK_PROBLEM(client, 422, "digest_mismatch", .method = "POST", .path = paths[p],
            .body = "{\"keys\":[]}", .size = 11,
            .headers = {"Content-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"});
    }
}

/* Announced or not, a list of more than --json-size-max (1 MiB here) is refused. */
static void test_oversized(void **state)
{
    static const char *const paths[] = {
        "/v1/chunks/stat", "/v1/chunks/extract", "/v1/chunks/delete", "/v1/sync"};
    size_t size = 3 << 19;
    char *body = malloc(size);

    (void)state;
    assert_non_null(body);
    memset(body, ' ', size);
    for (size_t p = 0; p < ARRAY_COUNT(paths); p++) {
        struct http_answer answer;

        CHECK_SEND(client, 413, &answer, .method = "POST", .path = paths[p], .body = body,
            .size = size, .expect = true);
        check_problem(&answer, 413, "content_too_large");
        assert_int_equal(answer.body_sent, 0);
        http_answer_release(&answer);
        CHECK_PROBLEM(client, 413, "content_too_large", .method = "POST", .path = paths[p],
            .body = body, .size = size, .chunked = true);
    }
    CHECK_PROBLEM(
        client, 413, "content_too_large", .path = "/v1/status", .body = body, .size = size);
    CHECK_STATUS(client, 200, .path = "/v1/status");
    free(body);
}

/* ---- deleting many ---- */

static void test_delete_many(void **state)
{
    struct sample mine[5];
    char body[700], answer_text[200];
    struct http_answer answer;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        sample_init(&mine[i], 500, 5000 + i);
        check_put(client, &mine[i], i == 2 ? "buffered" : NULL, i == 2 ? 202 : 201);
    }
    /* four that exist, one of them twice, and one that does not */
    (void)snprintf(body, sizeof(body), "{\"keys\":[\"%s\",\"%s\",\"%064d\",\"%s\",\"%s\",\"%s\"]}",
        mine[0].key, mine[1].key, 5, mine[2].key, mine[3].key, mine[1].key);
    /* what is refused deletes nothing */
    CHECK_STATUS(client, 400, .method = "POST", .path = "/v1/chunks/delete", .body = body,
        .size = strlen(body) - 1);
    check_get(client, &mine[0]);
    CHECK_SEND(client, 200, &answer, .method = "POST", .path = "/v1/chunks/delete", .body = body,
        .size = strlen(body));
    (void)snprintf(
        answer_text, sizeof(answer_text), "{\"deleted\":4,\"missing\":[\"%064d\"]}\n", 5);
    assert_string_equal(answer.body, answer_text);
    http_answer_release(&answer);
    for (size_t i = 0; i < 4; i++)
        CHECK_STATUS(client, 404, .path = mine[i].path);
    check_get(client, &mine[4]);
    CHECK_STATUS(client, 204, .method = "DELETE", .path = mine[4].path);
    for (size_t i = 0; i < 5; i++)
        sample_release(&mine[i]);
}

/* ---- sync ---- */

static void test_sync_refusals(void **state)
{
    static const struct {
        const char *body, *code;
    } cases[] = {
        {"{", "bad_json"},
        {"[]", "bad_json"},
        {"7", "bad_json"},
        {"{\"tickets\":7}", "bad_json"},
        {"{\"tickets\":[7]}", "bad_json"},
        {"{\"tickets\":[],\"tickets\":[]}", "bad_json"},
        {"{\"ticket\":[]}", "unknown_field"},
        {"{\"tickets\":[],\"x\":0}", "unknown_field"},
        {"{\"tickets\":[\"nonsense\"]}", "bad_request"},
        {"{\"tickets\":[\"\"]}", "bad_request"},
        {"{\"tickets\":[[[[[[[[[[[]]]]]]]]]]]}", "bad_json"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        CHECK_PROBLEM(client, 400, cases[i].code, .method = "POST", .path = "/v1/sync",
            .body = cases[i].body, .size = strlen(cases[i].body));
    json_decref(post_json("/v1/sync", "{\"tickets\":[]}"));
}

/* ---- about the server ---- */

static void check_channel_row(json_t *row)
{
    const char *name, *channel_state;
    json_int_t buffered, records, flushed, flushed_records, syncs;
    json_t *last_sync;
    json_error_t error;

    assert_int_equal(json_unpack_ex(row, &error, JSON_STRICT, "{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:o}",
                         "name", &name, "state", &channel_state, "buffered_bytes", &buffered,
                         "buffered_records", &records, "flushed_bytes", &flushed, "flushed_records",
                         &flushed_records, "syncs", &syncs, "last_sync", &last_sync),
        0);
    assert_true(strcmp(channel_state, "idle") == 0 || strcmp(channel_state, "buffering") == 0 ||
                strcmp(channel_state, "flushing") == 0);
    assert_true(syncs == 0 ? json_is_null(last_sync) : json_is_string(last_sync));
}

static void test_status(void **state)
{
    static const char *const numbers[] = {"uptime", "chunks", "used_space", "max_space",
        "live_bytes", "dead_bytes", "packs", "damaged_records", "buffered_bytes",
        "buffered_records", "syncs", "memory_used", "memory_limit"};
    json_t *root = get_json("/v1/status", 200), *list;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(numbers); i++)
        assert_true(json_is_integer(json_object_get(root, numbers[i])));
    assert_int_equal(json_integer_value(json_object_get(root, "chunks")) +
                         json_integer_value(json_object_get(root, "buffered_records")),
        STORED);
    assert_int_equal(json_integer_value(json_object_get(root, "damaged_records")), 0);
    assert_true(json_integer_value(json_object_get(root, "live_bytes")) > 0);
    assert_string_equal(json_string_value(json_object_get(root, "engine")), "local");
    assert_true(json_is_true(json_object_get(root, "writable")));
    assert_int_equal(strlen(json_string_value(json_object_get(root, "boot"))), 16);
    assert_true(json_is_string(json_object_get(root, "version")));
    list = json_object_get(root, "channels");
    assert_true(json_array_size(list) > 0);
    for (size_t i = 0; i < json_array_size(list); i++)
        check_channel_row(json_array_get(list, i));
    json_decref(root);
}

static void test_packs(void **state)
{
    json_t *root = get_json("/v1/packs", 200), *list = json_object_get(root, "packs");
    json_int_t before = 0;

    (void)state;
    assert_true(json_array_size(list) > 0);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *pack_state;
        json_int_t id, bytes, live, dead, records, damaged;
        json_error_t error;

        assert_int_equal(
            json_unpack_ex(json_array_get(list, i), &error, JSON_STRICT,
                "{s:I,s:s,s:I,s:I,s:I,s:I,s:I}", "id", &id, "state", &pack_state, "bytes", &bytes,
                "live_bytes", &live, "dead_bytes", &dead, "records", &records, "damaged", &damaged),
            0);
        assert_true(id > before && live + dead <= bytes);
        before = id;
    }
    json_decref(root);
    CHECK_PROBLEM(client, 400, "bad_request", .path = "/v1/packs?after=x");
    CHECK_STATUS(client, 200, .path = "/v1/packs", .headers = {"Accept: application/x-ndjson"});
}

static void test_channels(void **state)
{
    struct sample sample;
    size_t found = 0;
    json_t *root, *list;

    (void)state;
    sample_init(&sample, 77, __LINE__);
    CHECK_STATUS(client, 201, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"Coffer-Channel: mine"});
    root = get_json("/v1/channels", 200);
    list = json_object_get(root, "channels");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *row = json_array_get(list, i);

        check_channel_row(row);
        found += strcmp(json_string_value(json_object_get(row, "name")), "mine") == 0;
    }
    assert_int_equal(found, 1);
    json_decref(root);
    root = get_json("/v1/channels?prefix=mi", 200);
    assert_int_equal(json_array_size(json_object_get(root, "channels")), 1);
    json_decref(root);
    CHECK_STATUS(client, 204, .method = "DELETE", .path = sample.path);
    sample_release(&sample);
}

static void test_health(void **state)
{
    json_t *root = get_json("/healthz", 200);

    (void)state;
    assert_string_equal(json_string_value(json_object_get(root, "status")), "ok");
    json_decref(root);
    root = get_json("/readyz", 200);
    assert_true(json_is_true(json_object_get(root, "ready")));
    assert_int_equal(json_array_size(json_object_get(root, "reasons")), 0);
    json_decref(root);
}

/* Last, for it restarts the server: tickets of an earlier run are lost, and told so. */
static void test_lost_tickets(void **state)
{
    struct sample sample;
    struct http_answer answer;
    char old[200], body[600];
    json_t *root, *lost;

    (void)state;
    sample_init(&sample, 100, __LINE__);
    CHECK_SEND(client, 202, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"Coffer-Durability: buffered"});
    (void)snprintf(old, sizeof(old), "%s", http_header(&answer, "Coffer-Ticket"));
    http_answer_release(&answer);
    http_client_destroy(client);
    server_kill(&server);
    server_start(&server);
    client = http_client_create(server.address);
    CHECK_STATUS(client, 404, .path = sample.path); /* it was buffered, and that was a crash */
    CHECK_SEND(client, 202, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"Coffer-Durability: buffered"});
    (void)snprintf(body, sizeof(body), "{\"tickets\":[\"%s\",\"%s\"]}",
        http_header(&answer, "Coffer-Ticket"), old);
    http_answer_release(&answer);
    CHECK_SEND(client, 410, &answer, .method = "POST", .path = "/v1/sync", .body = body,
        .size = strlen(body));
    check_problem(&answer, 410, "ticket_lost");
    root = check_json(&answer);
    lost = json_object_get(root, "lost");
    assert_int_equal(json_array_size(lost), 1);
    assert_string_equal(json_string_value(json_array_get(lost, 0)), old);
    json_decref(root);
    http_answer_release(&answer);
    sample_release(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_pages),
        cmocka_unit_test(test_list_prefix),
        cmocka_unit_test(test_list_lines),
        cmocka_unit_test(test_list_refusals),
        cmocka_unit_test(test_stat),
        cmocka_unit_test(test_stat_of_lines),
        cmocka_unit_test(test_stat_of_many),
        cmocka_unit_test(test_bad_bodies),
        cmocka_unit_test(test_delete_many),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_packs),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_sync_refusals),
        cmocka_unit_test(test_oversized),
        cmocka_unit_test(test_lost_tickets),
    };
    int failed;

    http_client_global();
    server_init(
        &server, (const char *const[]){"--flush-interval", "1h", "--json-size-max", "1MiB", NULL});
    server_start(&server);
    failed = cmocka_run_group_tests(tests, store_samples, drop_samples);
    return server_end(&server, failed);
}
