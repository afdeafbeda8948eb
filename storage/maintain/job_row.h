/*
 * job_row.h - what of a job outlives a restart: a row of the partition of jobs (docs/format.md).
 *
 * Memory: a decoded row borrows its texts from the bytes it was decoded from.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/slice.h"
#include "storage/jobs.h"

enum { JOB_ROW_KEY_SIZE = 9 };
#define JOB_ROW_KEY_PREFIX "J"

struct job_row {
    uint64_t id; /* in the key, all others in the value */
    enum job_kind kind;
    enum job_state state;
    bool resume;
    uint64_t created_ns, started_ns, ended_ns;
    enum coffer_status status;
    struct slice subject, key, text, result;
};

void job_row_key(uint64_t id, uint8_t out[JOB_ROW_KEY_SIZE]);
/* The value; malloced, the caller frees it. */
void *job_row_encode(const struct job_row *row, size_t *size);
/* False: not a row of a job, or one of a kind that this program does not know. */
bool job_row_decode(struct slice key, struct slice value, struct job_row *row);
