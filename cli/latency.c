/*
 * Buckets grow with what they count: LATENCY_STEPS for each doubling, so that a bucket is at most
 * one part in LATENCY_STEPS wide.
 */
#include "cli/latency.h"

static unsigned bucket_of(uint64_t ns)
{
    unsigned doublings;

    if (ns < LATENCY_STEPS)
        return (unsigned)ns;
    doublings = 63 - (unsigned)__builtin_clzll(ns / LATENCY_STEPS);
    if (doublings + 2 > LATENCY_BUCKETS / LATENCY_STEPS)
        return LATENCY_BUCKETS - 1;
    return (doublings + 1) * LATENCY_STEPS + (unsigned)((ns >> doublings) - LATENCY_STEPS);
}

/* The largest time that is in it. */
static uint64_t bucket_end(unsigned bucket)
{
    unsigned doublings = bucket / LATENCY_STEPS;

    if (doublings == 0)
        return bucket;
    doublings--;
    return (((uint64_t)bucket % LATENCY_STEPS + LATENCY_STEPS + 1) << doublings) - 1;
}

void latency_add(struct latency *latency, uint64_t ns)
{
    latency->counts[bucket_of(ns)]++;
    latency->count++;
    if (ns > latency->max_ns)
        latency->max_ns = ns;
}

void latency_merge(struct latency *latency, const struct latency *other)
{
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
        latency->counts[i] += other->counts[i];
    latency->count += other->count;
    if (other->max_ns > latency->max_ns)
        latency->max_ns = other->max_ns;
}

uint64_t latency_percentile(const struct latency *latency, double part)
{
    uint64_t wanted = (uint64_t)(part * (double)latency->count), seen = 0;

    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->counts[i];
        if (seen > wanted || (seen > 0 && seen == latency->count))
            return bucket_end(i) < latency->max_ns ? bucket_end(i) : latency->max_ns;
    }
    return 0;
}
