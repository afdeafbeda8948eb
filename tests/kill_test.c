/*
 * Goal: whenever cofferd is killed, what it had acknowledged holds after the next start, and
 * nothing is there by half (the invariants of support/ledger.h). Method: several clients write,
 * delete, sync and read without pause; SIGKILL comes after a random number of answers, or from a
 * fault point at a place that is hard to hit otherwise; then a start, and every chunk is looked at.
 *
 * COFFER_TEST_LONG=1 kills 200 times instead of 5. COFFER_TEST_SEED repeats a run as far as threads
 * let it. After a violation the data folder and the ledger stay, and their place is printed.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/ledger.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum {
    THREADS = 4,
    SLOTS_EACH = 40,
    BATCH = 8, /* slots of one sync or one deletion of many */
    KILLS = 5, /* of a normal run */
    KILLS_LONG = 200,
    ROUNDS_OF_A_STORE = 25,
    START_LIMIT_S = 30,   /* a start takes less, also under a sanitizer */
    FAULT_ANSWERS = 4000, /* a fault point is reached within so many, or by the stop after them */
};

static const char *const arguments[] = {"--pack-size", "1MiB", "--segment-size", "64KiB",
    "--flush-interval", "20ms", "--buffer-size", "256KiB", "--reserve-space", "1MiB", NULL};

struct run {
    struct server server;
    struct ledger ledger;
    char ledger_path[300];
    uint64_t seed;
    _Atomic bool stop;
    uint64_t start_ns_max;
    unsigned starts, kills;
};

struct writer {
    struct run *run;
    pthread_t thread;
    struct ledger_slot *slots; /* SLOTS_EACH */
    uint64_t seed;
};

/* ---- the load ---- */

static bool write_some(struct writer *writer, struct http_client *client)
{
    struct ledger *ledger = &writer->run->ledger;
    uint64_t dice = seed_next(&writer->seed);
    struct ledger_slot *slot = &writer->slots[(dice >> 8) % SLOTS_EACH];
    struct ledger_slot *batch = &writer->slots[(dice >> 8) % (SLOTS_EACH - BATCH)];
    bool alive = true;

    switch (dice % 17) {
    case 16:
        return ledger_insert(ledger, client, batch, BATCH);
    case 0:
        return ledger_delete_many(ledger, client, batch, BATCH);
    case 1:
    case 2:
    case 3:
        return ledger_delete(ledger, client, slot);
    case 4:
    case 5:
    case 6:
        return ledger_get(ledger, client, slot);
    case 7: /* some at once and one wait for all of them */
        for (size_t i = 0; alive && i < BATCH; i++)
            alive = ledger_put(ledger, client, &batch[i], true);
        return alive && ledger_sync(ledger, client, batch, BATCH);
    case 8:
    case 9:
        return ledger_put(ledger, client, slot, true);
    default:
        return ledger_put(ledger, client, slot, false);
    }
}

static void *write_until_stopped(void *context)
{
    struct writer *writer = context;
    struct http_client *client = http_client_create(writer->run->server.address);

    while (!atomic_load(&writer->run->stop) && write_some(writer, client))
        ;
    http_client_destroy(client);
    return NULL;
}

static void start_writers(struct run *run, struct writer *writers)
{
    atomic_store(&run->stop, false);
    for (size_t i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){
            .run = run, .slots = run->ledger.slots + i * SLOTS_EACH, .seed = seed_next(&run->seed)};
        invariant(pthread_create(&writers[i].thread, NULL, write_until_stopped, &writers[i]) == 0);
    }
}

static void join_writers(struct writer *writers)
{
    for (size_t i = 0; i < THREADS; i++)
        (void)pthread_join(writers[i].thread, NULL);
}

static void pause_us(uint64_t us)
{
    const struct timespec time = clock_timespec(us * NS_PER_US);

    (void)nanosleep(&time, NULL); /* poll: answers; or a kill at any moment */
}

/* False: the server ended before. */
static bool wait_for_answers(struct run *run, uint64_t more)
{
    uint64_t until = atomic_load(&run->ledger.answers) + more;

    while (atomic_load(&run->ledger.answers) < until) {
        bool ended;

        pthread_mutex_lock(&run->server.lock);
        ended = run->server.log_ended;
        pthread_mutex_unlock(&run->server.lock);
        if (ended)
            return false;
        pause_us(200);
    }
    return true;
}

/* ---- rounds ---- */

static void start_and_check(struct run *run)
{
    uint64_t before = clock_monotonic_ns(), took;

    run->server.env[0] = NULL;
    server_start(&run->server);
    took = clock_monotonic_ns() - before;
    run->starts++;
    if (took > run->start_ns_max)
        run->start_ns_max = took;
    ledger_check(&run->ledger, run->server.address);
}

/* Load, SIGKILL somewhere in it, start, look. */
static void kill_round(struct run *run)
{
    struct writer writers[THREADS];

    start_writers(run, writers);
    (void)wait_for_answers(run, 20 + seed_next(&run->seed) % 300);
    pause_us(seed_next(&run->seed) % 3000); /* anywhere within an operation, not at its end */
    server_kill(&run->server);
    join_writers(writers);
    ledger_crashed(&run->ledger);
    run->kills++;
    start_and_check(run);
}

/* Recovery comes to the same result when it is done again: also when it was cut short itself. */
static void second_start(struct run *run)
{
    server_kill(&run->server);
    ledger_crashed(&run->ledger);
    run->kills++;
    server_spawn(&run->server); /* killed while it starts, or just after */
    pause_us(seed_next(&run->seed) % 30000);
    server_kill(&run->server);
    run->kills++;
    start_and_check(run);
}

