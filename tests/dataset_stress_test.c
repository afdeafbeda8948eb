/*
 * Goal: with many threads at one dataset, nobody ever sees half a transaction, a version that was
 * seen stays what it was, those who follow a channel get every byte once, and nobody is left
 * waiting. Method: the bytes of a channel follow from its name and their offset, so whoever reads
 * some knows whether they are right; writers know an offset before they append. Little memory and
 * small buffers, so that every wait happens; bodies that are given up half-way; a close in the
 * middle of it all. Mostly for the sanitizers.
 */
#include <pthread.h>
#include <sched.h>
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

enum {
    WRITERS = 8,
    WATCHERS = 2,
    FOLLOWERS = 2,
    GROUP_MAX = 4,
    ROUNDS = 3000, /* of all writers together, or as many as come within: */
    ROUNDS_LONG = 40000,
    LIMIT_S = 12,
    SEEN_MAX = 64,
    CHANNELS_MAX = 32,
    LARGE = 1300000,
};

struct run {
    struct store *store;
    struct dataset *dataset;
    _Atomic bool closing, stop, closed;
    _Atomic uint64_t rounds, commits, busy, looks, violations;
};

struct client {
    pthread_t thread;
    struct run *run;
    unsigned number;
    uint64_t random, followed;
    const char *follows;
};

/* Channels whose transactions append as many records to each. */
static const char *const group_names[][GROUP_MAX] = {
    {"g0-a", "g0-b", "g0-c", "g0-d"}, {"g1-a", "g1-b"}, {"gang-0", "gang-1"}};

static void violation(struct run *run, const char *what, const struct error *error)
{
    atomic_fetch_add(&run->violations, 1);
    (void)fprintf(stderr, "violation: %s: %s\n", what, error == NULL ? "" : error->text);
}

static unsigned below(struct client *self, unsigned limit)
{
    return (unsigned)random_below(&self->random, limit);
}

/* Anything but these: the answer is no surprise. */
static bool expected(
    struct run *run, const char *what, enum coffer_status status, const struct error *error)
{
    switch (status) {
    case COFFER_OK:
    case COFFER_CHANNEL_BUSY:
    case COFFER_OFFSET_MISMATCH:
    case COFFER_FENCED:
    case COFFER_TRANSACTION_ABORTED:
        return true;
    case COFFER_DATASET_CLOSED:
        atomic_store(&run->stop, true);
        return true;
    default:
        violation(run, what, error);
        return false;
    }
}

/* ---- writing ---- */

/* Append `size` bytes where the channel ends; *end is where that is thought to be, and where it is
 * afterwards. */
static enum coffer_status append_at_end(struct client *self, const char *channel,
    struct append_call *call, uint64_t *end, size_t size, struct error *error)
{
    uint8_t *data = malloc(size);
    struct append_result result;
    enum coffer_status status;

    invariant(data != NULL);
    call->has_offset = true;
    do {
        call->offset = *end;
        offset_content_fill(channel, *end, data, size);
        result.repeated = false;
        status = ds_append(self->run->dataset, channel, data, size, call, &result, error);
        if (status == COFFER_OFFSET_MISMATCH)
            *end = call->current;
        else if (status == COFFER_OK && result.repeated) /* somebody else's, with the same bytes */
            *end = result.offset + result.length;
    } while (status == COFFER_OFFSET_MISMATCH || result.repeated);
    if (status == COFFER_OK) {
        *end += size;
        if (result.offset + result.length != *end)
            violation(self->run, "an append is elsewhere than it was told to", NULL);
    }
    free(data);
    return status;
}

static size_t a_size(struct client *self)
{
    unsigned dice = below(self, 100);

    return dice == 0 ? LARGE : 1 + below(self, dice < 10 ? 60000 : 200);
}

/* Begin a body and think better of it. */
static void give_up(struct client *self, const char *channel)
{
    struct append_options options = {
        .channel = slice_from_text(channel), .size = UPLOAD_SIZE_UNKNOWN};
    size_t size = 1 + below(self, 2 * LARGE), at = 0;
    uint8_t *data = calloc(1, size);
    struct append *append = NULL;
    struct gate gate;
    uint64_t current;
    enum coffer_status status;

    invariant(data != NULL);
    gate_init(&gate);
    status = append_begin(self->run->dataset, &options, gate_waker(&gate), &append, &current, NULL);
    while (status == COFFER_OK && at < size) {
        size_t taken, part = min_u64(size - at, 100000);

        status = append_data(append, data + at, part, &taken, NULL);
        at += taken;
        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            status = COFFER_OK;
        }
    }
    append_close(append);
    gate_release(&gate);
    free(data);
}

