/*
 * Many chunks in one request: stat, delete, list, extract, insert, sync; and lists of anything.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/chunk_parts.h"
#include "client/failure.h"
#include "client/reader_file.h"

enum { KEYS_EACH = 10000 }; /* of one stat */

static json_t *text_array(const char *const *texts, size_t count)
{
    json_t *array = json_array();

    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(array, json_string(texts[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    return array;
}

/* {"name": [texts]}, or NULL. */
static json_t *text_list(const char *name, const char *const *texts, size_t count)
{
    return json_pack("{s:o}", name, text_array(texts, count));
}

/* ---- stat ---- */

/* Answers are in any order, and a key may be asked twice: sorted positions find them. */
static int compare_keys(const void *left, const void *right, void *keys)
{
    const char *const *texts = *(const char *const *const *)keys;

    return strcmp(texts[*(const size_t *)left], texts[*(const size_t *)right]);
}

static void fill_found(const json_t *found, const char *const *keys, const size_t *order,
    size_t count, struct coffer_chunk *chunks)
{
    struct coffer_chunk chunk;
    size_t low = 0, high = count;

    chunk_from_json(&chunk, found);
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(keys[order[middle]], chunk.key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && strcmp(keys[order[low]], chunk.key) == 0; low++)
        chunks[order[low]] = chunk;
}

static int stat_some(struct coffer_client *client, const char *const *keys, size_t count,
    struct coffer_chunk *chunks, size_t *order, struct coffer_error *err)
{
    struct call_answer answer;
    json_t *json = NULL, *found;
    size_t i;
    int result = call_with_json(
        client, "POST", "/v1/chunks/stat", 0, text_list("keys", keys, count), &answer, &json, err);

    call_release(&answer);
    if (result != 0)
        return result;
    for (i = 0; i < count; i++) {
        chunks[i] = (struct coffer_chunk){0};
        (void)snprintf(chunks[i].key, sizeof(chunks[i].key), "%s", keys[i]);
        order[i] = i;
    }
    qsort_r(order, count, sizeof(*order), compare_keys, &keys);
    json_array_foreach(json_object_get(json, "chunks"), i, found)
        fill_found(found, keys, order, count, chunks);
    json_decref(json);
    return 0;
}

int coffer_stat(struct coffer_client *client, const char *const *keys, size_t count,
    struct coffer_chunk *chunks, struct coffer_error *err)
{
    size_t *order = malloc(KEYS_EACH * sizeof(*order));
    int result = 0;

    if (order == NULL)
        return failure(err, "no_memory", "no memory for a request");
    for (size_t done = 0; result == 0 && done < count;) {
        size_t some = count - done < KEYS_EACH ? count - done : KEYS_EACH;

        result = stat_some(client, keys + done, some, chunks + done, order, err);
        done += some;
    }
    free(order);
    return result;
}

/* ---- delete ---- */

int coffer_delete(struct coffer_client *client, const char *const *keys, size_t count,
    size_t *deleted, struct coffer_error *err)
{
    struct call_answer answer;
    json_t *json = NULL;
    int result = call_with_json(client, "POST", "/v1/chunks/delete", 0,
        text_list("keys", keys, count), &answer, &json, err);

    if (result == 0 && deleted != NULL)
        *deleted = (size_t)json_integer_value(json_object_get(json, "deleted"));
    json_decref(json);
    call_release(&answer);
    return result;
}

/* ---- lists ---- */

/* The items are in the member named by the path's last word; it is the only array of a page. */
static const json_t *page_items(json_t *page)
{
    const char *name;
    json_t *member;

    json_object_foreach(page, name, member) if (json_is_array(member)) return member;
    return NULL;
}

/* What is done with an item; not 0 ends the list. */
typedef int item_visit(void *context, const json_t *item, struct coffer_error *err);

struct text_visitor {
    coffer_visit *visit;
    void *context;
};

static int visit_as_text(void *context, const json_t *item, struct coffer_error *err)
{
    const struct text_visitor *visitor = context;
    char *text = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
    int result;

    if (text == NULL)
        return failure(err, "no_memory", "no memory for an item");
    result = visitor->visit(visitor->context, text);
    free(text);
    return result;
}

struct chunk_visitor {
    coffer_visit_chunk *visit;
    void *context;
};

static int visit_as_chunk(void *context, const json_t *item, struct coffer_error *err)
{
    const struct chunk_visitor *visitor = context;
    struct coffer_chunk chunk;

    (void)err;
    chunk_from_json(&chunk, item);
    return visitor->visit(visitor->context, &chunk);
}

/* The value for `after`, or NULL: a text, or a number for versions and records. */
static char *next_page(const json_t *page)
{
    const json_t *next = json_object_get(page, "next");
    struct text text = {0};

    if (json_is_string(next))
        text_escape(&text, json_string_value(next));
    else if (json_is_integer(next))
        text_printf(&text, "%lld", (long long)json_integer_value(next));
    else
        return NULL;
    return text_take(&text);
}

static int list_pages(struct coffer_client *client, const char *path, item_visit *visit,
    void *context, struct coffer_error *err)
{
    char *next = NULL;
    int result;

    do {
        struct call_answer answer;
        struct text url = {0};
        json_t *page = NULL, *item;
        size_t i;

        text_printf(&url, "%s", path);
        if (next != NULL)
            text_printf(&url, "%safter=%s", strchr(path, '?') == NULL ? "?" : "&", next);
        free(next);
        next = NULL;
        if (url.failed) {
            text_release(&url);
            return failure(err, "no_memory", "no memory for a request");
        }
        result = call_with_json(client, "GET", url.data, 0, NULL, &answer, &page, err);
        text_release(&url);
        call_release(&answer);
        json_array_foreach(page_items(page), i, item)
        {
            if (result == 0)
                result = visit(context, item, err);
        }
        if (result == 0)
            next = next_page(page);
        json_decref(page);
    } while (result == 0 && next != NULL);
    free(next);
    return result;
}

int coffer_pages(struct coffer_client *client, const char *path, coffer_visit *visit, void *context,
    struct coffer_error *err)
{
    struct text_visitor visitor = {visit, context};

    return list_pages(client, path, visit_as_text, &visitor, err);
}

int coffer_list(struct coffer_client *client, const char *prefix, coffer_visit_chunk *visit,
    void *context, struct coffer_error *err)
{
    struct chunk_visitor visitor = {visit, context};
    struct text path = {0};
    int result;

    text_printf(&path, "/v1/chunks");
    if (prefix != NULL) {
        text_printf(&path, "?prefix=");
        text_escape(&path, prefix);
    }
    if (path.failed)
        result = failure(err, "no_memory", "no memory for a request");
    else
        result = list_pages(client, path.data, visit_as_chunk, &visitor, err);
    text_release(&path);
    return result;
}

/* ---- extract and insert ---- */

FILE *coffer_extract_open(struct coffer_client *client, const char *const *keys, size_t count,
    unsigned flags, struct coffer_error *err)
{
    struct reader_source source = {.end = SIZE_UNKNOWN};
    json_t *body = text_list("keys", keys, count);
    struct text path = {0};

    text_printf(&path, "/v1/chunks/extract?order=%s&missing=%s",
        (flags & COFFER_REQUEST_ORDER) != 0 ? "request" : "storage",
        (flags & COFFER_SKIP_MISSING) != 0 ? "skip" : "error");
    source.body = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    source.path = text_take(&path);
    if (source.body == NULL) {
        free(source.path);
        (void)failure(err, "no_memory", "no memory for a request");
        return NULL;
    }
    return reader_file_open(client, &source, err);
}

/* Lines of the answer, whole ones at a time. */
struct lines {
    coffer_visit_entry *visit;
    void *context;
    struct text line;
    int ended; /* the visitor's answer that is not 0 */
};

static int visit_line(struct lines *lines)
{
    json_t *json = json_loadb(lines->line.data, lines->line.size, 0, NULL);
    struct coffer_entry entry;
    int result = 0;

    if (json == NULL)
        return -1;
    entry = (struct coffer_entry){
        .name = json_string_value(json_object_get(json, "name")),
        .status = (int)json_integer_value(json_object_get(json, "status")),
        .code = json_string_value(json_object_get(json, "code")),
        .detail = json_string_value(json_object_get(json, "detail")),
    };
    chunk_from_json(&entry.chunk, json);
    if (lines->visit != NULL && lines->ended == 0)
        lines->ended = lines->visit(lines->context, &entry);
    json_decref(json);
    return result;
}

static int take_lines(void *context, const char *data, size_t size)
{
    struct lines *lines = context;

    while (size > 0) {
        const char *end = memchr(data, '\n', size);
        size_t part = end == NULL ? size : (size_t)(end - data);

        text_add(&lines->line, data, part);
        if (end != NULL) {
            if (lines->line.failed || visit_line(lines) != 0) {
                errno = lines->line.failed ? ENOMEM : EPROTO;
                return SINK_FAILED;
            }
            lines->line.size = 0;
            part++;
        }
        data += part;
        size -= part;
    }
    return 0;
}

int coffer_insert(struct coffer_client *client, FILE *tar, enum coffer_durability durability,
    coffer_visit_entry *visit, void *context, struct coffer_error *err)
{
    struct lines lines = {.visit = visit, .context = context};
    struct request request = {.method = "POST",
        .path = "/v1/chunks/insert",
        .type = "application/x-tar",
        .headers = {durability_line(durability)},
        .file = tar,
        .file_size = file_left(tar)};
    struct call_answer answer;
    int result = call_send(client, &request, take_lines, &lines, &answer, err);

    call_release(&answer);
    text_release(&lines.line);
    return result != 0 ? result : lines.ended;
}

/* ---- sync ---- */

int coffer_sync(struct coffer_client *client, const char *const *tickets, size_t count,
    struct coffer_error *err)
{
    struct call_answer answer;
    int result = call_with_json(client, "POST", "/v1/sync", 0,
        count == 0 ? json_object() : text_list("tickets", tickets, count), &answer, NULL, err);

    call_release(&answer);
    return result;
}
