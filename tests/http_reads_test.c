/*
 * Goal: GET and HEAD of a chunk, its ranges, conditions and codings, and what all answers have in
 * common, are as API.md sections 1 and 3 say. Method: libcurl against a real cofferd.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <zstd.h>

#include <cmocka.h>

#include "tests/support/http_check.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum { SEGMENT = 64 << 10, LARGE_SIZE = 5 * SEGMENT + 123 };

static struct server server;
static struct http_client *client;
static struct sample small, large; /* stored; large has six segments and compresses */

static int store_samples(void **state)
{
    (void)state;
    client = http_client_create(server.address);
    sample_init(&small, 100, 1);
    sample_init(&large, LARGE_SIZE, 2);
    check_put(client, &small, NULL, 201);
    check_put(client, &large, NULL, 201);
    return 0;
}

static int drop_client(void **state)
{
    (void)state;
    http_client_destroy(client);
    sample_release(&small);
    sample_release(&large);
    return 0;
}

static void test_headers(void **state)
{
    const struct sample *const samples[] = {&small, &large};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct http_answer answer;
        char size[24];

        (void)snprintf(size, sizeof(size), "%zu", samples[i]->size);
        CHECK_SEND(client, 200, &answer, .path = samples[i]->path);
        check_header(&answer, "ETag", samples[i]->etag);
        check_header(&answer, "Repr-Digest", samples[i]->digest);
        check_header(&answer, "Accept-Ranges", "bytes");
        check_header(&answer, "Cache-Control", "public, max-age=31536000, immutable");
        check_header(&answer, "Content-Type", "application/octet-stream");
        check_header(&answer, "Content-Length", size);
        check_header(&answer, "Coffer-State", "durable");
        check_no_header(&answer, "Content-Encoding");
        assert_non_null(http_header(&answer, "Coffer-Stored-Size"));
        if (i == 0)
            check_header(&answer, "Coffer-Stored-Size", size);
        else
            assert_true(
                strtoul(http_header(&answer, "Coffer-Stored-Size"), NULL, 10) < samples[i]->size);
        check_body(&answer, samples[i]->content, samples[i]->size);
        http_answer_release(&answer);
    }
}

/* All header lines but those that differ each time. */
static char *stable_head(const struct http_answer *answer)
{
    char *copy = calloc(1, strlen(answer->head) + 1);
    size_t used = 0;

    assert_non_null(copy);
    for (const char *line = answer->head; *line != '\0';) {
        const char *next = strchr(line, '\n');

        next = next == NULL ? line + strlen(line) : next + 1;
        if (strncasecmp(line, "Date:", 5) != 0 && strncasecmp(line, "X-Request-Id:", 13) != 0) {
            memcpy(copy + used, line, (size_t)(next - line));
            used += (size_t)(next - line);
        }
        line = next;
    }
    return copy;
}

static void test_head_is_get(void **state)
{
    static const struct {
        const char *path; /* NULL: small, "": large */
        const char *header;
        int status;
    } cases[] = {
        {NULL, NULL, 200},
        {"", NULL, 200},
        {NULL, "Range: bytes=10-19", 206},
        {"", "Range: bytes=-100", 206},
        {"", "Accept-Encoding: zstd", 200},
        {NULL, "Range: bytes=1000-", 416},
        {NULL, "If-None-Match: *", 304},
        {NULL, "If-Match: \"x\"", 412},
        {"/v1/chunks/bad", NULL, 400},
        {"/v1/nothing", NULL, 404},
        {"/v1/chunks", NULL, 200},
        {"/v1/packs", NULL, 200},
        {"/v1/channels", NULL, 200},
        {"/healthz", NULL, 200},
        {"/readyz", NULL, 200},
        {"/v1/chunks/stat", NULL, 405},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *path = cases[i].path == NULL    ? small.path
                           : *cases[i].path == '\0' ? large.path
                                                    : cases[i].path;
        struct http_answer get, head;
        char *get_head, *head_head;

        CHECK_SEND(client, cases[i].status, &get, .path = path, .headers = {cases[i].header});
        CHECK_SEND(client, cases[i].status, &head, .method = "HEAD", .path = path,
            .headers = {cases[i].header});
        get_head = stable_head(&get);
        head_head = stable_head(&head);
        assert_string_equal(get_head, head_head);
        assert_int_equal(head.size, 0);
        free(get_head);
        free(head_head);
        http_answer_release(&get);
        http_answer_release(&head);
    }
}

