/*
 * ctest-labels: slow
 *
 * Goal: requests for hundreds of thousands of keys are answered exactly, and the server's memory
 * does not grow with the number of keys. Method: a real cofferd with small caches, started anew for
 * each request, whose peak of resident memory (VmHWM, which includes mapped files) after a request
 * for 4 N keys is compared with that after one for N. With all keys in memory, unknown ones took 33
 * bytes each in stat, 69 in extract and 136 in delete, and 218 in delete if they were stored.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "api/tar_out.h"
#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum {
    MEASURED = 0,
    UNKNOWN = 5000,
    STORED = 2000
}; /* the sanitizer's memory is not the server's */
#else
enum { MEASURED = 1, UNKNOWN = 150000, STORED = 40000 };
#endif

enum {
    TIMES = 4,
    ANSWER_KEPT = 4096,
    LINE_SIZE = DIGEST_HEX_SIZE + 1,
    TAR_ENTRY_SIZE = 2 * 512,
    TAR_END_SIZE = 2 * 512,
};

static struct server server;

/* ---- requests that are made while they are sent ---- */

struct answer {
    uint64_t size, quotes;
    char text[ANSWER_KEPT + 1]; /* its beginning */
};

static int begin_request(const char *path, const char *type, uint64_t size)
{
    char head[400];
    int fd = raw_connect(server.address);

    assert_true(fd >= 0);
    (void)snprintf(head, sizeof(head),
        "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: %s\r\n"
        "Content-Length: %" PRIu64 "\r\n\r\n",
        path, type, size);
    assert_true(raw_send_text(fd, head));
    return fd;
}

