/*
 * Goal: PUT, POST, GET, HEAD and DELETE of one chunk answer as API.md section 3 says. Method: each
 * request is driven through its resource over a store in memory, without a socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/chunk_key.h"
#include "storage/base/invariant.h"
#include "tests/support/exchange_driver.h"

struct fixture {
    struct service service;
    char key[DIGEST_HEX_SIZE + 1];
    char path[128];
    char etag[CHUNK_ETAG_SIZE + 1];
    char digest[80]; /* "sha-256=:...:" */
};

static const char text[] = "The quick brown fox jumps over the lazy dog";
enum { TEXT_SIZE = sizeof(text) - 1 };

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct store_options options;
    struct digest digest;
    struct error err;

    assert_non_null(fixture);
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &fixture->service.store, &err), COFFER_OK);
    fixture->service.state = SERVICE_READY;
    fixture->service.collect_max = fixture->service.memory_max = 1 << 20;
    sha256_once(text, TEXT_SIZE, &digest);
    digest_to_hex(&digest, fixture->key);
    (void)snprintf(fixture->path, sizeof(fixture->path), "/v1/chunks/%s", fixture->key);
    (void)snprintf(fixture->etag, sizeof(fixture->etag), "\"%s\"", fixture->key);
    memcpy(fixture->digest, "sha-256=:", 9);
    digest_to_base64(&digest, fixture->digest + 9);
    memcpy(fixture->digest + 9 + DIGEST_BASE64_SIZE, ":", 2);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    assert_int_equal(store_close(fixture->service.store, &err), COFFER_OK);
    free(fixture);
    exchange_thread_end();
    return 0;
}

static void run(struct driven *driven, struct fixture *fixture, struct driver_request request)
{
    driver_run(driven, &fixture->service, &request);
}

/* Only the status counts. */
static int status_of(struct fixture *fixture, struct driver_request request)
{
    struct driven driven;
    int status;

    run(&driven, fixture, request);
    status = driven.status;
    driver_release(&driven);
    return status;
}

static struct driver_request put_request(const char *path, const char *header)
{
    return (struct driver_request){
        .method = "PUT", .target = path, .headers = {header}, .body = text, .body_size = TEXT_SIZE};
}

static struct driver_request get_request(const char *path, const char *header)
{
    return (struct driver_request){.target = path, .headers = {header}};
}

static void assert_header(const struct driven *driven, const char *name, const char *value)
{
    const char *found = driver_header(driven, name);

    if (value == NULL) {
        assert_null(found);
        return;
    }
    assert_non_null(found);
    assert_string_equal(found, value);
}

static void assert_code(const struct driven *driven, const char *code)
{
    char member[64];

    (void)snprintf(member, sizeof(member), "\"code\":\"%s\"", code);
    assert_header(driven, "Content-Type", "application/problem+json");
    if (strstr(driven->body, member) == NULL)
        fail_msg("%s is not in %s", member, driven->body);
}

static void test_put_then_get(void **state)
{
    struct fixture *fixture = *state;
    struct driven driven;
    char expected[256];

    run(&driven, fixture, put_request(fixture->path, NULL));
    assert_int_equal(driven.status, 201);
    assert_header(&driven, "ETag", fixture->etag);
    assert_header(&driven, "Location", fixture->path);
    assert_header(&driven, "Coffer-State", "durable");
    assert_header(&driven, "Coffer-Ticket", NULL);
    assert_header(&driven, "Content-Type", "application/json");
    (void)snprintf(expected, sizeof(expected),
        "{\"key\":\"%s\",\"size\":%d,\"created\":true,\"state\":\"durable\"}\n", fixture->key,
        TEXT_SIZE);
    assert_string_equal(driven.body, expected);
    driver_release(&driven);

    run(&driven, fixture, put_request(fixture->path, NULL));
    assert_int_equal(driven.status, 200);
    assert_non_null(strstr(driven.body, "\"created\":false"));
    driver_release(&driven);

    run(&driven, fixture, get_request(fixture->path, NULL));
    assert_int_equal(driven.status, 200);
    assert_string_equal(driven.body, text);
    assert_header(&driven, "ETag", fixture->etag);
    assert_header(&driven, "Repr-Digest", fixture->digest);
    assert_header(&driven, "Accept-Ranges", "bytes");
    assert_header(&driven, "Cache-Control", "public, max-age=31536000, immutable");
    assert_header(&driven, "Coffer-State", "durable");
    assert_header(&driven, "Coffer-Codec", "none");
    driver_release(&driven);
}