/* A clean stop under load: nothing that was answered is lost, buffered or not. */
static void stop_round(struct run *run)
{
    struct writer writers[THREADS];
    int code;

    start_writers(run, writers);
    (void)wait_for_answers(run, 100);
    code = server_stop(&run->server);
    join_writers(writers);
    if (code != 0) {
        atomic_fetch_add(&run->ledger.violations, 1);
        (void)fprintf(stderr, "violation: a stop under load ended with %d\n", code);
    }
    if (code == 0)
        ledger_stopped(&run->ledger);
    else
        ledger_crashed(&run->ledger);
    start_and_check(run);
}

static void run_open(struct run *run, uint64_t seed)
{
    memset(run, 0, sizeof(*run));
    server_init(&run->server, arguments);
    (void)snprintf(run->ledger_path, sizeof(run->ledger_path), "%s/ledger", run->server.folder);
    ledger_init(&run->ledger, run->ledger_path, THREADS * SLOTS_EACH, seed);
    run->seed = seed;
}

/* The number of violations. */
static uint64_t run_close(struct run *run, const char *name)
{
    uint64_t violations = atomic_load(&run->ledger.violations);
    char kept[300];

    if (run->server.pid > 0 && server_stop(&run->server) != 0)
        violations++;
    if (run->start_ns_max > (uint64_t)START_LIMIT_S * NS_PER_S) {
        (void)fprintf(stderr, "violation: a start took longer than %d s\n", START_LIMIT_S);
        violations++;
    }
    (void)printf("%s: %u kills, %u starts, the longest %.0f ms, %llu answers, %llu chunks looked "
                 "at after crashes, %llu violations\n",
        name, run->kills, run->starts, (double)run->start_ns_max / NS_PER_MS,
        (unsigned long long)atomic_load(&run->ledger.answers),
        (unsigned long long)run->ledger.checked, (unsigned long long)violations);
    (void)fflush(stdout);
    ledger_release(&run->ledger);
    if (violations > 0) {
        (void)snprintf(kept, sizeof(kept), "%s-kept", run->server.folder);
        if (rename(run->server.folder, kept) == 0)
            (void)fprintf(stderr, "the data folder and the ledger stay in %s\n", kept);
    }
    (void)server_end(&run->server, violations > 0);
    return violations;
}

static uint64_t kill_at_random(uint64_t seed, unsigned kills)
{
    struct run run;
    uint64_t violations;

    run_open(&run, seed);
    server_start(&run.server);
    for (unsigned i = 0; i < kills && atomic_load(&run.ledger.violations) == 0; i++) {
        kill_round(&run);
        if (i % 5 == 3)
            second_start(&run);
    }
    stop_round(&run);
    violations = run_close(&run, "killed at random");
    return violations;
}

/* ---- fault points ---- */

/* The server is to die at the `nth` call of `site`: while it starts, under load, or while it
 * stops. */
static uint64_t kill_at_site(uint64_t seed, const char *site, uint64_t nth)
{
    struct run run;
    struct writer writers[THREADS];
    char faults[100], name[120];
    uint64_t violations;
    int code = 0;

    run_open(&run, seed);
    (void)snprintf(
        faults, sizeof(faults), "COFFER_FAULTS=%s=kill@%llu", site, (unsigned long long)nth);
    (void)snprintf(name, sizeof(name), "killed at %s@%llu", site, (unsigned long long)nth);
    run.server.env[0] = faults;
    server_spawn(&run.server);
    if (server_read_address(&run.server)) {
        start_writers(&run, writers);
        if (wait_for_answers(&run, FAULT_ANSWERS))
            (void)kill(run.server.pid, SIGTERM);
        code = server_wait(&run.server);
        join_writers(writers);
    } else {
        code = server_wait(&run.server);
    }
    if (code != 128 + SIGKILL) { /* a fault point that nothing reaches proves nothing */
        (void)fprintf(stderr, "violation: %s: it ended with %d\n", name, code);
        atomic_fetch_add(&run.ledger.violations, 1);
    }
    run.kills++;
    ledger_crashed(&run.ledger);
    start_and_check(&run);
    kill_round(&run); /* what the fault left behind is good to go on with */
    violations = run_close(&run, name);
    return violations;
}

static uint64_t kill_at_sites(uint64_t seed, bool all)
{
    static const struct {
        const char *site;
        unsigned nth_max;
    } sites[] = {{"after_sync", 60}, {"after_index", 60}, {"pack_write", 60}, {"pack_sync", 60},
        {"index_write", 60}, {"seal", 2}, {"pack_open", 3}, {"pack_allocate", 3}, {"dir_sync", 5},
        {"file_publish", 1}, {"index_flush", 1}};
    uint64_t violations = 0;

    for (size_t i = 0; i < ARRAY_COUNT(sites); i++)
        for (unsigned n = 0; n < (all ? 5 : 1); n++)
            violations += kill_at_site(
                seed_next(&seed), sites[i].site, 1 + seed_next(&seed) % sites[i].nth_max);
    return violations;
}

int main(void)
{
    const char *text = getenv("COFFER_TEST_SEED"), *full = getenv("COFFER_TEST_LONG");
    uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : clock_wall_ns();
    bool all = full != NULL && strcmp(full, "1") == 0;
    unsigned kills = all ? KILLS_LONG : KILLS;
    uint64_t violations = 0;

    (void)printf("COFFER_TEST_SEED=%llu\n", (unsigned long long)seed);
    (void)fflush(stdout);
    http_client_global();
    for (unsigned done = 0; done < kills && violations == 0; done += ROUNDS_OF_A_STORE)
        violations += kill_at_random(
            seed_next(&seed), kills - done < ROUNDS_OF_A_STORE ? kills - done : ROUNDS_OF_A_STORE);
    violations += kill_at_sites(seed, all);
    return violations == 0 ? 0 : 1;
}
