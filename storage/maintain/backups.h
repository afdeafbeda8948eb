/*
 * backups.h - how the job of a backup is run; upkeep.c gives it to the registry.
 */
#pragma once

#include "storage/jobs.h"

/* `context` is the store. */
enum coffer_status backup_job_run(struct job *job, void *context, struct error *err);