/* ---- ranges ---- */

static void check_range(const struct sample *sample, const char *range, size_t at, size_t size)
{
    struct http_answer answer;
    char header[80], content_range[80];

    (void)snprintf(header, sizeof(header), "Range: bytes=%s", range);
    (void)snprintf(
        content_range, sizeof(content_range), "bytes %zu-%zu/%zu", at, at + size - 1, sample->size);
    CHECK_SEND(client, 206, &answer, .path = sample->path, .headers = {header});
    check_header(&answer, "Content-Range", content_range);
    check_header(&answer, "ETag", sample->etag);
    check_header(&answer, "Repr-Digest", sample->digest); /* of the whole */
    check_body(&answer, sample->content + at, size);
    http_answer_release(&answer);
}

static void test_ranges(void **state)
{
    (void)state;
    check_range(&small, "0-0", 0, 1);
    check_range(&small, "0-99", 0, 100);
    check_range(&small, "10-19", 10, 10);
    check_range(&small, "99-", 99, 1);
    check_range(&small, "50-", 50, 50);
    check_range(&small, "50-1000000", 50, 50);
    check_range(&small, "50-99999999999999999999999", 50, 50);
    check_range(&small, "-1", 99, 1);
    check_range(&small, "-100", 0, 100);
    check_range(&small, "-1000", 0, 100);
}

static void test_ranges_over_segments(void **state)
{
    static const size_t starts[] = {0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT - 7,
        5 * SEGMENT - 1, 5 * SEGMENT, LARGE_SIZE - 1};
    static const size_t sizes[] = {1, 2, 100, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT};

    (void)state;
    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            size_t size = sizes[s] < LARGE_SIZE - starts[i] ? sizes[s] : LARGE_SIZE - starts[i];
            char range[64];

            (void)snprintf(range, sizeof(range), "%zu-%zu", starts[i], starts[i] + sizes[s] - 1);
            check_range(&large, range, starts[i], size);
        }
    check_range(&large, "-70000", LARGE_SIZE - 70000, 70000);
}

/* The same for content that is not compressed, and for one that is not on the disk yet. */
static void test_ranges_of_noise_and_buffered(void **state)
{
    static const size_t sizes[] = {3 * SEGMENT + 5, SEGMENT - 1};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct sample noise = {.size = sizes[i]};
        struct http_answer answer;

        noise.content = seed_content(noise.size, 2, noise.key);
        (void)snprintf(noise.path, sizeof(noise.path), "/v1/chunks/%s", noise.key);
        (void)snprintf(noise.etag, sizeof(noise.etag), "\"%s\"", noise.key);
        check_put(client, &noise, i == 0 ? "synced" : "buffered", i == 0 ? 201 : 202);
        CHECK_SEND(
            client, 206, &answer, .path = noise.path, .headers = {"Range: bytes=65530-131080"});
        check_header(&answer, "Coffer-State", i == 0 ? "durable" : "buffered");
        check_body(&answer, noise.content + 65530, i == 0 ? 131081 - 65530 : SEGMENT - 1 - 65530);
        http_answer_release(&answer);
        check_get(client, &noise);
        sample_release(&noise);
    }
}

static void test_unsatisfiable(void **state)
{
    static const char *const ranges[] = {"Range: bytes=100-", "Range: bytes=100-200",
        "Range: bytes=-0", "Range: bytes=99999999999999999999-"};

    (void)state;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct http_answer answer;

        CHECK_SEND(client, 416, &answer, .path = small.path, .headers = {ranges[i]});
        check_header(&answer, "Content-Range", "bytes */100");
        check_problem(&answer, 416, "range_not_satisfiable");
        http_answer_release(&answer);
    }
}

