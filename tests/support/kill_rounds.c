#include "tests/support/kill_rounds.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/http_client.h"
#include "tests/support/seed_content.h"
#include "tests/support/server_fixture.h"

enum {
    KILLS = 5, /* of a normal run */
    KILLS_LONG = 200,
    ROUNDS_OF_A_STORE = 25,
    START_LIMIT_S = 30,   /* a start takes less, also under a sanitizer */
    FAULT_ANSWERS = 4000, /* a fault point is reached within so many, or by the stop after them */
};

struct run {
    const struct kill_load *ops;
    void *load;
    struct kill_counts counts;
    struct server server;
    char ledger_path[300];
    uint64_t seed;
    uint64_t start_ns_max;
    unsigned starts, kills;
};

static void pause_us(uint64_t us)
{
    const struct timespec time = clock_timespec(us * NS_PER_US);

    (void)nanosleep(&time, NULL); /* poll: answers; or a kill at any moment */
}

/* False: the server ended before. */
static bool wait_for_answers(struct run *run, uint64_t more)
{
    uint64_t until = atomic_load(&run->counts.answers) + more;

    while (atomic_load(&run->counts.answers) < until) {
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

static void start_and_check(struct run *run)
{
    uint64_t before = clock_monotonic_ns(), took;

    run->server.env[0] = NULL;
    server_start(&run->server);
    took = clock_monotonic_ns() - before;
    run->starts++;
    if (took > run->start_ns_max)
        run->start_ns_max = took;
    run->ops->check(run->load, run->server.address);
}

/* Load, SIGKILL somewhere in it, start, look. */
static void kill_round(struct run *run)
{
    run->ops->start(run->load, run->server.address);
    (void)wait_for_answers(run, 20 + seed_next(&run->seed) % 300);
    pause_us(seed_next(&run->seed) % 3000); /* anywhere within an operation, not at its end */
    server_kill(&run->server);
    run->ops->join(run->load);
    run->ops->crashed(run->load);
    run->kills++;
    start_and_check(run);
}

/* Recovery comes to the same result when it is done again: also when it was cut short itself. */
static void second_start(struct run *run)
{
    server_kill(&run->server);
    run->ops->crashed(run->load);
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
    int code;

    run->ops->start(run->load, run->server.address);
    (void)wait_for_answers(run, 100);
    code = server_stop(&run->server);
    run->ops->join(run->load);
    if (code != 0) {
        atomic_fetch_add(&run->counts.violations, 1);
        (void)fprintf(stderr, "violation: a stop under load ended with %d\n", code);
    }
    if (code == 0)
        run->ops->stopped(run->load);
    else
        run->ops->crashed(run->load);
    start_and_check(run);
}

static void run_open(struct run *run, const struct kill_load *ops, uint64_t seed)
{
    memset(run, 0, sizeof(*run));
    run->ops = ops;
    server_init(&run->server, ops->arguments);
    (void)snprintf(run->ledger_path, sizeof(run->ledger_path), "%s/ledger", run->server.folder);
    run->load = ops->open(run->ledger_path, seed, &run->counts);
    run->seed = seed;
}

/* The number of violations. */
static uint64_t run_close(struct run *run, const char *name)
{
    uint64_t violations = atomic_load(&run->counts.violations);
    char kept[300];

    if (run->server.pid > 0 && server_stop(&run->server) != 0)
        violations++;
    if (run->start_ns_max > (uint64_t)START_LIMIT_S * NS_PER_S) {
        (void)fprintf(stderr, "violation: a start took longer than %d s\n", START_LIMIT_S);
        violations++;
    }
    (void)printf("%s: %u kills, %u starts, the longest %.0f ms, %llu answers, %llu looked at after "
                 "starts, %llu violations\n",
        name, run->kills, run->starts, (double)run->start_ns_max / NS_PER_MS,
        (unsigned long long)atomic_load(&run->counts.answers),
        (unsigned long long)run->counts.checked, (unsigned long long)violations);
    (void)fflush(stdout);
    run->ops->close(run->load);
    if (violations > 0) {
        (void)snprintf(kept, sizeof(kept), "%s-kept", run->server.folder);
        if (rename(run->server.folder, kept) == 0)
            (void)fprintf(stderr, "the data folder and the ledger stay in %s\n", kept);
    }
    (void)server_end(&run->server, violations > 0);
    return violations;
}

static uint64_t kill_at_random(const struct kill_load *ops, uint64_t seed, unsigned kills)
{
    struct run run;

    run_open(&run, ops, seed);
    server_start(&run.server);
    for (unsigned i = 0; i < kills && atomic_load(&run.counts.violations) == 0; i++) {
        kill_round(&run);
        if (i % 5 == 3)
            second_start(&run);
    }
    stop_round(&run);
    return run_close(&run, "killed at random");
}

/* The server is to die at the `nth` call of `site`: while it starts, under load, or while it
 * stops. */
static uint64_t kill_at_site(
    const struct kill_load *ops, uint64_t seed, const char *site, uint64_t nth)
{
    struct run run;
    char faults[100], name[120];
    int code = 0;

    run_open(&run, ops, seed);
    (void)snprintf(
        faults, sizeof(faults), "COFFER_FAULTS=%s=kill@%llu", site, (unsigned long long)nth);
    (void)snprintf(name, sizeof(name), "killed at %s@%llu", site, (unsigned long long)nth);
    run.server.env[0] = faults;
    server_spawn(&run.server);
    if (server_read_address(&run.server)) {
        ops->start(run.load, run.server.address);
        if (wait_for_answers(&run, FAULT_ANSWERS))
            (void)kill(run.server.pid, SIGTERM);
        code = server_wait(&run.server);
        ops->join(run.load);
    } else {
        code = server_wait(&run.server);
    }
    if (code != 128 + SIGKILL) { /* a fault point that nothing reaches proves nothing */
        (void)fprintf(stderr, "violation: %s: it ended with %d\n", name, code);
        atomic_fetch_add(&run.counts.violations, 1);
    }
    run.kills++;
    ops->crashed(run.load);
    start_and_check(&run);
    kill_round(&run); /* what the fault left behind is good to go on with */
    return run_close(&run, name);
}

int kill_rounds(const struct kill_load *ops, const struct kill_site *sites)
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
        violations += kill_at_random(ops, seed_next(&seed),
            kills - done < ROUNDS_OF_A_STORE ? kills - done : ROUNDS_OF_A_STORE);
    for (; sites->name != NULL; sites++)
        for (unsigned n = 0; n < (all ? 5 : 1); n++)
            violations += kill_at_site(
                ops, seed_next(&seed), sites->name, 1 + seed_next(&seed) % sites->nth_max);
    return violations == 0 ? 0 : 1;
}
