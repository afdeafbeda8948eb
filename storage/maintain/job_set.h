/*
 * job_set.h - the registry behind storage/jobs.h, which the store owns.
 *
 * Order:   created when lanes and engine are there, and destroyed before them.
 * Threads: create and destroy belong to one thread.
 */
#pragma once

#include "storage/base/status.h"

struct job_set;
struct store;

/* Reads the history; what the last stop cut is queued again, or failed. */
MUST_USE enum coffer_status job_set_create(
    struct store *store, struct job_set **out, struct error *err);
/* Asks running jobs to stop, and waits for them. NULL is a no-op. */
void job_set_destroy(struct job_set *set);