/* Unannounced size, pieces of every length, and the server finds the key. */
static void test_post(void **state)
{
    struct fixture *fixture = *state;

    for (size_t piece = 1; piece <= TEXT_SIZE; piece += 7) {
        struct driven driven;

        run(&driven, fixture,
            (struct driver_request){.method = "POST",
                .target = "/v1/chunks",
                .body = text,
                .body_size = TEXT_SIZE,
                .piece = piece,
                .chunked = piece % 2 == 0});
        assert_int_equal(driven.status, piece == 1 ? 201 : 200);
        assert_header(&driven, "Location", fixture->path);
        driver_release(&driven);
    }
}

static void test_empty_chunk(void **state)
{
    static const char path[] =
        "/v1/chunks/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    struct fixture *fixture = *state;
    struct driven driven;

    assert_int_equal(
        status_of(fixture, (struct driver_request){.method = "PUT", .target = path}), 201);
    run(&driven, fixture, get_request(path, NULL));
    assert_int_equal(driven.status, 200);
    assert_int_equal(driven.body_size, 0);
    driver_release(&driven);
    assert_int_equal(status_of(fixture, get_request(path, "Range: bytes=0-")), 416);
}

static void test_buffered(void **state)
{
    struct fixture *fixture = *state;
    struct driven driven;

    run(&driven, fixture, put_request(fixture->path, "Coffer-Durability: buffered"));
    if (driven.status == 202) { /* an engine may be so quick that it is durable at once */
        const char *ticket = driver_header(&driven, "Coffer-Ticket");

        assert_non_null(ticket);
        assert_memory_equal(ticket, store_boot(fixture->service.store), 16);
        assert_non_null(strstr(driven.body, "\"state\":\"buffered\""));
    } else {
        assert_int_equal(driven.status, 201);
    }
    driver_release(&driven);
    run(&driven, fixture, get_request(fixture->path, NULL));
    assert_int_equal(driven.status, 200);
    assert_string_equal(driven.body, text);
    driver_release(&driven);
    /* The same, synced, waits for that copy. */
    run(&driven, fixture, put_request(fixture->path, "Coffer-Durability: synced"));
    assert_int_equal(driven.status, 200);
    assert_header(&driven, "Coffer-State", "durable");
    driver_release(&driven);
}

static void test_head_has_the_headers_of_get(void **state)
{
    static const char *const headers[] = {
        NULL, "Range: bytes=2-5", "Range: bytes=99-", "If-None-Match: *", "If-Match: \"x\""};
    struct fixture *fixture = *state;

    assert_int_equal(status_of(fixture, put_request(fixture->path, NULL)), 201);
    for (size_t i = 0; i < ARRAY_COUNT(headers); i++) {
        struct driver_request request = get_request(fixture->path, headers[i]);
        struct driven get, head;

        request.headers[headers[i] != NULL] = "X-Request-Id: same";
        run(&get, fixture, request);
        request.method = "HEAD";
        run(&head, fixture, request);
        assert_int_equal(get.status, head.status);
        assert_int_equal(get.exchange->reply.size, head.exchange->reply.size);
        assert_int_equal(get.exchange->reply.header_count, head.exchange->reply.header_count);
        for (unsigned h = 0; h < get.exchange->reply.header_count; h++) {
            assert_string_equal(
                get.exchange->reply.headers[h].name, head.exchange->reply.headers[h].name);
            assert_string_equal(
                get.exchange->reply.headers[h].value, head.exchange->reply.headers[h].value);
        }
        driver_release(&get);
        driver_release(&head);
    }
}

static void test_ranges(void **state)
{
    static const struct {
        const char *range;
        int status;
        const char *content_range, *body;
    } cases[] = {{"Range: bytes=4-8", 206, "bytes 4-8/43", "quick"},
        {"Range: bytes=40-", 206, "bytes 40-42/43", "dog"},
        {"Range: bytes=-3", 206, "bytes 40-42/43", "dog"},
        {"Range: bytes=40-1000", 206, "bytes 40-42/43", "dog"},
        {"Range: bytes=-1000", 206, "bytes 0-42/43", text},
        {"Range: bytes=0-0,2-3", 200, NULL, text}, {"Range: lines=1-2", 200, NULL, text},
        {"Range: bytes=43-", 416, "bytes */43", NULL},
        {"Range: bytes=-0", 416, "bytes */43", NULL}};
    struct fixture *fixture = *state;
    char if_range[128];

    assert_int_equal(status_of(fixture, put_request(fixture->path, NULL)), 201);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct driven driven;

        run(&driven, fixture, get_request(fixture->path, cases[i].range));
        assert_int_equal(driven.status, cases[i].status);
        assert_header(&driven, "Content-Range", cases[i].content_range);
        if (cases[i].body != NULL)
            assert_string_equal(driven.body, cases[i].body);
        else
            assert_code(&driven, "range_not_satisfiable");
        driver_release(&driven);
    }
    for (int matches = 0; matches < 2; matches++) {
        struct driver_request request = get_request(fixture->path, "Range: bytes=4-8");

        (void)snprintf(
            if_range, sizeof(if_range), "If-Range: %s", matches != 0 ? fixture->etag : "\"other\"");
        request.headers[1] = if_range;
        assert_int_equal(status_of(fixture, request), matches != 0 ? 206 : 200);
    }
}

