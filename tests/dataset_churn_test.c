/*
 * Goal: datasets that are made, written, read and deleted by many threads at once, and of which
 * only a few are kept in memory, are never mixed up, and what was acknowledged is there. Method:
 * every record tells of which dataset it is (by its id) and is checked byte for byte; each thread
 * has a dataset of its own too, whose content it knows. At the end the store is closed with
 * transactions open, and opened again.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "tests/support/dataset_fixture.h"
#include "tests/support/offset_content.h"

enum { THREADS = 8, NAMES = 12, ROUNDS = 250, ROUNDS_LONG = 10000, LIMIT_S = 12, RECORD = 100 };

struct run {
    struct store *store;
    uint64_t until_ns;
    _Atomic uint64_t violations, deletions, reads, appends;
};

struct client {
    pthread_t thread;
    struct run *run;
    unsigned number;
    uint64_t random, own_records;
    char own[24];
    bool own_there;
};

static void violation(struct run *run, const char *what, const struct error *error)
{
    atomic_fetch_add(&run->violations, 1);
    (void)fprintf(stderr, "violation: %s: %s\n", what, error == NULL ? "" : error->text);
}

static unsigned below(struct client *self, unsigned limit)
{
    return (unsigned)random_below(&self->random, limit);
}

/* Another thread may have deleted it, or has a transaction open. */
static bool expected(
    struct run *run, const char *what, enum coffer_status status, const struct error *error)
{
    if (status == COFFER_OK || status == COFFER_NO_SUCH_DATASET ||
        status == COFFER_NO_SUCH_CHANNEL || status == COFFER_CHANNEL_BUSY ||
        status == COFFER_TRANSACTION_ABORTED)
        return status == COFFER_OK;
    violation(run, what, error);
    return false;
}

/* ---- records ---- */

static void id_text(struct dataset *dataset, char out[2 * 16 + 1])
{
    struct dataset_info info;

    dataset_info(dataset, &info);
    hex_encode(info.id, 16, out);
}

static void fill_record(struct dataset *dataset, uint64_t number, uint8_t out[RECORD])
{
    char id[33];

    id_text(dataset, id);
    put_le64(out, number);
    offset_content_fill(id, number, out + 8, RECORD - 8);
}

/* All of it is records of this very dataset. */
static bool check_records(struct dataset *dataset, const uint8_t *data, size_t size)
{
    char id[33];

    id_text(dataset, id);
    for (size_t at = 0; at < size; at += RECORD)
        if (size - at < RECORD ||
            !offset_content_check(id, get_le64(data + at), data + at + 8, RECORD - 8))
            return false;
    return true;
}

static enum coffer_status append_record(struct client *self, struct dataset *dataset,
    const char *channel, const char *transaction, bool buffered, struct error *error)
{
    struct append_call call = {.transaction = transaction, .buffered = buffered};
    uint8_t record[RECORD];

    fill_record(dataset, self->random, record);
    atomic_fetch_add(&self->run->appends, 1);
    return ds_append(dataset, channel, record, RECORD, &call, NULL, error);
}

static uint64_t read_channel(struct client *self, struct dataset *dataset, const char *channel)
{
    struct error error;
    uint8_t *data;
    size_t size = 0;

    if (!expected(self->run, "reading", ds_read(dataset, channel, 0, &data, &size, &error), &error))
        return 0;
    if (!check_records(dataset, data, size))
        violation(self->run, "a channel has bytes that are not its own", NULL);
    free(data);
    atomic_fetch_add(&self->run->reads, 1);
    return size / RECORD;
}

/* ---- what a thread does ---- */

static struct dataset *make(struct client *self, const char *name)
{
    struct dataset *dataset = NULL;
    struct error error;
    enum coffer_status status = ds_create(self->run->store, name, NULL, NULL, NULL, &error);

