/*
 * Goal: PUT, POST and DELETE of one chunk answer as API.md sections 1 to 3 say, over a real
 * connection to a real cofferd. Method: libcurl, one request a case, every header that is promised.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

static struct server server;
static struct http_client *client;

static int connect_client(void **state)
{
    (void)state;
    client = http_client_create(server.address);
    return 0;
}

static int drop_client(void **state)
{
    (void)state;
    http_client_destroy(client);
    client = NULL;
    return 0;
}

/* The whole answer to a write: status, headers, JSON. */
static void check_stored(
    struct http_answer *answer, const struct sample *sample, bool created, const char *chunk_state)
{
    bool durable = strcmp(chunk_state, "durable") == 0;
    char body[256];

    check_header(answer, "Content-Type", "application/json");
    check_header(answer, "ETag", sample->etag);
    check_header(answer, "Location", sample->path);
    check_header(answer, "Coffer-State", chunk_state);
    assert_non_null(http_header(answer, "X-Request-Id"));
    assert_non_null(http_header(answer, "Date"));
    if (durable)
        check_no_header(answer, "Coffer-Ticket");
    else
        assert_non_null(http_header(answer, "Coffer-Ticket"));
    (void)snprintf(body, sizeof(body),
        "{\"key\":\"%s\",\"size\":%zu,\"created\":%s,\"state\":\"%s\"}\n", sample->key,
        sample->size, created ? "true" : "false", chunk_state);
    assert_string_equal(answer->body, body);
}

static void test_put(void **state)
{
    struct sample sample;
    struct http_answer answer;

    (void)state;
    sample_init(&sample, 1000, __LINE__);
    CHECK_SEND(client, 201, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size);
    check_stored(&answer, &sample, true, "durable");
    http_answer_release(&answer);
    CHECK_SEND(client, 200, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"Coffer-Durability: synced"});
    check_stored(&answer, &sample, false, "durable");
    http_answer_release(&answer);
    check_get(client, &sample);
    sample_release(&sample);
}

static void test_post(void **state)
{
    struct sample sample;
    struct http_answer answer;

    (void)state;
    sample_init(&sample, 70000, __LINE__);
    CHECK_SEND(client, 201, &answer, .method = "POST", .path = "/v1/chunks", .body = sample.content,
        .size = sample.size);
    check_stored(&answer, &sample, true, "durable");
    http_answer_release(&answer);
    CHECK_SEND(client, 200, &answer, .method = "POST", .path = "/v1/chunks", .body = sample.content,
        .size = sample.size, .chunked = true);
    check_stored(&answer, &sample, false, "durable");
    http_answer_release(&answer);
    check_get(client, &sample);
    sample_release(&sample);
}

/* ---- durability ---- */

static void test_buffered_then_synced(void **state)
{
    struct sample sample;
    struct http_answer answer;
    char ticket[200], body[256], boot[64];
    json_t *root;

    (void)state;
    sample_init(&sample, 5000, __LINE__);
    CHECK_SEND(client, 202, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"Coffer-Durability: buffered", "Coffer-Channel: lane.1"});
    check_stored(&answer, &sample, true, "buffered");
    (void)snprintf(ticket, sizeof(ticket), "%s", http_header(&answer, "Coffer-Ticket"));
    http_answer_release(&answer);

    /* BOOT:CHANNEL:SEQ, BOOT being that of /v1/status */
    CHECK_SEND(client, 200, &answer, .path = "/v1/status");
    root = check_json(&answer);
    (void)snprintf(
        boot, sizeof(boot), "%s:lane.1:", json_string_value(json_object_get(root, "boot")));
    assert_memory_equal(ticket, boot, strlen(boot));
    json_decref(root);
    http_answer_release(&answer);

    CHECK_SEND(client, 200, &answer, .path = sample.path);
    check_header(&answer, "Coffer-State", "buffered");
    check_body(&answer, sample.content, sample.size);
    http_answer_release(&answer);
    CHECK_SEND(client, 200, &answer, .method = "HEAD", .path = sample.path);
    check_header(&answer, "Coffer-State", "buffered");
    http_answer_release(&answer);
    assert_true(status_number(client, "buffered_records") > 0);

    (void)snprintf(body, sizeof(body), "{\"tickets\":[\"%s\"]}", ticket);
    CHECK_STATUS(
        client, 200, .method = "POST", .path = "/v1/sync", .body = body, .size = strlen(body));
    CHECK_SEND(client, 200, &answer, .method = "HEAD", .path = sample.path);
    check_header(&answer, "Coffer-State", "durable");
    http_answer_release(&answer);
    CHECK_SEND(client, 200, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"Coffer-Durability: buffered"});
    check_stored(&answer, &sample, false, "durable"); /* it is, whatever was asked for */
    http_answer_release(&answer);
    sample_release(&sample);
}

