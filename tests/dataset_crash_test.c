/*
 * Goal: kill -9 at any point leaves every append, transaction and change of a dataset whole or not
 * there, loses nothing that was answered, and what was not answered can be sent again and is there
 * once. Method: this program starts itself as a child that does a list of deeds
 * (support/deed_book.h) and writes into a pipe, which outlives it, what it is about to do and
 * what it was answered. It is killed at a fault point, each of its calls in turn, or after so many
 * answers; then the store is opened here and compared with the book: as it was left, once more,
 * and without its index. After that the deeds which were not answered are done again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "tests/support/deed_child.h"

enum { DEEDS_A_SET = 60, LARGE_PERCENT = 3, SET_SIZE_MAX = 12 << 20 };
enum { ROUNDS = 10, ROUNDS_LONG = 600, NTH_MAX = 400 };

struct suite {
    struct store_fixture fixture; /* for its folder */
    struct deed_book book;
    struct deed_script script;
    size_t next[BOOK_SETS]; /* the first deed of the set that was not answered */
    uint64_t random, kills;
};

static struct suite *suite_open(void)
{
    struct suite *suite = calloc(1, sizeof(*suite));

    invariant(suite != NULL);
    log_configure(LOG_ERROR + 1, false);
    fixture_init(&suite->fixture, ENGINE_LOCAL);
    deed_child_options(&suite->fixture.options, suite->fixture.data_dir);
    book_open(&suite->book);
    return suite;
}

static void suite_close(struct suite *suite)
{
    fixture_release(&suite->fixture);
    book_close(&suite->book);
    free(suite);
}

static void take(void *context, uint32_t index, const struct deed_answer *answer)
{
    struct suite *suite = context;
    const struct deed *deed = &suite->script.deeds[index];

    if (answer == NULL) {
        suite->next[deed->set] = index;
        book_begin(&suite->book, deed);
        return;
    }
    if (answer->status != COFFER_OK)
        fail_msg("%s %u of set%u was answered %s", deed_name(deed), index, deed->set,
            status_code((enum coffer_status)answer->status));
    suite->next[deed->set] = index + 1;
    book_end(&suite->book, deed, answer);
}

static bool run_child(
    struct suite *suite, const char *faults, enum deed_child_work work, unsigned kill_after)
{
    bool killed =
        deed_child_run(&suite->fixture, &suite->script, faults, work, kill_after, take, suite);

    suite->kills += killed;
    return killed;
}

/* ---- every call of every point ---- */

static void add_append(struct suite *suite, struct deed_book *plan, unsigned channel,
    uint32_t transaction, uint32_t size, bool lines)
{
    struct deed deed = {.kind = transaction == 0 ? DEED_APPEND : DEED_STAGE,
        .channel = (uint8_t)channel,
        .transaction = transaction,
        .size = size,
        .lines = lines,
        .seed = 3 * suite->script.count + 5,
        .has_offset = true,
        .offset = book_tail(&plan->sets[0].channels[channel])};

    book_begin(plan, &deed);
    deed_script_add(&suite->script, deed);
}

/* A bit of everything before. */
static void plan_before(struct suite *suite, struct deed_book *plan)
{
    deed_script_add(&suite->script, (struct deed){.kind = DEED_CREATE});
    add_append(suite, plan, 0, 0, 700, false);
    add_append(suite, plan, 1, 0, 5000, true);
    suite->script.deeds[suite->script.count - 1].buffered = true;
    deed_script_add(&suite->script, (struct deed){.kind = DEED_CLAIM, .channel = 2});
    add_append(suite, plan, 2, 0, 1200000, true);
    deed_script_add(&suite->script, (struct deed){.kind = DEED_SYNC});
    suite->script.arm_at = suite->script.count;
}

static void plan_transaction(struct suite *suite, struct deed_book *plan)
{
    deed_script_add(
        &suite->script, (struct deed){.kind = DEED_OPEN, .transaction = 1, .mask = 1 | 2 | 8});
    add_append(suite, plan, 0, 1, 300, false);
    add_append(suite, plan, 1, 1, 2500000, false);
    add_append(suite, plan, 3, 1, 900, true);
    add_append(suite, plan, 0, 1, 40000, true);
    add_append(suite, plan, 3, 1, 1100000, true);
    deed_script_add(&suite->script, (struct deed){.kind = DEED_COMMIT, .transaction = 1});
    add_append(suite, plan, 1, 0, 10, false);
    add_append(suite, plan, 3, 0, 20, false);
}

