/*
 * Goal: insert, extract, stat and delete of many chunks answer as API.md section 3 says. Method:
 * each request is driven over a store in memory, without a socket, its body in pieces of several
 * sizes; archives are made and read by tar_out and tar_in.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/bulk.h"
#include "api/tar_in.h"
#include "api/tar_out.h"
#include "storage/base/invariant.h"
#include "tests/support/exchange_driver.h"

enum { FILES = 40 };

struct text {
    char *data;
    size_t used, size, read_at;
};

struct fixture {
    struct service service;
    struct text archive; /* of FILES files */
    char keys[FILES][DIGEST_HEX_SIZE + 1];
    char key_list[FILES * (DIGEST_HEX_SIZE + 3) + 64];
};

static const char missing_key[] =
    "0000000000000000000000000000000000000000000000000000000000000000";

static bool text_add(void *context, const void *data, size_t size)
{
    struct text *text = context;

    if (text->used + size > text->size) {
        text->size = (text->used + size) * 2;
        text->data = realloc(text->data, text->size);
        invariant(text->data != NULL);
    }
    memcpy(text->data + text->used, data, size);
    text->used += size;
    return true;
}

static bool text_read(void *context, const void **data, size_t *size)
{
    struct text *text = context;

    *data = text->data + text->read_at;
    *size = text->used - text->read_at;
    text->read_at = text->used;
    return true;
}

/* File number i has i * 700 bytes: the first is empty, some are larger than a buffer. */
static size_t file_size(int i)
{
    return (size_t)i * 700;
}

static void file_fill(int i, char *out)
{
    for (size_t at = 0; at < file_size(i); at++)
        out[at] = (char)(at * 7 + (size_t)i);
}

static void make_archive(struct fixture *fixture)
{
    static char content[FILES * 700];
    struct tar_out *tar;
    size_t used = (size_t)sprintf(fixture->key_list, "{\"keys\":[");

    assert_int_equal(tar_out_create(text_add, &fixture->archive, &tar, NULL), COFFER_OK);
    for (int i = 0; i < FILES; i++) {
        struct digest digest;
        char name[32];

        file_fill(i, content);
        sha256_once(content, file_size(i), &digest);
        digest_to_hex(&digest, fixture->keys[i]);
        used += (size_t)sprintf(
            fixture->key_list + used, "%s\"%s\"", i == 0 ? "" : ",", fixture->keys[i]);
        (void)snprintf(name, sizeof(name), "dir/file \"%d\"", i);
        assert_int_equal(tar_out_entry(tar, name, file_size(i), NULL), COFFER_OK);
        assert_int_equal(tar_out_data(tar, content, file_size(i), NULL), COFFER_OK);
    }
    (void)sprintf(fixture->key_list + used, "]}");
    assert_int_equal(tar_out_end(tar, NULL), COFFER_OK);
    tar_out_destroy(tar);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    struct store_options options;
    struct error err;

    assert_non_null(fixture);
    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    assert_int_equal(store_open(&options, &fixture->service.store, &err), COFFER_OK);
    fixture->service.bulk = bulk_pool_create(8, BULK_IDLE_DEFAULT_NS);
    fixture->service.state = SERVICE_READY;
    fixture->service.collect_max = 1 << 20;
    fixture->service.memory_max = 64 << 20;
    make_archive(fixture);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    struct error err;

    bulk_pool_destroy(fixture->service.bulk);
    assert_int_equal(fixture->service.memory_used, 0);
    assert_int_equal(store_close(fixture->service.store, &err), COFFER_OK);
    free(fixture->archive.data);
    free(fixture);
    exchange_thread_end();
    return 0;
}

static struct driver_request insert_request(const struct fixture *fixture, size_t piece)
{
    return (struct driver_request){.method = "POST",
        .target = "/v1/chunks/insert",
        .body = fixture->archive.data,
        .body_size = fixture->archive.used,
        .piece = piece};
}

static void insert_all(struct fixture *fixture)
{
    assert_int_equal(driver_ask(&fixture->service, insert_request(fixture, 0), NULL), 200);
}

/* ---- insert ---- */

static void check_lines(struct fixture *fixture, const struct driven *driven, bool created)
{
    const char *at = driven->body;

    for (int i = 0; i < FILES; i++) {
        const char *end = strchr(at, '\n');
        char name[32];
        json_t *line;

        assert_non_null(end);
        line = driver_parse(at, (size_t)(end - at));
        (void)snprintf(name, sizeof(name), "dir/file \"%d\"", i);
        assert_string_equal(json_text_of(line, "name"), name);
        assert_string_equal(json_text_of(line, "key"), fixture->keys[i]);
        assert_int_equal(json_number_of(line, "size"), file_size(i));
        assert_int_equal(json_is_true(json_object_get(line, "created")), created);
        json_decref(line);
        at = end + 1;
    }
    assert_int_equal(*at, '\0');
}