/* A synced write of content whose only copy is buffered waits until that copy is durable. */
static void test_synced_over_buffered(void **state)
{
    struct sample sample;
    struct http_answer answer;

    (void)state;
    sample_init(&sample, 3000, __LINE__);
    check_put(client, &sample, "buffered", 202);
    CHECK_SEND(client, 202, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"Coffer-Durability: buffered"});
    check_stored(&answer, &sample, false, "buffered");
    http_answer_release(&answer);
    CHECK_SEND(client, 200, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size);
    check_stored(&answer, &sample, false, "durable");
    http_answer_release(&answer);
    CHECK_SEND(client, 200, &answer, .method = "HEAD", .path = sample.path);
    check_header(&answer, "Coffer-State", "durable");
    http_answer_release(&answer);
    sample_release(&sample);
}

static void test_sync_everything(void **state)
{
    static const char *const bodies[] = {"{}", "", " \r\n"};
    struct sample sample;
    struct http_answer answer;

    (void)state;
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        sample_init(&sample, 900, __LINE__ + 1000 * i);
        check_put(client, &sample, "buffered", 202);
        CHECK_STATUS(client, 200, .method = "POST", .path = "/v1/sync", .body = bodies[i],
            .size = strlen(bodies[i]), .headers = {"Content-Type: application/json"});
        CHECK_SEND(client, 200, &answer, .path = sample.path);
        check_header(&answer, "Coffer-State", "durable");
        http_answer_release(&answer);
        sample_release(&sample);
    }
    assert_int_equal(status_number(client, "buffered_records"), 0);
    assert_int_equal(status_number(client, "buffered_bytes"), 0);
}

static void test_delete_while_buffered(void **state)
{
    struct sample sample;

    (void)state;
    sample_init(&sample, 4000, __LINE__);
    check_put(client, &sample, "buffered", 202);
    CHECK_STATUS(client, 204, .method = "DELETE", .path = sample.path);
    CHECK_PROBLEM(client, 404, "no_such_chunk", .path = sample.path);
    CHECK_STATUS(client, 200, .method = "POST", .path = "/v1/sync", .body = "{}", .size = 2);
    CHECK_PROBLEM(client, 404, "no_such_chunk", .path = sample.path);
    check_put(client, &sample, NULL, 201);
    check_get(client, &sample);
    sample_release(&sample);
}

static void test_unknown_durability(void **state)
{
    static const char *const values[] = {"Coffer-Durability: maybe", "Coffer-Durability: Synced",
        "Coffer-Durability: synced, buffered", "Coffer-Durability;"};
    struct sample sample;

    (void)state;
    sample_init(&sample, 10, __LINE__);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        CHECK_PROBLEM(client, 400, "bad_request", .method = "PUT", .path = sample.path,
            .body = sample.content, .size = sample.size, .headers = {values[i]});
    CHECK_STATUS(client, 404, .path = sample.path);
    sample_release(&sample);
}

static void test_channel_names(void **state)
{
    static const char longest[] = "Coffer-Channel: abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ"
                                  "KLMNOPQRSTUVWXYZ.";
    static const char too_long[] = "Coffer-Channel: abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJ"
                                   "KLMNOPQRSTUVWXYZ.-";
    static const char *const good[] = {"Coffer-Channel: a", "Coffer-Channel: 0._-Z", longest};
    static const char *const bad[] = {"Coffer-Channel;", "Coffer-Channel: .a", "Coffer-Channel: -",
        "Coffer-Channel: a b", "Coffer-Channel: a/b", "Coffer-Channel: a:b",
        "Coffer-Channel: \xc3\xa4", too_long};
    struct sample sample;

    (void)state;
    assert_int_equal(strlen(longest), strlen("Coffer-Channel: ") + 63);
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        sample_init(&sample, 50, __LINE__ + 1000 * i);
        CHECK_STATUS(client, 201, .method = "PUT", .path = sample.path, .body = sample.content,
            .size = sample.size, .headers = {good[i]});
        sample_release(&sample);
    }
    sample_init(&sample, 51, __LINE__);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_PROBLEM(client, 400, "bad_name", .method = "PUT", .path = sample.path,
            .body = sample.content, .size = sample.size, .headers = {bad[i]});
    CHECK_STATUS(client, 404, .path = sample.path);
    sample_release(&sample);
}

