/*
 * Goal: what is stored, buffered or just being flushed is the same chunk to everybody. Method: the
 * flush timer never fires, so that a buffered write stays one until somebody waits for it; and
 * fdatasync() is ours here, so that a flush stands still for as long as a test wants to look at it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/store.h"
#include "tests/support/store_fixture.h"

/* ---- a sync that can be held ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;
    unsigned waiting; /* threads in fdatasync() */
} hold = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

int fdatasync(int fd) /* in place of the C library's */
{
    pthread_mutex_lock(&hold.lock);
    hold.waiting++;
    pthread_cond_broadcast(&hold.changed);
    while (hold.closed)
        pthread_cond_wait(&hold.changed, &hold.lock);
    hold.waiting--;
    pthread_mutex_unlock(&hold.lock);
    return (int)syscall(SYS_fdatasync, fd);
}

static void hold_syncs(bool closed)
{
    pthread_mutex_lock(&hold.lock);
    hold.closed = closed;
    pthread_cond_broadcast(&hold.changed);
    pthread_mutex_unlock(&hold.lock);
}

static void wait_for_held_sync(void)
{
    pthread_mutex_lock(&hold.lock);
    while (hold.waiting == 0)
        pthread_cond_wait(&hold.changed, &hold.lock);
    pthread_mutex_unlock(&hold.lock);
}

/* ---- fixture ---- */

