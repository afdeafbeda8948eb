/*
 * job_log.h - the rows of jobs in the engine: a partition of their own, written through a lane as
 * everything is.
 *
 * Threads: any. Blocking: a change is durable when the call returns.
 */
#pragma once

#include "storage/maintain/job_row.h"

/* The row, and at once without those of the `gone` jobs. */
MUST_USE enum coffer_status job_log_save(struct store *store, const struct job_row *row,
    const uint64_t *gone, size_t gone_count, struct error *err);
/* All rows, ascending; each is borrowed for the call, which must not call the store. `row` is NULL
 * for a number that is taken by something that is not read here. */
typedef void job_log_visit(void *context, uint64_t id, const struct job_row *row);
MUST_USE enum coffer_status job_log_load(
    struct store *store, job_log_visit *visit, void *context, struct error *err);
