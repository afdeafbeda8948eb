#include "client/call.h"

#include <stdlib.h>
#include <string.h>

#include "client/failure.h"
#include "client/retry.h"

/* ---- one try ---- */

struct attempt {
    struct call_answer *answer;
    transfer_sink *sink;
    void *context;
    bool given; /* the caller's sink got something */
};

static int take_body(void *context, const char *data, size_t size)
{
    struct attempt *attempt = context;
    struct text *body = &attempt->answer->body;

    if (attempt->sink != NULL) {
        attempt->given = attempt->given || size > 0;
        return attempt->sink(attempt->context, data, size);
    }
    if (size <= ANSWER_MAX - body->size)
        text_add(body, data, size);
    else
        body->failed = true;
    return body->failed ? SINK_FAILED : 0;
}

static void copy_header(char *out, size_t size, const struct transfer *transfer, const char *name)
{
    const char *value = transfer_header(transfer, name);

    (void)snprintf(out, size, "%s", value == NULL ? "" : value);
}

static uint64_t number_header(const struct transfer *transfer, const char *name)
{
    const char *value = transfer_header(transfer, name);

    return value == NULL ? 0 : strtoull(value, NULL, 10);
}

static void read_head(const struct transfer *transfer, struct call_answer *answer)
{
    const char *etag = transfer_header(transfer, "ETag");

    answer->status = transfer->status;
    copy_header(answer->ticket, sizeof(answer->ticket), transfer, "Coffer-Ticket");
    copy_header(answer->state, sizeof(answer->state), transfer, "Coffer-State");
    answer->length = number_header(transfer, "Content-Length");
    answer->stored_size = number_header(transfer, "Coffer-Stored-Size");
    answer->etag.size = 0;
    if (etag != NULL)
        text_add(&answer->etag, etag, strlen(etag));
}

static int try_once(struct coffer_client *client, const struct request *request,
    struct attempt *attempt, unsigned *retry_after_s, struct coffer_error *err)
{
    struct transfer transfer;
    int result;

    attempt->answer->status = 0;
    attempt->answer->body.size = 0;
    *retry_after_s = 0;
    if (transfer_begin(&transfer, client, request, take_body, attempt, err) != 0)
        return -1;
    while (!transfer.done)
        transfer_step(&transfer);
    result = transfer_result(&transfer, err);
    read_head(&transfer, attempt->answer);
    *retry_after_s = (unsigned)number_header(&transfer, "Retry-After");
    transfer_end(&transfer);
    if (attempt->answer->body.failed)
        return failure(err, "no_memory", "no memory for an answer of this size");
    return result;
}

/* ---- tries ---- */

/* Where the body begins, so that it can be sent again: -1 for a pipe. */
static off_t body_start(const struct request *request)
{
    return request->file == NULL ? 0 : ftello(request->file);
}

static bool rewind_body(const struct request *request, off_t start)
{
    return request->file == NULL || (start >= 0 && fseeko(request->file, start, SEEK_SET) == 0);
}

static bool may_repeat(
    const struct request *request, const struct attempt *attempt, const struct coffer_error *err)
{
    return failure_is_passing(err) && !attempt->given &&
           !(request->once && failure_is_doubtful(err));
}

int call_send(struct coffer_client *client, const struct request *request, transfer_sink *sink,
    void *context, struct call_answer *answer, struct coffer_error *err)
{
    struct attempt attempt = {.answer = answer, .sink = sink, .context = context};
    off_t start = body_start(request);
    struct coffer_error last = {0};
    struct retry retry;
    unsigned retry_after_s;

    *answer = (struct call_answer){0};
    retry_init(&retry, client);
    for (;;) {
        if (try_once(client, request, &attempt, &retry_after_s, &last) == 0)
            return 0;
        answer->doubtful = answer->doubtful || failure_is_doubtful(&last);
        if (!may_repeat(request, &attempt, &last) || !retry_pause(&retry, retry_after_s) ||
            !rewind_body(request, start))
            break;
    }
    (void)snprintf(answer->code, sizeof(answer->code), "%s", last.code);
    return failure_copy(err, &last);
}

void call_release(struct call_answer *answer)
{
    text_release(&answer->body);
    text_release(&answer->etag);
}

/* ---- JSON ---- */

json_t *call_json(const struct call_answer *answer, struct coffer_error *err)
{
    json_error_t reason;
    json_t *json = json_loadb(answer->body.data == NULL ? "" : answer->body.data, answer->body.size,
        JSON_DECODE_ANY, &reason);

    if (json == NULL)
        (void)failure(err, "bad_answer", "the answer is not JSON: %s", reason.text);
    return json;
}

int call_with_json(struct coffer_client *client, const char *method, const char *path,
    unsigned wait, json_t *body, struct call_answer *answer, json_t **out, struct coffer_error *err)
{
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    struct request request = {.method = method, .path = path, .wait = wait};
    bool lost = body != NULL && text == NULL;
    int result;

    json_decref(body);
    if (lost) {
        *answer = (struct call_answer){0};
        return failure(err, "no_memory", "no memory for a request");
    }
    if (text != NULL) {
        request.type = "application/json";
        request.body = text;
        request.size = strlen(text);
    }
    result = call_send(client, &request, NULL, NULL, answer, err);
    free(text);
    if (result == 0 && out != NULL) {
        *out = call_json(answer, err);
        result = *out == NULL ? -1 : 0;
    }
    return result;
}
