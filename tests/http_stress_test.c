/*
 * Goal: with 64 connections that do everything at once, every answer is right, and a SIGTERM in the
 * middle of it loses nothing that was answered. Method: writers that keep ledgers, readers of lists
 * and archives, and clients that behave badly; for some thousand answers, then SIGTERM, then a
 * start and a look at every chunk. Mostly for the sanitizers.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/ledger.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum {
    WRITERS = 40,
    READERS = 24,
    SLOTS_EACH = 12,
    BATCH = 4,
    ANSWERS = 8000, /* of writers, or as many as come within: */
    LIMIT_S = 20,
};

static struct server server;
static struct ledger ledger;
static struct kill_counts counts;
static _Atomic bool stop;
static _Atomic uint64_t reads;

struct client {
    pthread_t thread;
    size_t number;
    uint64_t seed;
};

static void violation(const char *what, const struct http_answer *answer)
{
    atomic_fetch_add(&counts.violations, 1);
    (void)fprintf(stderr, "violation: %s answered %d %s: %.300s\n", what, answer->status,
        answer->error, answer->body);
}

/* ---- writers ---- */

static bool write_some(struct client *self, struct http_client *client)
{
    uint64_t dice = seed_next(&self->seed);
    struct ledger_slot *slots = ledger.slots + self->number * SLOTS_EACH;
    struct ledger_slot *slot = &slots[(dice >> 8) % SLOTS_EACH];
    struct ledger_slot *batch = &slots[(dice >> 8) % (SLOTS_EACH - BATCH)];
    bool alive = true;

    switch (dice % 12) {
    case 0:
        return ledger_delete_many(&ledger, client, batch, BATCH);
    case 1:
    case 2:
        return ledger_delete(&ledger, client, slot);
    case 3:
    case 4:
        return ledger_get(&ledger, client, slot);
    case 5:
        for (size_t i = 0; alive && i < BATCH; i++)
            alive = ledger_put(&ledger, client, &batch[i], true);
        return alive && ledger_sync(&ledger, client, batch, BATCH);
    case 6:
        return ledger_insert(&ledger, client, batch, BATCH);
    case 7:
    case 8:
        return ledger_put(&ledger, client, slot, true);
    default:
        return ledger_put(&ledger, client, slot, false);
    }
}

static void *run_writer(void *context)
{
    struct client *self = context;
    struct http_client *client = http_client_create(server.address);

    while (!atomic_load(&stop) && write_some(self, client))
        ;
    http_client_destroy(client);
    return NULL;
}

/* ---- readers ---- */

static bool is_gone(const struct http_answer *answer)
{
    return answer->status == 0 || answer->error[0] != '\0' || answer->status == 503;
}

static bool read_page(struct http_client *client, const char *path, const char *accept)
{
    struct http_answer answer;
    bool gone;

    http_send(client, &(struct http_request){.path = path, .headers = {accept}}, &answer);
    gone = is_gone(&answer);
    if (!gone && answer.status != 200)
        violation(path, &answer);
    http_answer_release(&answer);
    return !gone;
}

static bool read_many(struct http_client *client, const char *path, size_t first)
{
    enum { KEYS = 30 };
    char body[KEYS * (DIGEST_HEX_SIZE + 1) + 1];
    struct http_answer answer;
    bool gone;

    for (size_t i = 0; i < KEYS; i++)
        (void)sprintf(body + i * (DIGEST_HEX_SIZE + 1), "%s\n",
            ledger.slots[(first + i * 7) % ledger.count].key);
    http_send(client,
        &(struct http_request){.method = "POST",
            .path = path,
            .headers = {"Content-Type: text/plain"},
            .body = body,
            .size = strlen(body)},
        &answer);
    gone = is_gone(&answer);
    if (!gone && (answer.status != 200 || answer.size == 0))
        violation(path, &answer);
    http_answer_release(&answer);
    return !gone;
}

/* A part of a chunk that another client may be writing or deleting: its bytes, or 404. */
static bool read_part(struct http_client *client, uint64_t dice)
{
    const struct ledger_slot *slot = &ledger.slots[(dice >> 8) % ledger.count];
    size_t at = (dice >> 32) % slot->size, size = slot->size - at < 100 ? slot->size - at : 100;
    char range[80], key[DIGEST_HEX_SIZE + 1];
    struct http_answer answer;
    bool gone;

    (void)snprintf(range, sizeof(range), "Range: bytes=%zu-%zu", at, at + size - 1);
    http_send(client, &(struct http_request){.path = slot->path, .headers = {range}}, &answer);
    gone = is_gone(&answer);
    if (!gone && answer.status == 206) {
        char *content = seed_content(slot->size, slot->seed, key);

        if (answer.size != size || memcmp(answer.body, content + at, size) != 0)
            violation("a range with other bytes", &answer);
        free(content);
    } else if (!gone && answer.status != 404) {
        violation("a range", &answer);
    }
    http_answer_release(&answer);
    return !gone;
}