static void test_conditions(void **state)
{
    struct fixture *fixture = *state;
    char header[128];

    assert_int_equal(status_of(fixture, put_request(fixture->path, "If-Match: *")), 412);
    assert_int_equal(status_of(fixture, put_request(fixture->path, "If-None-Match: *")), 201);
    assert_int_equal(status_of(fixture, put_request(fixture->path, "If-None-Match: *")), 412);
    assert_int_equal(status_of(fixture, put_request(fixture->path, "If-Match: *")), 200);
    assert_int_equal(status_of(fixture, get_request(fixture->path, "If-None-Match: *")), 304);
    assert_int_equal(status_of(fixture, get_request(fixture->path, "If-Match: \"no\"")), 412);
    (void)snprintf(header, sizeof(header), "If-None-Match: \"a\", %s", fixture->etag);
    assert_int_equal(status_of(fixture, get_request(fixture->path, header)), 304);
    assert_int_equal(status_of(fixture, put_request(fixture->path, header)), 412);
    (void)snprintf(header, sizeof(header), "If-Match: %s", fixture->etag);
    assert_int_equal(status_of(fixture, get_request(fixture->path, header)), 200);
    assert_int_equal(status_of(fixture, (struct driver_request){.method = "DELETE",
                                            .target = fixture->path,
                                            .headers = {"If-Match: \"no\""}}),
        412);
    assert_int_equal(status_of(fixture,
                         (struct driver_request){
                             .method = "DELETE", .target = fixture->path, .headers = {header}}),
        204);
}

static void test_delete(void **state)
{
    struct fixture *fixture = *state;
    struct driver_request request = {.method = "DELETE", .target = fixture->path};

    assert_int_equal(status_of(fixture, request), 404);
    assert_int_equal(status_of(fixture, put_request(fixture->path, NULL)), 201);
    assert_int_equal(status_of(fixture, request), 204);
    assert_int_equal(status_of(fixture, request), 404);
    assert_int_equal(status_of(fixture, get_request(fixture->path, NULL)), 404);
    assert_int_equal(status_of(fixture, put_request(fixture->path, NULL)), 201);
}

/* Refused, with the right code, and nothing is kept. */
static void test_put_refusals(void **state)
{
    static const char zeros[] =
        "/v1/chunks/0000000000000000000000000000000000000000000000000000000000000000";
    struct fixture *fixture = *state;
    const struct {
        const char *path, *header;
        int status;
        const char *code;
    } cases[] = {{zeros, NULL, 422, "digest_mismatch"}, {"/v1/chunks/abc", NULL, 400, "bad_key"},
        {"/v1/chunks/sha1:0000000000000000000000000000000000000000", NULL, 400, "bad_key"},
        {fixture->path, "Coffer-Durability: maybe", 400, "bad_request"},
        {fixture->path, "Coffer-Channel: a/b", 400, "bad_name"},
        {fixture->path, "Coffer-Channel:", 400, "bad_name"},
        {fixture->path, "Content-Encoding: gzip", 415, "unsupported_media_type"},
        {fixture->path, "Repr-Digest: sha-256=nonsense", 400, "bad_digest_header"},
        {fixture->path, "Content-Digest: sha-256=:AAAA:", 400, "bad_digest_header"},
        {fixture->path, "Content-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
            422, "digest_mismatch"}};

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct driven driven;

        run(&driven, fixture, put_request(cases[i].path, cases[i].header));
        if (driven.status != cases[i].status)
            fail_msg("%s: %d %s", cases[i].code, driven.status, driven.body);
        assert_code(&driven, cases[i].code);
        driver_release(&driven);
        assert_int_equal(status_of(fixture, get_request(fixture->path, NULL)), 404);
    }
    assert_int_equal(status_of(fixture, get_request(zeros, NULL)), 404);
}