static void test_insert(void **state)
{
    static const size_t pieces[] = {0, 100000, 4096, 512, 333};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(pieces); i++) {
        struct driver_request request = insert_request(fixture, pieces[i]);
        struct driven driven;

        request.chunked = i % 2 == 1;
        driver_run(&driven, &fixture->service, &request);
        assert_int_equal(driven.status, 200);
        assert_string_equal(driver_header(&driven, "Content-Type"), "application/x-ndjson");
        assert_int_equal(driven.body_status, COFFER_OK);
        check_lines(fixture, &driven, i == 0);
        driver_release(&driven);
    }
}

static void test_insert_buffered(void **state)
{
    struct fixture *fixture = *state;
    struct driver_request request = insert_request(fixture, 0);
    struct driven driven;
    char body[400];
    json_t *line, *answer = NULL;

    request.headers[0] = "Coffer-Durability: buffered";
    request.headers[1] = "Coffer-Channel: lane-1";
    driver_run(&driven, &fixture->service, &request);
    assert_int_equal(driven.status, 200);
    line = driver_parse(driven.body, driven.body_size);
    assert_non_null(strstr(json_text_of(line, "ticket"), ":lane-1:"));
    assert_non_null(json_text_of(line, "state"));
    (void)snprintf(body, sizeof(body), "{\"tickets\":[\"%s\"]}", json_text_of(line, "ticket"));
    json_decref(line);
    driver_release(&driven);
    assert_int_equal(driver_ask(&fixture->service, driver_post("/v1/sync", body), &answer), 200);
    assert_string_equal(json_text_of(answer, "state"), "durable");
    json_decref(answer);
}

/* Cut at every so many bytes: what was whole is stored and has its line, then one says it broke. */
static void test_insert_broken(void **state)
{
    struct fixture *fixture = *state;

    for (size_t cut = 700; cut < fixture->archive.used - 2048; cut += 7001) {
        struct driver_request request = insert_request(fixture, 5000);
        struct driven driven;
        const char *last;
        json_t *line;

        request.body_size = cut;
        driver_run(&driven, &fixture->service, &request);
        assert_int_equal(driven.status, 200);
        assert_true(driven.body_size > 1 && driven.body[driven.body_size - 1] == '\n');
        driven.body[driven.body_size - 1] = '\0';
        last = strrchr(driven.body, '\n');
        last = last == NULL ? driven.body : last + 1;
        line = driver_parse(last, strlen(last));
        if (cut % 512 != 0) {
            assert_null(json_object_get(line, "name"));
            assert_string_equal(json_text_of(line, "code"), "bad_request");
            assert_non_null(json_text_of(line, "detail"));
        }
        json_decref(line);
        driver_release(&driven);
    }
    driver_refused(&fixture->service, driver_post("/v1/chunks/insert", "this is no archive"), 400,
        "bad_request");
}

static void test_insert_refused(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        const char *header, *code;
        int status;
    } cases[] = {
        {"Coffer-Channel: not a name", "bad_name", 400},
        {"Coffer-Channel: ", "bad_name", 400},
        {"Coffer-Durability: maybe", "bad_request", 400},
        {"Content-Type: application/gzip", "unsupported_media_type", 415},
        {"Content-Type: application/json", "unsupported_media_type", 415},
        {"Content-Encoding: zstd", "unsupported_media_type", 415},
        {"Content-Digest: sha-256=nonsense", "bad_digest_header", 400},
        {"Content-Digest: sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
            "digest_mismatch", 422},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct driver_request request = insert_request(fixture, 0);

        request.headers[0] = cases[i].header;
        driver_refused(&fixture->service, request, cases[i].status, cases[i].code);
    }
}

struct inserting {
    struct fixture *fixture;
    struct text archive;
    pthread_t thread;
    int status;
};

static void fill_archive(struct text *archive, unsigned seed)
{
    struct tar_out *tar;
    char content[50000];

    assert_int_equal(tar_out_create(text_add, archive, &tar, NULL), COFFER_OK);
    for (int i = 0; i < 12; i++) {
        for (size_t at = 0; at < sizeof(content); at++)
            content[at] = (char)rand_r(&seed);
        assert_int_equal(tar_out_entry(tar, "file", sizeof(content), NULL), COFFER_OK);
        assert_int_equal(tar_out_data(tar, content, sizeof(content), NULL), COFFER_OK);
    }
    assert_int_equal(tar_out_end(tar, NULL), COFFER_OK);
    tar_out_destroy(tar);
}