static int set_up_as(void **state, enum engine_kind engine)
{
    struct store_fixture *fixture = calloc(1, sizeof(*fixture));

    invariant(fixture != NULL);
    fixture_init(fixture, engine);
    fixture->options.flush_interval_ns = (uint64_t)3600 * 1000000000;
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static int set_up_memory(void **state)
{
    return set_up_as(state, ENGINE_MEMORY);
}

static int set_up_local(void **state)
{
    return set_up_as(state, ENGINE_LOCAL);
}

static int tear_down(void **state)
{
    hold_syncs(false);
    fixture_release(*state);
    free(*state);
    return 0;
}

static enum chunk_state state_of(struct store *store, const struct digest *key)
{
    struct chunk_info info;

    assert_int_equal(store_stat(store, key, &info, NULL), COFFER_OK);
    return info.state;
}

static struct store_status status_of(struct store *store)
{
    struct store_status status;

    store_status(store, &status);
    return status;
}

static struct upload_result put_as(
    struct store *store, const char *text, enum durability durability, const char *channel)
{
    struct upload_options options = {.size = strlen(text), .durability = durability};
    struct upload_result result;

    options.channel = slice_from_text(channel);
    assert_int_equal(store_put(store, text, strlen(text), 0, &options, &result, NULL), COFFER_OK);
    return result;
}

/* ---- buffered ---- */

static void test_buffered_is_readable_and_becomes_durable(void **state)
{
    struct store *store = ((struct store_fixture *)*state)->store;
    struct upload_result result = put_as(store, "hello", DURABILITY_BUFFERED, "one");
    struct channel_info channels[8];

    assert_true(result.created);
    assert_int_equal(result.state, CHUNK_BUFFERED);
    assert_int_equal(strncmp(result.ticket.text, store_boot(store), 16), 0);
    assert_non_null(strstr(result.ticket.text, ":one:"));
    assert_int_equal(state_of(store, &result.key), CHUNK_BUFFERED);
    check_content(store, &result.key, "hello", 5);
    assert_int_equal(status_of(store).buffered_records, 1);
    assert_true(status_of(store).memory_used >= 5);
    assert_int_equal(store_channels(store, NULL, channels, 8), 3); /* with two default ones */
    assert_string_equal(channels[2].name, "one");
    assert_string_equal(channels[2].state, "buffering");
    assert_int_equal(channels[2].buffered_records, 1);
    assert_int_equal(store_channels(store, "default-1", channels, 8), 1);
    assert_int_equal(store_sync(store, &result.ticket, 1, NULL, NULL), COFFER_OK);
    assert_int_equal(state_of(store, &result.key), CHUNK_DURABLE);
    check_content(store, &result.key, "hello", 5);
    assert_int_equal(status_of(store).buffered_records, 0);
    assert_int_equal(status_of(store).memory_used, 0);
    assert_int_equal(store_channels(store, "default-1", channels, 8), 1);
    assert_int_equal(channels[0].flushed_records, 1);
    assert_true(channels[0].last_sync_ns > 0);
}

static void test_duplicate_of_buffered(void **state)
{
    struct store *store = ((struct store_fixture *)*state)->store;
    struct upload_result first = put_as(store, "twice", DURABILITY_BUFFERED, "one"), again;

    again = put_as(store, "twice", DURABILITY_BUFFERED, "two");
    assert_false(again.created);
    assert_int_equal(again.state, CHUNK_BUFFERED);
    assert_string_equal(again.ticket.text, first.ticket.text); /* the one that counts */
    assert_int_equal(status_of(store).buffered_records, 1);
    again = put_as(store, "twice", DURABILITY_SYNCED, "two"); /* waits for the first copy */
    assert_false(again.created);
    assert_int_equal(again.state, CHUNK_DURABLE);
    assert_int_equal(state_of(store, &first.key), CHUNK_DURABLE);
    again = put_as(store, "twice", DURABILITY_BUFFERED, "two");
    assert_false(again.created);
    assert_int_equal(again.state, CHUNK_DURABLE);
    assert_string_equal(again.ticket.text, "");
    assert_int_equal(status_of(store).chunks, 1);
}

static void test_delete_in_the_buffer(void **state)
{
    struct store_fixture *fixture = *state;
    struct store *store = fixture->store;
    struct digest key = put_as(store, "gone", DURABILITY_BUFFERED, "one").key;
    uint64_t syncs = status_of(store).syncs;

    assert_int_equal(store_delete_one(store, &key), COFFER_OK);
    assert_false(store_has(store, &key));
    assert_int_equal(store_delete_one(store, &key), COFFER_NO_SUCH_CHUNK);
    assert_int_equal(status_of(store).buffered_records, 0);
    assert_int_equal(status_of(store).memory_used, 0);
    assert_int_equal(status_of(store).syncs, syncs); /* it never was on the disk */
    assert_int_equal(store_sync(store, NULL, 0, NULL, NULL), COFFER_OK);
    assert_true(put_as(store, "gone", DURABILITY_SYNCED, "one").created);
    assert_int_equal(store_delete_one(store, &key), COFFER_OK);
    assert_false(store_has(store, &key));
}

static void test_delete_many_in_every_state(void **state)
{
    struct store *store = ((struct store_fixture *)*state)->store;
    struct digest keys[6];
    bool missing[6];
    uint64_t deleted;

    keys[0] = put_as(store, "durable", DURABILITY_SYNCED, "").key;
    keys[1] = put_as(store, "buffered", DURABILITY_BUFFERED, "").key;
    keys[2] = content_key("unknown", 7);
    keys[3] = keys[0];
    keys[4] = keys[1];
    keys[5] = put_as(store, "durable too", DURABILITY_SYNCED, "").key;
    assert_int_equal(store_delete(store, keys, 6, &deleted, missing, NULL), COFFER_OK);
    assert_int_equal(deleted, 3);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(missing[i], i == 2);
        assert_false(store_has(store, &keys[i]));
    }
    assert_int_equal(store_delete(store, keys, 6, &deleted, missing, NULL), COFFER_OK);
    assert_int_equal(deleted, 0);
    for (size_t i = 0; i < 6; i++)
        assert_true(missing[i]);
    assert_int_equal(store_delete(store, keys, 0, &deleted, NULL, NULL), COFFER_OK);
    assert_int_equal(status_of(store).chunks, 0);
}

static void test_reader_outlives_deletion(void **state)
{
    struct store *store = ((struct store_fixture *)*state)->store;

    for (int durability = DURABILITY_SYNCED; durability <= DURABILITY_BUFFERED; durability++) {
        struct digest key = put_as(store, "still here", (enum durability)durability, "").key;
        struct reader_content content;
        struct reader *reader;

        assert_int_equal(reader_open(store, &key, (struct waker){0}, &reader, NULL), COFFER_OK);
        assert_int_equal(store_delete_one(store, &key), COFFER_OK);
        assert_int_equal(reader_content(reader, &content, NULL), COFFER_OK);
        assert_int_equal(content.form, READER_MEMORY);
        assert_memory_equal(content.data, "still here", 10);
        reader_close(reader);
    }
    assert_int_equal(store_sync(store, NULL, 0, NULL, NULL), COFFER_OK);
    assert_int_equal(status_of(store).memory_used, 0);
}

static void test_close_makes_durable(void **state)
{
    struct store_fixture *fixture = *state;
    struct digest key = put_as(fixture->store, "at the end", DURABILITY_BUFFERED, "x").key;

    fixture_reopen(fixture);
    check_content(fixture->store, &key, "at the end", 10);
}

/* ---- while it is being flushed ---- */

