/*
 * Goal: what is written to a stream is at the server once, in order and in few appends, or the
 * stream says that it is not. Method: a model of a dataset behind a server that loses requests and
 * answers, and what it has in the end.
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

enum { BUFFER = 64 * 1024 };

struct fixture {
    struct fake_dataset fake;
    struct coffer_client *client;
    struct fake_clock clock;
    struct coffer_error err;
    char *text; /* what was written */
    size_t size;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    fake_dataset_start(&fixture->fake);
    fixture->client = coffer_open(fixture->fake.server.url, NULL, NULL);
    fake_clock_set(&fixture->clock, fixture->client);
    fixture->text = malloc(8 << 20);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    coffer_close(fixture->client);
    fake_dataset_stop(&fixture->fake);
    free(fixture->text);
    free(fixture);
    return 0;
}

static FILE *open_stream(struct fixture *fixture, const struct coffer_channel_options *options)
{
    FILE *file = coffer_channel_open(fixture->client, "run", "words", "a", options, &fixture->err);

    assert_non_null(file);
    return file;
}

/* A line to the stream, and to what is expected. */
static void write_line(struct fixture *fixture, FILE *file, unsigned number)
{
    int size = fprintf(file, "%u %u\n", number, number * 17);

    assert_true(size > 0);
    fixture->size += (size_t)sprintf(fixture->text + fixture->size, "%u %u\n", number, number * 17);
}

static void check_channel(struct fixture *fixture)
{
    script_server_settle(&fixture->fake.server);
    assert_true(fake_channel_is(&fixture->fake, "words", fixture->text, fixture->size));
}

/* The appends among the requests. */
static const struct fake_request *append_of(const struct fixture *fixture, unsigned number)
{
    for (unsigned i = 0; i < fixture->fake.count; i++) {
        const struct fake_request *request = &fixture->fake.log[i];

        if (strcmp(request->path, "/v1/datasets/run/channels/words") == 0 && number-- == 0)
            return request;
    }
    return NULL;
}

/* One that must be there. */
static const struct fake_request *the_append(const struct fixture *fixture, unsigned number)
{
    const struct fake_request *append = append_of(fixture, number);

    invariant(append != NULL);
    return append;
}

static void test_few_appends(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = open_stream(fixture, &(const struct coffer_channel_options){.per_line = true});
    const struct fake_request *append;

    for (unsigned i = 0; i < 100000; i++)
        write_line(fixture, file, i);
    assert_int_equal(ftell(file), fixture->size);
    assert_int_equal(fclose(file), 0);
    check_channel(fixture);
    assert_int_equal(fake_channel(&fixture->fake, "words")->records, 100000);
    assert_true(fixture->size > 1 << 20); /* more than one buffer */
    assert_int_equal(fixture->fake.count, 1 + (fixture->size + (1 << 20) - 1) / (1 << 20));
    append = the_append(fixture, 0);
    assert_true(append->lines && append->has_offset && append->has_epoch);
    assert_int_equal(append->epoch, 1);
    assert_int_equal(append->offset, 0);
    assert_int_equal(the_append(fixture, 1)->offset, append->size);
}

/* Lines that do not fit, lines without an end, flushes in the middle of lines. */
static void test_lines(void **state)
{
    struct fixture *fixture = *state;
    const struct coffer_channel_options options = {.per_line = true, .buffer_size = 1};
    FILE *file = open_stream(fixture, &options);
    unsigned seen = 0;

    for (unsigned i = 0; i < 300; i++) {
        size_t size = (i * 7919) % (i % 10 == 0 ? 5 * BUFFER : 3000);

        memset(fixture->text + fixture->size, 'a' + (int)(i % 26), size);
        fixture->text[fixture->size + size] = '\n';
        assert_int_equal(fwrite(fixture->text + fixture->size, 1, size / 2, file), size / 2);
        if (i % 3 == 0)
            assert_int_equal(fflush(file), 0);
        assert_int_equal(
            fwrite(fixture->text + fixture->size + size / 2, 1, size + 1 - size / 2, file),
            size + 1 - size / 2);
        fixture->size += size + 1;
    }
    assert_int_equal(fputs("no end", file), 1);
    assert_int_equal(coffer_channel_flush(file, NULL), 0);
    assert_true(fake_channel_is(&fixture->fake, "words", fixture->text, fixture->size));
    assert_int_equal(fclose(file), 0);
    memcpy(fixture->text + fixture->size, "no end", 6);
    fixture->size += 6;
    check_channel(fixture);
    for (const struct fake_request *append; (append = append_of(fixture, seen)) != NULL; seen++)
        assert_true(append->offset + append->size == fixture->size ||
                    fixture->text[append->offset + append->size - 1] == '\n');
}

