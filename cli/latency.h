/*
 * latency.h - a histogram of times: from 1 us to minutes, each told within 1.6 percent.
 *
 * Threads: one at a time.
 */
#pragma once

#include <stdint.h>

enum { LATENCY_STEPS = 64, LATENCY_BUCKETS = 40 * LATENCY_STEPS };

struct latency {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t count, max_ns;
};

void latency_add(struct latency *latency, uint64_t ns);
void latency_merge(struct latency *latency, const struct latency *other);
/* The time that this part (0 to 1) of all is not above; 0 when there are none. */
uint64_t latency_percentile(const struct latency *latency, double part);
