/*
 * call.h - a request and its whole answer, sent again until it has one.
 */
#pragma once

#include <jansson.h>

#include "client/transfer.h"

enum { ANSWER_MAX = 256 * 1024 * 1024 }; /* bytes of a body that is kept in memory */

struct call_answer {
    int status;    /* of the last answer; 0: there was none */
    char code[32]; /* of the failure, "" when it did not fail */
    bool doubtful; /* an earlier try may have been carried out */
    char ticket[COFFER_TICKET_SIZE], state[16];
    struct text etag;
    struct text body;
    uint64_t length, stored_size; /* of a HEAD: Content-Length, Coffer-Stored-Size */
};

/* 0 for a 2xx. The answer is filled either way, and is to be released. Unless `sink` is NULL it
 * gets the body: then a try is repeated only as long as the sink was given nothing. */
int call_send(struct coffer_client *client, const struct request *request, transfer_sink *sink,
    void *context, struct call_answer *answer, struct coffer_error *err);
void call_release(struct call_answer *answer);

/* The answer as JSON, which the caller drops; NULL: it is none, and err is filled. */
json_t *call_json(const struct call_answer *answer, struct coffer_error *err);
/* Send `body` (taken; NULL: none) as JSON, and wait up to `wait` seconds longer than usual. *out
 * (may be NULL) gets the answer's. */
int call_with_json(struct coffer_client *client, const char *method, const char *path,
    unsigned wait, json_t *body, struct call_answer *answer, json_t **out,
    struct coffer_error *err);