/* Whatever is lost, each byte is there once. */
static void test_lost(void **state)
{
    static const struct fake_step steps[] = {{.what = FAKE_LOSE_ANSWER} /* of the claim */,
        {.what = FAKE_LOSE_REQUEST}, {.what = FAKE_WELL}, {.what = FAKE_LOSE_REQUEST},
        {.what = FAKE_LOSE_ANSWER}, {.what = FAKE_LOSE_ANSWER}, {.what = FAKE_LOSE_REQUEST},
        {FAKE_REFUSE, 503, "overloaded"}, {.what = FAKE_LOSE_ANSWER},
        {FAKE_REFUSE, 500, "internal"}, {.what = FAKE_WELL}, {.what = FAKE_LOSE_ANSWER},
        {.what = FAKE_LOSE_REQUEST}};
    struct fixture *fixture = *state;

    for (unsigned round = 0; round < 4; round++) {
        const struct coffer_channel_options options = {.per_line = round % 2 == 1,
            .pipeline = round >= 2,
            .buffer_size = BUFFER,
            .writer = round == 1 ? COFFER_GUEST : COFFER_OWNER};
        FILE *file;

        fake_dataset_script(&fixture->fake, steps, ARRAY_COUNT(steps));
        file = open_stream(fixture, &options);
        assert_int_equal(ftell(file), fixture->size);
        for (unsigned i = 0; i < 20000; i++) {
            write_line(fixture, file, i);
            if (i % 7000 == 1)
                assert_int_equal(fflush(file), 0);
        }
        assert_int_equal(coffer_channel_close(file, &fixture->err), 0);
        check_channel(fixture);
    }
}

/* After a failure nothing more is sent, and everything says so. */
static void test_failure_stays(void **state)
{
    static const struct {
        struct fake_step step;
        int number;
    } cases[] = {{{FAKE_REFUSE, 409, "fenced"}, EPERM},
        {{FAKE_REFUSE, 409, "offset_mismatch"}, ESTALE},
        {{FAKE_REFUSE, 409, "channel_busy"}, EBUSY}, {{FAKE_REFUSE, 409, "dataset_closed"}, EROFS},
        {{FAKE_REFUSE, 507, "disk_full"}, ENOSPC}};
    struct fixture *fixture = *state;

    for (unsigned i = 0; i < 2 * ARRAY_COUNT(cases); i++) {
        const struct fake_step *step = &cases[i / 2].step;
        const struct coffer_channel_options options = {.pipeline = i % 2 == 1};
        FILE *file = open_stream(fixture, &options);
        unsigned requests;

        fake_dataset_script(&fixture->fake, step, 1);
        write_line(fixture, file, i);
        errno = 0;
        assert_int_equal(fflush(file), EOF);
        assert_int_equal(errno, cases[i / 2].number);
        requests = fixture->fake.count;
        (void)fputs("more", file);
        assert_int_equal(fflush(file), EOF);
        assert_int_equal(coffer_stream_error(file, &fixture->err), -1);
        assert_string_equal(fixture->err.code, step->code);
        assert_int_equal(coffer_channel_flush(file, &fixture->err), -1);
        assert_int_equal(coffer_channel_append(file, "x", 1, NULL, &fixture->err), -1);
        fixture->err.code[0] = '\0';
        assert_int_equal(coffer_channel_close(file, &fixture->err), -1);
        assert_int_equal(errno, cases[i / 2].number);
        assert_string_equal(fixture->err.code, step->code);
        assert_int_equal(fixture->fake.count, requests);
    }
    assert_true(fake_channel_is(&fixture->fake, "words", "", 0));
}

/* A large fwrite() whose first part fails must not let its second part through. */
static void test_no_hole(void **state)
{
    static const struct fake_step steps[] = {{.what = FAKE_WELL}, {FAKE_REFUSE, 507, "disk_full"}};
    struct fixture *fixture = *state;

    for (unsigned i = 0; i < 2; i++) {
        const struct coffer_channel_options options = {.pipeline = i == 1, .buffer_size = BUFFER};
        FILE *file = open_stream(fixture, &options);
        size_t before = fake_channel(&fixture->fake, "words")->size;

        memset(fixture->text, 'x', 10 * BUFFER);
        fake_dataset_script(&fixture->fake, steps, 2);
        (void)fwrite(fixture->text, 1, 10 * BUFFER, file);
        (void)fputs("tail", file);
        assert_int_equal(fclose(file), EOF);
        assert_int_equal(errno, ENOSPC);
        assert_int_equal(fake_channel(&fixture->fake, "words")->size, before + BUFFER);
    }
}