/* What is no range, or several, is answered whole. */
static void test_ignored_ranges(void **state)
{
    static const char *const ranges[] = {"Range: bytes=0-1,5-9", "Range: bytes=0-1, 3-",
        "Range: bytes=", "Range: bytes=-", "Range: bytes=9-3", "Range: bytes=a-b",
        "Range: octets=0-1", "Range: bytes 0-1", "Range: bytes=0-1x", "Range: 0-1"};

    (void)state;
    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        struct http_answer answer;

        CHECK_SEND(client, 200, &answer, .path = small.path, .headers = {ranges[i]});
        check_no_header(&answer, "Content-Range");
        check_body(&answer, small.content, small.size);
        http_answer_release(&answer);
    }
}

static void test_if_range(void **state)
{
    char same[120], weak[120];

    (void)state;
    (void)snprintf(same, sizeof(same), "If-Range: %s", small.etag);
    (void)snprintf(weak, sizeof(weak), "If-Range: W/%s", small.etag);
    CHECK_STATUS(client, 206, .path = small.path, .headers = {"Range: bytes=0-9", same});
    CHECK_STATUS(client, 200, .path = small.path, .headers = {"Range: bytes=0-9", weak});
    CHECK_STATUS(
        client, 200, .path = small.path, .headers = {"Range: bytes=0-9", "If-Range: \"x\""});
    CHECK_STATUS(client, 200, .path = small.path,
        .headers = {"Range: bytes=0-9", "If-Range: Sat, 29 Oct 1994 19:43:31 GMT"});
    CHECK_STATUS(
        client, 200, .path = small.path, .headers = {"Range: bytes=500-", "If-Range: \"x\""});
    CHECK_STATUS(client, 416, .path = small.path, .headers = {"Range: bytes=500-", same});
}

/* ---- conditions ---- */

static void test_conditions(void **state)
{
    struct http_answer answer;
    char match[120], not_match[120], list[200], weak[120];

    (void)state;
    (void)snprintf(match, sizeof(match), "If-Match: %s", small.etag);
    (void)snprintf(not_match, sizeof(not_match), "If-None-Match: %s", small.etag);
    (void)snprintf(list, sizeof(list), "If-None-Match: \"a\", W/\"b\", %s", small.etag);
    (void)snprintf(weak, sizeof(weak), "If-Match: W/%s", small.etag);
    CHECK_STATUS(client, 200, .path = small.path, .headers = {match});
    CHECK_STATUS(client, 200, .path = small.path, .headers = {"If-Match: *"});
    CHECK_PROBLEM(client, 412, "precondition_failed", .path = small.path, .headers = {weak});
    CHECK_PROBLEM(
        client, 412, "precondition_failed", .path = small.path, .headers = {"If-Match: \"x\""});
    CHECK_STATUS(client, 200, .path = small.path, .headers = {"If-None-Match: \"x\""});
    CHECK_STATUS(client, 304, .path = small.path, .headers = {list});
    CHECK_STATUS(client, 304, .path = small.path, .headers = {"If-None-Match: *"});
    CHECK_STATUS(client, 304, .path = small.path, .headers = {match, not_match});
    CHECK_STATUS(client, 404,
        .path = "/v1/chunks/00000000000000000000000000000000"
                "00000000000000000000000000000000",
        .headers = {"If-None-Match: *"});
    CHECK_SEND(client, 304, &answer, .path = small.path, .headers = {not_match});
    check_header(&answer, "ETag", small.etag);
    check_header(&answer, "Cache-Control", "public, max-age=31536000, immutable");
    check_body(&answer, "", 0);
    assert_false(answer.connected);
    http_answer_release(&answer);
    /* The conditions come before the range. */
    CHECK_STATUS(client, 304, .path = small.path, .headers = {not_match, "Range: bytes=0-1"});
}

/* ---- zstd as it lies ---- */

static void check_unpacks(const struct http_answer *answer, const struct sample *sample)
{
    char *out = malloc(sample->size + 1);
    size_t size;

    assert_non_null(out);
    size = ZSTD_decompress(out, sample->size + 1, answer->body, answer->size);
    assert_false(ZSTD_isError(size));
    assert_int_equal(size, sample->size);
    assert_memory_equal(out, sample->content, size);
    free(out);
}