/* ---- digests and keys ---- */

static void test_wrong_content(void **state)
{
    struct sample sample, other;

    (void)state;
    sample_init(&sample, 2000, __LINE__);
    sample_init(&other, 2000, __LINE__);
    CHECK_PROBLEM(client, 422, "digest_mismatch", .method = "PUT", .path = sample.path,
        .body = other.content, .size = other.size);
    CHECK_PROBLEM(client, 422, "digest_mismatch", .method = "PUT", .path = sample.path,
        .body = sample.content, .size = sample.size - 1, .chunked = true);
    CHECK_STATUS(client, 404, .path = sample.path);
    CHECK_STATUS(client, 404, .path = other.path);
    sample_release(&sample);
    sample_release(&other);
}

static void test_digest_headers(void **state)
{
    struct sample sample, other;
    char right[160], wrong[160], both[300];

    (void)state;
    sample_init(&sample, 300, __LINE__);
    sample_init(&other, 300, __LINE__);
    (void)snprintf(wrong, sizeof(wrong), "Content-Digest: %s", other.digest);
    CHECK_PROBLEM(client, 422, "digest_mismatch", .method = "POST", .path = "/v1/chunks",
        .body = sample.content, .size = sample.size, .headers = {wrong});
    CHECK_PROBLEM(client, 422, "digest_mismatch", .method = "PUT", .path = sample.path,
        .body = sample.content, .size = sample.size, .headers = {wrong});
    (void)snprintf(wrong, sizeof(wrong), "Repr-Digest: %s", other.digest);
    CHECK_PROBLEM(client, 422, "digest_mismatch", .method = "POST", .path = "/v1/chunks",
        .body = sample.content, .size = sample.size, .headers = {wrong});
    CHECK_STATUS(client, 404, .path = sample.path);

    (void)snprintf(right, sizeof(right), "Repr-Digest: %s", sample.digest);
    (void)snprintf(
        both, sizeof(both), "Content-Digest: sha-512=:AAAA:, %s, md5=:AA==:", sample.digest);
    CHECK_STATUS(client, 201, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {right, both});
    sample_release(&sample);
    sample_release(&other);
}

static void test_malformed_digest_headers(void **state)
{
    static const char *const bad[] = {"Content-Digest: sha-256", "Content-Digest: sha-256=abc",
        "Content-Digest: sha-256=:AAAA:", "Content-Digest: sha-256=:!!!!:", "Repr-Digest: ;;",
        "Content-Digest: sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="};
    struct sample sample;

    (void)state;
    sample_init(&sample, 20, __LINE__);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_PROBLEM(client, 400, "bad_digest_header", .method = "PUT", .path = sample.path,
            .body = sample.content, .size = sample.size, .headers = {bad[i]});
    CHECK_STATUS(client, 404, .path = sample.path);
    sample_release(&sample);
}

