/*
 * partition_workload.h - random commits to partitions that follow from a seed alone, and what must
 * be there after each of them.
 *
 * Use:     make a group, commit it to as many engines as wanted, settle it: what is made up next
 *          builds upon it. Rows are compared with those of a memory engine that got the same
 *          groups; of blocks the workload knows the steps in which they came and went.
 * Memory:  a group is freed by who has it; so a run can be kept and repeated.
 */
#pragma once

#include "tests/support/partition_suite.h"

enum { WORKLOAD_KEYS = 70, WORKLOAD_PARTITIONS = 4 };

struct workload_group;

struct workload_block {
    struct partition_id partition;
    struct block_id id;
    size_t size;
    uint64_t seed;
    enum content_kind kind;
    unsigned came, claimed, gone; /* in these steps; UINT_MAX: not yet */
};

struct workload {
    uint64_t random;
    unsigned group_max; /* operations in a commit */
    size_t block_size_max;
    unsigned step;                                /* that was settled last; the first is 1 */
    struct partition_id ids[WORKLOAD_PARTITIONS]; /* as they are now */
    struct partition_id *all_ids;                 /* and ever were */
    size_t id_count;
    struct workload_block *blocks;
    size_t block_count;
    uint64_t next_number;
};

enum { WORKLOAD_GROUP_MAX = 6 };
struct workload *workload_create(uint64_t seed, unsigned group_max, size_t block_size_max);
void workload_destroy(struct workload *workload);
unsigned workload_below(struct workload *workload, unsigned limit);
struct slice workload_key(unsigned number); /* below WORKLOAD_KEYS */

/* The next group. `memory` has all groups before it: it tells which rows are fresh. */
struct workload_group *workload_make(struct workload *workload, struct suite *memory);
MUST_USE enum coffer_status workload_commit(
    struct workload_group *group, struct suite *suite, unsigned lane);
void workload_settle(struct workload *workload, const struct workload_group *group);
void workload_group_free(struct workload_group *group); /* NULL is a no-op */
/* A restart, which is a step, too: what is staged is gone. Memory engines are told here. */
void workload_restart(struct workload *workload, struct suite *const *memory, size_t count);
/* Do not look any more after blocks that are gone. */
void workload_forget(struct workload *workload);

/* Whether a block must be there after `step`; a restart leaves no staged ones. */
bool workload_block_there(const struct workload_block *block, unsigned step, bool with_staged);
/* Whether all rows are those of `memory`, and all blocks there that must be after `step`; what is
 * there has the right content, or the test fails. *live: the bytes that all of it takes. */
bool workload_matches(const struct workload *workload, struct suite *suite, struct suite *memory,
    unsigned step, bool with_staged, uint64_t *live);
