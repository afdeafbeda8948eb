/*
 * coffer bench: some threads, each with one request at a time under way, against the clock. What
 * they store is random, so that it is neither known already nor worth compressing.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/key_input.h"
#include "cli/latency.h"
#include "cli/progress.h"
#include "storage/base/clock.h"
#include "storage/base/digest.h"

enum {
    SIZE_USUAL = 4096,
    SIZE_MAX_BENCH = 256 << 20,
    CONCURRENCY_USUAL = 8,
    CONCURRENCY_MAX = 256,
    MS_USUAL = 5000,
    CHUNKS_TO_GET = 256, /* that are read again and again */
    CHUNKS_TO_GET_BYTES = 256 << 20,
    KEYS_KEPT_MAX = 4 << 20, /* of put, for the cleaning up */
};

enum action { BENCH_PUT, BENCH_GET, BENCH_APPEND };

struct key_pool { /* (lock) of chunks that were made */
    pthread_mutex_t lock;
    struct digest *keys;
    size_t count, room;
};

struct bench {
    struct coffer_client *client;
    enum action action;
    size_t size;
    uint64_t start_ns, end_ns;
    enum coffer_durability durability;
    struct key_pool made;
    char dataset[40];
    atomic_int code;
};

struct bencher { /* one thread */
    struct bench *bench;
    unsigned number;
    pthread_t thread;
    uint64_t random;
    unsigned char *data;
    struct latency latency;
};

/* ---- content ---- */

static void next_content(struct bencher *bencher)
{
    uint64_t *words = (uint64_t *)(void *)bencher->data;
    size_t count = (bencher->bench->size + 7) / 8;

    for (size_t i = 0; i < count; i++) { /* xorshift64 */
        bencher->random ^= bencher->random << 13;
        bencher->random ^= bencher->random >> 7;
        bencher->random ^= bencher->random << 17;
        words[i] = bencher->random;
    }
}

static void keep_key(struct key_pool *pool, const char *text)
{
    struct digest key;

    if (!digest_from_hex(slice_from_text(text), &key))
        return;
    pthread_mutex_lock(&pool->lock);
    if (pool->count == pool->room && pool->room < KEYS_KEPT_MAX) {
        size_t room = pool->room == 0 ? 1024 : 2 * pool->room;
        struct digest *grown = realloc(pool->keys, room * sizeof(*grown));

        if (grown != NULL) {
            pool->keys = grown;
            pool->room = room;
        }
    }
    if (pool->count < pool->room)
        pool->keys[pool->count++] = key;
    pthread_mutex_unlock(&pool->lock);
}

/* ---- one request ---- */

static int put_once(struct bencher *bencher, struct coffer_error *err)
{
    struct bench *bench = bencher->bench;
    const struct coffer_put_options options = {.durability = bench->durability};
    struct coffer_chunk chunk;

    if (coffer_put(bench->client, bencher->data, bench->size, &options, &chunk, err) != 0)
        return -1;
    if (chunk.created)
        keep_key(&bench->made, chunk.key);
    return 0;
}

static int get_once(struct bencher *bencher, struct coffer_error *err)
{
    const struct bench *bench = bencher->bench;
    char key[DIGEST_HEX_SIZE + 1];
    size_t got;

    digest_to_hex(&bench->made.keys[(bencher->random >> 32) % bench->made.count], key);
    return coffer_get(bench->client, key, 0, bencher->data, bench->size, &got, err);
}

static int append_once(struct bencher *bencher, struct coffer_error *err)
{
    const struct bench *bench = bencher->bench;
    const struct coffer_append_options options = {.durability = bench->durability};
    char channel[16];

    (void)snprintf(channel, sizeof(channel), "c%u", bencher->number);
    return coffer_append(
        bench->client, bench->dataset, channel, bencher->data, bench->size, &options, NULL, err);
}

