#include "tests/support/fault_proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/http_client.h"
#include "tests/support/seed_content.h"

static const char *const request_headers[] = {"Content-Type", "Coffer-Offset", "Coffer-Epoch",
    "Coffer-Transaction", "Coffer-Durability", "Range", "Accept"};
static const char *const answer_headers[] = {"Content-Type", "Content-Range", "ETag",
    "Coffer-Ticket", "Coffer-State", "Coffer-Offset", "X-Request-Id", "Retry-After"};

enum { REQUEST_HEADERS = sizeof(request_headers) / sizeof(request_headers[0]) };

enum outcome { LOSE_REQUEST, LOSE_ANSWER, CUT, BUSY, WELL };

static enum outcome draw(struct fault_proxy *proxy)
{
    const unsigned chances[WELL] = {
        proxy->lose_request, proxy->lose_answer, proxy->cut, proxy->busy};
    enum outcome outcome = LOSE_REQUEST;
    unsigned dice;

    pthread_mutex_lock(&proxy->lock);
    dice = (unsigned)(seed_next(&proxy->dice) % 1000);
    while (outcome < WELL && dice >= chances[outcome])
        dice -= chances[outcome++];
    proxy->faults += outcome != WELL;
    pthread_mutex_unlock(&proxy->lock);
    return outcome;
}

static void copy_answer(
    struct http_answer *answer, const struct script_request *request, struct script_reply *reply)
{
    size_t used = 0;

    for (size_t i = 0; i < sizeof(answer_headers) / sizeof(answer_headers[0]); i++) {
        const char *value = http_header(answer, answer_headers[i]);

        if (value != NULL)
            used += (size_t)snprintf(reply->headers + used, sizeof(reply->headers) - used,
                "%s: %s\r\n", answer_headers[i], value);
    }
    reply->status = answer->status;
    reply->size = answer->size;
    reply->body = reply->to_free = answer->body;
    answer->body = NULL;
    if (strcmp(request->method, "HEAD") == 0) {
        const char *length = http_header(answer, "Content-Length");

        reply->size = length == NULL ? 0 : strtoul(length, NULL, 10);
    }
}

static void forward(
    struct fault_proxy *proxy, struct script_request *request, struct script_reply *reply)
{
    struct http_request passed = {.method = request->method,
        .path = request->path,
        .body = request->size > 0 ? request->body : NULL,
        .size = request->size,
        .close = true};
    char lines[REQUEST_HEADERS][600];
    struct http_client *client = http_client_create(proxy->address);
    struct http_answer answer;
    size_t count = 0;

    if (strcmp(request->method, "POST") == 0 && request->size == 0)
        passed.body = "";
    for (size_t i = 0; i < REQUEST_HEADERS; i++) {
        const char *value = script_header(request, request_headers[i]);

        if (value == NULL)
            continue;
        (void)snprintf(lines[count], sizeof(lines[0]), "%s: %s", request_headers[i], value);
        passed.headers[count] = lines[count];
        count++;
    }
    http_send(client, &passed, &answer);
    if (answer.status == 0 || answer.error[0] != '\0')
        reply->fault = SCRIPT_RESET;
    else
        copy_answer(&answer, request, reply);
    http_answer_release(&answer);
    http_client_destroy(client);
}

static void handle(void *context, struct script_request *request, struct script_reply *reply)
{
    struct fault_proxy *proxy = context;
    enum outcome outcome = draw(proxy);

    if (outcome == BUSY) {
        script_problem(reply, 503, "overloaded");
        return;
    }
    if (outcome != LOSE_REQUEST)
        forward(proxy, request, reply);
    if (outcome == CUT && reply->size > 0 && strcmp(request->method, "HEAD") != 0) {
        reply->fault = SCRIPT_CUT;
        reply->cut_at = reply->size / 2;
    } else if (outcome != WELL) {
        reply->fault = SCRIPT_RESET;
    }
}

void fault_proxy_start(struct fault_proxy *proxy, const char *address, uint64_t seed)
{
    *proxy = (struct fault_proxy){.dice = seed};
    (void)snprintf(proxy->address, sizeof(proxy->address), "%s", address);
    pthread_mutex_init(&proxy->lock, NULL);
    script_server_start_parallel(&proxy->server, handle, proxy);
}

void fault_proxy_stop(struct fault_proxy *proxy)
{
    script_server_stop(&proxy->server);
    pthread_mutex_destroy(&proxy->lock);
}
