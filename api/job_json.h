/*
 * job_json.h - a job as JSON, and failures as a part of one.
 *
 * Threads: any.
 */
#pragma once

#include "api/exchange.h"
#include "api/json_out.h"
#include "storage/jobs.h"

/* One object; up to twice JOB_RESULT_MAX bytes. */
void job_write(struct json_out *out, const struct job_info *info);
/* The members "code" and "detail": what a client may see of it (problem.h). */
void failure_members_write(struct json_out *out, enum coffer_status status, const char *text);
/* Reply with a job as it is now, and its Location. COFFER_NO_SUCH_JOB. */
MUST_USE enum coffer_status job_reply(
    struct exchange *exchange, uint64_t id, int http_status, struct error *err);
/* The job that the first parameter of the path names. COFFER_NO_SUCH_JOB also for what is no
 * number. */
MUST_USE enum coffer_status job_id_of(
    const struct exchange *exchange, uint64_t *id, struct error *err);