static void test_zstd(void **state)
{
    struct sample text; /* one record, and of several frames when it is large enough */
    struct http_answer answer;
    char etag[120], header[160];

    (void)state;
    sample_init(&text, 60000, __LINE__);
    check_put(client, &text, NULL, 201);
    CHECK_SEND(client, 200, &answer, .path = text.path, .headers = {"Accept-Encoding: zstd"});
    check_header(&answer, "Content-Encoding", "zstd");
    check_header(&answer, "Vary", "Accept-Encoding");
    check_header(&answer, "Coffer-Codec", "zstd");
    check_no_header(&answer, "Repr-Digest");
    (void)snprintf(etag, sizeof(etag), "%s", http_header(&answer, "ETag"));
    assert_string_not_equal(etag, text.etag);
    assert_int_equal(strtoul(http_header(&answer, "Coffer-Stored-Size"), NULL, 10), answer.size);
    assert_true(answer.size < text.size / 2);
    check_unpacks(&answer, &text);
    http_answer_release(&answer);

    /* Each form has its own entity tag. */
    (void)snprintf(header, sizeof(header), "If-None-Match: %s", etag);
    CHECK_STATUS(client, 304, .path = text.path, .headers = {"Accept-Encoding: zstd", header});
    CHECK_STATUS(client, 200, .path = text.path, .headers = {header});
    (void)snprintf(header, sizeof(header), "If-None-Match: %s", text.etag);
    CHECK_STATUS(client, 200, .path = text.path, .headers = {"Accept-Encoding: zstd", header});

    CHECK_SEND(client, 200, &answer, .path = text.path);
    check_no_header(&answer, "Content-Encoding");
    check_header(&answer, "Vary", "Accept-Encoding");
    check_body(&answer, text.content, text.size);
    http_answer_release(&answer);
    /* A range means the bytes of the chunk. */
    CHECK_SEND(client, 206, &answer, .path = text.path,
        .headers = {"Accept-Encoding: zstd", "Range: bytes=100-199"});
    check_no_header(&answer, "Content-Encoding");
    check_body(&answer, text.content + 100, 100);
    http_answer_release(&answer);
    sample_release(&text);
}

static void test_zstd_is_negotiated(void **state)
{
    static const struct {
        const char *header;
        bool zstd;
    } cases[] = {{"Accept-Encoding: gzip, zstd;q=0.5", false}, {"Accept-Encoding: zstd;q=1", true},
        {"Accept-Encoding: zstd;q=0", false}, {"Accept-Encoding: gzip", false},
        {"Accept-Encoding: *", false}, {"Accept-Encoding: identity;q=0.5, zstd", true},
        {"Accept-Encoding: ZSTD", true}, {"Accept-Encoding;", false}};
    struct sample text;

    (void)state;
    sample_init(&text, 20000, __LINE__);
    check_put(client, &text, NULL, 201);
    for (size_t i = 1; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_answer answer;

        CHECK_SEND(client, 200, &answer, .path = text.path, .headers = {cases[i].header});
        if (cases[i].zstd) {
            check_header(&answer, "Content-Encoding", "zstd");
            check_unpacks(&answer, &text);
        } else {
            check_no_header(&answer, "Content-Encoding");
            check_body(&answer, text.content, text.size);
        }
        http_answer_release(&answer);
        /* What is stored raw has one form only, whatever is accepted. */
        CHECK_SEND(client, 200, &answer, .path = small.path, .headers = {cases[i].header});
        check_no_header(&answer, "Content-Encoding");
        http_answer_release(&answer);
    }
    sample_release(&text);
}

/* ---- what all answers have in common ---- */

