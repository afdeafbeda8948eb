/* The table of keys under way: one entry a key, waiters, the lowest keys of those in it; claims. */
#include "storage/chunk/pending.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"
#include "storage/chunk/write.h"

static void count_wake(void *context)
{
    (*(unsigned *)context)++;
}

static struct digest key_of(unsigned number)
{
    struct digest key;

    sha256_once(&number, sizeof(number), &key);
    return key;
}

/* A write with nothing but its entry: what a lane would settle is settled by the test. */
static struct chunk_write *write_of(unsigned number)
{
    struct chunk_write *write = calloc(1, sizeof(*write));

    invariant(write != NULL);
    write->references = 1;
    write->entry.key = key_of(number);
    return write;
}

/* write_unref() lets go of a lane; these have none, and the test frees them. */
static void forget(struct chunk_write *write)
{
    assert_int_equal(write->references, 1);
    free(write);
}

static void give_back(struct chunk_write *write)
{
    assert_true(write->references > 1);
    write_unref(write);
}

static void test_one_entry_a_key(void **state)
{
    struct pending_table *table = pending_create();
    struct chunk_write *write = write_of(1), *found;
    struct pending_entry other = {.key = key_of(1)}, third = {.key = key_of(2)};
    unsigned wakes[2] = {0};
    struct pending_waiter waiters[2] = {
        {.waker = {count_wake, &wakes[0]}}, {.waker = {count_wake, &wakes[1]}}};

    (void)state;
    assert_null(pending_find(table, &write->entry.key));
    assert_int_equal(
        pending_insert(table, &write->entry, false, &waiters[0], &found), PENDING_INSERTED);
    assert_null(pending_find(table, &write->entry.key)); /* not in the buffer yet */
    assert_int_equal(pending_insert(table, &other, false, &waiters[0], &found), PENDING_BUSY);
    assert_null(found);
    assert_true(pending_publish(table, &write->entry, write)); /* somebody waits */
    found = pending_find(table, &write->entry.key);
    assert_ptr_equal(found, write);
    give_back(found);
    assert_int_equal(pending_insert(table, &other, false, &waiters[1], &found), PENDING_BUFFERED);
    assert_ptr_equal(found, write);
    give_back(found);
    assert_int_equal(pending_insert(table, &other, true, &waiters[1], &found), PENDING_BUFFERED);
    give_back(found);
    assert_int_equal(pending_insert(table, &third, true, &waiters[1], &found), PENDING_INSERTED);
    assert_int_equal(wakes[0] + wakes[1], 0);
    pending_remove(table, &write->entry);
    assert_int_equal(wakes[0], 1);
    assert_int_equal(wakes[1], 1);
    assert_null(pending_find(table, &write->entry.key));
    assert_int_equal(pending_insert(table, &other, false, &waiters[0], &found), PENDING_INSERTED);
    pending_remove(table, &other);
    pending_remove(table, &third);
    pending_destroy(table);
    forget(write);
}

static int by_digest(const void *a, const void *b)
{
    return digest_compare(a, b);
}

static void test_collect(void **state)
{
    enum { COUNT = 500 };
    struct pending_table *table = pending_create();
    struct chunk_write *writes[COUNT], *found;
    struct pending_waiter waiter;
    struct digest all[COUNT], some[COUNT + 1];

    (void)state;
    for (unsigned i = 0; i < COUNT; i++) {
        writes[i] = write_of(i);
        all[i] = writes[i]->entry.key;
        assert_int_equal(
            pending_insert(table, &writes[i]->entry, false, &waiter, &found), PENDING_INSERTED);
    }
    assert_int_equal(pending_collect(table, NULL, some, COUNT), 0); /* none is in the buffer */
    for (unsigned i = 0; i < COUNT; i++)
        assert_false(pending_publish(table, &writes[i]->entry, writes[i]));
    qsort(all, COUNT, sizeof(all[0]), by_digest);
    for (size_t page = 0; page <= COUNT + 1; page += page < 20 ? 1 : 160)
        for (size_t after = 0; after < COUNT; after += 123) {
            size_t wanted = COUNT - after - 1 < page ? COUNT - after - 1 : page;

            assert_int_equal(pending_collect(table, &all[after], some, page), wanted);
            qsort(some, wanted, sizeof(some[0]), by_digest);
            assert_memory_equal(some, all + after + 1, wanted * sizeof(some[0])); /* the lowest */
        }
    assert_int_equal(pending_collect(table, NULL, some, 7), 7);
    qsort(some, 7, sizeof(some[0]), by_digest);
    assert_memory_equal(some, all, 7 * sizeof(some[0]));
    for (unsigned i = 0; i < COUNT; i++) {
        pending_remove(table, &writes[i]->entry);
        forget(writes[i]);
    }
    pending_destroy(table);
}

/* ---- claims ---- */

static struct claim *claim_of(unsigned first, unsigned count)
{
    struct claim *claim;

    assert_int_equal(claim_create(count, &claim, NULL), COFFER_OK);
    for (unsigned i = 0; i < count; i++) {
        struct digest key = key_of(first + i);

        claim_add(claim, &key);
    }
    return claim;
}