static void test_digest_headers(void **state)
{
    struct fixture *fixture = *state;
    char header[128];

    (void)snprintf(header, sizeof(header), "Repr-Digest: %s", fixture->digest);
    assert_int_equal(status_of(fixture, put_request(fixture->path, header)), 201);
    (void)snprintf(header, sizeof(header), "Content-Digest: md5=:AAAA:, %s", fixture->digest);
    assert_int_equal(status_of(fixture, (struct driver_request){.method = "POST",
                                            .target = "/v1/chunks",
                                            .headers = {header},
                                            .body = text,
                                            .body_size = TEXT_SIZE}),
        200);
    assert_int_equal(status_of(fixture, (struct driver_request){.method = "POST",
                                            .target = "/v1/chunks",
                                            .headers = {header},
                                            .body = text,
                                            .body_size = TEXT_SIZE - 1}),
        422);
}

static void test_get_refusals(void **state)
{
    static const struct {
        const char *path;
        int status;
        const char *code;
    } cases[] = {{"/v1/chunks/xyz", 400, "bad_key"},
        {"/v1/chunks/E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", 400,
            "bad_key"},
        {"/v1/chunks/sha1:0000000000000000000000000000000000000000", 404, "no_such_chunk"},
        {"/v1/chunks/sha1:000000000000000000000000000000000000000g", 400, "bad_key"},
        {"/v1/chunks/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 404,
            "no_such_chunk"}};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct driven driven;

        run(&driven, fixture, get_request(cases[i].path, NULL));
        assert_int_equal(driven.status, cases[i].status);
        assert_code(&driven, cases[i].code);
        driver_release(&driven);
    }
}

/* A client that goes away leaves no trace. */
static void test_abandoned(void **state)
{
    struct fixture *fixture = *state;
    struct driver_request request = put_request(fixture->path, NULL);

    request.abandon = true;
    request.piece = 10;
    assert_int_equal(status_of(fixture, request), 0);
    request.chunked = true;
    assert_int_equal(status_of(fixture, request), 0);
    assert_int_equal(status_of(fixture, get_request(fixture->path, NULL)), 404);
}

/* Larger than a segment: it comes as a stream, and every range of it is right. */
static void test_large(void **state)
{
    enum { LARGE = 20 << 20 };
    struct fixture *fixture = *state;
    unsigned char *body = malloc(LARGE);
    struct driven driven;
    char path[128], range[64];

    assert_non_null(body);
    for (size_t i = 0; i < LARGE; i++)
        body[i] = (unsigned char)((i * 2654435761U) >> 13);
    run(&driven, fixture,
        (struct driver_request){.method = "POST",
            .target = "/v1/chunks",
            .body = body,
            .body_size = LARGE,
            .piece = 30000,
            .chunked = true});
    assert_int_equal(driven.status, 201);
    (void)snprintf(path, sizeof(path), "%s", driver_header(&driven, "Location"));
    driver_release(&driven);
    run(&driven, fixture, get_request(path, NULL));
    assert_int_equal(driven.status, 200);
    assert_int_equal(driven.body_size, LARGE);
    assert_memory_equal(driven.body, body, LARGE);
    driver_release(&driven);
    for (size_t at = 0; at < LARGE; at += 3000017) {
        size_t end = at + 1234567 < LARGE ? at + 1234567 : LARGE - 1;

        (void)snprintf(range, sizeof(range), "Range: bytes=%zu-%zu", at, end);
        run(&driven, fixture, get_request(path, range));
        assert_int_equal(driven.status, 206);
        assert_int_equal(driven.body_size, end - at + 1);
        assert_memory_equal(driven.body, body + at, driven.body_size);
        driver_release(&driven);
    }
    free(body);
}

#define CHUNK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CHUNK_TEST(test_put_then_get),
        CHUNK_TEST(test_post),
        CHUNK_TEST(test_empty_chunk),
        CHUNK_TEST(test_buffered),
        CHUNK_TEST(test_head_has_the_headers_of_get),
        CHUNK_TEST(test_ranges),
        CHUNK_TEST(test_conditions),
        CHUNK_TEST(test_delete),
        CHUNK_TEST(test_put_refusals),
        CHUNK_TEST(test_digest_headers),
        CHUNK_TEST(test_get_refusals),
        CHUNK_TEST(test_abandoned),
        CHUNK_TEST(test_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
