#include "client/appender.h"

#include <inttypes.h>
#include <stdlib.h>

#include "client/chunk_parts.h"
#include "client/failure.h"

static int claim(struct appender *appender, struct coffer_error *err)
{
    struct call_answer answer;
    struct text path = {0};
    json_t *json = NULL;
    int result;

    text_printf(&path, "%s/claim", appender->path);
    if (path.failed)
        return failure(err, "no_memory", "no memory for a request");
    result = call_with_json(appender->client, "POST", path.data, 0, NULL, &answer, &json, err);
    if (result == 0) {
        const json_t *epoch = json_object_get(json, "epoch"),
                     *offset = json_object_get(json, "offset");

        appender->epoch = (uint64_t)json_integer_value(epoch);
        appender->offset = (uint64_t)json_integer_value(offset);
        if (!json_is_integer(epoch) || !json_is_integer(offset))
            result = failure(err, "bad_answer", "a claim without epoch and offset");
    }
    json_decref(json);
    call_release(&answer);
    text_release(&path);
    return result;
}

int appender_open(struct appender *appender, struct coffer_client *client, char *path,
    enum coffer_writer writer, uint64_t end, struct coffer_error *err)
{
    *appender = (struct appender){.client = client,
        .path = path,
        .has_offset = writer != COFFER_SHARED,
        .has_epoch = writer == COFFER_OWNER,
        .offset = end};
    if (path == NULL)
        return failure(err, "no_memory", "no memory for a stream");
    return writer == COFFER_OWNER ? claim(appender, err) : 0;
}

static int read_receipt(const struct appender *appender, const struct call_answer *answer,
    uint64_t size, struct coffer_receipt *receipt, struct coffer_error *err)
{
    json_t *json = call_json(answer, err);
    int result = 0;

    if (json == NULL)
        return -1;
    *receipt = (struct coffer_receipt){
        .offset = (uint64_t)json_integer_value(json_object_get(json, "offset")),
        .length = (uint64_t)json_integer_value(json_object_get(json, "length")),
        .record = (uint64_t)json_integer_value(json_object_get(json, "record")),
        .version = (uint64_t)json_integer_value(json_object_get(json, "version")),
    };
    json_decref(json);
    if ((size != SIZE_UNKNOWN && receipt->length != size) ||
        (appender->has_offset && receipt->offset != appender->offset))
        result = failure(err, "bad_answer",
            "%" PRIu64 " bytes sent for offset %" PRIu64 " are said to be %" PRIu64 " at %" PRIu64,
            size, appender->offset, receipt->length, receipt->offset);
    return result;
}

int appender_send(struct appender *appender, const void *data, size_t size, bool lines,
    struct coffer_receipt *receipt, struct coffer_error *err)
{
    const struct appender_body body = {.data = data, .size = size};

    return appender_send_body(appender, &body, lines, receipt, err);
}

int appender_send_body(struct appender *appender, const struct appender_body *body, bool lines,
    struct coffer_receipt *receipt, struct coffer_error *err)
{
    uint64_t size = body->file != NULL ? file_left(body->file) : body->size;
    struct request request = {.method = "POST",
        .path = appender->path,
        .type = lines ? "application/x-ndjson" : "application/octet-stream",
        .body = body->size > 0 ? body->data : "",
        .size = body->size,
        .file = body->file,
        .file_size = size,
        .once = !appender->has_offset};
    struct coffer_receipt own;
    struct call_answer answer;
    char offset[48], epoch[48], transaction[128];
    size_t count = 0;
    int result;

    (void)snprintf(offset, sizeof(offset), "Coffer-Offset: %" PRIu64, appender->offset);
    (void)snprintf(epoch, sizeof(epoch), "Coffer-Epoch: %" PRIu64, appender->epoch);
    if (appender->has_offset)
        request.headers[count++] = offset;
    if (appender->has_epoch)
        request.headers[count++] = epoch;
    if (appender->transaction != NULL) {
        (void)snprintf(
            transaction, sizeof(transaction), "Coffer-Transaction: %s", appender->transaction);
        request.headers[count++] = transaction;
    }
    request.headers[count] = durability_line(appender->durability);
    receipt = receipt == NULL ? &own : receipt;
    result = call_send(appender->client, &request, NULL, NULL, &answer, err);
    if (result == 0)
        result = read_receipt(appender, &answer, size, receipt, err);
    if (result == 0) {
        appender->offset += receipt->length;
        if (answer.ticket[0] != '\0')
            (void)snprintf(appender->ticket, sizeof(appender->ticket), "%s", answer.ticket);
    }
    call_release(&answer);
    return result;
}

int appender_sync(struct appender *appender, struct coffer_error *err)
{
    const char *ticket = appender->ticket;

    if (ticket[0] == '\0')
        return 0;
    if (coffer_sync(appender->client, &ticket, 1, err) != 0)
        return -1;
    appender->ticket[0] = '\0';
    return 0;
}

void appender_release(struct appender *appender)
{
    free(appender->path);
    appender->path = NULL;
}