static void plan_appends(struct suite *suite, struct deed_book *plan)
{
    add_append(suite, plan, 0, 0, 100, false);
    add_append(suite, plan, 3, 0, 3000, true);
    add_append(suite, plan, 1, 0, 2200000, false);
    deed_script_add(&suite->script, (struct deed){.kind = DEED_CLAIM, .channel = 0});
    add_append(suite, plan, 0, 0, 1, false);
}

static void plan_closing(struct suite *suite, struct deed_book *plan)
{
    (void)plan;
    deed_script_add(&suite->script, (struct deed){.kind = DEED_METADATA, .seed = 7});
    deed_script_add(&suite->script, (struct deed){.kind = DEED_CLOSE});
    deed_script_add(&suite->script, (struct deed){.kind = DEED_COMPRESS});
    deed_script_add(&suite->script, (struct deed){.kind = DEED_PACKAGE, .seed = 2});
    deed_script_add(&suite->script, (struct deed){.kind = DEED_PACKAGE, .seed = 4});
    deed_script_add(&suite->script, (struct deed){.kind = DEED_CLOSED});
}

static void plan_deletion(struct suite *suite, struct deed_book *plan)
{
    (void)plan;
    deed_script_add(&suite->script, (struct deed){.kind = DEED_DELETE});
}

/* A transaction that was aborted by the crash is done again under another id. */
static void begin_again(struct suite *suite, size_t before, uint32_t old, uint32_t new)
{
    for (size_t i = 0; i < before; i++) {
        struct deed deed = suite->script.deeds[i];
        struct deed_answer answer;

        if (deed.transaction != old)
            continue;
        deed.transaction = new;
        book_begin(&suite->book, &deed);
        answer = deed_do(suite->fixture.store, &deed);
        assert_int_equal(answer.status, COFFER_OK);
        book_end(&suite->book, &deed, &answer);
    }
}

/* Whether what the deed makes is there already. */
static bool is_done(struct suite *suite, const struct deed *deed)
{
    struct book_set *set = &suite->book.sets[0];
    const struct book_transaction *transaction = book_transaction(set, deed->transaction);

    switch ((enum deed_kind)deed->kind) {
    case DEED_APPEND:
        return book_tail(&set->channels[deed->channel]) > deed->offset;
    case DEED_COMMIT:
        return transaction != NULL && transaction->outcome == BOOK_COMMITTED;
    case DEED_CREATE:
        return set->maybe_there;
    case DEED_DELETE:
        return !set->maybe_there;
    case DEED_CLOSE:
        return set->state != DATASET_OPEN;
    default:
        return false;
    }
}

/* Do one deed that was not answered; twice is as good as once. */
static void do_again(struct suite *suite, const struct deed *deed)
{
    static const enum coffer_status known[DEED_KINDS] = {
        [DEED_DELETE] = COFFER_NO_SUCH_DATASET, [DEED_CLOSE] = COFFER_DATASET_CLOSED};
    bool done = is_done(suite, deed);
    struct deed_answer answer;

    if (!done)
        book_begin(&suite->book, deed);
    answer = deed_do(suite->fixture.store, deed);
    if (answer.status != (int)(done ? known[deed->kind] : COFFER_OK) ||
        (deed->kind == DEED_APPEND && answer.repeated != done))
        fail_msg("%s again was answered %s%s", deed_name(deed),
            status_code((enum coffer_status)answer.status), answer.repeated ? ", repeated" : "");
    if (!done)
        book_end(&suite->book, deed, &answer);
}

/* The rest of the script, from the deed that was not answered. */
static void go_on(struct suite *suite)
{
    enum { OLD = 1, NEW = 2 };
    bool again = false;

    for (size_t i = suite->next[0]; i < suite->script.count; i++) {
        struct deed deed = suite->script.deeds[i];
        const struct book_transaction *transaction = book_transaction(&suite->book.sets[0], OLD);

        if (deed.transaction == OLD && !again && transaction != NULL &&
            transaction->outcome == BOOK_ABORTED) {
            begin_again(suite, i, OLD, NEW);
            again = true;
        }
        if (deed.transaction == OLD && again)
            deed.transaction = NEW;
        do_again(suite, &deed);
    }
}

