/*
 * job_follow.h - jobs of the server: start one, follow it to its end, say what came of it.
 */
#pragma once

#include "cli/cli.h"

/* POST /v1/jobs, and as job_attend(). The body is dropped. */
int job_start(struct cli *cli, json_t *body);
/* A job that was just started: with --no-wait its id is printed, else as job_follow(). Dropped. */
int job_attend(struct cli *cli, json_t *job);
/* Show its progress until it ends, then what came of it. An exit code: CLI_NO if it was cancelled
 * or found damage. */
int job_follow(struct cli *cli, const char *id);
/* What is to be said of a job, in lines. */
void job_print(const json_t *job);
