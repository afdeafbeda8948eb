/*
 * Goal: extract gives a tar that holds exactly what was asked for, and insert stores exactly the
 * files of a tar, says so for each, and survives archives that are broken. Method: libarchive on
 * this side, against a real cofferd with small segments, so that some entries are large chunks.
 */
#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

enum { STORED = 30, LARGE = 7, LARGE_SIZE = 1000000, KEY_ROOM = DIGEST_HEX_SIZE + 8 };

static struct server server;
static struct http_client *client;
static struct sample samples[STORED];

static int store_samples(void **state)
{
    (void)state;
    client = http_client_create(server.address);
    for (size_t i = 0; i < STORED; i++) {
        sample_init(&samples[i], i == 0 ? 0 : i == LARGE ? LARGE_SIZE : i * 511, i + 1);
        check_put(client, &samples[i], i % 5 == 4 ? "buffered" : NULL, i % 5 == 4 ? 202 : 201);
    }
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

/* ---- extract ---- */

static char *keys_body(const size_t *order, size_t count, size_t unknown)
{
    char *body = calloc(1, (count + unknown + 1) * KEY_ROOM);
    size_t used;

    assert_non_null(body);
    used = (size_t)sprintf(body, "{\"keys\":[");
    for (size_t i = 0; i < count + unknown; i++)
        used +=
            i < count
                ? (size_t)sprintf(body + used, "%s\"%s\"", i == 0 ? "" : ",", samples[order[i]].key)
                : (size_t)sprintf(body + used, "%s\"%064zx\"", i == 0 ? "" : ",", i - count);
    (void)sprintf(body + used, "]}");
    return body;
}

static void check_entry_data(struct archive *tar, const struct sample *sample)
{
    char *content = malloc(sample->size + 1);

    assert_non_null(content);
    assert_int_equal(archive_read_data(tar, content, sample->size + 1), sample->size);
    if (sample->size > 0)
        assert_memory_equal(content, sample->content, sample->size);
    free(content);
}

/* The entries are those of `order`, in that order if `ordered`. */
static void check_tar(
    const struct http_answer *answer, const size_t *order, size_t count, bool ordered)
{
    struct archive *tar = archive_read_new();
    struct archive_entry *entry;
    size_t seen[STORED] = {0}, at = 0;
    int result;

    assert_int_equal(archive_read_support_format_tar(tar), ARCHIVE_OK);
    assert_int_equal(archive_read_open_memory(tar, answer->body, answer->size), ARCHIVE_OK);
    while ((result = archive_read_next_header(tar, &entry)) == ARCHIVE_OK) {
        const char *name = archive_entry_pathname(entry);
        size_t i = 0;

        while (i < STORED && strcmp(samples[i].key, name) != 0)
            i++;
        assert_true(i < STORED && at < count);
        if (ordered)
            assert_int_equal(i, order[at]);
        assert_int_equal(archive_entry_filetype(entry), AE_IFREG);
        assert_int_equal(archive_entry_size(entry), samples[i].size);
        check_entry_data(tar, &samples[i]);
        seen[i]++;
        at++;
    }
    assert_int_equal(result, ARCHIVE_EOF);
    assert_int_equal(at, count);
    for (size_t i = 0; i < count; i++)
        assert_true(seen[order[i]] > 0);
    archive_read_free(tar);
}

static void extract(const char *query, const char *body, struct http_answer *answer, int status)
{
    char path[100];

    (void)snprintf(path, sizeof(path), "/v1/chunks/extract%s", query);
    CHECK_SEND(
        client, status, answer, .method = "POST", .path = path, .body = body, .size = strlen(body));
    if (status == 200)
        check_header(answer, "Content-Type", "application/x-tar");
}

static void test_extract(void **state)
{
    size_t order[STORED];
    struct http_answer answer;
    char *body;

    (void)state;
    for (size_t i = 0; i < STORED; i++)
        order[i] = (i * 17 + 5) % STORED;
    body = keys_body(order, STORED, 0);
    extract("", body, &answer, 200);
    check_tar(&answer, order, STORED, false);
    http_answer_release(&answer);
    extract("?order=storage", body, &answer, 200);
    check_tar(&answer, order, STORED, false);
    http_answer_release(&answer);
    extract("?order=request", body, &answer, 200);
    check_tar(&answer, order, STORED, true);
    http_answer_release(&answer);
    free(body);
}

/* A key that is asked for twice comes twice. */
static void test_extract_twice(void **state)
{
    static const size_t order[] = {3, LARGE, 3, 1, LARGE};
    struct http_answer answer;
    char *body = keys_body(order, ARRAY_COUNT(order), 0);

    (void)state;
    extract("?order=request", body, &answer, 200);
    check_tar(&answer, order, ARRAY_COUNT(order), true);
    http_answer_release(&answer);
    free(body);
}

static void test_extract_missing(void **state)
{
    static const size_t order[] = {3, 4, 5};
    struct http_answer answer;
    char *body = keys_body(order, 3, 2), key[DIGEST_HEX_SIZE + 1];
    json_t *root, *missing;

    (void)state;
    for (int way = 0; way < 2; way++) {
        extract(way == 0 ? "" : "?missing=error&order=request", body, &answer, 404);
        check_problem(&answer, 404, "no_such_chunk");
        root = check_json(&answer);
        missing = json_object_get(root, "missing");
        assert_int_equal(json_array_size(missing), 2);
        (void)snprintf(key, sizeof(key), "%064x", 1);
        assert_string_equal(json_string_value(json_array_get(missing, 1)), key);
        json_decref(root);
        http_answer_release(&answer);
    }
    extract("?missing=skip&order=request", body, &answer, 200);
    check_tar(&answer, order, 3, true);
    http_answer_release(&answer);
    free(body);
    body = keys_body(order, 0, 200);
    extract("?missing=skip", body, &answer, 200);
    check_tar(&answer, order, 0, true);
    http_answer_release(&answer);
    extract("", body, &answer, 404);
    http_answer_release(&answer);
    free(body);
    extract("", "{\"keys\":[]}", &answer, 200);
    check_tar(&answer, order, 0, true);
    http_answer_release(&answer);
}

static void test_extract_refusals(void **state)
{
    static const char *const bad[] = {"?order=size", "?missing=maybe", "?order=", "?missing=skip,"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct http_answer answer;

        extract(bad[i], "{\"keys\":[]}", &answer, 400);
        check_problem(&answer, 400, "bad_request");
        http_answer_release(&answer);
    }
}

/* A client that goes away in the middle of an archive costs nothing that stays. */
static void test_extract_abandoned(void **state)
{
    static const size_t order[] = {LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE, LARGE};
    char *body = keys_body(order, ARRAY_COUNT(order), 0), *request = malloc(strlen(body) + 200);

    (void)state;
    assert_non_null(request);
    (void)sprintf(request,
        "POST /v1/chunks/extract HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);
    for (int i = 0; i < 10; i++) {
        int fd = raw_connect(server.address);

        assert_true(fd >= 0);
        assert_true(raw_send_text(fd, request));
        if (i % 2 == 0)
            assert_int_equal(raw_read_head(fd, 60, NULL, 0), 200);
        raw_close(fd);
    }
    check_status_becomes(client, "memory_used", 0);
    free(request);
    free(body);
}

/* ---- insert ---- */

/* An archive made in memory. */
struct tar_maker {
    struct archive *archive;
    char *bytes;
    size_t size, room;
};

static void maker_open(struct tar_maker *maker)
{
    maker->room = (size_t)8 << 20;
    maker->bytes = malloc(maker->room);
    assert_non_null(maker->bytes);
    maker->archive = archive_write_new();
    assert_int_equal(archive_write_set_format_pax_restricted(maker->archive), ARCHIVE_OK);
    assert_int_equal(
        archive_write_open_memory(maker->archive, maker->bytes, maker->room, &maker->size),
        ARCHIVE_OK);
}

static void maker_add(
    struct tar_maker *maker, const char *name, mode_t type, const char *content, size_t size)
{
    struct archive_entry *entry = archive_entry_new();

    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, type);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, type == AE_IFREG ? (la_int64_t)size : 0);
    if (type == AE_IFLNK)
        archive_entry_set_symlink(entry, "elsewhere");
    /* It warns of names that the locale cannot say, and writes them as they are. */
    assert_true(archive_write_header(maker->archive, entry) >= ARCHIVE_WARN);
    if (type == AE_IFREG && size > 0)
        assert_int_equal(archive_write_data(maker->archive, content, size), size);
    archive_entry_free(entry);
}

