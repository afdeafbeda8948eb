/*
 * close_actions.h - the actions of a close job, each a blocking call.
 *
 * Each writes what it came to as members of the JSON object that `out` is in. All may be done
 * again: what is there already is left as it is.
 * Errors: COFFER_DRAINING when the job is to stop.
 */
#pragma once

#include "api/json_out.h"
#include "storage/datasets.h"
#include "storage/jobs.h"

struct closing { /* a close job that runs */
    struct job *job;
    struct dataset *dataset;
    struct dataset_info info; /* when it began */
    struct dataset_settings settings;
    uint64_t notify_delay_ns;
    struct json_out results; /* of the actions so far: JSON values with commas between them */
};

MUST_USE enum coffer_status close_action_run(struct closing *closing,
    const struct close_action *action, struct json_out *out, struct error *err);
const char *close_action_name(enum close_kind kind);