struct job { /* one call in a thread of its own */
    pthread_t thread;
    struct store *store;
    const char *text;
    struct digest key;
    enum coffer_status status;
    struct upload_result result;
    _Atomic bool finished;
};

static void *run_put(void *context)
{
    struct job *job = context;
    struct upload_options options = {.size = strlen(job->text)};

    job->status =
        store_put(job->store, job->text, strlen(job->text), 0, &options, &job->result, NULL);
    job->finished = true;
    return NULL;
}

static void *run_delete(void *context)
{
    struct job *job = context;

    job->status = store_delete_one(job->store, &job->key);
    job->finished = true;
    return NULL;
}

static void *run_sync(void *context)
{
    struct job *job = context;

    job->status = store_sync(job->store, NULL, 0, NULL, NULL);
    job->finished = true;
    return NULL;
}

static void start(struct job *job, void *(*run)(void *), struct store *store, const char *text)
{
    *job = (struct job){.store = store, .text = text, .key = content_key(text, strlen(text))};
    invariant(pthread_create(&job->thread, NULL, run, job) == 0);
}

static void test_everything_during_a_flush(void **state)
{
    struct store *store = ((struct store_fixture *)*state)->store;
    struct job writer, same, other, barrier, deleter;
    struct upload_result result;

    put_as(store, "a pack is there", DURABILITY_SYNCED, "");
    hold_syncs(true);
    start(&writer, run_put, store, "in flight");
    wait_for_held_sync();
    assert_int_equal(state_of(store, &writer.key), CHUNK_FLUSHING);
    check_content(store, &writer.key, "in flight", 9);
    result = put_as(store, "in flight", DURABILITY_BUFFERED, "other");
    assert_false(result.created);
    assert_int_equal(result.state, CHUNK_FLUSHING);
    assert_true(strlen(result.ticket.text) > 0);
    start(&same, run_put, store, "in flight");
    start(&other, run_put, store, "something else");
    start(&barrier, run_sync, store, "");
    start(&deleter, run_delete, store, "in flight");
    assert_false(writer.finished || barrier.finished || deleter.finished || other.finished);
    assert_true(store_has(store, &writer.key)); /* deleted only when that is durable */
    hold_syncs(false);
    pthread_join(writer.thread, NULL);
    pthread_join(same.thread, NULL);
    pthread_join(other.thread, NULL);
    pthread_join(barrier.thread, NULL);
    pthread_join(deleter.thread, NULL);
    assert_int_equal(writer.status, COFFER_OK);
    assert_true(writer.result.created);
    assert_int_equal(same.status, COFFER_OK); /* before the deletion, or after it */
    assert_int_equal(same.result.state, CHUNK_DURABLE);
    assert_int_equal(other.status, COFFER_OK);
    assert_int_equal(barrier.status, COFFER_OK);
    assert_int_equal(deleter.status, COFFER_OK);
    assert_int_equal(store_has(store, &writer.key), same.result.created);
    assert_int_equal(store_sync(store, &result.ticket, 1, NULL, NULL), COFFER_OK);
}

/* Buffered writes, until one has to wait for room; that one is left as it is. */
static struct upload *fill_buffer(struct store *store, struct gate *gate, struct digest *key)
{
    static char content[60000];
    const struct upload_options options = {.size = sizeof(content),
        .durability = DURABILITY_BUFFERED,
        .channel = slice_from_text("full")};

    for (uint64_t i = 0;; i++) {
        struct upload_result result;
        struct upload *upload;
        enum coffer_status status;
        size_t taken;

        memcpy(content, &i, sizeof(i));
        *key = content_key(content, sizeof(content));
        assert_int_equal(upload_begin(store, &options, gate_waker(gate), &upload, NULL), COFFER_OK);
        assert_int_equal(upload_data(upload, content, sizeof(content), &taken, NULL), COFFER_OK);
        status = upload_finish(upload, &result, NULL);
        if (status == COFFER_AGAIN)
            return upload;
        assert_int_equal(status, COFFER_OK);
        upload_close(upload);
    }
}

/* A deletion that comes between a write's reservation and its way into the buffer does not wait for
 * the flush timer. */
