/*
 * Two ways to run the same queue.
 *
 * Rules:
 *  1. Submitters only link their read into the queue, under the lock, and wake whoever sleeps. All
 *     system calls that may take long are made by the reader's own threads.
 *  2. The ring belongs to the completer alone (IORING_SETUP_SINGLE_ISSUER where the kernel has it).
 *     It sleeps in the ring; a read of an eventfd is kept in there to wake it. Submitters write the
 *     eventfd only if nobody has since the completer last looked at the queue, and there is room
 *     for more, so a burst costs one write and reaches the kernel with one io_uring_enter().
 *  3. Every hand-over from submitter to completer is through the lock, which is also what makes the
 *     order visible to ThreadSanitizer; it does not see the kernel's writes into the buffers.
 *  4. done() is called without the lock, and the read is not touched after it. It counts as in
 *     flight until done() has returned, so that destroying waits for that too.
 */
#include "storage/io/cold_reader.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"

enum {
    RETRIES_MAX = 1000,      /* EINTR and EAGAIN in a row, without a byte read between */
    READ_SIZE_MAX = 1 << 30, /* of one system call, which takes up to 2 GiB - 4 KiB */
    RING_UNKNOWN = 1,
};

struct cold_reader {
    enum cold_method method;
    unsigned depth;

    struct lock lock;
    struct cold_read *first, **last; /* (lock) waiting, oldest first */
    uint64_t submitted, waiting;     /* (lock) */
    uint64_t in_flight;              /* (lock) */
    bool sleeping;                   /* (lock) the completer will see the queue only when woken */
    bool stopping;                   /* (lock) */
    pthread_cond_t work;             /* sync: something waits, or stopping */

    struct io_uring ring; /* of the completer, which makes and frees it */
    int ring_result;      /* (lock) RING_UNKNOWN until it was made; then 0 or a negative errno */
    int wake_fd;
    uint64_t wake_value;

    unsigned thread_count;
    pthread_t threads[COLD_THREADS_MAX];
};

/* ---- the queue ---- */

static void queue_push(struct cold_reader *reader, struct cold_read *read)
{
    read->next = NULL;
    *reader->last = read;
    reader->last = &read->next;
    reader->waiting++;
    reader->submitted++;
}

/* The oldest that waits, now in flight; or NULL. Under the lock. */
static struct cold_read *queue_pop(struct cold_reader *reader)
{
    struct cold_read *read = reader->first;

    if (read == NULL)
        return NULL;
    reader->first = read->next;
    if (reader->first == NULL)
        reader->last = &reader->first;
    read->next = NULL;
    reader->waiting--;
    reader->in_flight++;
    return read;
}

static void wake_completer(struct cold_reader *reader)
{
    const uint64_t one = 1;
    ssize_t written;

    do
        written = write(reader->wake_fd, &one, sizeof(one));
    while (written < 0 && errno == EINTR);
    invariant(written == sizeof(one)); /* it would take 2^64 - 2 writes to make it block */
}

void cold_reader_submit(struct cold_reader *reader, struct cold_read *read)
{
    bool wake;

    read->got = 0;
    read->error = 0;
    read->retries = 0;
    lock_take(&reader->lock);
    queue_push(reader, read);
    wake = reader->sleeping && reader->in_flight < reader->depth;
    if (wake)
        reader->sleeping = false;
    if (reader->method == COLD_SYNC)
        pthread_cond_signal(&reader->work);
    lock_drop(&reader->lock);
    if (wake)
        wake_completer(reader);
}

void cold_reader_statistics(struct cold_reader *reader, struct cold_reader_statistics *out)
{
    lock_take(&reader->lock);
    out->submitted = reader->submitted;
    out->in_flight = reader->in_flight;
    out->waiting = reader->waiting;
    lock_drop(&reader->lock);
}

enum cold_method cold_reader_method(const struct cold_reader *reader)
{
    return reader->method;
}

/* ---- one read ---- */

static size_t next_size(const struct cold_read *read)
{
    size_t left = read->size - read->got;

    return left < READ_SIZE_MAX ? left : READ_SIZE_MAX;
}

/* Take the result of a system call: bytes, or an errno when negative. True: the read is over. */
static bool take_result(struct cold_read *read, ssize_t result)
{
    if (result == -EINTR || result == -EAGAIN) {
        if (++read->retries <= RETRIES_MAX)
            return false;
        read->error = (int)-result;
        return true;
    }
    if (result < 0) {
        read->error = (int)-result;
        return true;
    }
    read->retries = 0;
    read->got += (size_t)result;
    return result == 0 || read->got == read->size;
}

/* Whether there is nothing to ask the kernel for: an injected fault, or no bytes wanted. */
static bool is_over_at_once(struct cold_read *read)
{
    read->error = fault_errno(FAULT_COLD_READ);
    return read->error != 0 || read->size == 0;
}