static void test_bad_keys(void **state)
{
    static const char hex[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    static const char *const methods[] = {"GET", "PUT", "DELETE"};
    char paths[6][CHUNK_PATH_SIZE];

    (void)state;
    (void)snprintf(paths[0], CHUNK_PATH_SIZE, "/v1/chunks/%.63s", hex);
    (void)snprintf(paths[1], CHUNK_PATH_SIZE, "/v1/chunks/%s0", hex);
    (void)snprintf(paths[2], CHUNK_PATH_SIZE, "/v1/chunks/E%s", hex + 1);
    (void)snprintf(paths[3], CHUNK_PATH_SIZE, "/v1/chunks/g%s", hex + 1);
    (void)snprintf(paths[4], CHUNK_PATH_SIZE, "/v1/chunks/%.63s%%20", hex);
    (void)snprintf(paths[5], CHUNK_PATH_SIZE, "/v1/chunks/sha256:%.57s", hex);
    for (size_t i = 0; i < 6; i++)
        for (size_t m = 0; m < 3; m++)
            CHECK_PROBLEM(client, 400, "bad_key", .method = methods[m], .path = paths[i],
                .body = m == 1 ? "x" : NULL, .size = 1);
    CHECK_PROBLEM(client, 404, "no_such_chunk",
        .path = "/v1/chunks/sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709");
    CHECK_PROBLEM(client, 400, "bad_key", .method = "PUT",
        .path = "/v1/chunks/sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709", .body = "", .size = 0);
    CHECK_PROBLEM(client, 400, "bad_key", .path = "/v1/chunks/sha1:da39a3");
}

/* ---- forms of bodies ---- */

static void test_empty_chunk(void **state)
{
    struct sample empty;
    struct http_answer answer;

    (void)state;
    sample_init(&empty, 0, 0);
    CHECK_PROBLEM(client, 404, "no_such_chunk", .path = empty.path);
    check_put(client, &empty, NULL, 201);
    check_put(client, &empty, "buffered", 200);
    CHECK_STATUS(client, 200, .method = "POST", .path = "/v1/chunks", .body = "", .chunked = true);
    CHECK_SEND(client, 200, &answer, .path = empty.path);
    check_header(&answer, "Content-Length", "0");
    check_header(&answer, "Repr-Digest", empty.digest);
    check_body(&answer, "", 0);
    http_answer_release(&answer);
    CHECK_SEND(client, 416, &answer, .path = empty.path, .headers = {"Range: bytes=0-0"});
    check_header(&answer, "Content-Range", "bytes */0");
    http_answer_release(&answer);
    CHECK_STATUS(client, 204, .method = "DELETE", .path = empty.path);
    sample_release(&empty);
}

static void test_sizes(void **state)
{
    /* around the buffers of connections, segments (64 KiB) and frames */
    static const size_t sizes[] = {1, 2, 849, 850, 851, 4096, 16383, 16384, 16385, 32768, 65535,
        65536, 65537, 131072, 200001, 1 << 20, (1 << 20) + 1, 5000000};
    struct sample sample;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int way = 0; way < 2; way++) {
            struct http_answer answer;

            sample_init(&sample, sizes[i], (uint64_t)(__LINE__ + way));
            CHECK_SEND(client, 201, &answer, .method = "PUT", .path = sample.path,
                .body = sample.content, .size = sample.size, .chunked = way == 1,
                .expect = i % 2 == 0);
            check_stored(&answer, &sample, true, "durable");
            http_answer_release(&answer);
            check_get(client, &sample);
            CHECK_STATUS(client, 204, .method = "DELETE", .path = sample.path);
            sample_release(&sample);
        }
    }
    check_status_becomes(client, "memory_used", 0);
}

/* Refused from its headers: no 100 Continue, and not a byte of the body is sent. */
static void test_expect_refused_early(void **state)
{
    static const struct {
        const char *method, *path, *header;
        int status;
        const char *code;
    } cases[] = {
        {"PUT", "/v1/chunks/nonsense", NULL, 400, "bad_key"},
        {"PUT", "/v1/nothing", NULL, 404, "no_such_path"},
        {"PATCH", "/v1/chunks", NULL, 405, "method_not_allowed"},
        {"POST", "/v1/chunks", "Coffer-Channel: a b", 400, "bad_name"},
        {"POST", "/v1/chunks", "Content-Digest: sha-256=:A:", 400, "bad_digest_header"},
        {"POST", "/v1/chunks", "Content-Encoding: gzip", 415, "unsupported_media_type"},
        {"POST", "/v1/chunks/stat", "Content-Type: text/html", 415, "unsupported_media_type"},
    };
    size_t size = (size_t)8 << 20;
    char *body = calloc(1, size);

    (void)state;
    assert_non_null(body);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_answer answer;

        CHECK_SEND(client, cases[i].status, &answer, .method = cases[i].method,
            .path = cases[i].path, .headers = {cases[i].header}, .body = body, .size = size,
            .expect = true);
        check_problem(&answer, cases[i].status, cases[i].code);
        assert_false(answer.continued);
        assert_int_equal(answer.body_sent, 0);
        http_answer_release(&answer);
    }
    free(body);
}

static void test_expect_continued(void **state)
{
    struct sample sample;
    struct http_answer answer;

    (void)state;
    sample_init(&sample, 300000, __LINE__);
    CHECK_SEND(client, 201, &answer, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .expect = true);
    assert_true(answer.continued);
    http_answer_release(&answer);
    check_get(client, &sample);
    sample_release(&sample);
}

/* A connection outlives refusals of requests with small bodies; big ones may cost it, but the
 * answer arrives all the same. */
