/* The cold reader, by both of its methods: every test runs with each. */
#include "storage/io/cold_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"

enum { FILE_SIZE = 4 * 1024 * 1024 + 123, READ_MAX = 128 * 1024 };

struct fixture {
    enum cold_method method;
    char dir[256];
    int fd; /* byte i of the file is byte_at(i) */
};

struct task { /* one read and what its done() tells */
    struct cold_read read;
    struct fixture *fixture;
    struct cold_reader *reader;
    uint64_t most_in_flight; /* seen by done() */
    unsigned again;          /* times that done() still submits it */
    bool is_done;            /* (done_lock) */
};

static pthread_mutex_t done_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t done_changed = PTHREAD_COND_INITIALIZER;

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)((offset * 0x9e3779b97f4a7c15u) >> 56);
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void set_up(struct fixture *fixture, enum cold_method method)
{
    const char *tmp = getenv("TMPDIR");
    char path[300];
    uint8_t *data = malloc(FILE_SIZE);

    assert_non_null(data);
    fixture->method = method;
    (void)snprintf(
        fixture->dir, sizeof(fixture->dir), "%s/coffer-cold-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(fixture->dir));
    (void)snprintf(path, sizeof(path), "%s/data", fixture->dir);
    fixture->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fixture->fd >= 0);
    for (size_t i = 0; i < FILE_SIZE; i++)
        data[i] = byte_at(i);
    assert_int_equal(write(fixture->fd, data, FILE_SIZE), FILE_SIZE);
    assert_int_equal(unlink(path), 0);
    free(data);
    /* Out of the page cache as far as the file system does that, so that some reads are cold. */
    (void)fsync(fixture->fd);
    (void)posix_fadvise(fixture->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void tear_down(struct fixture *fixture)
{
    fault_disarm_all();
    close(fixture->fd);
    assert_int_equal(rmdir(fixture->dir), 0);
}

static struct cold_reader *make_reader(const struct fixture *fixture, unsigned depth)
{
    struct cold_reader *reader;
    struct error err;

    if (cold_reader_create(fixture->method, depth, 0, &reader, &err) != COFFER_OK)
        fail_msg("%s", err.text);
    assert_int_equal(cold_reader_method(reader), fixture->method);
    return reader;
}

/* ---- tasks ---- */

static void on_done(struct cold_read *read)
{
    struct task *task = container_of(read, struct task, read);
    struct cold_reader_statistics statistics;

    cold_reader_statistics(task->reader, &statistics);
    if (statistics.in_flight > task->most_in_flight)
        task->most_in_flight = statistics.in_flight;
    if (task->again > 0) {
        task->again--;
        cold_reader_submit(task->reader, read);
        return;
    }
    pthread_mutex_lock(&done_lock);
    task->is_done = true;
    pthread_cond_broadcast(&done_changed);
    pthread_mutex_unlock(&done_lock);
}

static void task_prepare(struct task *task, struct fixture *fixture, struct cold_reader *reader,
    uint64_t offset, size_t size)
{
    *task = (struct task){.fixture = fixture, .reader = reader};
    task->read = (struct cold_read){
        .fd = fixture->fd,
        .offset = offset,
        .size = size,
        .data = malloc(size + 1), /* never malloc(0) */
        .got = 77,                /* results of an earlier use do not matter */
        .error = 77,
        .done = on_done,
    };
    invariant(task->read.data != NULL);
}

static void task_wait(struct task *task)
{
    pthread_mutex_lock(&done_lock);
    while (!task->is_done)
        pthread_cond_wait(&done_changed, &done_lock);
    pthread_mutex_unlock(&done_lock);
}

/* Whether all that the file has of the range was read. invariant() in threads, where cmocka's
 * assertions may not be used. */
static void task_check(const struct task *task)
{
    const struct cold_read *read = &task->read;
    const uint8_t *data = read->data;
    uint64_t left = read->offset < FILE_SIZE ? FILE_SIZE - read->offset : 0;

    invariant(task->is_done);
    invariant(read->error == 0);
    invariant(read->got == (read->size < left ? read->size : left));
    for (size_t i = 0; i < read->got; i++)
        invariant(data[i] == byte_at(read->offset + i));
}

static void task_release(struct task *task)
{
    free(task->read.data);
}

/* ---- the tests ---- */

enum { HAMMER_THREADS = 6, HAMMER_ROUNDS = 12, HAMMER_BURST = 24 };

struct hammer {
    struct fixture *fixture;
    struct cold_reader *reader;
    uint64_t seed;
};

static void *run_hammer(void *context)
{
    struct hammer *hammer = context;
    struct task tasks[HAMMER_BURST];

    for (int round = 0; round < HAMMER_ROUNDS; round++) {
        for (size_t i = 0; i < HAMMER_BURST; i++) {
            uint64_t offset = next_random(&hammer->seed) % FILE_SIZE;
            size_t size = 1 + next_random(&hammer->seed) % (i % 4 == 0 ? READ_MAX : 5000);

            task_prepare(&tasks[i], hammer->fixture, hammer->reader, offset, size);
            cold_reader_submit(hammer->reader, &tasks[i].read);
        }
        for (size_t i = 0; i < HAMMER_BURST; i++) {
            task_wait(&tasks[i]);
            task_check(&tasks[i]);
            task_release(&tasks[i]);
        }
    }
    return NULL;
}

/* Goal: many threads at once each get their own bytes. */
static void check_many_threads(struct fixture *fixture)
{
    struct cold_reader *reader = make_reader(fixture, 16);
    struct cold_reader_statistics statistics;
    struct hammer hammers[HAMMER_THREADS];
    pthread_t threads[HAMMER_THREADS];

    for (size_t i = 0; i < HAMMER_THREADS; i++) {
        hammers[i] = (struct hammer){fixture, reader, 0x1234567 + i};
        assert_int_equal(pthread_create(&threads[i], NULL, run_hammer, &hammers[i]), 0);
    }
    for (size_t i = 0; i < HAMMER_THREADS; i++)
        pthread_join(threads[i], NULL);
    cold_reader_statistics(reader, &statistics);
    assert_int_equal(statistics.submitted, HAMMER_THREADS * HAMMER_ROUNDS * HAMMER_BURST);
    assert_int_equal(statistics.waiting, 0);
    cold_reader_destroy(reader);
}

/* Goal: no more than `depth` are in flight, and those beyond it are not forgotten. */
static void check_beyond_depth(struct fixture *fixture)
{
    enum { DEPTH = 3, COUNT = 500 };
    struct cold_reader *reader = make_reader(fixture, DEPTH);
    struct task *tasks = calloc(COUNT, sizeof(*tasks));

    assert_non_null(tasks);
    for (size_t i = 0; i < COUNT; i++)
        task_prepare(&tasks[i], fixture, reader, i * 8191, 4096);
    for (size_t i = 0; i < COUNT; i++)
        cold_reader_submit(reader, &tasks[i].read);
    for (size_t i = 0; i < COUNT; i++) {
        task_wait(&tasks[i]);
        task_check(&tasks[i]);
        assert_in_range(tasks[i].most_in_flight, 1, DEPTH);
        task_release(&tasks[i]);
    }
    free(tasks);
    cold_reader_destroy(reader);
}

static struct cold_read read_once(
    struct fixture *fixture, struct cold_reader *reader, int fd, uint64_t offset, size_t size)
{
    struct task task;

    task_prepare(&task, fixture, reader, offset, size);
    task.read.fd = fd;
    cold_reader_submit(reader, &task.read);
    task_wait(&task);
    if (fd == fixture->fd && task.read.error == 0)
        task_check(&task);
    task_release(&task);
    return task.read;
}

/* Goal: an error is that of this read, and the next one works. */
static void check_errors(struct fixture *fixture)
{
    struct cold_reader *reader = make_reader(fixture, 0);
    int dir = open(fixture->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), closed = dup(fixture->fd);
    struct cold_read read;

    assert_true(dir >= 0 && closed >= 0);
    close(closed);
    read = read_once(fixture, reader, closed, 0, 100);
    assert_int_equal(read.error, EBADF);
    assert_int_equal(read.got, 0);
    assert_int_equal(read_once(fixture, reader, -1, 0, 100).error, EBADF);
    assert_int_equal(read_once(fixture, reader, dir, 0, 100).error, EISDIR);
    assert_int_equal(read_once(fixture, reader, fixture->fd, 0, 100).error, 0);
    close(dir);
    cold_reader_destroy(reader);
}

/* Goal: the end of the file cuts a read, without an error. */
static void check_end_of_file(struct fixture *fixture)
{
    struct cold_reader *reader = make_reader(fixture, 0);

    assert_int_equal(read_once(fixture, reader, fixture->fd, FILE_SIZE - 10, 100).got, 10);
    assert_int_equal(read_once(fixture, reader, fixture->fd, FILE_SIZE - 100, 100).got, 100);
    assert_int_equal(read_once(fixture, reader, fixture->fd, FILE_SIZE, 100).got, 0);
    assert_int_equal(read_once(fixture, reader, fixture->fd, FILE_SIZE + 5000, 100).got, 0);
    assert_int_equal(read_once(fixture, reader, fixture->fd, 5, 0).got, 0);
    assert_int_equal(read_once(fixture, reader, fixture->fd, 0, FILE_SIZE).got, FILE_SIZE);
    cold_reader_destroy(reader);
}

/* Goal: reads that the kernel cuts short are continued. Method: files of /proc give at most a page
 * at a time. */
static void check_short_reads(struct fixture *fixture)
{
    enum { SIZE = 100000 };
    struct cold_reader *reader = make_reader(fixture, 0);
    int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
    struct task task;
    char *expected = malloc(SIZE);
    size_t got = 0;
    ssize_t piece;

    assert_non_null(expected);
    while (fd >= 0 && got < SIZE && (piece = pread(fd, expected + got, SIZE - got, (off_t)got)) > 0)
        got += (size_t)piece;
    if (got == SIZE) { /* else this kernel has no such file */
        task_prepare(&task, fixture, reader, 0, SIZE);
        task.read.fd = fd;
        cold_reader_submit(reader, &task.read);
        task_wait(&task);
        assert_int_equal(task.read.error, 0);
        assert_int_equal(task.read.got, SIZE);
        assert_memory_equal(task.read.data, expected, SIZE);
        task_release(&task);
    }
    if (fd >= 0)
        close(fd);
    free(expected);
    cold_reader_destroy(reader);
}

/* Goal: destroying waits for all that was submitted, also by done() meanwhile. */
static void check_destroy_in_flight(struct fixture *fixture)
{
    enum { COUNT = 100, AGAIN = 3 };
    struct task tasks[COUNT];

    for (unsigned depth = 1; depth <= 64; depth *= 4) {
        struct cold_reader *reader = make_reader(fixture, depth);

        for (size_t i = 0; i < COUNT; i++) {
            task_prepare(&tasks[i], fixture, reader, i * 40000, 30000);
            tasks[i].again = i % 2 == 0 ? AGAIN : 0;
            cold_reader_submit(reader, &tasks[i].read);
        }
        cold_reader_destroy(reader);
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal(tasks[i].again, 0);
            task_check(&tasks[i]);
            task_release(&tasks[i]);
        }
    }
    cold_reader_destroy(make_reader(fixture, 1)); /* which never had a read */
    cold_reader_destroy(NULL);
}

/* Goal: the fault point reaches exactly the read it is armed for. */
static void check_fault(struct fixture *fixture)
{
    struct cold_reader *reader = make_reader(fixture, 0);
    struct cold_read read;

    fault_arm(FAULT_COLD_READ, EIO, 2, 1);
    assert_int_equal(read_once(fixture, reader, fixture->fd, 0, 100).error, 0);
    read = read_once(fixture, reader, fixture->fd, 0, 100);
    assert_int_equal(read.error, EIO);
    assert_int_equal(read.got, 0);
    assert_int_equal(read_once(fixture, reader, fixture->fd, 0, 100).error, 0);
    assert_int_equal(fault_hits(FAULT_COLD_READ), 1);
    fault_arm(FAULT_COLD_READ, EIO, 1, 0);
    assert_int_equal(read_once(fixture, reader, fixture->fd, 0, 100).error, EIO);
    assert_int_equal(read_once(fixture, reader, fixture->fd, 0, 100).error, EIO);
    cold_reader_destroy(reader);
}

/* Goal: a read that takes long holds up no other. Method: the ring also takes a pipe, which is as
 * slow as we like; pread() does not, and has its other threads. */
static void check_slow_read(struct fixture *fixture)
{
    struct cold_reader *reader = make_reader(fixture, 2);
    struct task slow;
    int pipe_fds[2];

    assert_int_equal(pipe(pipe_fds), 0);
    task_prepare(&slow, fixture, reader, 0, 1);
    slow.read.fd = pipe_fds[0];
    cold_reader_submit(reader, &slow.read);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(read_once(fixture, reader, fixture->fd, i * 70000, 100).got, 100);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    task_wait(&slow);
    assert_int_equal(slow.read.error, fixture->method == COLD_URING ? 0 : ESPIPE);
    task_release(&slow);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    cold_reader_destroy(reader);
}

/* ---- without a ring ---- */

/* From here on io_uring_setup() fails in this process, as in many containers. */
static void forbid_rings(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_COUNT(filter), filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(2); /* this system has no seccomp: nothing can be said */
}

/* Goal: without io_uring, COLD_URING says so and COLD_AUTO does without. */
static void test_no_ring(void **state)
{
    int result = 0;
    pid_t child = fork();

    (void)state;
    assert_true(child >= 0);
    if (child == 0) {
        struct cold_reader *reader = NULL;
        struct error err;

        forbid_rings();
        if (cold_reader_create(COLD_URING, 0, 0, &reader, &err) != COFFER_IO || reader != NULL ||
            strstr(err.text, "io_uring") == NULL)
            _exit(3);
        if (cold_reader_create(COLD_AUTO, 0, 2, &reader, &err) != COFFER_OK ||
            cold_reader_method(reader) != COLD_SYNC)
            _exit(4);
        cold_reader_destroy(reader);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    if (WEXITSTATUS(result) == 2)
        skip();
    assert_int_equal(WEXITSTATUS(result), 0);
}

static bool has_ring(void)
{
    struct cold_reader *reader;
    enum cold_method method;

    assert_int_equal(cold_reader_create(COLD_AUTO, 1, 1, &reader, NULL), COFFER_OK);
    method = cold_reader_method(reader);
    cold_reader_destroy(reader);
    return method == COLD_URING;
}

#define BOTH_METHODS(name)                                                                         \
    static void test_##name##_sync(void **state)                                                   \
    {                                                                                              \
        struct fixture fixture;                                                                    \
                                                                                                   \
        (void)state;                                                                               \
        set_up(&fixture, COLD_SYNC);                                                               \
        check_##name(&fixture);                                                                    \
        tear_down(&fixture);                                                                       \
    }                                                                                              \
    static void test_##name##_uring(void **state)                                                  \
    {                                                                                              \
        struct fixture fixture;                                                                    \
                                                                                                   \
        (void)state;                                                                               \
        if (!has_ring())                                                                           \
            skip();                                                                                \
        set_up(&fixture, COLD_URING);                                                              \
        check_##name(&fixture);                                                                    \
        tear_down(&fixture);                                                                       \
    }

BOTH_METHODS(many_threads)
BOTH_METHODS(beyond_depth)
BOTH_METHODS(errors)
BOTH_METHODS(end_of_file)
BOTH_METHODS(short_reads)
BOTH_METHODS(destroy_in_flight)
BOTH_METHODS(fault)
BOTH_METHODS(slow_read)

#define BOTH_TESTS(name) cmocka_unit_test(test_##name##_sync), cmocka_unit_test(test_##name##_uring)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH_TESTS(many_threads),
        BOTH_TESTS(beyond_depth),
        BOTH_TESTS(errors),
        BOTH_TESTS(end_of_file),
        BOTH_TESTS(short_reads),
        BOTH_TESTS(destroy_in_flight),
        BOTH_TESTS(fault),
        BOTH_TESTS(slow_read),
        cmocka_unit_test(test_no_ring),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
