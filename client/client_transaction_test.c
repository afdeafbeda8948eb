/*
 * Goal: what is written to joined streams is committed once and whole, or gone, whatever answers
 * are lost; and a stream goes on after either. Method: a model of a dataset behind a server that
 * loses requests and answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/coffer.h"
#include "tests/support/client_clock.h"
#include "tests/support/fake_dataset.h"

struct fixture {
    struct fake_dataset fake;
    struct coffer_client *client;
    struct fake_clock clock;
    struct coffer_error err;
    FILE *tracks, *hits;
};

static FILE *open_stream(struct fixture *fixture, const char *channel, bool pipeline)
{
    const struct coffer_channel_options options = {
        .pipeline = pipeline, .per_line = true, .buffer_size = 1};
    FILE *file = coffer_channel_open(fixture->client, "run", channel, "a", &options, &fixture->err);

    assert_non_null(file);
    return file;
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    fake_dataset_start(&fixture->fake);
    fixture->client = coffer_open(fixture->fake.server.url, NULL, NULL);
    fake_clock_set(&fixture->clock, fixture->client);
    fixture->tracks = open_stream(fixture, "tracks", false);
    fixture->hits = open_stream(fixture, "hits", true);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    (void)fclose(fixture->tracks);
    (void)fclose(fixture->hits);
    coffer_close(fixture->client);
    fake_dataset_stop(&fixture->fake);
    free(fixture);
    return 0;
}

static struct coffer_transaction *begin(
    struct fixture *fixture, const struct coffer_transaction_options *options)
{
    struct coffer_transaction *transaction =
        coffer_transaction_begin(fixture->client, "run", options, &fixture->err);

    assert_non_null(transaction);
    assert_int_equal(coffer_channel_join(fixture->tracks, transaction, &fixture->err), 0);
    assert_int_equal(coffer_channel_join(fixture->hits, transaction, &fixture->err), 0);
    return transaction;
}

static void check(struct fixture *fixture, const char *tracks, const char *hits)
{
    assert_true(fake_channel_is(&fixture->fake, "tracks", tracks, strlen(tracks)));
    assert_true(fake_channel_is(&fixture->fake, "hits", hits, strlen(hits)));
}

static void test_commit(void **state)
{
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction;
    struct coffer_commit commit;

    (void)fputs("before\n", fixture->tracks); /* flushed by the join, not part of it */
    transaction = begin(fixture, NULL);
    check(fixture, "before\n", "");
    (void)fputs("t1\n", fixture->tracks);
    (void)fputs("h1\nh2", fixture->hits); /* an unfinished line is part of it too */
    assert_int_equal(coffer_transaction_commit(transaction, 0, &commit, &fixture->err), 0);
    assert_true(commit.committed);
    assert_int_equal(commit.version, fixture->fake.version);
    check(fixture, "before\nt1\n", "h1\nh2");
    /* Asked again, also after more was written, which is not part of it. */
    (void)fputs("t2\n", fixture->tracks);
    assert_int_equal(coffer_transaction_commit(transaction, 0, &commit, &fixture->err), 0);
    check(fixture, "before\nt1\n", "h1\nh2");
    assert_int_equal(fflush(fixture->tracks), 0);
    check(fixture, "before\nt1\nt2\n", "h1\nh2");
    coffer_transaction_free(transaction);
}

static void test_lost_answers(void **state)
{
    static const struct fake_step steps[] = {{.what = FAKE_LOSE_ANSWER},              /* begin */
        {.what = FAKE_LOSE_REQUEST}, {.what = FAKE_WELL}, {.what = FAKE_LOSE_ANSWER}, /* appends */
        {.what = FAKE_WELL}, {.what = FAKE_LOSE_ANSWER}, {FAKE_REFUSE, 503, "overloaded"},
        {.what = FAKE_LOSE_ANSWER}, {.what = FAKE_LOSE_REQUEST}, {.what = FAKE_LOSE_ANSWER}};
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction;

    fake_dataset_script(&fixture->fake, steps, ARRAY_COUNT(steps));
    transaction = begin(fixture, NULL);
    (void)fputs("t1\n", fixture->tracks);
    (void)fputs("h1\n", fixture->hits);
    assert_int_equal(coffer_transaction_commit(transaction, 0, NULL, &fixture->err), 0);
    check(fixture, "t1\n", "h1\n");
    assert_int_equal(fixture->fake.version, 1);
    coffer_transaction_free(transaction);
}

/* Back to where it was: what was sent, what waits in buffers, and the failure. */
static void test_abort(void **state)
{
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction;

    (void)fputs("t0\n", fixture->tracks);
    transaction = begin(fixture, NULL);
    (void)fputs("t1\n", fixture->tracks);
    assert_int_equal(fflush(fixture->tracks), 0);
    (void)fputs("t2\nt3", fixture->tracks);
    (void)fputs("h1\n", fixture->hits);
    assert_int_equal(coffer_transaction_abort(transaction, &fixture->err), 0);
    assert_int_equal(ftell(fixture->tracks), 3);
    assert_int_equal(ftell(fixture->hits), 0);
    assert_int_equal(coffer_transaction_abort(transaction, &fixture->err), 0); /* again */
    coffer_transaction_free(transaction);
    transaction = begin(fixture, NULL);
    (void)fputs("T1\n", fixture->tracks);
    (void)fputs("H1\n", fixture->hits);
    assert_int_equal(coffer_transaction_commit(transaction, 0, NULL, &fixture->err), 0);
    check(fixture, "t0\nT1\n", "H1\n");
    coffer_transaction_free(transaction);
}

