/*
 * One chunk: put, get, head.
 */
#include <stdlib.h>
#include <string.h>

#include "client/body_reader.h"
#include "client/call.h"
#include "client/chunk_parts.h"
#include "client/failure.h"
#include "client/reader_file.h"

enum { COPY_SIZE = 256 * 1024 };

/* ---- what answers say of a chunk ---- */

static void copy_text(char *out, size_t size, const json_t *json, const char *name)
{
    const char *text = json_string_value(json_object_get(json, name));

    (void)snprintf(out, size, "%s", text == NULL ? "" : text);
}

void chunk_from_json(struct coffer_chunk *chunk, const json_t *json)
{
    *chunk = (struct coffer_chunk){0};
    copy_text(chunk->key, sizeof(chunk->key), json, "key");
    copy_text(chunk->state, sizeof(chunk->state), json, "state");
    copy_text(chunk->ticket, sizeof(chunk->ticket), json, "ticket");
    chunk->size = (uint64_t)json_integer_value(json_object_get(json, "size"));
    chunk->stored_size = (uint64_t)json_integer_value(json_object_get(json, "stored_size"));
    chunk->created = json_is_true(json_object_get(json, "created"));
    chunk->found = true;
}

char *chunk_path(const char *key)
{
    struct text path = {0};

    text_printf(&path, "/v1/chunks/");
    text_escape(&path, key);
    return text_take(&path);
}

const char *durability_line(enum coffer_durability durability)
{
    switch (durability) {
    case COFFER_SYNCED:
        return "Coffer-Durability: synced";
    case COFFER_BUFFERED:
        return "Coffer-Durability: buffered";
    case COFFER_DURABILITY_DEFAULT:
        break;
    }
    return NULL;
}

/* ---- put ---- */

static int read_put_answer(
    const struct call_answer *answer, struct coffer_chunk *chunk, struct coffer_error *err)
{
    json_t *json = call_json(answer, err);

    if (json == NULL)
        return -1;
    if (chunk != NULL) {
        chunk_from_json(chunk, json);
        (void)snprintf(chunk->ticket, sizeof(chunk->ticket), "%s", answer->ticket);
    }
    json_decref(json);
    return 0;
}

static int put(struct coffer_client *client, struct request *request,
    const struct coffer_put_options *options, struct coffer_chunk *chunk, struct coffer_error *err)
{
    static const struct coffer_put_options defaults;
    struct call_answer answer;
    struct text lane = {0};
    char *path;
    int result;

    options = options == NULL ? &defaults : options;
    path = options->key == NULL ? strdup("/v1/chunks") : chunk_path(options->key);
    if (options->lane != NULL)
        text_printf(&lane, "Coffer-Channel: %s", options->lane);
    if (path == NULL || lane.failed) {
        free(path);
        text_release(&lane);
        return failure(err, "no_memory", "no memory for a request");
    }
    request->method = options->key == NULL ? "POST" : "PUT";
    request->path = path;
    request->headers[0] = durability_line(options->durability);
    request->headers[1] = lane.data;
    result = call_send(client, request, NULL, NULL, &answer, err);
    if (result == 0)
        result = read_put_answer(&answer, chunk, err);
    call_release(&answer);
    text_release(&lane);
    free(path);
    return result;
}

int coffer_put(struct coffer_client *client, const void *data, size_t size,
    const struct coffer_put_options *options, struct coffer_chunk *chunk, struct coffer_error *err)
{
    struct request request = {.body = size > 0 ? data : "", .size = size};

    return put(client, &request, options, chunk, err);
}

uint64_t file_left(FILE *file)
{
    off_t start = ftello(file), end;

    if (start < 0 || fseeko(file, 0, SEEK_END) != 0)
        return SIZE_UNKNOWN;
    end = ftello(file);
    if (fseeko(file, start, SEEK_SET) != 0 || end < start)
        return SIZE_UNKNOWN;
    return (uint64_t)(end - start);
}

int coffer_put_file(struct coffer_client *client, FILE *file,
    const struct coffer_put_options *options, struct coffer_chunk *chunk, struct coffer_error *err)
{
    struct request request = {.file = file, .file_size = file_left(file)};

    return put(client, &request, options, chunk, err);
}

/* ---- get ---- */

static struct body_reader *open_reader(struct coffer_client *client, const char *key,
    uint64_t offset, uint64_t size, struct coffer_error *err)
{
    struct reader_source source = {.path = chunk_path(key),
        .offset = offset,
        .end = size < SIZE_UNKNOWN - offset ? offset + size : SIZE_UNKNOWN,
        .ranges = true};

    return body_reader_create(client, &source, err);
}

int coffer_get(struct coffer_client *client, const char *key, uint64_t offset, void *data,
    size_t size, size_t *got, struct coffer_error *err)
{
    struct body_reader *reader = open_reader(client, key, offset, size, err);
    ssize_t part = 0;
    int result = 0;

    *got = 0;
    if (reader == NULL)
        return -1;
    while (*got < size && (part = body_reader_read(reader, (char *)data + *got, size - *got)) > 0)
        *got += (size_t)part;
    if (part < 0)
        result = failure_copy(err, &reader->err);
    body_reader_destroy(reader);
    return result;
}

int coffer_get_file(struct coffer_client *client, const char *key, uint64_t offset, uint64_t size,
    FILE *file, struct coffer_error *err)
{
    struct body_reader *reader = open_reader(client, key, offset, size, err);
    char *buffer = malloc(COPY_SIZE);
    ssize_t part;
    int result = 0;

    if (reader == NULL) {
        free(buffer);
        return -1;
    }
    if (buffer == NULL)
        result = failure(err, "no_memory", "no memory for a copy");
    while (result == 0 && (part = body_reader_read(reader, buffer, COPY_SIZE)) != 0) {
        if (part < 0)
            result = failure_copy(err, &reader->err);
        else if (fwrite(buffer, 1, (size_t)part, file) != (size_t)part)
            result = failure_errno(err, "write");
    }
    free(buffer);
    body_reader_destroy(reader);
    return result;
}

FILE *coffer_chunk_open(struct coffer_client *client, const char *key, struct coffer_error *err)
{
    struct coffer_chunk chunk = {.size = 0};
    struct reader_source source = {.ranges = true};

    if (coffer_head(client, key, &chunk, err) != 0)
        return NULL;
    source.path = chunk_path(key);
    source.end = chunk.size;
    return reader_file_open(client, &source, err);
}

/* ---- head ---- */

/* The answer to a HEAD has no body that says what is wrong. */
static int no_such_chunk(const char *key, struct coffer_error *err)
{
    (void)failure(err, "no_such_chunk", "no chunk is stored under the key %s", key);
    if (err != NULL)
        err->status = 404;
    return -1;
}

int coffer_head(struct coffer_client *client, const char *key, struct coffer_chunk *chunk,
    struct coffer_error *err)
{
    struct request request = {.method = "HEAD"};
    struct call_answer answer;
    char *path = chunk_path(key);
    int result;

    if (path == NULL)
        return failure(err, "no_memory", "no memory for a request");
    request.path = path;
    result = call_send(client, &request, NULL, NULL, &answer, err);
    if (result != 0 && answer.status == 404)
        result = no_such_chunk(key, err);
    if (result == 0 && chunk != NULL) {
        *chunk = (struct coffer_chunk){
            .size = answer.length, .stored_size = answer.stored_size, .found = true};
        (void)snprintf(chunk->key, sizeof(chunk->key), "%s", key);
        (void)snprintf(chunk->state, sizeof(chunk->state), "%s", answer.state);
    }
    call_release(&answer);
    free(path);
    return result;
}
