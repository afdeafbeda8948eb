/*
 * job_request.h - how a job is started by POST /v1/jobs: a function for each kind, in
 * job_requests.def.
 *
 * Threads: one of the bulk pool: a function may block.
 */
#pragma once

#include <jansson.h>

#include "storage/base/status.h"
#include "storage/store.h"

/* `options` is the body without "kind": what is wrong with it is refused as json_in.h says.
 * COFFER_JOB_CONFLICT: *id is the job that is at work. Else as job_start(). */
typedef enum coffer_status job_request(
    struct store *store, json_t *options, uint64_t *id, struct error *err);

#define JOB_REQUEST(kind, summary) job_request job_request_##kind;
#include "api/job_requests.def"
#undef JOB_REQUEST
