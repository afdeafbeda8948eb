/*
 * insert_job.h - store the files of a tar archive that arrives through a pipe, and write a line of
 * NDJSON for each to a spool, in the order of the archive, as each becomes as durable as asked.
 *
 *     {"name":"...","key":"...","size":1,"created":true}      and "state", "ticket" if buffered
 *     {"name":"...","status":400,"code":"...","detail":"..."} an entry that was not stored
 *     {"status":400,"code":"bad_request","detail":"..."}      last: the archive is broken from here
 *
 * Many uploads are in flight at a time, so that they share their syncs.
 * Order:   create; run on a thread that may block; the exchange writes `input` and reads `output`
 *          meanwhile; destroy when both are done.
 * Memory:  INSERT_JOB_MEMORY, and at most INSERT_BYTES_MAX of small files in the store's buffers.
 * Errors:  an archive without a single entry that can be read makes `output` fail instead of giving
 *          a line. Cancelling `input` ends the run soon; what was stored stays stored.
 */
#pragma once

#include "api/pipe.h"
#include "api/spool.h"
#include "storage/store.h"

struct insert_job;

enum {
    INSERT_PIPE_SIZE = 256 << 10,
    INSERT_SPOOL_MEMORY = 1 << 20,
    INSERT_WINDOW = 1024, /* uploads in flight */
    INSERT_BYTES_MAX = 8 << 20,
    INSERT_NAME_MAX = 8 << 10, /* bytes of an entry's name */
    INSERT_JOB_MEMORY = INSERT_PIPE_SIZE + INSERT_SPOOL_MEMORY + (768 << 10),
};

MUST_USE enum coffer_status insert_job_create(struct store *store, struct slice channel,
    enum durability durability, struct insert_job **out, struct error *err);
struct pipe *insert_job_input(struct insert_job *job);
struct spool *insert_job_output(struct insert_job *job);
void insert_job_run(struct insert_job *job);
void insert_job_destroy(struct insert_job *job); /* NULL is a no-op */