static void test_fenced_by_another(void **state)
{
    struct fixture *fixture = *state;
    FILE *first = open_stream(fixture, NULL), *second;

    write_line(fixture, first, 1);
    assert_int_equal(fflush(first), 0);
    second = open_stream(fixture, NULL);
    assert_int_equal(ftell(second), fixture->size);
    (void)fputs("too late", first);
    assert_int_equal(fclose(first), EOF);
    assert_int_equal(errno, EPERM);
    write_line(fixture, second, 2);
    assert_int_equal(fclose(second), 0);
    check_channel(fixture);
}

static void test_exact_records(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = open_stream(fixture, &(const struct coffer_channel_options){.per_line = true});
    struct coffer_receipt receipt;
    char *large = fixture->text + fixture->size;

    write_line(fixture, file, 1);
    write_line(fixture, file, 2);
    large = fixture->text + fixture->size;
    memset(large, '\n', 5 << 20);
    assert_int_equal(coffer_channel_append(file, large, 5 << 20, &receipt, &fixture->err), 0);
    assert_int_equal(receipt.offset, fixture->size);
    assert_int_equal(receipt.length, 5 << 20);
    assert_int_equal(receipt.record, 2);
    fixture->size += 5 << 20;
    write_line(fixture, file, 3);
    assert_int_equal(fclose(file), 0);
    check_channel(fixture);
    assert_int_equal(fake_channel(&fixture->fake, "words")->records, 4);
}

/* fclose() of a buffered stream waits for the disk. */
static void test_buffered(void **state)
{
    static const struct fake_step steps[] = {
        {.what = FAKE_WELL}, {.what = FAKE_WELL}, {FAKE_REFUSE, 410, "ticket_lost"}};
    struct fixture *fixture = *state;
    const struct coffer_channel_options options = {.durability = COFFER_BUFFERED};
    FILE *file = open_stream(fixture, &options);

    write_line(fixture, file, 1);
    assert_int_equal(fflush(file), 0);
    assert_true(the_append(fixture, 0)->buffered);
    assert_int_equal(fake_requests(&fixture->fake, "/v1/sync"), 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(fake_requests(&fixture->fake, "/v1/sync"), 1);
    fake_dataset_script(&fixture->fake, steps, 3);
    file = open_stream(fixture, &options);
    write_line(fixture, file, 2);
    assert_int_equal(coffer_channel_close(file, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "ticket_lost");
}

/* Without an offset what is lost cannot be sent again. */
static void test_shared(void **state)
{
    static const struct fake_step lost[] = {{.what = FAKE_LOSE_ANSWER}};
    struct fixture *fixture = *state;
    const struct coffer_channel_options options = {.writer = COFFER_SHARED};
    FILE *one = open_stream(fixture, &options), *two = open_stream(fixture, &options);

    for (unsigned i = 0; i < 10; i++) {
        write_line(fixture, i % 2 == 0 ? one : two, i);
        assert_int_equal(fflush(i % 2 == 0 ? one : two), 0);
    }
    check_channel(fixture);
    assert_false(the_append(fixture, 0)->has_offset);
    assert_int_equal(ftell(one), -1);
    fake_dataset_script(&fixture->fake, lost, 1);
    write_line(fixture, one, 10);
    assert_int_equal(coffer_channel_close(one, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "answer_lost");
    check_channel(fixture); /* it happens to be there, once */
    assert_int_equal(fclose(two), 0);
}

static void test_server_forgets(void **state)
{
    struct fixture *fixture = *state;
    FILE *file = open_stream(fixture, NULL);

    fake_channel(&fixture->fake, "words")->last_offset = 0;
    fake_channel(&fixture->fake, "words")->size = 0;
    write_line(fixture, file, 1);
    assert_int_equal(fflush(file), 0);
    /* A server that forgot it all and does not look at offsets. */
    fake_channel(&fixture->fake, "words")->size = 0;
    write_line(fixture, file, 2);
    assert_int_equal(coffer_channel_close(file, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "offset_mismatch");
    assert_int_equal(fixture->err.offset, 0);
}

static void test_arguments(void **state)
{
    struct fixture *fixture = *state;

    assert_null(coffer_channel_open(fixture->client, "run", "words", "w", NULL, &fixture->err));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(coffer_channel_flush(stderr, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "bad_argument");
    assert_int_equal(coffer_stream_error(stderr, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_few_appends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lines, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failure_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_hole, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fenced_by_another, setup, teardown),
        cmocka_unit_test_setup_teardown(test_exact_records, setup, teardown),
        cmocka_unit_test_setup_teardown(test_buffered, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(test_server_forgets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_arguments, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