/* Everything up to the end of the connection; the chunks of the coding are counted with it. */
static void end_request(int fd, struct answer *answer)
{
    static char bytes[1 << 16];
    ssize_t got;

    memset(answer, 0, sizeof(*answer));
    while ((got = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
        for (ssize_t i = 0; i < got; i++) {
            answer->quotes += bytes[i] == '"';
            if (answer->size < ANSWER_KEPT)
                answer->text[answer->size] = bytes[i];
            answer->size++;
        }
    }
    assert_int_equal(got, 0);
    raw_close(fd);
    assert_int_equal(strncmp(answer->text, "HTTP/1.1 200", 12), 0);
}

static struct digest key_of(uint64_t number, bool stored)
{
    struct digest key;
    char text[32];

    (void)snprintf(text, sizeof(text), "%s %" PRIu64, stored ? "stored" : "unknown", number);
    sha256_once(text, strlen(text), &key);
    return key;
}

/* Ask for keys 0 .. count - 1, a line each. */
static void ask(const char *path, uint64_t count, bool stored, struct answer *answer)
{
    int fd = begin_request(path, "text/plain", count * LINE_SIZE);
    static char lines[1000 * LINE_SIZE + 1];
    size_t used = 0;

    for (uint64_t i = 0; i < count; i++) {
        struct digest key = key_of(i, stored);

        digest_to_hex(&key, lines + used);
        used += LINE_SIZE;
        lines[used - 1] = '\n';
        if (used + LINE_SIZE > sizeof(lines) || i + 1 == count) {
            assert_true(raw_send(fd, lines, used));
            used = 0;
        }
    }
    end_request(fd, answer);
}

static bool send_tar(void *context, const void *data, size_t size)
{
    return raw_send(*(const int *)context, data, size);
}

static void store(uint64_t count)
{
    int fd = begin_request(
        "/v1/chunks/insert", "application/x-tar", count * TAR_ENTRY_SIZE + TAR_END_SIZE);
    struct answer answer;
    struct tar_out *tar;

    assert_int_equal(tar_out_create(send_tar, &fd, &tar, NULL), COFFER_OK);
    for (uint64_t i = 0; i < count; i++) {
        char text[32];
        int size = snprintf(text, sizeof(text), "stored %" PRIu64, i);

        assert_int_equal(tar_out_entry(tar, "name", (uint64_t)size, NULL), COFFER_OK);
        assert_int_equal(tar_out_data(tar, text, (size_t)size, NULL), COFFER_OK);
    }
    assert_int_equal(tar_out_end(tar, NULL), COFFER_OK);
    tar_out_destroy(tar);
    end_request(fd, &answer);
}

/* ---- answers ---- */

enum { MIXED = 3000, FEW = 200 };

/* Keys that are stored and keys that are not, some of them several times. */
static struct digest mixed_key(uint64_t i, bool *stored)
{
    *stored = i % 3 == 0;
    return *stored ? key_of(i * 7 % FEW, true) : key_of(i % 1700, false);
}

static char *mixed_body(void)
{
    char *body = malloc(MIXED * LINE_SIZE + 1);

    assert_non_null(body);
    for (uint64_t i = 0; i < MIXED; i++) {
        bool stored;
        struct digest key = mixed_key(i, &stored);

        digest_to_hex(&key, body + i * LINE_SIZE);
        body[(i + 1) * LINE_SIZE - 1] = '\n';
    }
    body[MIXED * LINE_SIZE] = '\0';
    return body;
}

/* The list names these of the keys, in their order: `stored` or not; up to `max`. */
static void check_keys(const json_t *list, const char *member, bool wanted, size_t max)
{
    size_t at = 0;

    for (uint64_t i = 0; i < MIXED && at < max; i++) {
        bool stored;
        struct digest key = mixed_key(i, &stored);
        char text[DIGEST_HEX_SIZE + 1];
        const json_t *item;

        if (stored != wanted)
            continue;
        item = json_array_get(list, at++);
        digest_to_hex(&key, text);
        assert_string_equal(
            json_string_value(member == NULL ? item : json_object_get(item, member)), text);
    }
    assert_int_equal(json_array_size(list), at);
}

static json_t *ask_json(struct http_client *client, const char *path, const char *body, int status)
{
    struct http_answer answer;
    json_t *root;

    CHECK_SEND(client, status, &answer, .method = "POST", .path = path, .body = body,
        .size = strlen(body), .headers = {"Content-Type: text/plain"});
    root = check_json(&answer);
    http_answer_release(&answer);
    return root;
}

/* More keys than are looked up together, and than the thread of a connection deletes by itself. */
static void test_answers(void **state)
{
    enum { UNKNOWN_ASKED = MIXED - (MIXED + 2) / 3, MISSING_SHOWN = 100 };
    struct http_client *client;
    char *body = mixed_body();
    json_t *root;

    (void)state;
    server_start(&server);
    store(FEW);
    client = http_client_create(server.address);
    root = ask_json(client, "/v1/chunks/stat", body, 200);
    check_keys(json_object_get(root, "chunks"), "key", true, MIXED);
    check_keys(json_object_get(root, "missing"), NULL, false, MIXED);
    json_decref(root);
    for (int way = 0; way < 2; way++) {
        root = ask_json(client,
            way == 0 ? "/v1/chunks/extract" : "/v1/chunks/extract?order=request", body, 404);
        assert_int_equal(json_integer_value(json_object_get(root, "missing_count")), UNKNOWN_ASKED);
        check_keys(json_object_get(root, "missing"), NULL, false, MISSING_SHOWN);
        json_decref(root);
    }
    for (int pass = 0; pass < 2; pass++) {
        root = ask_json(client, "/v1/chunks/delete", body, 200);
        assert_int_equal(json_integer_value(json_object_get(root, "deleted")), pass == 0 ? FEW : 0);
        if (pass == 0)
            check_keys(json_object_get(root, "missing"), NULL, false, MIXED);
        else
            assert_int_equal(json_array_size(json_object_get(root, "missing")), MIXED);
        json_decref(root);
    }
    http_client_destroy(client);
    assert_int_equal(server_stop(&server), 0);
    free(body);
}

/* ---- memory ---- */

static uint64_t peak_of_server(void)
{
    char path[64], line[200];
    uint64_t kibibytes = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/status", (int)server.pid);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "VmHWM: %" SCNu64, &kibibytes) == 1) // NOLINT(cert-err34-c): of the kernel
            break;
    (void)fclose(file);
    assert_true(kibibytes > 0);
    return kibibytes * 1024;
}

/* What a server that has answered nothing else takes for it. */
static uint64_t peak_for(const char *path, uint64_t count, bool stored, struct answer *answer)
{
    uint64_t peak;

    server_start(&server);
    ask(path, count, stored, answer);
    peak = peak_of_server();
    assert_int_equal(server_stop(&server), 0);
    return peak;
}

static void check_growth(
    const char *path, uint64_t keys, uint64_t few, uint64_t many, unsigned bytes_a_key)
{
    int64_t growth = (int64_t)many - (int64_t)few;

    print_message("%s: %" PRIu64 " keys more take %" PRId64
                  " KiB more, %.1f bytes each (at most %u)\n",
        path, keys, growth / 1024, (double)growth / (double)keys, bytes_a_key);
    if (MEASURED)
        assert_true(growth < (int64_t)(keys * bytes_a_key));
}

/* Keys that are not there cost the index nothing: what grows here is what a key takes. */
static void test_unknown_keys_take_no_memory(void **state)
{
    static const struct {
        const char *path;
        unsigned quotes, quotes_a_key;
    } cases[] = {
        {"/v1/chunks/stat", 4, 2},
        {"/v1/chunks/delete", 4, 2},
        {"/v1/chunks/extract?missing=skip", 0, 0},
        {"/v1/chunks/extract?missing=skip&order=request", 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct answer answer;
        uint64_t few = peak_for(cases[i].path, UNKNOWN, false, &answer), many;

        assert_int_equal(answer.quotes, cases[i].quotes + cases[i].quotes_a_key * UNKNOWN);
        many = peak_for(cases[i].path, TIMES * UNKNOWN, false, &answer);
        assert_int_equal(answer.quotes, cases[i].quotes + cases[i].quotes_a_key * TIMES * UNKNOWN);
        check_growth(cases[i].path, (TIMES - 1) * UNKNOWN, few, many, 8);
    }
}

static void test_stored_keys_take_no_memory(void **state)
{
    static const char *const paths[] = {
        "/v1/chunks/stat", "/v1/chunks/extract", "/v1/chunks/extract?order=request"};
    struct answer answer;
    uint64_t few, many;

    (void)state;
    server_start(&server);
    store(TIMES * STORED);
    assert_int_equal(server_stop(&server), 0);
    for (size_t i = 0; i < ARRAY_COUNT(paths); i++) {
        few = peak_for(paths[i], STORED, true, &answer);
        many = peak_for(paths[i], TIMES * STORED, true, &answer);
        if (i > 0)
            assert_true(answer.size > TIMES * (uint64_t)STORED * TAR_ENTRY_SIZE + TAR_END_SIZE);
        else
            assert_int_equal(answer.quotes, 4 + TIMES * STORED * (2 * 7 + 3 * 2));
        check_growth(paths[i], (TIMES - 1) * STORED, few, many, 20);
    }
    /* The index's write buffers, which are bounded, take some 100 bytes for each row that goes. */
    few = peak_for("/v1/chunks/delete", STORED, true, &answer);
    many = peak_for("/v1/chunks/delete", TIMES * STORED, true, &answer);
    assert_int_equal(answer.quotes, 4 + 2 * STORED); /* those that went before */
    check_growth("/v1/chunks/delete", (TIMES - 1) * STORED, few, many, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_unknown_keys_take_no_memory),
        cmocka_unit_test(test_stored_keys_take_no_memory),
    };
    int failed;

    http_client_global();
    server_init(
        &server, (const char *const[]){"--index-cache-size", "1MiB", "--http-threads", "1", NULL});
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    return server_end(&server, failed);
}