/* What there is in the end is what it would be without the crash. */
static void check_end(struct suite *suite, const struct deed_book *plan)
{
    const struct book_set *got = &suite->book.sets[0], *wanted = &plan->sets[0];

    for (unsigned c = 0; c < BOOK_CHANNELS && got->maybe_there; c++) {
        assert_int_equal(got->channels[c].count, wanted->channels[c].count);
        for (size_t i = 0; i < wanted->channels[c].count; i++)
            assert_int_equal(got->channels[c].entries[i].seed, wanted->channels[c].entries[i].seed);
    }
}

typedef void plan_function(struct suite *suite, struct deed_book *plan);

/* False: the point is not called so often. */
static bool kill_at(plan_function *plan_what, enum fault_site site, uint64_t nth)
{
    struct suite *suite = suite_open();
    struct deed_book plan;
    char faults[64], where[100];
    bool killed;

    book_open(&plan);
    plan_before(suite, &plan);
    plan_what(suite, &plan);
    (void)snprintf(
        faults, sizeof(faults), "%s=kill@%llu", fault_name(site), (unsigned long long)nth);
    killed = run_child(suite, faults, CHILD_DOES, 0);
    (void)snprintf(where, sizeof(where), "killed at %s, before %s", faults,
        suite->next[0] == suite->script.count ? "the end"
                                              : deed_name(&suite->script.deeds[suite->next[0]]));
    if (killed) {
        book_check_thrice(&suite->book, &suite->fixture, where);
        go_on(suite);
        fixture_close(&suite->fixture);
        fixture_remove_index(&suite->fixture);
    }
    fixture_open(&suite->fixture);
    book_check(&suite->book, suite->fixture.store, BOOK_RESTARTED, where, NULL);
    check_end(suite, &plan);
    book_close(&plan);
    suite_close(suite);
    return killed;
}

static uint64_t kill_at_each(plan_function *plan, const enum fault_site *sites, size_t count,
    uint64_t step_max, uint64_t *random)
{
    uint64_t kills = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t nth = 1;

        while (nth < NTH_MAX && kill_at(plan, sites[i], nth))
            nth += 1 + random_below(random, step_max), kills++;
        assert_true(nth > 1 && nth < NTH_MAX); /* a point that nothing reaches proves nothing */
    }
    return kills;
}

/* `own`: the points of datasets that must be reached, each of their calls. */
static void kill_everywhere(plan_function *plan, const enum fault_site *own, size_t count)
{
    static const enum fault_site all[] = {
        FAULT_PACK_WRITE, FAULT_PACK_SYNC, FAULT_AFTER_SYNC, FAULT_INDEX_WRITE, FAULT_AFTER_INDEX};
    uint64_t random = test_seed() | 1, kills;

    kills = kill_at_each(plan, own, count, 1, &random);
    kills += kill_at_each(plan, all, ARRAY_COUNT(all), test_long() ? 1 : 7, &random);
    print_message("%llu kills\n", (unsigned long long)kills);
}

static void test_transaction(void **state)
{
    static const enum fault_site own[] = {FAULT_STAGE_DURABLE, FAULT_COMMIT_SYNCED,
        FAULT_COMMIT_DURABLE, FAULT_COMMIT_PUBLISHED, FAULT_APPEND_DURABLE};

    (void)state;
    kill_everywhere(plan_transaction, own, ARRAY_COUNT(own));
}

static void test_appends(void **state)
{
    static const enum fault_site own[] = {FAULT_STAGE_DURABLE, FAULT_APPEND_DURABLE};

    (void)state;
    kill_everywhere(plan_appends, own, ARRAY_COUNT(own));
}

static void test_closing(void **state)
{
    static const enum fault_site own[] = {FAULT_STAGE_DURABLE};

    (void)state;
    kill_everywhere(plan_closing, own, ARRAY_COUNT(own));
}

static void test_deletion(void **state)
{
    static const enum fault_site own[] = {FAULT_DELETE_DURABLE, FAULT_DELETE_DROPPED};

    (void)state;
    kill_everywhere(plan_deletion, own, ARRAY_COUNT(own));
}