static void test_delete_of_what_is_about_to_be_buffered(void **state)
{
    struct store *store = ((struct store_fixture *)*state)->store;
    struct upload_result result;
    struct gate write_gate, delete_gate;
    struct removal *removal;
    struct upload *upload;
    struct digest keys[2];
    enum coffer_status status;

    gate_init(&write_gate);
    gate_init(&delete_gate);
    hold_syncs(true);
    upload = fill_buffer(store, &write_gate, &keys[0]);
    wait_for_held_sync(); /* what was put first is being flushed */
    keys[1] = content_key("unknown", 7);
    assert_int_equal(
        removal_begin(store, key_source_array(keys, 2), gate_waker(&delete_gate), &removal, NULL),
        COFFER_OK);
    assert_int_equal(removal_finish(removal, NULL), COFFER_AGAIN);
    hold_syncs(false);
    gate_wait(&write_gate); /* there is room; let all others go before */
    assert_int_equal(store_sync(store, NULL, 0, NULL, NULL), COFFER_OK);
    while ((status = upload_finish(upload, &result, NULL)) == COFFER_AGAIN)
        gate_wait(&write_gate);
    assert_int_equal(status, COFFER_OK);
    assert_int_equal(result.state, CHUNK_BUFFERED);
    do
        gate_wait(&delete_gate);
    while ((status = removal_finish(removal, NULL)) == COFFER_AGAIN);
    assert_int_equal(status, COFFER_OK);
    assert_int_equal(removal_deleted(removal), 1);
    assert_false(store_has(store, &keys[0]));
    upload_close(upload);
    removal_close(removal);
    gate_release(&write_gate);
    gate_release(&delete_gate);
}

/* ---- tickets ---- */

static void test_tickets(void **state)
{
    struct store_fixture *fixture = *state;
    struct store *store = fixture->store;
    struct ticket tickets[3], forged;
    struct digest second;
    struct error error;

    store_put_buffered(store, "a", "1", 1, &tickets[0]);
    second = store_put_buffered(store, "b", "2", 1, &tickets[1]);
    store_put_buffered(store, "b", "3", 1, &tickets[2]);
    assert_int_equal(ticket_check(store, slice_from_text(tickets[0].text)), COFFER_OK);
    assert_int_equal(store_sync(store, &tickets[1], 1, NULL, NULL), COFFER_OK);
    assert_int_equal(state_of(store, &second), CHUNK_DURABLE);
    assert_int_equal(store_sync(store, tickets, 3, NULL, NULL), COFFER_OK);
    assert_int_equal(store_sync(store, tickets, 3, NULL, NULL), COFFER_OK);
    assert_int_equal(status_of(store).buffered_records, 0);

    /* Well formed, but never given out: nothing to wait for, now or with work in the queue. */
    (void)snprintf(forged.text, sizeof(forged.text), "%s:b:999999999", store_boot(store));
    assert_int_equal(store_sync(store, &forged, 1, NULL, NULL), COFFER_OK);
    store_put_buffered(store, "b", "4", 1, NULL);
    assert_int_equal(store_sync(store, &forged, 1, NULL, NULL), COFFER_OK);
    (void)snprintf(forged.text, sizeof(forged.text), "%s:never:1", store_boot(store));
    assert_int_equal(store_sync(store, &forged, 1, NULL, NULL), COFFER_OK);

    forged = tickets[0];
    forged.text[0] = forged.text[0] == 'a' ? 'b' : 'a';
    assert_int_equal(ticket_check(store, slice_from_text(forged.text)), COFFER_TICKET_LOST);
    assert_int_equal(store_sync(store, &forged, 1, NULL, &error), COFFER_TICKET_LOST);
    assert_non_null(strstr(error.text, forged.text));
}

static void test_what_is_no_ticket(void **state)
{
    static const char *const bad[] = {"", ":", "::", "x", "0123456789abcdef",
        "0123456789abcdef:", "0123456789abcdef:a", "0123456789abcdef:a:", "0123456789abcdef:a:0",
        "0123456789abcdef::1", "0123456789abcdef:a:x", "0123456789abcdef:a:1x",
        "0123456789ABCDEF:a:1", "0123456789abcde:a:1", "0123456789abcdef:a:99999999999999999999",
        "0123456789abcdef:a:-1"};
    struct store *store = ((struct store_fixture *)*state)->store;

    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct slice text = slice_from_text(bad[i]);
        struct barrier *barrier;

        assert_int_equal(ticket_check(store, text), COFFER_BAD_REQUEST);
        assert_int_equal(
            barrier_begin(store, &text, 1, (struct waker){0}, &barrier, NULL), COFFER_BAD_REQUEST);
    }
}