/* One transaction that appends a record to each channel of a group, some rounds of it. */
static void write_group(struct client *self, const char *const *names, uint64_t *ends)
{
    struct run *run = self->run;
    struct append_call call = {.size_unknown = below(self, 2)};
    struct transaction_info info;
    struct error error;
    enum coffer_status status;
    unsigned rounds = 1 + below(self, 3);
    char id[32];

    (void)snprintf(id, sizeof(id), "w%u-%llu", self->number, (unsigned long long)self->random);
    call.transaction = id;
    status = tx_open(run->dataset, id, names, 60000, false, false, &info, &error);
    if (status == COFFER_CHANNEL_BUSY)
        atomic_fetch_add(&run->busy, 1);
    while (status == COFFER_OK && rounds-- > 0)
        for (unsigned i = 0; names[i] != NULL && status == COFFER_OK; i++)
            status = append_at_end(self, names[i], &call, &ends[i], a_size(self), &error);
    if (status == COFFER_OK && below(self, 8) == 0)
        status = tx_abort(run->dataset, id, NULL, &info, &error);
    else if (status == COFFER_OK) {
        status = tx_commit(run->dataset, id, 0, &info, &error);
        atomic_fetch_add(&run->commits, status == COFFER_OK);
    }
    (void)expected(run, "a transaction", status, &error);
}

/* Two writers that both open the same transaction; the last to be ready commits. */
static bool write_gang(struct client *self, unsigned *number, uint64_t *end)
{
    const char *const names[] = {group_names[2][0], group_names[2][1], NULL};
    const char *own = names[self->number % 2];
    struct run *run = self->run;
    struct append_call call = {0};
    struct transaction_info info = {.version = 0};
    struct error error;
    enum coffer_status status;
    uint64_t version;
    char id[32];

    (void)snprintf(id, sizeof(id), "gang-%u", *number);
    call.transaction = id;
    status = tx_open(run->dataset, id, names, 60000, true, true, &info, &error);
    if (status == COFFER_OK)
        status = append_at_end(self, own, &call, end, a_size(self), &error);
    if (status == COFFER_OK)
        status = tx_ready(run->dataset, id, own, &info, &error);
    if (status == COFFER_OK && info.state != TRANSACTION_COMMITTED)
        status = tx_commit(run->dataset, id, 60000, &info, &error);
    if (status == COFFER_OK) {
        version = info.version;
        status = tx_commit(run->dataset, id, 0, &info, &error);
        if (status == COFFER_OK && (version == 0 || info.version != version))
            violation(run, "a commit that is asked for again has another version", NULL);
        ++*number;
    } else if (!atomic_load(&run->closing)) {
        violation(run, "a transaction that two have opened", &error);
    }
    atomic_fetch_add(&run->commits, status == COFFER_OK);
    return status == COFFER_OK;
}

/* Two writers of one channel: who is fenced claims it. */
static void write_claimed(struct client *self, uint64_t *epoch, uint64_t *end)
{
    struct append_call call = {.has_epoch = true, .epoch = *epoch, .buffered = below(self, 2)};
    struct run *run = self->run;
    struct error error;
    enum coffer_status status = COFFER_FENCED;

    if (*epoch > 0)
        status = append_at_end(self, "claimed", &call, end, a_size(self), &error);
    if (status == COFFER_FENCED)
        status = ds_claim(run->dataset, "claimed", epoch, end, &error);
    (void)expected(run, "a channel of two writers", status, &error);
}

/* A channel of one's own: plain appends, sent again now and then. */
static void write_own(struct client *self, uint64_t *end)
{
    struct append_call call = {.buffered = below(self, 3) > 0, .size_unknown = below(self, 2)};
    struct append_result result;
    struct error error;
    char name[16];
    size_t size = a_size(self);
    uint64_t start;
    uint8_t *data;
    enum coffer_status status;

    (void)snprintf(name, sizeof(name), "own-%u", self->number);
    if (below(self, 30) == 0)
        give_up(self, name);
    status = append_at_end(self, name, &call, end, size, &error);
    start = *end - size;
    if (expected(self->run, "a plain append", status, &error) && status == COFFER_OK &&
        below(self, 10) == 0) {
        data = malloc(size);
        invariant(data != NULL);
        offset_content_fill(name, start, data, size);
        call.offset = start;
        status = ds_append(self->run->dataset, name, data, size, &call, &result, &error);
        if (status == COFFER_OK && (!result.repeated || result.offset != start))
            violation(self->run, "a repeat was appended", NULL);
        if (status == COFFER_OFFSET_MISMATCH)
            violation(self->run, "a repeat is not known", &error);
        free(data);
    }
}