/* ---- at random, under load ---- */

static uint64_t set_size(const struct book_set *set)
{
    uint64_t size = 0;

    for (unsigned c = 0; c < BOOK_CHANNELS; c++)
        size += book_tail(&set->channels[c]);
    return size;
}

/* Deeds for all sets, as they follow from one another when all of them succeed. */
static void make_script(struct suite *suite)
{
    struct deed_book *plan = book_copy(&suite->book);

    suite->script.count = suite->script.arm_at = 0;
    for (unsigned i = 0; i < DEEDS_A_SET * BOOK_SETS; i++) {
        unsigned number = i % BOOK_SETS;
        const struct book_set *set = &plan->sets[number];
        struct deed deed = deed_make(plan, number, LARGE_PERCENT, &suite->random);
        struct deed_answer answer = {.status = COFFER_OK, .buffered = deed.buffered};

        if (set->maybe_there && set_size(set) > SET_SIZE_MAX)
            deed = (struct deed){.kind = DEED_DELETE, .set = (uint8_t)number};
        book_begin(plan, &deed);
        book_end(plan, &deed, &answer);
        deed_script_add(&suite->script, deed);
    }
    suite->book.next_number = plan->next_number;
    suite->book.next_transaction = plan->next_transaction;
    book_drop(plan);
}

static void kill_in_recovery(struct suite *suite)
{
    static const char *const faults[] = {"pack_sync=kill", "index_write=kill@1",
        "index_write=kill@2", "index_flush=kill", "delete_durable=kill", "delete_dropped=kill"};

    if (random_below(&suite->random, 3) == 0)
        fixture_remove_index(&suite->fixture);
    (void)run_child(
        suite, faults[random_below(&suite->random, ARRAY_COUNT(faults))], CHILD_OPENS, 0);
}

static void run_round(struct suite *suite, unsigned round)
{
    static const enum fault_site sites[] = {FAULT_AFTER_SYNC, FAULT_AFTER_INDEX, FAULT_PACK_WRITE,
        FAULT_PACK_SYNC, FAULT_INDEX_WRITE, FAULT_APPEND_DURABLE, FAULT_STAGE_DURABLE,
        FAULT_COMMIT_SYNCED, FAULT_COMMIT_DURABLE, FAULT_COMMIT_PUBLISHED, FAULT_DELETE_DURABLE,
        FAULT_DELETE_DROPPED, FAULT_SEAL, FAULT_PACK_OPEN, FAULT_DIR_SYNC};
    char faults[64] = "", where[40];
    unsigned kill_after = 0;

    make_script(suite);
    if (random_below(&suite->random, 2) == 0) {
        enum fault_site site = sites[random_below(&suite->random, ARRAY_COUNT(sites))];

        (void)snprintf(faults, sizeof(faults), "%s=kill@%u", fault_name(site),
            1 + (unsigned)random_below(&suite->random, site < FAULT_COMMIT_SYNCED ? 60 : 3));
    } else {
        kill_after = 1 + (unsigned)random_below(&suite->random, BOOK_SETS * DEEDS_A_SET);
    }
    (void)run_child(suite, faults, CHILD_DOES, kill_after);
    if (random_below(&suite->random, 3) == 0)
        kill_in_recovery(suite);
    (void)snprintf(where, sizeof(where), "round %u", round);
    book_check_thrice(&suite->book, &suite->fixture, where);
    fixture_close(&suite->fixture);
}

static void test_kills(void **state)
{
    struct suite *suite = suite_open();
    unsigned rounds = test_long() ? ROUNDS_LONG : ROUNDS;

    (void)state;
    suite->random = test_seed() | 1;
    for (unsigned i = 0; i < rounds; i++)
        run_round(suite, i);
    print_message("%u rounds, %llu kills, %llu answers, %llu entries that had to be there\n",
        rounds, (unsigned long long)suite->kills, (unsigned long long)suite->book.answers,
        (unsigned long long)suite->book.certain);
    assert_true(suite->kills > rounds / 3);
    suite_close(suite);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transaction),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_deletion),
        cmocka_unit_test(test_kills),
    };
    int code;

    if (deed_child_main(argc, argv, &code))
        return code;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