/* Clients that behave badly. False: nobody listens any more. */
static bool misbehave(uint64_t dice)
{
    static const char half[] = /* of a body */
        "PUT /v1/chunks/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 HTTP/1.1"
        "\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhello";
    static const char *const texts[] = {"nonsense\r\n\r\n", "GET /v1/chunks HTTP/1.1\r\nHost: loc",
        half,
        "POST /v1/chunks/insert HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhello",
        "GET /v1/chunks HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-ndjson\r\n\r\n"};
    int fd = raw_connect(server.address);

    if (fd < 0)
        return false;
    (void)raw_send_text(fd, texts[dice % ARRAY_COUNT(texts)]);
    raw_close(fd);
    return true;
}

static void *run_reader(void *context)
{
    struct client *self = context;
    struct http_client *client = http_client_create(server.address);
    bool alive = true;

    while (alive && !atomic_load(&stop)) {
        uint64_t dice = seed_next(&self->seed);

        switch (dice % 10) {
        case 0:
            alive = read_page(client, "/v1/chunks?limit=100", NULL);
            break;
        case 1:
            alive = read_page(client, "/v1/chunks", "Accept: application/x-ndjson");
            break;
        case 2:
            alive = read_page(client, "/v1/status", NULL) && read_page(client, "/v1/packs", NULL);
            break;
        case 3:
            alive = read_many(client, "/v1/chunks/stat", dice >> 8);
            break;
        case 4:
            alive = read_many(client, "/v1/chunks/extract?missing=skip", dice >> 8);
            break;
        case 5:
            alive = misbehave(dice >> 8);
            break;
        default:
            alive = read_part(client, dice);
            break;
        }
        atomic_fetch_add(&reads, 1);
    }
    http_client_destroy(client);
    return NULL;
}

/* ---- all of it ---- */

/* Whether the stop in the middle of it was a clean one. */
static bool run_load(uint64_t seed)
{
    static struct client clients[WRITERS + READERS];
    uint64_t until = clock_monotonic_ns() + (uint64_t)LIMIT_S * NS_PER_S;
    const struct timespec pause = clock_timespec(5 * NS_PER_MS);
    int code;

    for (size_t i = 0; i < WRITERS + READERS; i++) {
        clients[i] = (struct client){.number = i, .seed = seed_next(&seed)};
        invariant(pthread_create(&clients[i].thread, NULL, i < WRITERS ? run_writer : run_reader,
                      &clients[i]) == 0);
    }
    while (atomic_load(&counts.answers) < ANSWERS && clock_monotonic_ns() < until &&
           atomic_load(&counts.violations) == 0)
        (void)nanosleep(&pause, NULL); /* poll: the number of answers */
    code = server_stop(&server);
    if (code != 0) {
        atomic_fetch_add(&counts.violations, 1);
        (void)fprintf(stderr, "violation: the stop ended with %d\n", code);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < WRITERS + READERS; i++)
        (void)pthread_join(clients[i].thread, NULL);
    return code == 0;
}

int main(void)
{
    const char *text = getenv("COFFER_TEST_SEED");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : clock_wall_ns();
    char path[300];
    uint64_t violations;

    (void)printf("COFFER_TEST_SEED=%llu\n", (unsigned long long)seed);
    http_client_global();
    server_init(&server, (const char *const[]){"--pack-size", "4MiB", "--segment-size", "64KiB",
                             "--flush-interval", "50ms", "--buffer-size", "256KiB",
                             "--memory-limit", "16MiB", "--reserve-space", "1MiB", NULL});
    (void)snprintf(path, sizeof(path), "%s/ledger", server.folder);
    ledger_init(&ledger, path, (size_t)WRITERS * SLOTS_EACH, seed, &counts);
    server_start(&server);
    if (run_load(seed))
        ledger_stopped(&ledger);
    else
        ledger_crashed(&ledger);
    server_start(&server);
    ledger_check(&ledger, server.address);
    violations = atomic_load(&counts.violations);
    (void)printf("%llu writes and %llu reads by %d connections, %llu violations\n",
        (unsigned long long)atomic_load(&counts.answers), (unsigned long long)atomic_load(&reads),
        WRITERS + READERS, (unsigned long long)violations);
    ledger_release(&ledger);
    return server_end(&server, violations > 0);
}