/* Nothing waits, nothing is in flight, and nobody is left to submit. Under the lock. */
static bool is_finished(const struct cold_reader *reader)
{
    return reader->stopping && reader->waiting == 0 && reader->in_flight == 0;
}

/* ---- sync: some threads with pread() ---- */

static void read_blocking(struct cold_read *read)
{
    ssize_t result;

    if (is_over_at_once(read))
        return;
    do {
        result = pread(read->fd, (char *)read->data + read->got, next_size(read),
            (off_t)(read->offset + read->got));
        if (result < 0)
            result = -errno;
    } while (!take_result(read, result));
}

static void *run_sync(void *context)
{
    struct cold_reader *reader = context;

    lock_take(&reader->lock);
    while (!is_finished(reader)) {
        struct cold_read *read = queue_pop(reader);

        if (read == NULL) {
            lock_wait(&reader->lock, &reader->work);
            continue;
        }
        lock_drop(&reader->lock);
        read_blocking(read);
        read->done(read);
        lock_take(&reader->lock);
        reader->in_flight--;
    }
    pthread_cond_broadcast(&reader->work); /* the others wait for what was last in flight */
    lock_drop(&reader->lock);
    return NULL;
}

/* ---- io_uring: one completer ---- */

struct completer { /* of run_uring() */
    struct cold_reader *reader;
    bool wake_armed;
    uint64_t ended; /* done() was called, still counted as in flight */
};

/* There are entries for all reads in flight and the wake. */
static struct io_uring_sqe *next_entry(struct cold_reader *reader)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&reader->ring);

    invariant(entry != NULL);
    return entry;
}

static void prepare_read(struct cold_reader *reader, struct cold_read *read)
{
    struct io_uring_sqe *entry = next_entry(reader);

    io_uring_prep_read(entry, read->fd, (char *)read->data + read->got, (unsigned)next_size(read),
        read->offset + read->got);
    if (read->retries != 0)
        io_uring_sqe_set_flags(entry, IOSQE_ASYNC); /* on a kernel thread, that may wait */
    io_uring_sqe_set_data(entry, read);
}

static void prepare_wake(struct completer *completer)
{
    struct cold_reader *reader = completer->reader;
    struct io_uring_sqe *entry = next_entry(reader);

    io_uring_prep_read(entry, reader->wake_fd, &reader->wake_value, sizeof(reader->wake_value), 0);
    io_uring_sqe_set_data(entry, NULL);
    completer->wake_armed = true;
}

static void finish(struct completer *completer, struct cold_read *read)
{
    read->done(read);
    completer->ended++;
}

/* Start what there is room for. False: all is done and the wake is disarmed. *may_sleep: nothing
 * can be started before an entry of the ring completes, and submitters will write the eventfd. */
static bool start_reads(struct completer *completer, bool *may_sleep)
{
    struct cold_reader *reader = completer->reader;
    struct cold_read *batch = NULL, **last = &batch, *read;
    bool stopping;

    lock_take(&reader->lock);
    reader->in_flight -= completer->ended;
    completer->ended = 0;
    while (reader->in_flight < reader->depth && (read = queue_pop(reader)) != NULL) {
        *last = read;
        last = &read->next;
    }
    stopping = reader->stopping;
    if (is_finished(reader) && !completer->wake_armed) {
        lock_drop(&reader->lock);
        return false;
    }
    reader->sleeping = true;
    lock_drop(&reader->lock);

    while ((read = batch) != NULL) {
        batch = read->next;
        if (is_over_at_once(read))
            finish(completer, read);
        else
            prepare_read(reader, read);
    }
    if (!stopping && !completer->wake_armed)
        prepare_wake(completer);
    *may_sleep = completer->ended == 0;
    return true;
}

static void take_completions(struct completer *completer)
{
    struct cold_reader *reader = completer->reader;
    struct io_uring_cqe *entry;

    while (io_uring_peek_cqe(&reader->ring, &entry) == 0) {
        struct cold_read *read = io_uring_cqe_get_data(entry);
        ssize_t result = entry->res;

        io_uring_cqe_seen(&reader->ring, entry);
        if (read == NULL)
            completer->wake_armed = false;
        else if (take_result(read, result))
            finish(completer, read);
        else
            prepare_read(reader, read);
    }
}

