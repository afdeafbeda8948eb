/*
 * Goal: bytes come out as they went in, the end and a failure are seen, and a cancel from either
 * side ends both, whatever they wait for. Method: a thread on one side, pieces of random sizes on
 * the other, and cancels at random places. Each case hangs (and so fails) if a wake is lost.
 */
#include "api/pipe.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { PIPE_SIZE = 1024, TOTAL = 3 << 20 };

static unsigned char byte_at(uint64_t position)
{
    return (unsigned char)(position * 2654435761u >> 13);
}

struct side {
    struct pipe *pipe;
    unsigned seed;
    uint64_t total;     /* bytes to write, or those that were read */
    uint64_t cancel_at; /* cancel when so many bytes went by; UINT64_MAX: never */
    bool wrong;
    bool cancelled;
};

static void *blocking_writer(void *argument)
{
    struct side *side = argument;
    unsigned char piece[3000];
    uint64_t at = 0;

    while (at < side->total && !side->cancelled) {
        size_t size = (size_t)rand_r(&side->seed) % sizeof(piece) + 1;

        if (size > side->total - at)
            size = (size_t)(side->total - at);
        for (size_t i = 0; i < size; i++)
            piece[i] = byte_at(at + i);
        side->cancelled = !pipe_write(side->pipe, piece, size);
        at += size;
        if (at >= side->cancel_at)
            side->cancelled = true;
    }
    if (side->cancelled)
        pipe_cancel(side->pipe);
    else
        pipe_finish(side->pipe, COFFER_OK, NULL);
    return NULL;
}

static void *blocking_reader(void *argument)
{
    struct side *side = argument;

    for (;;) {
        const void *data;
        size_t size;

        if (!pipe_read(side->pipe, &data, &size, NULL)) {
            side->cancelled = true;
            break;
        }
        for (size_t i = 0; i < size; i++)
            side->wrong |= ((const unsigned char *)data)[i] != byte_at(side->total + i);
        side->total += size;
        if (size == 0)
            break;
        if (side->total >= side->cancel_at) {
            side->cancelled = true;
            pipe_cancel(side->pipe);
            break;
        }
    }
    return NULL;
}

/* Read all on this side; returns the bytes seen. */
static uint64_t try_read_all(struct pipe *pipe, unsigned seed, uint64_t cancel_at, bool *ended)
{
    struct gate gate;
    uint64_t total = 0;

    gate_init(&gate);
    *ended = false;
    for (;;) {
        unsigned char piece[2000];
        size_t size;
        size_t max = (size_t)rand_r(&seed) % sizeof(piece) + 1;
        enum coffer_status status = pipe_try_read(pipe, piece, max, &size, gate_waker(&gate), NULL);

        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            continue;
        }
        if (status != COFFER_OK)
            break;
        for (size_t i = 0; i < size; i++)
            assert_int_equal(piece[i], byte_at(total + i));
        total += size;
        *ended = size == 0;
        if (size == 0)
            break;
        if (total >= cancel_at) {
            pipe_cancel(pipe);
            break;
        }
    }
    gate_release(&gate);
    return total;
}

static uint64_t try_write_all(struct pipe *pipe, unsigned seed, uint64_t total, uint64_t cancel_at)
{
    struct gate gate;
    uint64_t at = 0;

    gate_init(&gate);
    while (at < total && at < cancel_at) {
        unsigned char piece[3000];
        size_t size = (size_t)rand_r(&seed) % sizeof(piece) + 1, done = 0, taken;

        if (size > total - at)
            size = (size_t)(total - at);
        for (size_t i = 0; i < size; i++)
            piece[i] = byte_at(at + i);
        while (pipe_try_write(pipe, piece + done, size - done, &taken, gate_waker(&gate)) ==
               COFFER_AGAIN) {
            done += taken;
            gate_wait(&gate);
        }
        at += size;
    }
    if (at >= total)
        pipe_finish(pipe, COFFER_OK, NULL);
    else
        pipe_cancel(pipe);
    gate_release(&gate);
    return at;
}

static struct pipe *new_pipe(void)
{
    struct pipe *pipe = NULL;

    assert_int_equal(pipe_create(PIPE_SIZE, &pipe, NULL), COFFER_OK);
    return pipe;
}

static void test_reply(void **state)
{
    struct side side = {.pipe = new_pipe(), .seed = 1, .total = TOTAL, .cancel_at = UINT64_MAX};
    pthread_t thread;
    bool ended;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, blocking_writer, &side), 0);
    assert_int_equal(try_read_all(side.pipe, 2, UINT64_MAX, &ended), TOTAL);
    assert_true(ended);
    pthread_join(thread, NULL);
    assert_false(side.cancelled);
    pipe_destroy(side.pipe);
}

static void test_body(void **state)
{
    struct side side = {.pipe = new_pipe(), .seed = 3, .cancel_at = UINT64_MAX};
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, blocking_reader, &side), 0);
    assert_int_equal(try_write_all(side.pipe, 4, TOTAL, UINT64_MAX), TOTAL);
    pthread_join(thread, NULL);
    assert_false(side.cancelled || side.wrong);
    assert_int_equal(side.total, TOTAL);
    pipe_destroy(side.pipe);
}