static void maker_close(struct tar_maker *maker)
{
    assert_int_equal(archive_write_close(maker->archive), ARCHIVE_OK);
    archive_write_free(maker->archive);
}

/* Line `index` of an NDJSON body; the caller drops it. NULL: there are fewer. */
static json_t *line_of(const struct http_answer *answer, size_t index)
{
    const char *at = answer->body;
    json_t *line;

    for (; index > 0; index--) {
        at = strchr(at, '\n');
        if (at == NULL)
            return NULL;
        at++;
    }
    if (*at == '\0')
        return NULL;
    line = json_loads(at, JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(line);
    return line;
}

static void check_line(const struct http_answer *answer, size_t index, const char *name,
    const struct sample *sample, bool created)
{
    json_t *line = line_of(answer, index);
    const char *found, *key;
    json_int_t size;
    int made;
    json_error_t error;

    assert_non_null(line);
    assert_int_equal(json_unpack_ex(line, &error, JSON_STRICT, "{s:s,s:s,s:I,s:b}", "name", &found,
                         "key", &key, "size", &size, "created", &made),
        0);
    assert_string_equal(found, name);
    assert_string_equal(key, sample->key);
    assert_int_equal(size, sample->size);
    assert_int_equal(made, created);
    json_decref(line);
}

static void check_error_line(const struct http_answer *answer, size_t index, const char *name)
{
    json_t *line = line_of(answer, index);

    assert_non_null(line);
    assert_int_equal(json_integer_value(json_object_get(line, "status")), 400);
    assert_string_equal(json_string_value(json_object_get(line, "code")), "bad_request");
    assert_true(json_is_string(json_object_get(line, "detail")));
    if (name == NULL)
        assert_null(json_object_get(line, "name"));
    else
        assert_string_equal(json_string_value(json_object_get(line, "name")), name);
    json_decref(line);
}

static void insert(const struct tar_maker *maker, size_t size, struct http_answer *answer)
{
    CHECK_SEND(client, 200, answer, .method = "POST", .path = "/v1/chunks/insert",
        .body = maker->bytes, .size = size, .headers = {"Content-Type: application/x-tar"});
    check_header(answer, "Content-Type", "application/x-ndjson");
}

/* Files with directories, links and a large one between them; sent as a whole and again. */
static void test_insert(void **state)
{
    struct sample fresh[4];
    struct tar_maker maker;
    char name[300] = "a-long-path/";

    (void)state;
    memset(name + strlen(name), 'n', 250);
    for (size_t i = 0; i < 4; i++)
        sample_init(&fresh[i], i == 2 ? 700000 : 1000 + i, 7000 + i);
    maker_open(&maker);
    maker_add(&maker, "one", AE_IFREG, fresh[0].content, fresh[0].size);
    maker_add(&maker, "folder/", AE_IFDIR, NULL, 0);
    maker_add(&maker, name, AE_IFREG, fresh[1].content, fresh[1].size);
    maker_add(&maker, "link", AE_IFLNK, NULL, 0);
    maker_add(&maker, "large", AE_IFREG, fresh[2].content, fresh[2].size);
    maker_add(&maker, "one/again", AE_IFREG, fresh[0].content, fresh[0].size);
    maker_add(&maker, "\xc3\xbc.txt", AE_IFREG, fresh[3].content, fresh[3].size);
    maker_close(&maker);
    for (int round = 0; round < 2; round++) {
        struct http_answer answer;

        insert(&maker, maker.size, &answer);
        check_line(&answer, 0, "one", &fresh[0], round == 0);
        check_error_line(&answer, 1, "folder/");
        check_line(&answer, 2, name, &fresh[1], round == 0);
        check_error_line(&answer, 3, "link");
        check_line(&answer, 4, "large", &fresh[2], round == 0);
        check_line(&answer, 5, "one/again", &fresh[0], false);
        check_line(&answer, 6, "\xc3\xbc.txt", &fresh[3], round == 0);
        assert_null(line_of(&answer, 7));
        http_answer_release(&answer);
        for (size_t i = 0; i < 4; i++)
            check_get(client, &fresh[i]);
    }
    for (size_t i = 0; i < 4; i++)
        sample_release(&fresh[i]);
    free(maker.bytes);
}

static void test_insert_many(void **state)
{
    enum { MANY = 3000 };
    struct tar_maker maker;
    struct http_answer answer;
    size_t lines = 0;

    (void)state;
    maker_open(&maker);
    for (unsigned i = 0; i < MANY; i++) {
        char name[32], content[64];

        (void)snprintf(name, sizeof(name), "f%u", i);
        maker_add(&maker, name, AE_IFREG, content,
            (size_t)snprintf(content, sizeof(content), "many %u of them", i));
    }
    maker_close(&maker);
    insert(&maker, maker.size, &answer);
    for (const char *at = answer.body; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, MANY);
    assert_null(strstr(answer.body, "\"code\""));
    http_answer_release(&answer);
    free(maker.bytes);
}

/* Cut off anywhere: whole entries are stored and have their lines, the rest is told. */
static void test_insert_truncated(void **state)
{
    struct sample fresh[3];
    struct tar_maker maker;
    size_t cuts[6];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        sample_init(&fresh[i], 5000, 8000 + i);
    maker_open(&maker);
    for (size_t i = 0; i < 3; i++)
        maker_add(&maker, fresh[i].key, AE_IFREG, fresh[i].content, fresh[i].size);
    maker_close(&maker);
    cuts[0] = 512 + 100;                  /* in the first entry */
    cuts[1] = 512 + 5000;                 /* in its padding */
    cuts[2] = 512 + 5120 + 200;           /* in the second header */
    cuts[3] = 2 * (512 + 5120) + 512 + 1; /* in the last entry */
    cuts[4] = 100;                        /* in the first header */
    cuts[5] = 3 * (512 + 5120);           /* the closing blocks are not there */
    for (size_t i = 0; i < ARRAY_COUNT(cuts); i++) {
        size_t whole = cuts[i] / (512 + 5120);
        struct http_answer answer;

        http_send(client,
            &(struct http_request){.method = "POST",
                .path = "/v1/chunks/insert",
                .body = maker.bytes,
                .size = cuts[i]},
            &answer);
        if (i == 4) { /* nothing in it could be read */
            assert_int_equal(answer.status, 400);
            check_problem(&answer, 400, "bad_request");
        } else {
            assert_int_equal(answer.status, 200);
            for (size_t n = 0; n < whole; n++)
                assert_non_null(strstr(answer.body, fresh[n].key));
            if (i == 0 || i == 2 || i == 3)
                assert_non_null(strstr(answer.body, "\"code\":\"bad_request\""));
        }
        http_answer_release(&answer);
        for (size_t n = 0; n < whole; n++)
            check_get(client, &fresh[n]);
        CHECK_STATUS(client, whole > 2 ? 200 : 404, .path = fresh[2].path);
    }
    for (size_t i = 0; i < 3; i++)
        sample_release(&fresh[i]);
    free(maker.bytes);
}

static void test_insert_garbage(void **state)
{
    size_t size = 2 << 20;
    char *body = malloc(size);

    (void)state;
    assert_non_null(body);
    for (size_t i = 0; i < size; i++)
        body[i] = (char)(i * 31 % 251);
    CHECK_PROBLEM(client, 400, "bad_request", .method = "POST", .path = "/v1/chunks/insert",
        .body = body, .size = size);
    CHECK_PROBLEM(client, 400, "bad_request", .method = "POST", .path = "/v1/chunks/insert",
        .body = body, .size = 300, .chunked = true);
    memset(body, 0, size); /* an archive of nothing */
    CHECK_STATUS(
        client, 200, .method = "POST", .path = "/v1/chunks/insert", .body = body, .size = 10240);
    CHECK_PROBLEM(client, 415, "unsupported_media_type", .method = "POST",
        .path = "/v1/chunks/insert", .body = body, .size = 10240,
        .headers = {"Content-Type: application/zip"});
    CHECK_PROBLEM(client, 400, "bad_name", .method = "POST", .path = "/v1/chunks/insert",
        .body = body, .size = 10240, .headers = {"Coffer-Channel: a b"});
    CHECK_PROBLEM(client, 400, "bad_request", .method = "POST", .path = "/v1/chunks/insert",
        .body = body, .size = 10240, .headers = {"Coffer-Durability: maybe"});
    free(body);
}

static void test_insert_buffered(void **state)
{
    struct sample fresh;
    struct tar_maker maker;
    struct http_answer answer;
    char body[300];
    json_t *line;

    (void)state;
    sample_init(&fresh, 2000, __LINE__);
    maker_open(&maker);
    maker_add(&maker, "late", AE_IFREG, fresh.content, fresh.size);
    maker_close(&maker);
    CHECK_SEND(client, 200, &answer, .method = "POST", .path = "/v1/chunks/insert",
        .body = maker.bytes, .size = maker.size, .headers = {"Coffer-Durability: buffered"});
    line = line_of(&answer, 0);
    assert_string_equal(json_string_value(json_object_get(line, "state")), "buffered");
    (void)snprintf(body, sizeof(body), "{\"tickets\":[\"%s\"]}",
        json_string_value(json_object_get(line, "ticket")));
    json_decref(line);
    http_answer_release(&answer);
    CHECK_STATUS(
        client, 200, .method = "POST", .path = "/v1/sync", .body = body, .size = strlen(body));
    CHECK_SEND(client, 200, &answer, .path = fresh.path);
    check_header(&answer, "Coffer-State", "durable");
    http_answer_release(&answer);
    sample_release(&fresh);
    free(maker.bytes);
}

/* What extract gives, insert takes. */
static void test_round_trip(void **state)
{
    static const size_t order[] = {1, LARGE, 9, 14, 0};
    struct http_answer tar, answer;
    char *body = keys_body(order, ARRAY_COUNT(order), 0);

    (void)state;
    extract("", body, &tar, 200);
    CHECK_STATUS(client, 200, .method = "POST", .path = "/v1/chunks/delete", .body = body,
        .size = strlen(body));
    CHECK_SEND(client, 200, &answer, .method = "POST", .path = "/v1/chunks/insert",
        .body = tar.body, .size = tar.size);
    for (size_t i = 0; i < ARRAY_COUNT(order); i++)
        check_get(client, &samples[order[i]]);
    http_answer_release(&answer);
    http_answer_release(&tar);
    free(body);
}

static void test_nothing_is_left(void **state)
{
    (void)state;
    CHECK_STATUS(client, 200, .method = "POST", .path = "/v1/sync", .body = "{}", .size = 2);
    check_status_becomes(client, "memory_used", 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extract),
        cmocka_unit_test(test_extract_twice),
        cmocka_unit_test(test_extract_missing),
        cmocka_unit_test(test_extract_refusals),
        cmocka_unit_test(test_insert),
        cmocka_unit_test(test_insert_many),
        cmocka_unit_test(test_insert_truncated),
        cmocka_unit_test(test_insert_garbage),
        cmocka_unit_test(test_insert_buffered),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_nothing_is_left),
        cmocka_unit_test(test_extract_abandoned),
    };
    int failed;

    http_client_global();
    server_init(
        &server, (const char *const[]){"--flush-interval", "1h", "--segment-size", "64KiB", NULL});
    server_start(&server);
    failed = cmocka_run_group_tests(tests, store_samples, drop_samples);
    return server_end(&server, failed);
}
