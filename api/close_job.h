/*
 * close_job.h - what becomes of a dataset that is closed: the actions of its settings, as a job.
 *
 * The actions run in their order; one that fails does not keep the others from running, but the
 * job then fails in the end. The dataset is closed after the last one, whatever they came to, also
 * when the job is cancelled: the rest is then skipped. A stop of the server is no end: the job
 * begins again at the next start, with the first action.
 *
 * Order:   close_jobs_create() after store_open(); close_jobs_destroy() after store_close().
 * Threads: any; the calls are blocking.
 */
#pragma once

#include <stdint.h>

#include "storage/datasets.h"
#include "storage/jobs.h"

struct close_jobs;

/* From now on close jobs run; one is started for each dataset that is closing and has none.
 * `notify_delay_ns`: the pause after the first try of a notify action; each later one doubles. */
struct close_jobs *close_jobs_create(struct store *store, uint64_t notify_delay_ns);
void close_jobs_destroy(struct close_jobs *jobs); /* NULL is a no-op */

/* Close the dataset and start its job. COFFER_DATASET_CLOSED if that was done before: *id is then
 * its job, or 0 when that has left the history. */
MUST_USE enum coffer_status close_job_start(
    struct store *store, struct dataset *dataset, uint64_t *id, struct error *err);