static void *run(void *context)
{
    static int (*const once[])(struct bencher *, struct coffer_error *) = {
        [BENCH_PUT] = put_once, [BENCH_GET] = get_once, [BENCH_APPEND] = append_once};
    struct bencher *bencher = context;
    struct bench *bench = bencher->bench;
    struct coffer_error err;

    while (atomic_load(&bench->code) == CLI_DONE && clock_monotonic_ns() < bench->end_ns) {
        uint64_t before_ns;

        if (bench->action == BENCH_GET)
            bencher->random = bencher->random * UINT64_C(6364136223846793005) + 1442695040888963407;
        else
            next_content(bencher);
        before_ns = clock_monotonic_ns();
        if (once[bench->action](bencher, &err) != 0) {
            int none = CLI_DONE;

            if (atomic_compare_exchange_strong(&bench->code, &none, CLI_BROKEN)) /* once */
                atomic_store(&bench->code, cli_failed(&err, NULL));
            break;
        }
        latency_add(&bencher->latency, clock_monotonic_ns() - before_ns);
        progress_add(bench->size);
    }
    return NULL;
}

/* ---- before and after ---- */

static int prepare(struct bench *bench, struct bencher *bencher)
{
    size_t count = CHUNKS_TO_GET_BYTES / bench->size;
    struct coffer_error err;
    uint8_t random[8];

    if (bench->action == BENCH_APPEND) {
        (void)snprintf(bench->dataset, sizeof(bench->dataset), "bench-");
        random_bytes(random, sizeof(random));
        hex_encode(random, sizeof(random), bench->dataset + strlen(bench->dataset));
        if (coffer_dataset_create(bench->client, bench->dataset, NULL, NULL, &err) != 0)
            return cli_failed(&err, NULL);
    }
    if (bench->action != BENCH_GET)
        return CLI_DONE;
    count = count < 1 ? 1 : count > CHUNKS_TO_GET ? CHUNKS_TO_GET : count;
    for (size_t i = 0; i < count; i++) {
        next_content(bencher);
        if (put_once(bencher, &err) != 0)
            return cli_failed(&err, NULL);
    }
    return bench->made.count > 0 ? CLI_DONE : cli_no_memory();
}

static int clean_up(struct bench *bench)
{
    struct coffer_error err;
    int code = CLI_DONE;

    if (bench->dataset[0] != '\0' &&
        coffer_dataset_delete(bench->client, bench->dataset, &err) != 0)
        code = cli_failed(&err, bench->dataset);
    for (size_t done = 0; code == CLI_DONE && done < bench->made.count;) {
        size_t left = bench->made.count - done, count = left < KEYS_EACH ? left : KEYS_EACH;
        char(*texts)[KEY_SIZE] = malloc(count * sizeof(*texts));
        const char **keys = calloc(count, sizeof(*keys));

        for (size_t i = 0; texts != NULL && keys != NULL && i < count; i++) {
            digest_to_hex(&bench->made.keys[done + i], texts[i]);
            keys[i] = texts[i];
        }
        if (texts == NULL || keys == NULL)
            code = cli_no_memory();
        else if (coffer_delete(bench->client, keys, count, NULL, &err) != 0)
            code = cli_failed(&err, "cleaning up");
        free(texts);
        free((void *)keys);
        done += count;
    }
    free(bench->made.keys);
    return code;
}

static int print_figures(const struct cli *cli, const struct bench *bench,
    const struct latency *latency, uint64_t elapsed_ns)
{
    static const struct {
        const char *name;
        double part;
    } shown[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};
    double seconds = (double)elapsed_ns / NS_PER_S, rate = (double)latency->count / seconds;
    json_t *json = json_pack("{s:s, s:I, s:I, s:f, s:f, s:f}", "action", cli->line.arguments[0],
        "size", (json_int_t)bench->size, "requests", (json_int_t)latency->count, "seconds", seconds,
        "requests_per_second", rate, "bytes_per_second", rate * (double)bench->size);
    char human[HUMAN_SIZE];

    if (!cli->json)
        (void)printf("%" PRIu64 " requests in %.2f s: %.0f/s, %s/s\n", latency->count, seconds,
            rate, human_bytes((uint64_t)(rate * (double)bench->size), human));
    for (size_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
        double ms = (double)latency_percentile(latency, shown[i].part) / NS_PER_MS;

        (void)json_object_set_new(json, shown[i].name, json_real(ms));
        if (!cli->json)
            (void)printf("%-5s %9.3f ms\n", shown[i].name, ms);
    }
    (void)json_object_set_new(json, "max", json_real((double)latency->max_ns / NS_PER_MS));
    if (cli->json)
        return cli_print_json(json);
    json_decref(json);
    (void)printf("%-5s %9.3f ms\n", "max", (double)latency->max_ns / NS_PER_MS);
    return CLI_DONE;
}