    if (status == COFFER_OVERLOADED) /* it is just being deleted */
        return NULL;
    if (!expected(self->run, "making", status, &error))
        return NULL;
    status = dataset_hold(self->run->store, slice_from_text(name), &dataset, &error);
    return expected(self->run, "holding", status, &error) ? dataset : NULL;
}

static void use_transaction(struct client *self, struct dataset *dataset)
{
    static const char *const channels[] = {"a", "b", NULL};
    struct transaction_info info;
    struct error error;
    char id[32];
    enum coffer_status status;
    bool whole = below(self, 3) == 0;

    (void)snprintf(id, sizeof(id), "t%u-%llu", self->number, (unsigned long long)self->random);
    status = tx_open(dataset, id, whole ? NULL : channels, 100, false, false, &info, &error);
    if (status == COFFER_OK)
        status = append_record(self, dataset, "a", id, false, &error);
    if (status == COFFER_OK)
        status = append_record(self, dataset, "b", id, false, &error);
    if (status == COFFER_OK && below(self, 4) > 0) /* else its time to live ends it */
        status = below(self, 3) == 0 ? tx_abort(dataset, id, NULL, &info, &error)
                                     : tx_commit(dataset, id, 0, &info, &error);
    (void)expected(self->run, "a transaction", status, &error);
}

static bool take_version(void *context, const struct version_info *version)
{
    uint64_t *last = context;

    if (version->version <= *last)
        *last = UINT64_MAX;
    else
        *last = version->version;
    return *last != UINT64_MAX;
}

static void look(struct client *self, struct dataset *dataset)
{
    struct stream_info *streams;
    struct dataset_info info;
    struct error error;
    uint64_t last = 0;
    size_t count;
    bool more;

    dataset_snapshot(dataset, &info, &streams, &count);
    free(streams);
    if (expected(self->run, "the log",
            dataset_versions(dataset, 0, take_version, &last, &more, &error), &error) &&
        (last == UINT64_MAX || last < info.version))
        violation(self->run, "a version is missing", NULL);
}

static void list(struct client *self)
{
    struct dataset_info infos[4];
    char after[DATASET_NAME_SIZE] = "";
    struct error error;
    size_t found = 4;

    while (found == 4) {
        enum coffer_status status =
            store_datasets(self->run->store, after, slice_from_text(""), infos, 4, &found, &error);

        if (status != COFFER_OK)
            violation(self->run, "listing", &error);
        for (size_t i = 0; i < found; i++) {
            if (strcmp(infos[i].name, after) <= 0)
                violation(self->run, "a list is not in order", NULL);
            memcpy(after, infos[i].name, sizeof(after));
        }
    }
}

/* One that all threads share. */
static void use_shared(struct client *self)
{
    struct dataset *dataset;
    struct error error;
    char name[24];

    (void)snprintf(name, sizeof(name), "shared-%u", below(self, NAMES));
    dataset = make(self, name);
    if (dataset == NULL)
        return;
    switch (below(self, 10)) {
    case 0:
        if (expected(self->run, "deleting", ds_delete(dataset, &error), &error))
            atomic_fetch_add(&self->run->deletions, 1);
        break;
    case 1:
    case 2:
        use_transaction(self, dataset);
        break;
    case 3:
    case 4:
        (void)read_channel(self, dataset, "a");
        (void)read_channel(self, dataset, "b");
        break;
    case 5:
        look(self, dataset);
        break;
    case 6:
        list(self);
        break;
    default:
        (void)expected(self->run, "appending",
            append_record(self, dataset, below(self, 2) ? "a" : "b", NULL, below(self, 2), &error),
            &error);
    }
    dataset_drop(dataset);
}