static void *write_all(void *context)
{
    struct client *self = context;
    uint64_t ends[GROUP_MAX] = {0}, own = 0, end = 0, epoch = 0;
    unsigned gang = 0;
    const char *names[GROUP_MAX + 1] = {NULL};

    memcpy(names, group_names[self->number % 2], sizeof(group_names[0]));
    while (!atomic_load(&self->run->stop)) {
        if (self->number < 4)
            write_group(self, names, ends);
        else if (self->number < 6)
            write_claimed(self, &epoch, &end);
        else if (!write_gang(self, &gang, &end))
            break;
        write_own(self, &own);
        atomic_fetch_add(&self->run->rounds, 1);
    }
    return NULL;
}

/* ---- looking ---- */

struct seen { /* the dataset as it was at one moment */
    uint64_t version;
    struct stream_info *streams;
    size_t count;
};

/* A channel as of that version has the size that it had, and its bytes are right. */
static void check_seen(struct client *self, const struct seen *seen)
{
    const struct stream_info *stream = &seen->streams[below(self, (unsigned)seen->count)];
    struct error error;
    enum coffer_status status;
    uint8_t *data;
    size_t size;

    if (seen->version == 0 || stream->size == 0)
        return;
    status = ds_read(self->run->dataset, stream->name, seen->version, &data, &size, &error);
    if (status != COFFER_OK) {
        violation(self->run, "a version that was seen cannot be read", &error);
        return;
    }
    if (size != stream->size || !offset_content_check(stream->name, 0, data, size))
        violation(self->run, "a version is not what it was", NULL);
    free(data);
}

static const struct stream_info *stream_of(const struct seen *seen, const char *name)
{
    for (size_t i = 0; i < seen->count; i++)
        if (strcmp(seen->streams[i].name, name) == 0)
            return &seen->streams[i];
    return NULL;
}

static void check_groups(struct run *run, const struct seen *seen)
{
    for (size_t i = 0; i < ARRAY_COUNT(group_names); i++) {
        const struct stream_info *first = stream_of(seen, group_names[i][0]);

        for (unsigned j = 1; j < GROUP_MAX && group_names[i][j] != NULL; j++) {
            const struct stream_info *other = stream_of(seen, group_names[i][j]);

            if ((first == NULL) != (other == NULL) ||
                (first != NULL && first->records != other->records))
                violation(run, "half a transaction is visible", NULL);
        }
    }
}

struct log { /* of versions, as far as it was read */
    struct run *run;
    uint64_t version;
    struct {
        char name[STREAM_NAME_SIZE];
        uint64_t end;
    } channels[CHANNELS_MAX];
    size_t count;
};

static bool take_version(void *context, const struct version_info *version)
{
    struct log *log = context;

    if (version->version <= log->version)
        violation(log->run, "versions do not ascend", NULL);
    log->version = version->version;
    for (size_t i = 0; i < version->part_count; i++) {
        const struct version_part *part = &version->parts[i];
        size_t at = 0;

        while (at < log->count && strcmp(log->channels[at].name, part->name) != 0)
            at++;
        invariant(at < CHANNELS_MAX);
        if (at == log->count)
            memcpy(log->channels[log->count++].name, part->name, STREAM_NAME_SIZE);
        if (part->length > 0 && part->offset != log->channels[at].end)
            violation(log->run, "a version leaves a gap", NULL);
        log->channels[at].end = part->offset + part->length;
    }
    return true;
}

/* What the log says is what the snapshot shows. */
static void check_log(struct log *log, const struct seen *seen)
{
    struct error error;
    bool more;

    if (dataset_versions(log->run->dataset, log->version, take_version, log, &more, &error) !=
        COFFER_OK)
        violation(log->run, "the log cannot be read", &error);
    if (log->version < seen->version)
        violation(log->run, "a version is not in the log", NULL);
}

static void *watch(void *context)
{
    struct client *self = context;
    struct seen seen[SEEN_MAX] = {0};
    struct log log = {.run = self->run};
    uint64_t last = 0;

    for (unsigned turn = 0; !atomic_load(&self->run->closed); turn++) {
        struct seen *now = &seen[turn < SEEN_MAX ? turn : below(self, SEEN_MAX)];
        struct dataset_info info;

        free(now->streams);
        dataset_snapshot(self->run->dataset, &info, &now->streams, &now->count);
        now->version = info.version;
        if (info.version < last)
            violation(self->run, "the version goes back", NULL);
        last = info.version;
        check_groups(self->run, now);
        if (now->count > 0)
            check_seen(self, now);
        now = &seen[below(self, turn < SEEN_MAX ? turn + 1 : SEEN_MAX)];
        if (now->count > 0)
            check_seen(self, now);
        check_log(&log, now);
        atomic_fetch_add(&self->run->looks, 1);
    }
    for (size_t i = 0; i < SEEN_MAX; i++)
        free(seen[i].streams);
    return NULL;
}

