/*
 * touched.h - which keys an index batch changes: what comes next must not look one of them up in
 * the index before the batch is written. Keys are remembered as 64-bit marks; two that share one
 * cost a batch that is written early, nothing else.
 *
 * Threads: one. Memory: grows with the number of marks; touched_clear() gives most of it back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct touched { /* all zeros is an empty set */
    uint64_t *slots;
    size_t capacity, count;
};

bool touched_has(const struct touched *touched, uint64_t mark);
void touched_add(struct touched *touched, uint64_t mark);
void touched_clear(struct touched *touched);
void touched_release(struct touched *touched);
