#include "tests/support/ledger.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/seed_content.h"

enum { SMALL_MAX = 4000, MIDDLE_MAX = 40000, LARGE_MAX = 300000 };

static void violation(struct ledger *ledger, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void violation(struct ledger *ledger, const char *format, ...)
{
    va_list args;

    atomic_fetch_add(&ledger->counts->violations, 1);
    va_start(args, format);
    (void)fprintf(stderr, "violation: ");
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\n");
    va_end(args);
}

static void note(struct ledger *ledger, const char *step, const char *operation,
    const struct ledger_slot *slot, int status, const char *state)
{
    pthread_mutex_lock(&ledger->lock);
    (void)fprintf(ledger->file, "%llu %s %s %s %zu %llu %d %s\n",
        (unsigned long long)clock_monotonic_ns(), step, operation, slot->key, slot->size,
        (unsigned long long)slot->seed, status, state);
    pthread_mutex_unlock(&ledger->lock);
}

void ledger_init(struct ledger *ledger, const char *path, size_t count, uint64_t seed,
    struct kill_counts *counts)
{
    memset(ledger, 0, sizeof(*ledger));
    ledger->counts = counts;
    pthread_mutex_init(&ledger->lock, NULL);
    ledger->file = fopen(path, "w");
    ledger->slots = calloc(count, sizeof(*ledger->slots));
    ledger->count = count;
    invariant(ledger->file != NULL && ledger->slots != NULL);
    for (size_t i = 0; i < count; i++) {
        struct ledger_slot *slot = &ledger->slots[i];
        uint64_t dice = seed_next(&seed);

        /* No two of them may have the same content: the first 8 bytes are the seed's. */
        slot->size = 24 + (dice >> 8) % (dice % 16 == 0     ? LARGE_MAX
                                            : dice % 16 < 4 ? MIDDLE_MAX
                                                            : SMALL_MAX);
        slot->seed = seed_next(&seed);
        free(seed_content(slot->size, slot->seed, slot->key));
        (void)snprintf(slot->path, sizeof(slot->path), "/v1/chunks/%s", slot->key);
    }
}

void ledger_release(struct ledger *ledger)
{
    (void)fclose(ledger->file);
    free(ledger->slots);
    pthread_mutex_destroy(&ledger->lock);
}

/* ---- operations ---- */

static void begin(struct ledger *ledger, struct ledger_slot *slot, const char *operation)
{
    note(ledger, "begin", operation, slot, 0, "-");
    slot->live = slot->durable = KNOWN_NOT;
}

static void end(struct ledger *ledger, struct ledger_slot *slot, const char *operation, int status,
    const char *state)
{
    note(ledger, "end", operation, slot, status, state == NULL ? "-" : state);
    atomic_fetch_add(&ledger->counts->answers, 1);
}

/* A status that no healthy server gives here. */
static void unexpected(struct ledger *ledger, const char *operation, const struct ledger_slot *slot,
    const struct http_answer *answer)
{
    if (answer->status == 503 || answer->status == 507)
        return; /* not now: nothing is known of the slot */
    violation(
        ledger, "%s of %s answered %d: %.300s", operation, slot->key, answer->status, answer->body);
}

/* What the answer to a write says about its slot, which was `live` before. */
static void take_put_answer(struct ledger *ledger, struct ledger_slot *slot, bool buffered,
    enum ledger_known live, struct http_answer *answer)
{
    const char *state = http_header(answer, "Coffer-State");
    bool durable = state != NULL && strcmp(state, "durable") == 0;
    int status = answer->status;

    end(ledger, slot, "put", status, state);
    if (status == 200 || status == 201) {
        if (!durable)
            violation(ledger, "put of %s: %d and not durable", slot->key, status);
        slot->live = slot->durable = KNOWN_PRESENT;
        slot->ticket[0] = '\0';
    } else if (status == 202 && buffered) {
        const char *ticket = http_header(answer, "Coffer-Ticket");

        if (ticket == NULL)
            violation(ledger, "put of %s: 202 without a ticket", slot->key);
        (void)snprintf(slot->ticket, sizeof(slot->ticket), "%s", ticket == NULL ? "" : ticket);
        slot->live = KNOWN_PRESENT;
    } else {
        unexpected(ledger, "put", slot, answer);
    }
    if ((status == 201 && live == KNOWN_PRESENT) || (status == 200 && live == KNOWN_ABSENT))
        violation(ledger, "put of %s: %d says the opposite of what was there", slot->key, status);
}

bool ledger_put(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slot, bool buffered)
{
    enum ledger_known live = slot->live;
    char key[DIGEST_HEX_SIZE + 1];
    char *content = seed_content(slot->size, slot->seed, key);
    struct http_answer answer;
    bool answered;

    begin(ledger, slot, buffered ? "put-buffered" : "put");
    http_send(client,
        &(struct http_request){.method = "PUT",
            .path = slot->path,
            .headers = {buffered ? "Coffer-Durability: buffered" : NULL},
            .body = content,
            .size = slot->size},
        &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    if (answered)
        take_put_answer(ledger, slot, buffered, live, &answer);
    http_answer_release(&answer);
    free(content);
    return answered;
}

bool ledger_delete(struct ledger *ledger, struct http_client *client, struct ledger_slot *slot)
{
    enum ledger_known live = slot->live;
    struct http_answer answer;
    bool answered;

    begin(ledger, slot, "delete");
    http_send(client, &(struct http_request){.method = "DELETE", .path = slot->path}, &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    if (answered) {
        end(ledger, slot, "delete", answer.status, NULL);
        if (answer.status == 204 || answer.status == 404) {
            if (live != KNOWN_NOT && (live == KNOWN_PRESENT) != (answer.status == 204))
                violation(ledger, "delete of %s: %d", slot->key, answer.status);
            slot->live = slot->durable = KNOWN_ABSENT;
            slot->ticket[0] = '\0';
        } else {
            unexpected(ledger, "delete", slot, &answer);
        }
    }
    http_answer_release(&answer);
    return answered;
}

static char *keys_body(const struct ledger_slot *slots, size_t count)
{
    char *body = malloc(count * (DIGEST_HEX_SIZE + 1) + 1);

    invariant(body != NULL);
    for (size_t i = 0; i < count; i++)
        (void)sprintf(body + i * (DIGEST_HEX_SIZE + 1), "%s\n", slots[i].key);
    return body;
}

bool ledger_delete_many(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slots, size_t count)
{
    char *body = keys_body(slots, count);
    struct http_answer answer;
    bool answered;
    unsigned group;

    pthread_mutex_lock(&ledger->lock);
    group = ++ledger->groups;
    pthread_mutex_unlock(&ledger->lock);
    for (size_t i = 0; i < count; i++) {
        slots[i].group = slots[i].durable == KNOWN_PRESENT ? group : 0;
        begin(ledger, &slots[i], "delete-many");
    }
    http_send(client,
        &(struct http_request){.method = "POST",
            .path = "/v1/chunks/delete",
            .headers = {"Content-Type: text/plain"},
            .body = body,
            .size = strlen(body)},
        &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    for (size_t i = 0; answered && i < count; i++) {
        end(ledger, &slots[i], "delete-many", answer.status, NULL);
        slots[i].group = 0;
        if (answer.status == 200) {
            slots[i].live = slots[i].durable = KNOWN_ABSENT;
            slots[i].ticket[0] = '\0';
        } else {
            unexpected(ledger, "delete-many", &slots[i], &answer);
        }
    }
    http_answer_release(&answer);
    free(body);
    return answered;
}

/* A ustar header for a file; numbers are octal, the checksum counts itself as spaces. */
static void write_tar_header(char header[512], const char *name, size_t size)
{
    unsigned sum = 0;

    memset(header, 0, 512);
    (void)snprintf(header, 100, "%s", name);
    (void)snprintf(header + 100, 8, "%07o", 0644u);
    (void)snprintf(header + 108, 8, "%07o", 0u);
    (void)snprintf(header + 116, 8, "%07o", 0u);
    (void)snprintf(header + 124, 12, "%011zo", size);
    (void)snprintf(header + 136, 12, "%011o", 0u);
    memcpy(header + 148, "        0", 9);
    memcpy(header + 257, "ustar\00000", 8);
    for (size_t i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    (void)snprintf(header + 148, 8, "%06o", sum);
}

/* The caller frees it. */
static char *make_tar(const struct ledger_slot *slots, size_t count, size_t *size)
{
    char *tar, *at;

    *size = 1024;
    for (size_t i = 0; i < count; i++)
        *size += 512 + (slots[i].size + 511) / 512 * 512;
    tar = at = calloc(1, *size);
    invariant(tar != NULL);
    for (size_t i = 0; i < count; i++) {
        write_tar_header(at, slots[i].key, slots[i].size);
        seed_fill(at + 512, slots[i].size, slots[i].seed);
        at += 512 + (slots[i].size + 511) / 512 * 512;
    }
    return tar;
}

bool ledger_insert(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slots, size_t count)
{
    struct http_answer answer;
    size_t size;
    char *tar = make_tar(slots, count, &size);
    bool answered;

    for (size_t i = 0; i < count; i++)
        begin(ledger, &slots[i], "insert");
    http_send(client,
        &(struct http_request){
            .method = "POST", .path = "/v1/chunks/insert", .body = tar, .size = size},
        &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    for (size_t i = 0; answered && i < count; i++) {
        char line[2 * DIGEST_HEX_SIZE + 80];

        end(ledger, &slots[i], "insert", answer.status, NULL);
        (void)snprintf(line, sizeof(line), "{\"name\":\"%s\",\"key\":\"%s\",\"size\":%zu,",
            slots[i].key, slots[i].key, slots[i].size);
        if (answer.status == 200 && strstr(answer.body, line) != NULL)
            slots[i].live = slots[i].durable = KNOWN_PRESENT;
        else if (answer.status != 200 || strstr(answer.body, "\"status\":503") == NULL)
            unexpected(ledger, "insert", &slots[i], &answer);
    }
    http_answer_release(&answer);
    free(tar);
    return answered;
}

/* Whether an answer has exactly the slot's content. */
static bool is_whole(const struct ledger_slot *slot, struct http_answer *answer)
{
    char key[DIGEST_HEX_SIZE + 1], etag[DIGEST_HEX_SIZE + 3];
    const char *found = http_header(answer, "ETag");
    struct digest digest;

    (void)snprintf(etag, sizeof(etag), "\"%s\"", slot->key);
    sha256_once(answer->body, answer->size, &digest);
    digest_to_hex(&digest, key);
    return answer->size == slot->size && strcmp(key, slot->key) == 0 && found != NULL &&
           strcmp(found, etag) == 0;
}

bool ledger_get(struct ledger *ledger, struct http_client *client, struct ledger_slot *slot)
{
    struct http_answer answer;
    bool answered;

    http_send(client, &(struct http_request){.path = slot->path}, &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    if (answered) {
        bool there = answer.status == 200;

        atomic_fetch_add(&ledger->counts->answers, 1);
        if (!there && answer.status != 404)
            unexpected(ledger, "get", slot, &answer);
        else if (slot->live != KNOWN_NOT && (slot->live == KNOWN_PRESENT) != there)
            violation(ledger, "get of %s: %d", slot->key, answer.status);
        else if (there && !is_whole(slot, &answer))
            violation(ledger, "get of %s: other bytes", slot->key);
    }
    http_answer_release(&answer);
    return answered;
}

bool ledger_sync(
    struct ledger *ledger, struct http_client *client, struct ledger_slot *slots, size_t count)
{
    char *body = malloc(count * (sizeof(slots[0].ticket) + 4) + 32);
    size_t used = 0, tickets = 0;
    struct http_answer answer;
    bool answered;

    invariant(body != NULL);
    used = (size_t)sprintf(body, "{\"tickets\":[");
    for (size_t i = 0; i < count; i++)
        if (slots[i].ticket[0] != '\0') {
            note(ledger, "begin", "sync", &slots[i], 0, slots[i].ticket);
            used +=
                (size_t)sprintf(body + used, "%s\"%s\"", tickets == 0 ? "" : ",", slots[i].ticket);
            tickets++;
        }
    (void)sprintf(body + used, "]}");
    http_send(client,
        &(struct http_request){
            .method = "POST", .path = "/v1/sync", .body = body, .size = strlen(body)},
        &answer);
    answered = answer.status != 0 && answer.error[0] == '\0';
    for (size_t i = 0; answered && i < count; i++) {
        if (slots[i].ticket[0] == '\0')
            continue;
        end(ledger, &slots[i], "sync", answer.status, slots[i].ticket);
        if (answer.status == 200 && slots[i].live == KNOWN_PRESENT)
            slots[i].durable = KNOWN_PRESENT;
        else if (answer.status != 200)
            unexpected(ledger, "sync", &slots[i], &answer);
        slots[i].ticket[0] = '\0';
    }
    http_answer_release(&answer);
    free(body);
    return answered;
}

/* ---- after a crash ---- */

void ledger_crashed(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->count; i++) {
        ledger->slots[i].live = ledger->slots[i].durable;
        ledger->slots[i].ticket[0] = '\0';
    }
    pthread_mutex_lock(&ledger->lock);
    (void)fprintf(ledger->file, "%llu crash\n", (unsigned long long)clock_monotonic_ns());
    (void)fflush(ledger->file);
    pthread_mutex_unlock(&ledger->lock);
}

void ledger_stopped(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->count; i++) {
        ledger->slots[i].durable = ledger->slots[i].live;
        ledger->slots[i].ticket[0] = '\0';
    }
}

static void check_slot(struct ledger *ledger, struct http_client *client, struct ledger_slot *slot)
{
    struct http_answer answer;
    const char *state;
    bool there;

    http_send(client, &(struct http_request){.path = slot->path}, &answer);
    there = answer.status == 200 && answer.error[0] == '\0';
    if (!there && answer.status != 404)
        violation(ledger, "after the start, %s answers %d %s: %.300s", slot->key, answer.status,
            answer.error, answer.body);
    if (there && !is_whole(slot, &answer))
        violation(ledger, "after the start, %s has other bytes", slot->key);
    state = http_header(&answer, "Coffer-State");
    if (there && (state == NULL || strcmp(state, "durable") != 0))
        violation(ledger, "after the start, %s is not durable", slot->key);
    if (slot->durable == KNOWN_PRESENT && !there)
        violation(ledger, "%s was acknowledged as durable and is lost", slot->key);
    if (slot->durable == KNOWN_ABSENT && there)
        violation(ledger, "the acknowledged deletion of %s is undone", slot->key);
    slot->live = slot->durable = there ? KNOWN_PRESENT : KNOWN_ABSENT;
    ledger->counts->checked++;
    http_answer_release(&answer);
}

static void check_groups(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->count; i++) {
        const struct ledger_slot *first = &ledger->slots[i];

        for (size_t n = i + 1; first->group != 0 && n < ledger->count; n++)
            if (ledger->slots[n].group == first->group && ledger->slots[n].live != first->live)
                violation(ledger, "%s and %s were deleted by one request, and one is there",
                    first->key, ledger->slots[n].key);
    }
    for (size_t i = 0; i < ledger->count; i++)
        ledger->slots[i].group = 0;
}

static size_t present(const struct ledger *ledger)
{
    size_t count = 0;

    for (size_t i = 0; i < ledger->count; i++)
        count += ledger->slots[i].live == KNOWN_PRESENT;
    return count;
}

static const struct ledger_slot *slot_of(const struct ledger *ledger, const char *key)
{
    for (size_t i = 0; i < ledger->count; i++)
        if (strncmp(ledger->slots[i].key, key, DIGEST_HEX_SIZE) == 0)
            return &ledger->slots[i];
    return NULL;
}

/* The list has what GET finds, and nothing that was never sent. */
static void check_list(struct ledger *ledger, struct http_client *client)
{
    static const char start[] = "{\"key\":\"";
    struct http_answer answer;
    size_t lines = 0;

    http_send(client,
        &(struct http_request){.path = "/v1/chunks", .headers = {"Accept: application/x-ndjson"}},
        &answer);
    if (answer.status != 200 || answer.error[0] != '\0')
        violation(ledger, "the list answers %d %s", answer.status, answer.error);
    for (const char *line = answer.body, *next; (next = strchr(line, '\n')) != NULL;
         line = next + 1) {
        const struct ledger_slot *slot = strncmp(line, start, sizeof(start) - 1) == 0
                                             ? slot_of(ledger, line + sizeof(start) - 1)
                                             : NULL;

        if (slot == NULL || slot->live != KNOWN_PRESENT)
            violation(ledger, "the list has %.90s", line);
        lines++;
    }
    if (lines != present(ledger))
        violation(ledger, "the list has %zu chunks, GET finds %zu", lines, present(ledger));
    http_answer_release(&answer);
}

static void check_counters(struct ledger *ledger, struct http_client *client)
{
    struct http_answer answer;
    json_t *root;

    http_send(client, &(struct http_request){.path = "/v1/status"}, &answer);
    root = json_loads(answer.body, 0, NULL);
    if (answer.status != 200 || root == NULL) {
        violation(ledger, "the status answers %d", answer.status);
    } else {
        if ((size_t)json_integer_value(json_object_get(root, "chunks")) != present(ledger))
            violation(ledger, "the status counts %lld chunks, GET finds %zu",
                (long long)json_integer_value(json_object_get(root, "chunks")), present(ledger));
        if (json_integer_value(json_object_get(root, "damaged_records")) != 0)
            violation(ledger, "the status tells of damaged records");
    }
    json_decref(root);
    http_answer_release(&answer);
}

void ledger_check(struct ledger *ledger, const char *address)
{
    struct http_client *client = http_client_create(address);

    for (size_t i = 0; i < ledger->count; i++)
        check_slot(ledger, client, &ledger->slots[i]);
    check_groups(ledger);
    check_list(ledger, client);
    check_counters(ledger, client);
    http_client_destroy(client);
}
