#include "tests/support/http_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "storage/base/clock.h"

enum { BECOMES_S = 60, SHOWN_MAX = 400 };

void sample_init(struct sample *sample, size_t size, uint64_t seed)
{
    struct digest digest;
    char *content = malloc(size + 1);

    assert_non_null(content);
    for (size_t at = 0; at < size;) { /* the seed is in it: no two samples are alike */
        char piece[64];
        size_t length = (size_t)snprintf(
            piece, sizeof(piece), "%llu.%zu of %zu\n", (unsigned long long)seed, at, size);

        length = length < size - at ? length : size - at;
        memcpy(content + at, piece, length);
        at += length;
    }
    content[size] = '\0';
    sample->content = content;
    sample->size = size;
    sha256_once(content, size, &digest);
    digest_to_hex(&digest, sample->key);
    (void)snprintf(sample->path, sizeof(sample->path), "/v1/chunks/%s", sample->key);
    (void)snprintf(sample->etag, sizeof(sample->etag), "\"%s\"", sample->key);
    memcpy(sample->digest, "sha-256=:", 9);
    digest_to_base64(&digest, sample->digest + 9);
    memcpy(sample->digest + 9 + DIGEST_BASE64_SIZE, ":", 2);
}

void sample_release(struct sample *sample)
{
    free(sample->content);
    sample->content = NULL;
}

void check_send(struct http_client *client, const struct http_request *request, int status,
    struct http_answer *answer)
{
    http_send(client, request, answer);
    if (answer->status == status && answer->error[0] == '\0')
        return;
    print_error("%s %.200s: status %d, not %d; %s\n%s%.*s\n",
        request->method == NULL ? "GET" : request->method, request->path, answer->status, status,
        answer->error, answer->head, SHOWN_MAX, answer->body);
    fail();
}

void check_status(struct http_client *client, const struct http_request *request, int status)
{
    struct http_answer answer;

    check_send(client, request, status, &answer);
    http_answer_release(&answer);
}

void check_header(struct http_answer *answer, const char *name, const char *value)
{
    const char *found = http_header(answer, name);

    if (found == NULL) {
        print_error("no header %s in\n%s\n", name, answer->head);
        fail();
        return;
    }
    assert_string_equal(found, value);
}

void check_no_header(struct http_answer *answer, const char *name)
{
    assert_null(http_header(answer, name));
}

void check_body(const struct http_answer *answer, const void *body, size_t size)
{
    assert_int_equal(answer->size, size);
    if (size > 0)
        assert_memory_equal(answer->body, body, size);
}

json_t *check_json(const struct http_answer *answer)
{
    json_error_t error;
    json_t *root = json_loadb(answer->body, answer->size, JSON_REJECT_DUPLICATES, &error);

    if (root == NULL) {
        print_error("no JSON: %s\n%.*s\n", error.text, SHOWN_MAX, answer->body);
        fail();
    }
    return root;
}

void check_problem(struct http_answer *answer, int status, const char *code)
{
    static const char *const fields[] = {"type", "title", "status", "code", "detail", "request_id"};
    json_t *root;
    const char *id;
    void *at;

    check_header(answer, "Content-Type", "application/problem+json");
    root = check_json(answer);
    at = json_object_iter(root);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        assert_non_null(at);
        assert_string_equal(json_object_iter_key(at), fields[i]);
        at = json_object_iter_next(root, at);
    }
    assert_string_equal(json_string_value(json_object_get(root, "type")), "about:blank");
    assert_true(strlen(json_string_value(json_object_get(root, "title"))) > 0);
    assert_true(strlen(json_string_value(json_object_get(root, "detail"))) > 0);
    assert_int_equal(json_integer_value(json_object_get(root, "status")), status);
    if (code != NULL)
        assert_string_equal(json_string_value(json_object_get(root, "code")), code);
    id = http_header(answer, "X-Request-Id");
    assert_non_null(id);
    assert_string_equal(json_string_value(json_object_get(root, "request_id")), id);
    if (status == 503)
        assert_non_null(http_header(answer, "Retry-After"));
    json_decref(root);
}

void check_raw_problem(const char *text, int status, const char *code)
{
    const char *end = strstr(text, "\r\n\r\n");
    struct http_answer answer = {.status = status};
    char line[32];

    (void)snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
    if (end == NULL || strncmp(text, line, strlen(line)) != 0) {
        print_error("not %s: %.*s\n", line, SHOWN_MAX, text);
        fail();
        return;
    }
    answer.head = strndup(text, (size_t)(end - text));
    answer.body = strdup(end + 4);
    assert_true(answer.head != NULL && answer.body != NULL);
    answer.size = strlen(answer.body);
    (void)snprintf(line, sizeof(line), "%zu", answer.size);
    check_header(&answer, "Content-Length", line); /* so nothing came after it */
    check_header(&answer, "Connection", "close");
    check_problem(&answer, status, code);
    http_answer_release(&answer);
}

void check_refused(
    struct http_client *client, const struct http_request *request, int status, const char *code)
{
    struct http_answer answer;

    check_send(client, request, status, &answer);
    check_problem(&answer, status, code);
    http_answer_release(&answer);
}

void check_put(
    struct http_client *client, const struct sample *sample, const char *durability, int status)
{
    char header[64] = "";

    if (durability != NULL)
        (void)snprintf(header, sizeof(header), "Coffer-Durability: %s", durability);
    CHECK_STATUS(client, status, .method = "PUT", .path = sample->path,
        .headers = {durability == NULL ? NULL : header}, .body = sample->content,
        .size = sample->size);
}

void check_get(struct http_client *client, const struct sample *sample)
{
    struct http_answer answer;

    CHECK_SEND(client, 200, &answer, .path = sample->path);
    check_header(&answer, "ETag", sample->etag);
    check_body(&answer, sample->content, sample->size);
    http_answer_release(&answer);
}

uint64_t status_number(struct http_client *client, const char *name)
{
    struct http_answer answer;
    json_t *root, *number;
    uint64_t value;

    CHECK_SEND(client, 200, &answer, .path = "/v1/status");
    root = check_json(&answer);
    number = json_object_get(root, name);
    assert_true(json_is_integer(number));
    value = (uint64_t)json_integer_value(number);
    json_decref(root);
    http_answer_release(&answer);
    return value;
}

void check_status_becomes(struct http_client *client, const char *name, uint64_t value)
{
    uint64_t until = clock_monotonic_ns() + (uint64_t)BECOMES_S * NS_PER_S;
    const struct timespec pause = clock_timespec(2 * NS_PER_MS);
    uint64_t now = status_number(client, name);

    while (now != value && clock_monotonic_ns() < until) {
        (void)nanosleep(&pause, NULL); /* poll: a number of /v1/status */
        now = status_number(client, name);
    }
    assert_int_equal(now, value);
}
