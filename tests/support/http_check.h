/*
 * http_check.h - requests with what they must answer, for suites that drive cofferd under cmocka.
 *
 * Each call fails the running test when the answer is another. Threads: the test's own.
 */
#pragma once

#include <jansson.h>

#include "storage/base/digest.h"
#include "tests/support/http_client.h"

enum { CHUNK_PATH_SIZE = 128 };

/* A chunk that a test makes: content, key, and its path. */
struct sample {
    char *content;
    size_t size;
    char key[DIGEST_HEX_SIZE + 1];
    char path[CHUNK_PATH_SIZE]; /* /v1/chunks/KEY */
    char etag[DIGEST_HEX_SIZE + 3];
    char digest[64 + DIGEST_BASE64_SIZE]; /* sha-256=:BASE64: */
};
void sample_init(struct sample *sample, size_t size, uint64_t seed);
void sample_release(struct sample *sample);

/* Send, and compare the status; the answer is to be released. */
void check_send(struct http_client *client, const struct http_request *request, int status,
    struct http_answer *answer);
#define CHECK_SEND(client, status, answer, ...)                                                    \
    check_send(client, &(const struct http_request){__VA_ARGS__}, status, answer)
/* Only the status counts. */
#define CHECK_STATUS(client, status, ...)                                                          \
    check_status(client, &(const struct http_request){__VA_ARGS__}, status)
void check_status(struct http_client *client, const struct http_request *request, int status);
/* It must be a problem with this status and code (NULL: any), and all fields in order; releases
 * nothing. */
void check_problem(struct http_answer *answer, int status, const char *code);
/* All that came over a raw socket: one such answer, which says that the connection ends. */
void check_raw_problem(const char *text, int status, const char *code);
/* A request that must be answered so. */
#define CHECK_PROBLEM(client, status, code, ...)                                                   \
    check_refused(client, &(const struct http_request){__VA_ARGS__}, status, code)
void check_refused(
    struct http_client *client, const struct http_request *request, int status, const char *code);
/* A header must be there with this value. */
void check_header(struct http_answer *answer, const char *name, const char *value);
void check_no_header(struct http_answer *answer, const char *name);
void check_body(const struct http_answer *answer, const void *body, size_t size);
/* The body as JSON; the caller drops it. */
json_t *check_json(const struct http_answer *answer);

/* PUT it (durability NULL: not said) and expect this status. */
void check_put(
    struct http_client *client, const struct sample *sample, const char *durability, int status);
/* GET it: it must be there, whole. */
void check_get(struct http_client *client, const struct sample *sample);
/* A number of GET /v1/status. */
uint64_t status_number(struct http_client *client, const char *name);
/* Ask for it until it is `value`; fails after a while. */
void check_status_becomes(struct http_client *client, const char *name, uint64_t value);
