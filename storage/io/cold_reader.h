/*
 * cold_reader.h - reads of what is not in the page cache, so that no HTTP thread waits for a disk.
 *
 * Order:   reads start in the order of submission, `depth` of them at once, and end in any order.
 *          Those submitted together reach the kernel together, so neighbours are best submitted
 *          side by side.
 * Threads: cold_reader_submit() and cold_reader_statistics() from any, also from inside done().
 *          done() is called once for each read, by a thread of the reader: the completer
 *          (io_uring), or any of its threads at the same time (sync). All that the submitter wrote
 *          before the submission, and the bytes read, are visible to done().
 * Memory:  the struct cold_read and its buffer belong to the reader from the submission until
 *          done() is called; done() may free them or submit them again. The fd stays open until
 *          then.
 * Errors:  of a read: its `error`. Submitting cannot fail.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "storage/base/status.h"

enum cold_method {
    COLD_AUTO,  /* io_uring if the kernel gives one, else sync */
    COLD_URING, /* one completer thread with one io_uring */
    COLD_SYNC,  /* a few threads with pread() */
};

enum {
    COLD_DEPTH_DEFAULT = 128,
    COLD_DEPTH_MAX = 4096,
    COLD_THREADS_DEFAULT = 4,
    COLD_THREADS_MAX = 64,
};

struct cold_read {
    int fd; /* of a regular file, without O_NONBLOCK */
    void *data;
    size_t size; /* bytes of `data`, all of which are read unless the file ends before */
    uint64_t offset;

    size_t got; /* out: bytes read; less than size: the end of the file, or an error */
    int error;  /* out: 0 or an errno */

    /* Must be quick and must not block: it holds up all other reads. Use container_of() to get to
     * what the read is a part of. */
    void (*done)(struct cold_read *read);

    struct cold_read *next; /* the reader's own */
    unsigned retries;       /* the reader's own */
};

struct cold_reader_statistics {
    uint64_t submitted; /* since the start */
    uint64_t in_flight; /* started; those whose done() just returned may be among them */
    uint64_t waiting;   /* submitted, not started yet */
};

struct cold_reader; /* opaque: cold_reader.c */

/* depth: reads in flight at most (0: COLD_DEPTH_DEFAULT); threads: of the sync method (0:
 * COLD_THREADS_DEFAULT), of which depth is a limit too. Both are cut to their maximum.
 * COFFER_IO: no threads, or COLD_URING and the kernel (or a sandbox around it) gives no ring. */
MUST_USE enum coffer_status cold_reader_create(enum cold_method method, unsigned depth,
    unsigned threads, struct cold_reader **out, struct error *err);
/* The method in use: COLD_URING or COLD_SYNC. */
enum cold_method cold_reader_method(const struct cold_reader *reader);
/* Start `read` now or when its turn comes. Never blocks on I/O. */
void cold_reader_submit(struct cold_reader *reader, struct cold_read *read);
void cold_reader_statistics(struct cold_reader *reader, struct cold_reader_statistics *out);
/* Wait until all reads are done, and end the threads. Nobody may submit from outside of done() any
 * more. NULL is a no-op. Not to be called from done(). */
void cold_reader_destroy(struct cold_reader *reader);