/* The server aborts it, by its ttl or by its end: all is written again, under another id. */
static void test_aborted_by_server(void **state)
{
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction =
        begin(fixture, &(const struct coffer_transaction_options){.id = "batch-1"});

    (void)fputs("t1\n", fixture->tracks);
    (void)fputs("h1\n", fixture->hits);
    assert_int_equal(fflush(fixture->hits), 0);
    fixture->fake.transactions[0].state = FAKE_ABORTED;
    fake_channel(&fixture->fake, "hits")->staged = 0;
    assert_int_equal(coffer_transaction_commit(transaction, 0, NULL, &fixture->err), -1);
    assert_int_equal(fixture->err.number, ECANCELED);
    assert_string_equal(fixture->err.code, "transaction_aborted");
    assert_int_equal(coffer_transaction_abort(transaction, &fixture->err), 0);
    coffer_transaction_free(transaction);
    assert_null(coffer_transaction_begin(fixture->client, "run",
        &(const struct coffer_transaction_options){.id = "batch-1"}, &fixture->err));
    assert_string_equal(fixture->err.code, "transaction_aborted");
    transaction = begin(fixture, &(const struct coffer_transaction_options){.id = "batch-1.1"});
    (void)fputs("t1\n", fixture->tracks);
    (void)fputs("h1\n", fixture->hits);
    assert_int_equal(coffer_transaction_commit(transaction, 0, NULL, &fixture->err), 0);
    check(fixture, "t1\n", "h1\n");
    coffer_transaction_free(transaction);
}

/* Begun, the answer lost, aborted since: another one is begun. With an id of the caller's it is
 * his. */
static void test_lost_beginning(void **state)
{
    static const struct fake_step steps[] = {
        {.what = FAKE_LOSE_ANSWER}, {FAKE_REFUSE, 409, "transaction_aborted"}};
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction;

    fake_dataset_script(&fixture->fake, steps, ARRAY_COUNT(steps));
    transaction = coffer_transaction_begin(fixture->client, "run", NULL, &fixture->err);
    assert_non_null(transaction);
    assert_string_equal(coffer_transaction_id(transaction), fixture->fake.transactions[1].id);
    coffer_transaction_free(transaction);
    fake_dataset_script(&fixture->fake, steps, ARRAY_COUNT(steps));
    assert_null(coffer_transaction_begin(fixture->client, "run",
        &(const struct coffer_transaction_options){.id = "batch-1"}, &fixture->err));
    assert_string_equal(fixture->err.code, "transaction_aborted");
}

static void test_ready(void **state)
{
    static const char *const channels[] = {"tracks", "hits"};
    static const struct fake_step steps[] = {{.what = FAKE_WELL}, {.what = FAKE_WELL},
        {.what = FAKE_WELL}, {.what = FAKE_WELL}, {.what = FAKE_LOSE_ANSWER}};
    const struct coffer_transaction_options options = {.id = "batch-2",
        .channels = channels,
        .channel_count = 2,
        .barrier = true,
        .commit_when_ready = true};
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction = begin(fixture, &options);
    struct coffer_commit commit;

    (void)fputs("t1\n", fixture->tracks);
    (void)fputs("h1\n", fixture->hits);
    fake_dataset_script(&fixture->fake, steps, ARRAY_COUNT(steps));
    assert_int_equal(
        coffer_transaction_ready(transaction, fixture->tracks, &commit, &fixture->err), 0);
    assert_false(commit.committed);
    assert_int_equal(coffer_transaction_commit(transaction, 0, NULL, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "transaction_not_ready");
    assert_true(fixture->err.again);
    /* The last one commits; its answer is lost, and found again. */
    assert_int_equal(
        coffer_transaction_ready(transaction, fixture->hits, &commit, &fixture->err), 0);
    assert_true(commit.committed);
    assert_int_equal(commit.version, 1);
    check(fixture, "t1\n", "h1\n");
    (void)fputs("t2\n", fixture->tracks); /* they have left it */
    assert_int_equal(fflush(fixture->tracks), 0);
    check(fixture, "t1\nt2\n", "h1\n");
    coffer_transaction_free(transaction);
}

static void test_left_open(void **state)
{
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction = begin(fixture, NULL);

    (void)fputs("t1\n", fixture->tracks);
    assert_int_equal(coffer_channel_join(fixture->tracks, transaction, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "bad_argument");
    coffer_transaction_free(transaction);
    assert_int_equal(fflush(fixture->tracks), EOF);
    assert_int_equal(coffer_stream_error(fixture->tracks, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "stale_stream");
    check(fixture, "", "");
}

/* A stream opened in a transaction claims nothing; closed before the commit, it is part of it. */
static void test_opened_inside(void **state)
{
    struct fixture *fixture = *state;
    struct coffer_transaction *transaction =
        coffer_transaction_begin(fixture->client, "run", NULL, &fixture->err);
    const struct coffer_channel_options options = {.transaction = transaction};
    unsigned claims = fake_requests(&fixture->fake, "/claim");
    FILE *file = coffer_channel_open(fixture->client, "run", "third", "a", &options, &fixture->err);

    assert_non_null(file);
    assert_int_equal(fake_requests(&fixture->fake, "/claim"), claims);
    (void)fputs("x\n", file);
    assert_int_equal(fclose(file), 0);
    assert_true(fake_channel_is(&fixture->fake, "third", "", 0));
    assert_int_equal(coffer_transaction_commit(transaction, 0, NULL, &fixture->err), 0);
    assert_true(fake_channel_is(&fixture->fake, "third", "x\n", 2));
    coffer_transaction_free(transaction);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abort, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aborted_by_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_opened_inside, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