/* Read a channel until it ends: every byte once. */
static void *follow(void *context)
{
    enum { AT_ONCE = 100000 };
    struct client *self = context;
    struct stream_reader *reader = NULL;
    uint8_t *data = malloc(AT_ONCE);
    struct error error;
    struct gate gate;
    enum coffer_status status;
    size_t size = 1;

    invariant(data != NULL);
    gate_init(&gate);
    do
        status = stream_open(self->run->dataset, slice_from_text(self->follows), 0,
            gate_waker(&gate), &reader, &error);
    while (status == COFFER_NO_SUCH_CHANNEL && !atomic_load(&self->run->closed));
    if (status == COFFER_OK)
        stream_select(reader, 0, UINT64_MAX, true);
    while (status == COFFER_OK && size > 0) {
        status = stream_read(reader, data, AT_ONCE, &size, &error);
        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            size = 1;
            status = COFFER_OK;
            continue;
        }
        if (status == COFFER_OK && !offset_content_check(self->follows, self->followed, data, size))
            violation(self->run, "a follower got other bytes", NULL);
        self->followed += status == COFFER_OK ? size : 0;
    }
    if (status != COFFER_OK)
        violation(self->run, "a follower", &error);
    stream_close(reader);
    gate_release(&gate);
    free(data);
    return NULL;
}

/* ---- running ---- */

static void start(struct client *client, struct run *run, unsigned number, uint64_t seed,
    const char *follows, void *(*main)(void *))
{
    *client = (struct client){.run = run,
        .number = number,
        .random = (seed + number + 1) * 0x9e3779b97f4a7c15u | 1,
        .follows = follows};
    assert_int_equal(pthread_create(&client->thread, NULL, main, client), 0);
}

/* Close it while everybody is at work. */
static void close_in_the_middle(struct run *run)
{
    uint64_t until = clock_monotonic_ns() + LIMIT_S * (uint64_t)NS_PER_S;
    uint64_t rounds = test_long() ? (uint64_t)ROUNDS_LONG : (uint64_t)ROUNDS;
    struct error error;

    while (atomic_load(&run->rounds) < rounds && atomic_load(&run->violations) == 0 &&
           (test_long() || clock_monotonic_ns() < until))
        (void)sched_yield();
    atomic_store(&run->closing, true);
    if (ds_close_begin(run->dataset, &error) != COFFER_OK)
        violation(run, "the dataset does not close", &error);
    atomic_store(&run->stop, true);
}

static void run_all(enum engine_kind engine)
{
    static const char *const followed[FOLLOWERS] = {"g0-c", "claimed"};
    struct client writers[WRITERS], watchers[WATCHERS], followers[FOLLOWERS];
    struct store_fixture fixture;
    struct dataset_settings settings;
    struct run run = {0};
    uint64_t seed = test_seed();
    struct stream_info info;
    struct error error;

    fixture_init(&fixture, engine);
    fixture.options.memory_limit = 3 << 20;
    fixture.options.buffer_size = 1 << 20;
    fixture.options.flush_interval_ns = 20 * NS_PER_MS;
    fixture.options.default_channels = 3;
    fixture_open(&fixture);
    run.store = fixture.store;
    dataset_settings_default(run.store, &settings);
    settings.buffer_size = 20000;
    assert_int_equal(ds_create(run.store, "run1", &settings, NULL, NULL, &error), COFFER_OK);
    run.dataset = ds_hold(run.store, "run1");
    for (unsigned i = 0; i < WRITERS; i++)
        start(&writers[i], &run, i, seed, NULL, write_all);
    for (unsigned i = 0; i < WATCHERS; i++)
        start(&watchers[i], &run, 100 + i, seed, NULL, watch);
    for (unsigned i = 0; i < FOLLOWERS; i++)
        start(&followers[i], &run, 200 + i, seed, followed[i], follow);
    close_in_the_middle(&run);
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(writers[i].thread, NULL);
    if (ds_closed(run.dataset, &error) != COFFER_OK)
        violation(&run, "the dataset is not closed", &error);
    atomic_store(&run.closed, true);
    for (unsigned i = 0; i < WATCHERS; i++)
        pthread_join(watchers[i].thread, NULL);
    for (unsigned i = 0; i < FOLLOWERS; i++) {
        pthread_join(followers[i].thread, NULL);
        if (dataset_stream(run.dataset, slice_from_text(followed[i]), &info, &error) == COFFER_OK)
            assert_int_equal(followers[i].followed, info.size);
    }
    print_message("%llu rounds, %llu commits, %llu busy, %llu looks\n",
        (unsigned long long)run.rounds, (unsigned long long)run.commits,
        (unsigned long long)run.busy, (unsigned long long)run.looks);
    dataset_drop(run.dataset);
    assert_int_equal(run.violations, 0);
    fixture_close(&fixture); /* at once: what is buffered is synced */
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