/* By the completer: a ring with a single issuer is of the thread that makes it. */
static int init_ring(struct cold_reader *reader)
{
    static const unsigned flag_sets[] = {
        /* No interrupts of the completer by completions, no locks in the ring: Linux 6.1. */
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        0,
    };
    struct io_uring_probe *probe;
    int result = -EINVAL;

    for (size_t i = 0; i < ARRAY_COUNT(flag_sets) && result == -EINVAL; i++)
        result = io_uring_queue_init(reader->depth + 1, &reader->ring, flag_sets[i]);
    if (result < 0)
        return result;
    probe = io_uring_get_probe_ring(&reader->ring);
    if (probe == NULL || !io_uring_opcode_supported(probe, IORING_OP_READ)) /* before 5.6 */
        result = -EOPNOTSUPP;
    io_uring_free_probe(probe);
    if (result < 0)
        io_uring_queue_exit(&reader->ring);
    return result;
}

static void *run_uring(void *context)
{
    struct completer completer = {.reader = context};
    struct cold_reader *reader = completer.reader;
    int result = init_ring(reader);
    bool may_sleep;

    lock_take(&reader->lock);
    reader->ring_result = result;
    pthread_cond_broadcast(&reader->work);
    lock_drop(&reader->lock);
    if (result < 0)
        return NULL;
    while (start_reads(&completer, &may_sleep)) {
        result = io_uring_submit_and_wait(&reader->ring, may_sleep ? 1 : 0);
        /* Interrupted, or short of memory for the moment: what was not submitted still is in the
         * ring and goes with the next call. */
        invariant(result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY ||
                  result == -ENOMEM);
        take_completions(&completer);
    }
    io_uring_queue_exit(&reader->ring);
    return NULL;
}

/* ---- life ---- */

/* Signals are for the threads of the program, not for these. */
static int start_thread(struct cold_reader *reader, void *(*run)(void *))
{
    pthread_t *thread = &reader->threads[reader->thread_count];
    sigset_t all, before;
    int result;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = pthread_create(thread, NULL, run, reader);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0)
        return result;
    (void)pthread_setname_np(*thread, "cold reader");
    reader->thread_count++;
    return 0;
}

static void join_threads(struct cold_reader *reader)
{
    while (reader->thread_count > 0)
        pthread_join(reader->threads[--reader->thread_count], NULL);
}

static enum coffer_status start_uring(struct cold_reader *reader, struct error *err)
{
    int result;

    reader->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (reader->wake_fd < 0)
        return error_errno(err, "make an eventfd");
    result = start_thread(reader, run_uring);
    if (result == 0) {
        lock_take(&reader->lock);
        while (reader->ring_result == RING_UNKNOWN)
            lock_wait(&reader->lock, &reader->work);
        result = -reader->ring_result;
        lock_drop(&reader->lock);
    }
    if (result == 0) {
        reader->method = COLD_URING;
        return COFFER_OK;
    }
    join_threads(reader);
    close(reader->wake_fd);
    errno = result;
    return error_errno(err, "make an io_uring and its thread (the sync method does without)");
}

static enum coffer_status start_sync(
    struct cold_reader *reader, unsigned threads, struct error *err)
{
    if (threads > reader->depth)
        threads = reader->depth;
    while (reader->thread_count < threads) {
        int result = start_thread(reader, run_sync);

        if (result != 0) {
            errno = result;
            return error_errno(err, "start a thread for cold reads");
        }
    }
    return COFFER_OK;
}

static unsigned setting(unsigned value, unsigned usual, unsigned max)
{
    if (value == 0)
        value = usual;
    return value < max ? value : max;
}

enum coffer_status cold_reader_create(enum cold_method method, unsigned depth, unsigned threads,
    struct cold_reader **out, struct error *err)
{
    struct cold_reader *reader = calloc(1, sizeof(*reader));
    enum coffer_status status = COFFER_OK;

    invariant(reader != NULL);
    reader->method = COLD_SYNC;
    reader->depth = setting(depth, COLD_DEPTH_DEFAULT, COLD_DEPTH_MAX);
    reader->last = &reader->first;
    reader->ring_result = RING_UNKNOWN;
    lock_init(&reader->lock, LOCK_COLD_READER);
    condition_init(&reader->work);

    if (method != COLD_SYNC)
        status = start_uring(reader, method == COLD_URING ? err : NULL);
    if (method == COLD_SYNC || (method == COLD_AUTO && status != COFFER_OK))
        status = start_sync(reader, setting(threads, COLD_THREADS_DEFAULT, COLD_THREADS_MAX), err);
    if (status != COFFER_OK) {
        cold_reader_destroy(reader);
        reader = NULL;
    }
    *out = reader;
    return status;
}

void cold_reader_destroy(struct cold_reader *reader)
{
    if (reader == NULL)
        return;
    lock_take(&reader->lock);
    reader->stopping = true;
    pthread_cond_broadcast(&reader->work);
    lock_drop(&reader->lock);
    if (reader->method == COLD_URING)
        wake_completer(reader);
    join_threads(reader);
    if (reader->method == COLD_URING)
        close(reader->wake_fd);
    pthread_cond_destroy(&reader->work);
    lock_release(&reader->lock);
    free(reader);
}