static void test_cancels(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 400; round++) {
        bool by_thread = round % 2 == 0;
        uint64_t at = (uint64_t)(round * 97 % 20000);
        struct side side = {.pipe = new_pipe(),
            .seed = round,
            .total = round % 4 < 2 ? 1 << 16 : 0,
            .cancel_at = by_thread ? at : UINT64_MAX};
        pthread_t thread;
        bool ended;

        if (round % 4 < 2) {
            assert_int_equal(pthread_create(&thread, NULL, blocking_writer, &side), 0);
            (void)try_read_all(side.pipe, round, by_thread ? UINT64_MAX : at, &ended);
            assert_false(ended);
        } else {
            assert_int_equal(pthread_create(&thread, NULL, blocking_reader, &side), 0);
            (void)try_write_all(side.pipe, round, 1 << 16, by_thread ? UINT64_MAX : at);
        }
        pthread_join(thread, NULL);
        assert_true(side.cancelled);
        assert_false(side.wrong);
        pipe_destroy(side.pipe);
    }
}

static void test_failure_comes_after_the_bytes(void **state)
{
    struct pipe *pipe = new_pipe();
    struct error err, seen;
    struct gate gate;
    char out[16];
    size_t size;

    (void)state;
    gate_init(&gate);
    assert_true(pipe_write(pipe, "abc", 3));
    assert_int_equal(error_set(&err, COFFER_DATA_CORRUPT, "rotten"), COFFER_DATA_CORRUPT);
    pipe_finish(pipe, err.status, &err);
    assert_int_equal(
        pipe_try_read(pipe, out, sizeof(out), &size, gate_waker(&gate), NULL), COFFER_OK);
    assert_int_equal(size, 3);
    assert_int_equal(pipe_try_read(pipe, out, sizeof(out), &size, gate_waker(&gate), &seen),
        COFFER_DATA_CORRUPT);
    assert_string_equal(seen.text, "rotten");
    gate_release(&gate);
    pipe_destroy(pipe);
}

/* As long as nothing was read, a failure comes instead of the bytes. */
static void test_wait(void **state)
{
    struct pipe *pipe = new_pipe();
    struct error err, seen;
    struct gate gate;

    (void)state;
    gate_init(&gate);
    assert_int_equal(pipe_try_wait(pipe, gate_waker(&gate), NULL), COFFER_AGAIN);
    assert_true(pipe_write(pipe, "abc", 3));
    pipe_flush(pipe);
    gate_wait(&gate);
    assert_int_equal(pipe_try_wait(pipe, gate_waker(&gate), NULL), COFFER_OK);
    pipe_finish(pipe, error_set(&err, COFFER_NO_SUCH_CHUNK, "gone"), &err);
    assert_int_equal(pipe_try_wait(pipe, gate_waker(&gate), &seen), COFFER_NO_SUCH_CHUNK);
    assert_string_equal(seen.text, "gone");
    assert_false(pipe_cancelled(pipe));
    pipe_cancel(pipe);
    assert_true(pipe_cancelled(pipe));
    gate_release(&gate);
    pipe_destroy(pipe);
}

static void test_poke(void **state)
{
    struct pipe *pipe = new_pipe();
    struct gate gate;
    const void *data;
    size_t size;
    bool poked;

    (void)state;
    gate_init(&gate);
    pipe_poke(pipe);
    assert_true(pipe_read(pipe, &data, &size, &poked));
    assert_true(poked && size == 0);
    pipe_poke(pipe);
    assert_int_equal(pipe_try_write(pipe, "abc", 3, &size, gate_waker(&gate)), COFFER_OK);
    assert_true(pipe_read(pipe, &data, &size, &poked));
    assert_true(!poked && size == 3);
    pipe_finish(pipe, COFFER_OK, NULL);
    assert_true(pipe_read(pipe, &data, &size, &poked));
    assert_true(!poked && size == 0);
    gate_release(&gate);
    pipe_destroy(pipe);
}

static void test_flush_wakes_for_little(void **state)
{
    struct pipe *pipe = new_pipe();
    struct gate gate;
    char out[16];
    size_t size;

    (void)state;
    gate_init(&gate);
    assert_int_equal(
        pipe_try_read(pipe, out, sizeof(out), &size, gate_waker(&gate), NULL), COFFER_AGAIN);
    pipe_flush(pipe); /* nothing there: no wake yet */
    assert_false(gate.open);
    assert_true(pipe_write(pipe, "x", 1));
    assert_false(gate.open);
    pipe_flush(pipe);
    assert_true(gate.open);
    gate_wait(&gate);
    assert_int_equal(
        pipe_try_read(pipe, out, sizeof(out), &size, gate_waker(&gate), NULL), COFFER_OK);
    assert_int_equal(size, 1);
    gate_release(&gate);
    pipe_destroy(pipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply),
        cmocka_unit_test(test_body),
        cmocka_unit_test(test_cancels),
        cmocka_unit_test(test_failure_comes_after_the_bytes),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_poke),
        cmocka_unit_test(test_flush_wakes_for_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