/* It has all of its keys, and few others. */
static void test_claim_is_a_filter(void **state)
{
    static const unsigned counts[] = {1, 2, 100, 20000};
    enum { OTHERS = 50000 };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        struct claim *claim = claim_of(0, counts[i]);
        unsigned taken = 0;

        for (unsigned j = 0; j < counts[i]; j++) {
            struct digest key = key_of(j);

            assert_true(claim_has(claim, &key));
        }
        for (unsigned j = 0; j < OTHERS; j++) {
            struct digest key = key_of(counts[i] + j);

            taken += claim_has(claim, &key);
        }
        assert_true(taken < OTHERS / 500);
        claim_destroy(claim);
    }
    claim_destroy(NULL);
}

static void test_claim_keeps_others_out(void **state)
{
    enum { COUNT = 300 };
    struct pending_table *table = pending_create();
    struct claim *claim = claim_of(0, COUNT);
    struct pending_entry entry = {.key = key_of(7)}, other = {.key = key_of(COUNT)};
    unsigned wakes[COUNT] = {0};
    struct pending_waiter waiters[COUNT];
    struct chunk_write *found;

    (void)state;
    pending_claim(table, claim);
    assert_int_equal(pending_insert(table, &other, false, &waiters[0], &found), PENDING_INSERTED);
    for (unsigned i = 0; i < COUNT; i++) {
        struct pending_entry mine = {.key = key_of(i)};

        waiters[i].waker = (struct waker){count_wake, &wakes[i]};
        assert_int_equal(
            pending_insert(table, &mine, i % 2 == 0, &waiters[i], &found), PENDING_BUSY);
        assert_null(found);
    }
    pending_unclaim(table, claim);
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(wakes[i], 1);
    assert_int_equal(pending_insert(table, &entry, false, &waiters[0], &found), PENDING_INSERTED);
    pending_remove(table, &entry);
    pending_remove(table, &other);
    claim_destroy(claim);
    pending_destroy(table);
}

/* A claim waits for what was there before it: a write under way, or in a buffer. */
static void test_claim_waits_for_entries(void **state)
{
    struct pending_table *table = pending_create();
    struct chunk_write *write = write_of(1), *found;
    struct claim *claim = claim_of(1, 2);
    struct digest first = key_of(1), second = key_of(2);
    unsigned wakes[2] = {0};
    struct pending_waiter waiters[2] = {
        {.waker = {count_wake, &wakes[0]}}, {.waker = {count_wake, &wakes[1]}}};

    (void)state;
    assert_int_equal(
        pending_insert(table, &write->entry, false, &waiters[0], &found), PENDING_INSERTED);
    pending_claim(table, claim);
    assert_int_equal(
        pending_await(table, claim, &second, true, &waiters[0], &found), PENDING_INSERTED);
    assert_int_equal(pending_await(table, claim, &first, false, &waiters[0], &found), PENDING_BUSY);
    assert_true(pending_publish(table, &write->entry, write)); /* somebody waits */
    assert_int_equal(
        pending_await(table, claim, &first, false, &waiters[1], &found), PENDING_BUFFERED);
    assert_ptr_equal(found, write);
    give_back(found);
    assert_int_equal(
        pending_await(table, claim, &first, true, &waiters[1], &found), PENDING_BUFFERED);
    give_back(found);
    pending_remove(table, &write->entry);
    assert_int_equal(wakes[0], 1);
    assert_int_equal(wakes[1], 1);
    assert_int_equal(
        pending_await(table, claim, &first, true, &waiters[0], &found), PENDING_INSERTED);
    pending_unclaim(table, claim);
    claim_destroy(claim);
    pending_destroy(table);
    forget(write);
}

/* Of two claims the one that was published later waits, never the other. */
static void test_claims_wait_in_their_order(void **state)
{
    struct pending_table *table = pending_create();
    struct claim *claims[3] = {claim_of(0, 10), claim_of(5, 10), claim_of(12, 10)};
    struct digest both = key_of(7), late = key_of(13);
    unsigned wakes[2] = {0};
    struct pending_waiter waiters[2] = {
        {.waker = {count_wake, &wakes[0]}}, {.waker = {count_wake, &wakes[1]}}};
    struct chunk_write *found;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        pending_claim(table, claims[i]);
    for (unsigned i = 0; i < 10; i++) {
        struct digest key = key_of(i);

        assert_int_equal(
            pending_await(table, claims[0], &key, true, &waiters[0], &found), PENDING_INSERTED);
    }
    assert_int_equal(
        pending_await(table, claims[1], &both, true, &waiters[0], &found), PENDING_BUSY);
    assert_int_equal(
        pending_await(table, claims[1], &late, true, &waiters[1], &found), PENDING_INSERTED);
    assert_int_equal(
        pending_await(table, claims[2], &late, true, &waiters[1], &found), PENDING_BUSY);
    pending_unclaim(table, claims[0]);
    assert_int_equal(wakes[0], 1);
    assert_int_equal(wakes[1], 0);
    assert_int_equal(
        pending_await(table, claims[1], &both, true, &waiters[0], &found), PENDING_INSERTED);
    pending_unclaim(table, claims[1]);
    assert_int_equal(wakes[1], 1);
    assert_int_equal(
        pending_await(table, claims[2], &late, true, &waiters[1], &found), PENDING_INSERTED);
    pending_unclaim(table, claims[2]);
    for (size_t i = 0; i < 3; i++)
        claim_destroy(claims[i]);
    pending_destroy(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_entry_a_key),
        cmocka_unit_test(test_collect),
        cmocka_unit_test(test_claim_is_a_filter),
        cmocka_unit_test(test_claim_keeps_others_out),
        cmocka_unit_test(test_claim_waits_for_entries),
        cmocka_unit_test(test_claims_wait_in_their_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