static void test_keep_alive(void **state)
{
    struct sample sample;
    struct http_answer answer;
    char *big = calloc(1, (size_t)32 << 20);

    (void)state;
    assert_non_null(big);
    sample_init(&sample, 100, __LINE__);
    check_put(client, &sample, NULL, 201);
    for (int i = 0; i < 3; i++) {
        CHECK_SEND(client, 400, &answer, .method = "PUT", .path = "/v1/chunks/bad",
            .body = "some bytes", .size = 10);
        assert_false(answer.connected);
        http_answer_release(&answer);
        CHECK_SEND(
            client, 422, &answer, .method = "PUT", .path = sample.path, .body = "other", .size = 5);
        assert_false(answer.connected);
        http_answer_release(&answer);
        CHECK_SEND(client, 404, &answer, .path = "/v1/none");
        assert_false(answer.connected);
        http_answer_release(&answer);
        CHECK_SEND(client, 200, &answer, .path = sample.path);
        assert_false(answer.connected);
        http_answer_release(&answer);
    }
    CHECK_PROBLEM(client, 400, "bad_key", .method = "PUT", .path = "/v1/chunks/bad", .body = big,
        .size = (size_t)32 << 20);
    check_get(client, &sample);
    sample_release(&sample);
    free(big);
}

/* ---- deleting, conditions of writes ---- */

static void test_delete(void **state)
{
    struct sample sample;
    struct http_answer answer;

    (void)state;
    sample_init(&sample, 6000, __LINE__);
    CHECK_PROBLEM(client, 404, "no_such_chunk", .method = "DELETE", .path = sample.path);
    check_put(client, &sample, NULL, 201);
    CHECK_SEND(client, 204, &answer, .method = "DELETE", .path = sample.path);
    check_body(&answer, "", 0);
    check_no_header(&answer, "Content-Length");
    http_answer_release(&answer);
    CHECK_PROBLEM(client, 404, "no_such_chunk", .method = "DELETE", .path = sample.path);
    CHECK_PROBLEM(client, 404, "no_such_chunk", .path = sample.path);
    CHECK_STATUS(client, 404, .method = "HEAD", .path = sample.path);
    check_put(client, &sample, NULL, 201);
    check_get(client, &sample);
    sample_release(&sample);
}

static void test_write_conditions(void **state)
{
    struct sample sample;
    char match[100], not_match[100];

    (void)state;
    sample_init(&sample, 40, __LINE__);
    (void)snprintf(match, sizeof(match), "If-Match: %s", sample.etag);
    (void)snprintf(not_match, sizeof(not_match), "If-None-Match: %s", sample.etag);
    CHECK_PROBLEM(client, 412, "precondition_failed", .method = "PUT", .path = sample.path,
        .body = sample.content, .size = sample.size, .headers = {match});
    CHECK_STATUS(client, 201, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {"If-None-Match: *"});
    CHECK_PROBLEM(client, 412, "precondition_failed", .method = "PUT", .path = sample.path,
        .body = sample.content, .size = sample.size, .headers = {"If-None-Match: *"});
    CHECK_STATUS(client, 200, .method = "PUT", .path = sample.path, .body = sample.content,
        .size = sample.size, .headers = {match});
    CHECK_PROBLEM(client, 412, "precondition_failed", .method = "DELETE", .path = sample.path,
        .headers = {not_match});
    CHECK_PROBLEM(client, 412, "precondition_failed", .method = "DELETE", .path = sample.path,
        .headers = {"If-Match: \"something\""});
    CHECK_STATUS(client, 204, .method = "DELETE", .path = sample.path, .headers = {match});
    CHECK_PROBLEM(client, 412, "precondition_failed", .method = "DELETE", .path = sample.path,
        .headers = {"If-Match: *"});
    sample_release(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_post),
        cmocka_unit_test(test_buffered_then_synced),
        cmocka_unit_test(test_synced_over_buffered),
        cmocka_unit_test(test_sync_everything),
        cmocka_unit_test(test_delete_while_buffered),
        cmocka_unit_test(test_unknown_durability),
        cmocka_unit_test(test_channel_names),
        cmocka_unit_test(test_wrong_content),
        cmocka_unit_test(test_digest_headers),
        cmocka_unit_test(test_malformed_digest_headers),
        cmocka_unit_test(test_bad_keys),
        cmocka_unit_test(test_empty_chunk),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_expect_refused_early),
        cmocka_unit_test(test_expect_continued),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_delete),
        cmocka_unit_test(test_write_conditions),
    };
    int failed;

    http_client_global();
    /* Only what asks for it is synced: buffered states stay as long as a test looks at them. */
    server_init(
        &server, (const char *const[]){"--flush-interval", "1h", "--segment-size", "64KiB", NULL});
    server_start(&server);
    failed = cmocka_run_group_tests(tests, connect_client, drop_client);
    return server_end(&server, failed);
}