static void *insert_main(void *argument)
{
    struct inserting *inserting = argument;
    struct driver_request request = insert_request(inserting->fixture, 4096);

    request.body = inserting->archive.data;
    request.body_size = inserting->archive.used;
    inserting->status = driver_ask(&inserting->fixture->service, request, NULL);
    exchange_thread_end();
    return NULL;
}

/* One that waits for memory must not keep its own finished uploads from giving theirs back. */
static void test_inserts_share_little_memory(void **state)
{
    struct fixture *fixture = *state;
    struct store *roomy = fixture->service.store;
    struct inserting inserting[8];
    struct store_options options;

    store_options_default(&options);
    options.engine = ENGINE_MEMORY;
    options.segment_size = 64 << 10;
    options.buffer_size = 64 << 10;
    options.memory_limit = 256 << 10;
    assert_int_equal(store_open(&options, &fixture->service.store, NULL), COFFER_OK);
    for (size_t i = 0; i < ARRAY_COUNT(inserting); i++) {
        inserting[i] = (struct inserting){.fixture = fixture};
        fill_archive(&inserting[i].archive, (unsigned)i);
        assert_int_equal(pthread_create(&inserting[i].thread, NULL, insert_main, &inserting[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_COUNT(inserting); i++) {
        pthread_join(inserting[i].thread, NULL);
        assert_int_equal(inserting[i].status, 200);
        free(inserting[i].archive.data);
    }
    bulk_pool_destroy(fixture->service.bulk);
    fixture->service.bulk = bulk_pool_create(8, BULK_IDLE_DEFAULT_NS);
    assert_int_equal(store_close(fixture->service.store, NULL), COFFER_OK);
    fixture->service.store = roomy;
}

/* The client goes away in the middle: nothing is left open, or store_close() would say so. */
static void test_insert_abandoned(void **state)
{
    struct fixture *fixture = *state;

    for (size_t size = 1; size < fixture->archive.used; size += 11003) {
        struct driver_request request = insert_request(fixture, 3000);
        struct driven driven;

        request.body_size = size;
        request.abandon = true;
        driver_run(&driven, &fixture->service, &request);
        assert_int_equal(driven.status, 0);
        driver_release(&driven);
    }
}

/* ---- stat and delete ---- */

static void test_stat(void **state)
{
    struct fixture *fixture = *state;
    json_t *body = NULL, *chunks;
    char lines[3 * (DIGEST_HEX_SIZE + 2)];
    struct driver_request request;

    insert_all(fixture);
    request = driver_post("/v1/chunks/stat", fixture->key_list);
    request.piece = 17;
    assert_int_equal(driver_ask(&fixture->service, request, &body), 200);
    chunks = json_object_get(body, "chunks");
    assert_int_equal(json_array_size(chunks), FILES);
    assert_int_equal(json_array_size(json_object_get(body, "missing")), 0);
    for (int i = 0; i < FILES; i++) {
        const json_t *chunk = json_array_get(chunks, (size_t)i);

        assert_string_equal(json_text_of(chunk, "key"), fixture->keys[i]);
        assert_int_equal(json_number_of(chunk, "size"), file_size(i));
        assert_true(json_number_of(chunk, "stored_size") <= (json_int_t)file_size(i));
        assert_string_equal(json_text_of(chunk, "state"), "durable");
        assert_non_null(json_text_of(chunk, "codec"));
        assert_true(json_is_integer(json_object_get(chunk, "pack")));
        assert_true(json_is_integer(json_object_get(chunk, "offset")));
    }
    json_decref(body);

    (void)snprintf(lines, sizeof(lines), "%s\n%s\n%s", missing_key, fixture->keys[3], missing_key);
    request = driver_post("/v1/chunks/stat", lines);
    request.headers[0] = "Content-Type: text/plain; charset=utf-8";
    assert_int_equal(driver_ask(&fixture->service, request, &body), 200);
    assert_int_equal(json_array_size(json_object_get(body, "chunks")), 1);
    assert_int_equal(json_array_size(json_object_get(body, "missing")), 2);
    json_decref(body);
}

static void test_bad_bodies(void **state)
{
    static const char *const targets[] = {
        "/v1/chunks/stat", "/v1/chunks/delete", "/v1/chunks/extract"};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        struct driver_request request = driver_post(targets[i], "{\"keys\":[]}");

        driver_refused(&fixture->service, driver_post(targets[i], ""), 400, "bad_json");
        driver_refused(
            &fixture->service, driver_post(targets[i], "{\"keys\":[\"x\"]}"), 400, "bad_key");
        driver_refused(
            &fixture->service, driver_post(targets[i], "{\"key\":[]}"), 400, "unknown_field");
        request.headers[0] = "Content-Type: text/html";
        driver_refused(&fixture->service, request, 415, "unsupported_media_type");
        request.headers[0] = "Content-Type: application/x-www-form-urlencoded";
        assert_int_equal(driver_ask(&fixture->service, request, NULL), 200);
    }
    driver_refused(&fixture->service, driver_post("/v1/chunks/extract?order=any", "{\"keys\":[]}"),
        400, "bad_request");
    driver_refused(&fixture->service, driver_post("/v1/chunks/extract?missing=1", "{\"keys\":[]}"),
        400, "bad_request");
}

static void test_delete(void **state)
{
    struct fixture *fixture = *state;
    json_t *body = NULL;
    char list[4 * DIGEST_HEX_SIZE];

    insert_all(fixture);
    (void)snprintf(list, sizeof(list), "{\"keys\":[\"%s\",\"%s\",\"%s\"]}", fixture->keys[1],
        missing_key, fixture->keys[1]);
    assert_int_equal(
        driver_ask(&fixture->service, driver_post("/v1/chunks/delete", list), &body), 200);
    assert_int_equal(json_number_of(body, "deleted"), 1);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(body, "missing"), 0)), missing_key);
    json_decref(body);
    assert_int_equal(
        driver_ask(&fixture->service, driver_post("/v1/chunks/delete", fixture->key_list), &body),
        200);
    assert_int_equal(json_number_of(body, "deleted"), FILES - 1);
    assert_int_equal(json_array_size(json_object_get(body, "missing")), 1);
    json_decref(body);
}