/* A barrier for a write that is then dropped from its buffer must not wait for ever. */
static void test_barrier_for_a_dropped_write(void **state)
{
    struct store *store = ((struct store_fixture *)*state)->store;

    for (int i = 0; i < 300; i++) {
        char text[32];
        struct ticket ticket;
        struct digest key;
        struct job barrier;

        (void)snprintf(text, sizeof(text), "dropped %d", i);
        key = store_put_buffered(store, "lane", text, strlen(text), &ticket);
        start(&barrier, run_sync, store, "");
        assert_int_equal(store_delete_one(store, &key), COFFER_OK);
        pthread_join(barrier.thread, NULL);
        assert_int_equal(barrier.status, COFFER_OK);
        assert_int_equal(store_sync(store, &ticket, 1, NULL, NULL), COFFER_OK);
    }
}

/* ---- lists ---- */

static void check_list(
    struct store *store, const char *prefix, size_t page, const struct digest *keys, size_t count)
{
    struct chunk_info *infos = calloc(page + 1, sizeof(struct chunk_info));
    struct digest after;
    size_t total = 0, found, wanted = 0;

    invariant(infos != NULL);
    for (size_t i = 0; i < count; i++) {
        char hex[DIGEST_HEX_SIZE + 1];

        digest_to_hex(&keys[i], hex);
        wanted += strncmp(hex, prefix, strlen(prefix)) == 0;
    }
    do {
        assert_int_equal(store_list(store, total == 0 ? NULL : &after, slice_from_text(prefix),
                             infos, page, &found, NULL),
            COFFER_OK);
        for (size_t i = 0; i < found; i++) {
            char hex[DIGEST_HEX_SIZE + 1];

            digest_to_hex(&infos[i].key, hex);
            assert_int_equal(strncmp(hex, prefix, strlen(prefix)), 0);
            assert_true(total == 0 || digest_compare(&after, &infos[i].key) < 0);
            assert_int_equal(infos[i].size, 6);
            after = infos[i].key;
            total++;
        }
    } while (found == page);
    assert_int_equal(total, wanted);
    free(infos);
}

static void test_list(void **state)
{
    enum { COUNT = 200 };
    static const size_t pages[] = {1, 7, COUNT, COUNT + 1, STORE_LIST_MAX};
    struct store *store = ((struct store_fixture *)*state)->store;
    struct digest keys[COUNT];
    struct chunk_info info;
    size_t found;

    for (int i = 0; i < COUNT; i++) {
        char text[16];

        (void)snprintf(text, sizeof(text), "c%05d", i);
        keys[i] = i % 2 == 0 ? store_put_good(store, text, 6)
                             : store_put_buffered(store, NULL, text, 6, NULL);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < ARRAY_COUNT(pages); i++) {
            check_list(store, "", pages[i], keys, COUNT);
            check_list(store, "a", pages[i], keys, COUNT);
            check_list(store, "0", pages[i], keys, COUNT);
            check_list(store, "f", pages[i], keys, COUNT);
            check_list(store, "7f", pages[i], keys, COUNT);
        }
        assert_int_equal(
            store_list(store, NULL, slice_from_text("0"), &info, 0, &found, NULL), COFFER_OK);
        assert_int_equal(found, 0);
        for (int i = 0; i < COUNT; i++) { /* a whole key as the prefix */
            char hex[DIGEST_HEX_SIZE + 1];

            digest_to_hex(&keys[i], hex);
            check_list(store, hex, 2, keys, COUNT);
        }
        assert_int_equal(store_sync(store, NULL, 0, NULL, NULL), COFFER_OK);
    }
    assert_int_equal(
        store_list(store, NULL, slice_from_text("A"), &info, 1, &found, NULL), COFFER_BAD_KEY);
    assert_int_equal(
        store_list(store, NULL, slice_from_text("xyz"), &info, 1, &found, NULL), COFFER_BAD_KEY);
}

#define BOTH(test)                                                                                 \
    {#test " (memory)", test, set_up_memory, tear_down, NULL},                                     \
    {                                                                                              \
#test " (local)", test, set_up_local, tear_down, NULL                                      \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(test_buffered_is_readable_and_becomes_durable),
        BOTH(test_duplicate_of_buffered),
        BOTH(test_delete_in_the_buffer),
        BOTH(test_delete_many_in_every_state),
        BOTH(test_reader_outlives_deletion),
        cmocka_unit_test_setup_teardown(test_close_makes_durable, set_up_local, tear_down),
        cmocka_unit_test_setup_teardown(test_everything_during_a_flush, set_up_local, tear_down),
        cmocka_unit_test_setup_teardown(
            test_delete_of_what_is_about_to_be_buffered, set_up_local, tear_down),
        BOTH(test_tickets),
        BOTH(test_what_is_no_ticket),
        BOTH(test_barrier_for_a_dropped_write),
        BOTH(test_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
