/*
 * repack.h - how the jobs of repack are run; upkeep.c gives them to the registry.
 */
#pragma once

#include "storage/jobs.h"

/* `context` is the store. */
enum coffer_status repack_job_run(struct job *job, void *context, struct error *err);
enum coffer_status pack_job_run(struct job *job, void *context, struct error *err);