/* ---- the run ---- */

/* False: wrong use, and it was said. */
static bool read_options(const struct cli *cli, struct bench *bench, unsigned *threads)
{
    const struct command_line *line = &cli->line;
    const char *action = line->arguments[0], *durability = option_text(line, "durability");
    uint64_t size = option_number(line, "size", SIZE_USUAL);
    uint64_t count = option_number(line, "concurrency", CONCURRENCY_USUAL);

    if (!value_choice(action, "put|get|append"))
        (void)cli_say(CLI_WRONG, "\"%.60s\" is none of put, get, append", action);
    else if (size < 1 || size > SIZE_MAX_BENCH)
        (void)cli_say(CLI_WRONG, "--size is from 1 to 256MiB");
    else if (count < 1 || count > CONCURRENCY_MAX)
        (void)cli_say(CLI_WRONG, "--concurrency is from 1 to %d", CONCURRENCY_MAX);
    else
        *threads = (unsigned)count;
    if (*threads == 0)
        return false;
    bench->action = action[0] == 'p' ? BENCH_PUT : action[0] == 'g' ? BENCH_GET : BENCH_APPEND;
    bench->size = (size_t)size;
    if (durability != NULL)
        bench->durability = strcmp(durability, "synced") == 0 ? COFFER_SYNCED : COFFER_BUFFERED;
    return true;
}

static int run_all(struct cli *cli, struct bench *bench, struct bencher *benchers, unsigned threads)
{
    struct latency *all = calloc(1, sizeof(*all));
    unsigned started = 0;
    int code = CLI_DONE;
    uint64_t length_ns = option_number(&cli->line, "seconds", MS_USUAL) * NS_PER_MS;

    if (all == NULL)
        return cli_no_memory();
    progress_start(cli->line.arguments[0], 0, PROGRESS_BYTES);
    bench->start_ns = clock_monotonic_ns();
    bench->end_ns = bench->start_ns + length_ns;
    while (code == CLI_DONE && started < threads) {
        errno = pthread_create(&benchers[started].thread, NULL, run, &benchers[started]);
        if (errno != 0)
            code = cli_errno("bench");
        else
            started++;
    }
    for (unsigned i = 0; i < started; i++) {
        (void)pthread_join(benchers[i].thread, NULL);
        latency_merge(all, &benchers[i].latency);
    }
    progress_end();
    code = cli_worse(code, atomic_load(&bench->code));
    if (code == CLI_DONE)
        code = print_figures(cli, bench, all, clock_monotonic_ns() - bench->start_ns);
    free(all);
    return code;
}

static void destroy_benchers(struct bencher *benchers, unsigned threads)
{
    for (unsigned i = 0; benchers != NULL && i < threads; i++)
        free(benchers[i].data);
    free(benchers);
}

/* NULL: no memory. */
static struct bencher *create_benchers(struct bench *bench, unsigned threads)
{
    struct bencher *benchers = calloc(threads, sizeof(*benchers));

    for (unsigned i = 0; benchers != NULL && i < threads; i++) {
        struct bencher *bencher = &benchers[i];

        bencher->bench = bench;
        bencher->number = i;
        random_bytes(&bencher->random, sizeof(bencher->random));
        bencher->random |= 1;
        bencher->data = malloc(bench->size + sizeof(uint64_t));
        if (bencher->data == NULL) {
            destroy_benchers(benchers, threads);
            return NULL;
        }
    }
    return benchers;
}

int bench_command(struct cli *cli)
{
    struct bench bench = {.made.lock = PTHREAD_MUTEX_INITIALIZER};
    struct bencher *benchers;
    unsigned threads = 0;
    int code;

    if (!read_options(cli, &bench, &threads))
        return CLI_WRONG;
    bench.client = cli_client(cli, &code);
    if (bench.client == NULL)
        return code;
    benchers = create_benchers(&bench, threads);
    if (benchers == NULL)
        return cli_no_memory();
    code = prepare(&bench, benchers);
    if (code == CLI_DONE)
        code = run_all(cli, &bench, benchers, threads);
    code = cli_worse(code, clean_up(&bench));
    destroy_benchers(benchers, threads);
    return code;
}
