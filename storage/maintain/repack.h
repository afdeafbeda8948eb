/*
 * repack.h - how the jobs of repack are run; upkeep.c gives them to the registry.
 */
#pragma once

#include "storage/jobs.h"

/* `context` is the store. */
enum coffer_status repack_job_run(struct job *job, void *context, struct error *err);
enum coffer_status pack_job_run(struct job *job, void *context, struct error *err);
/* Write out what is buffered, so that it is in packs. What fails is reported to its writers. */
enum coffer_status write_out_buffers(struct store *store, struct error *err);