/* ---- extract ---- */

static void check_archive(struct fixture *fixture, const struct driven *driven, bool in_order)
{
    static char expected[FILES * 700];
    struct text archive = {.data = driven->body, .used = driven->body_size};
    bool seen[FILES] = {false}, more;
    struct tar_in_entry entry;
    struct tar_in *tar;

    assert_int_equal(tar_in_create(text_read, &archive, &tar, NULL), COFFER_OK);
    for (int n = 0; n < FILES; n++) {
        size_t at = 0, size;
        const void *data;
        int i = 0;

        assert_int_equal(tar_in_next(tar, &entry, &more, NULL), COFFER_OK);
        assert_true(more);
        while (i < FILES && !slice_equal(entry.name, slice_from_text(fixture->keys[i])))
            i++;
        assert_true(i < FILES && !seen[i]);
        assert_true(i == n || !in_order);
        seen[i] = true;
        file_fill(i, expected);
        assert_int_equal(entry.size, file_size(i));
        do {
            assert_int_equal(tar_in_data(tar, &data, &size, NULL), COFFER_OK);
            assert_memory_equal(data, expected + at, size);
            at += size;
        } while (size > 0);
        assert_int_equal(at, file_size(i));
    }
    assert_int_equal(tar_in_next(tar, &entry, &more, NULL), COFFER_OK);
    assert_false(more);
    tar_in_destroy(tar);
}

static void test_extract(void **state)
{
    static const char *const targets[] = {"/v1/chunks/extract", "/v1/chunks/extract?order=request",
        "/v1/chunks/extract?order=storage&missing=skip"};
    struct fixture *fixture = *state;

    insert_all(fixture);
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++) {
        struct driver_request request = driver_post(targets[i], fixture->key_list);
        struct driven driven;

        driver_run(&driven, &fixture->service, &request);
        assert_int_equal(driven.status, 200);
        assert_string_equal(driver_header(&driven, "Content-Type"), "application/x-tar");
        assert_int_equal(driven.body_status, COFFER_OK);
        check_archive(fixture, &driven, i == 1);
        driver_release(&driven);
    }
}

static void test_extract_missing(void **state)
{
    struct fixture *fixture = *state;
    struct driver_request request;
    json_t *body = NULL;
    char list[4 * DIGEST_HEX_SIZE];
    struct driven driven;

    insert_all(fixture);
    (void)snprintf(list, sizeof(list), "{\"keys\":[\"%s\",\"%s\"]}", fixture->keys[1], missing_key);
    assert_int_equal(
        driver_ask(&fixture->service, driver_post("/v1/chunks/extract", list), &body), 404);
    assert_string_equal(json_text_of(body, "code"), "no_such_chunk");
    assert_int_equal(json_number_of(body, "missing_count"), 1);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(body, "missing"), 0)), missing_key);
    json_decref(body);

    request = driver_post("/v1/chunks/extract?missing=skip", list);
    driver_run(&driven, &fixture->service, &request);
    assert_int_equal(driven.status, 200);
    assert_int_equal(driven.body_size, 512 + 1024 + 1024); /* one entry of 700, and the end */
    driver_release(&driven);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_insert),
        TEST(test_insert_buffered),
        TEST(test_insert_broken),
        TEST(test_insert_refused),
        TEST(test_inserts_share_little_memory),
        TEST(test_insert_abandoned),
        TEST(test_stat),
        TEST(test_bad_bodies),
        TEST(test_delete),
        TEST(test_extract),
        TEST(test_extract_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