/* One that nobody else writes: what is in it is known. */
static void use_own(struct client *self)
{
    struct dataset *dataset = make(self, self->own);
    struct error error;

    if (dataset == NULL) {
        violation(self->run, "a dataset of one's own is not there", NULL);
        return;
    }
    self->own_there = true;
    if (below(self, 20) == 0) {
        if (ds_delete(dataset, &error) != COFFER_OK)
            violation(self->run, "deleting one's own", &error);
        self->own_records = 0;
        self->own_there = false;
    } else if (append_record(self, dataset, "c", NULL, false, &error) == COFFER_OK) {
        self->own_records++;
    } else {
        violation(self->run, "appending to one's own", &error);
    }
    if (self->own_there && below(self, 4) == 0 &&
        read_channel(self, dataset, "c") != self->own_records)
        violation(self->run, "a dataset of one's own has other records", NULL);
    dataset_drop(dataset);
}

static void *run_client(void *context)
{
    struct client *self = context;
    unsigned rounds = test_long() ? ROUNDS_LONG : ROUNDS;

    for (unsigned i = 0; i < rounds && clock_monotonic_ns() < self->run->until_ns; i++) {
        use_shared(self);
        if (below(self, 3) == 0)
            use_own(self);
    }
    return NULL;
}

/* ---- running ---- */

static void check_after(struct run *run, struct client *clients)
{
    struct dataset_info infos[NAMES + THREADS];
    struct error error;
    size_t found;

    for (unsigned i = 0; i < THREADS; i++) {
        struct dataset *dataset;

        if (!clients[i].own_there)
            continue;
        dataset = ds_hold(run->store, clients[i].own);
        assert_int_equal(read_channel(&clients[i], dataset, "c"), clients[i].own_records);
        dataset_drop(dataset);
    }
    assert_int_equal(store_datasets(run->store, NULL, slice_from_text("shared-"), infos,
                         NAMES + THREADS, &found, &error),
        COFFER_OK);
    for (size_t i = 0; i < found; i++) {
        struct dataset *dataset = ds_hold(run->store, infos[i].name);

        (void)read_channel(&clients[0], dataset, "a");
        (void)read_channel(&clients[0], dataset, "b");
        look(&clients[0], dataset);
        dataset_drop(dataset);
    }
}

static void run_all(enum engine_kind engine)
{
    static struct client clients[THREADS];
    struct store_fixture fixture;
    struct run run = {0};
    uint64_t seed = test_seed();

    fixture_init(&fixture, engine);
    fixture.options.datasets_kept = 3;
    fixture.options.memory_limit = 1 << 20;
    fixture.options.flush_interval_ns = 20 * NS_PER_MS;
    fixture_open(&fixture);
    run.store = fixture.store;
    run.until_ns = test_long() ? UINT64_MAX : clock_monotonic_ns() + LIMIT_S * (uint64_t)NS_PER_S;
    for (unsigned i = 0; i < THREADS; i++) {
        clients[i] = (struct client){
            .run = &run, .number = i, .random = (seed + i + 1) * 0x9e3779b97f4a7c15u | 1};
        (void)snprintf(clients[i].own, sizeof(clients[i].own), "own-%u", i);
        assert_int_equal(pthread_create(&clients[i].thread, NULL, run_client, &clients[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(clients[i].thread, NULL);
    check_after(&run, clients);
    fixture_close(&fixture); /* with what is still open */
    if (engine == ENGINE_LOCAL) {
        fixture_open(&fixture);
        run.store = fixture.store;
        check_after(&run, clients);
        fixture_close(&fixture);
        fixture_remove_index(&fixture);
        fixture_open(&fixture);
        run.store = fixture.store;
        check_after(&run, clients);
    }
    print_message("%llu appends, %llu reads, %llu deletions\n", (unsigned long long)run.appends,
        (unsigned long long)run.reads, (unsigned long long)run.deletions);
    assert_int_equal(run.violations, 0);
    fixture_release(&fixture);
}

static void test_memory(void **state)
{
    (void)state;
    run_all(ENGINE_MEMORY);
}

static void test_local(void **state)
{
    (void)state;
    run_all(ENGINE_LOCAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_local),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