static void test_methods(void **state)
{
    static const struct {
        const char *path, *allow;
    } paths[] = {
        {"/healthz", "GET, HEAD, OPTIONS"},
        {"/v1/status", "GET, HEAD, OPTIONS"},
        {"/v1/sync", "POST, OPTIONS"},
        {"/v1/chunks", "GET, HEAD, POST, OPTIONS"},
        {"/v1/chunks/stat", "POST, OPTIONS"},
        {"/v1/chunks/extract", "POST, OPTIONS"},
        {"/v1/chunks/insert", "POST, OPTIONS"},
        {"/v1/chunks/delete", "POST, OPTIONS"},
        {"/v1/chunks/anything", "GET, HEAD, PUT, DELETE, OPTIONS"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        struct http_answer answer;

        CHECK_SEND(client, 405, &answer, .method = "PATCH", .path = paths[i].path);
        check_header(&answer, "Allow", paths[i].allow);
        check_problem(&answer, 405, "method_not_allowed");
        http_answer_release(&answer);
        CHECK_SEND(client, 405, &answer, .method = "BREW", .path = paths[i].path);
        check_header(&answer, "Allow", paths[i].allow);
        http_answer_release(&answer);
        CHECK_SEND(client, 204, &answer, .method = "OPTIONS", .path = paths[i].path);
        check_header(&answer, "Allow", paths[i].allow);
        check_body(&answer, "", 0);
        http_answer_release(&answer);
    }
    CHECK_PROBLEM(client, 404, "no_such_path", .method = "OPTIONS", .path = "/v1/none");
}

static void test_paths(void **state)
{
    static const char *const nothing[] = {"/", "/v1", "/v1/", "/v1/chunks/", "/v2/chunks",
        "/V1/chunks", "//v1/chunks", "/v1//chunks", "/v1/chunks/a/b", "/v1/../v1/chunks",
        "/healthz/", "/v1/status/x"};
    static const char *const bad[] = {"/v1/%zz", "/v1/chunks/%", "/v1/chunks/%4", "/%00"};

    (void)state;
    for (size_t i = 0; i < sizeof(nothing) / sizeof(nothing[0]); i++)
        CHECK_PROBLEM(client, 404, "no_such_path", .path = nothing[i]);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK_PROBLEM(client, 400, "bad_request", .path = bad[i]);
    CHECK_STATUS(client, 200, .path = "/%76%31/status"); /* the same path, spelled otherwise */
}

static void test_request_ids(void **state)
{
    static const struct {
        const char *header, *id; /* NULL: replaced */
    } cases[] = {{"X-Request-Id: abc-123_DEF.4", "abc-123_DEF.4"}, {"X-Request-Id: a b", NULL},
        {"X-Request-Id: a\"b", NULL}, {"X-Request-Id: \xff\xfe", NULL}, {"X-Request-Id;", NULL},
        {"X-Request-Id: <script>", NULL}};
    static const char *const answers[] = {"/v1/status", "/v1/none", "/v1/chunks/bad"};
    char last[100] = "", huge[300] = "X-Request-Id: ";
    struct http_answer answer;

    (void)state;
    memset(huge + strlen(huge), 'a', 200);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t a = 0; a < 3; a++) {
            http_send(client,
                &(struct http_request){.path = answers[a], .headers = {cases[i].header}}, &answer);
            assert_non_null(http_header(&answer, "X-Request-Id"));
            if (cases[i].id != NULL)
                check_header(&answer, "X-Request-Id", cases[i].id);
            else /* a new one each time */
                assert_string_not_equal(http_header(&answer, "X-Request-Id"), last);
            (void)snprintf(last, sizeof(last), "%s", http_header(&answer, "X-Request-Id"));
            assert_true(strlen(last) > 0 && strpbrk(last, " \"<\xff") == NULL);
            http_answer_release(&answer);
        }
    CHECK_SEND(client, 200, &answer, .path = "/v1/status", .headers = {huge});
    assert_true(strlen(http_header(&answer, "X-Request-Id")) < 130);
    assert_null(strstr(http_header(&answer, "X-Request-Id"), "aaaa"));
    http_answer_release(&answer);
}

static void test_traceparent_is_logged(void **state)
{
    (void)state;
    CHECK_STATUS(client, 200, .path = "/v1/status",
        .headers = {"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"});
    assert_true(server_wait_log(&server, "4bf92f3577b34da6a3ce929d0e0e4736"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_head_is_get),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_ranges_over_segments),
        cmocka_unit_test(test_ranges_of_noise_and_buffered),
        cmocka_unit_test(test_unsatisfiable),
        cmocka_unit_test(test_ignored_ranges),
        cmocka_unit_test(test_if_range),
        cmocka_unit_test(test_conditions),
        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_zstd_is_negotiated),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_paths),
        cmocka_unit_test(test_request_ids),
        cmocka_unit_test(test_traceparent_is_logged),
    };
    int failed;

    http_client_global();
    server_init(&server, (const char *const[]){"--flush-interval", "1h", "--segment-size", "64KiB",
                             "--log-level", "debug", NULL});
    server_start(&server);
    failed = cmocka_run_group_tests(tests, store_samples, drop_client);
    return server_end(&server, failed);
}
