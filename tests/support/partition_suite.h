/*
 * partition_suite.h - rows and blocks of partitions, on top of engine_suite.h.
 *
 * Memory:  a row_list is released by whoever asked for it; changes and operations borrow.
 */
#pragma once

#include "tests/support/engine_suite.h"

/* What a row takes of a pack, and of live_bytes, beside its key and value. */
enum { ROW_OVERHEAD = 15 };

/* What must be there is there after each of these as well; RESTART_NONE comes first. */
enum restart { RESTART_NONE, RESTART_CRASH, RESTART_CLEAN, RESTART_REBUILD, RESTARTS };
void suite_restart(struct suite *suite, enum restart how);
/* live_bytes is `wanted`, and what is neither live nor dead is headers of packs. Only in the local
 * engine is it known what things take. */
void suite_check_live(struct suite *suite, uint64_t wanted);

struct partition_id partition_named(const char *name);

struct engine_change change_put(struct slice key, struct slice value);
struct engine_change change_remove(struct slice key);
struct engine_op op_rows(
    const struct partition_id *partition, const struct engine_change *changes, size_t count);
/* With the item's content as block {channel, number}; more can be added to it. */
struct engine_op op_block(const struct partition_id *partition, const struct item *item,
    uint32_t channel, uint64_t number);
struct engine_op op_drop_partition(const struct partition_id *partition);

/* Committed at once; keys and values are texts. */
void suite_put_row(
    struct suite *suite, const struct partition_id *partition, const char *key, const char *value);
void suite_remove_row(struct suite *suite, const struct partition_id *partition, const char *key);

struct listed_row {
    struct slice key, value; /* copies */
};
struct row_list {
    struct listed_row *rows;
    size_t count, capacity;
    size_t limit; /* stop there */
};
/* At most `limit` of what row_scan gives. */
struct row_list suite_list(struct suite *suite, const struct partition_id *partition,
    struct slice prefix, struct slice from, bool backwards, size_t limit);
struct row_list suite_list_all(struct suite *suite, const struct partition_id *partition);
void row_list_release(struct row_list *list);
bool row_list_equal(const struct row_list *a, const struct row_list *b);
/* Bytes of a pack that belong to these rows. */
uint64_t row_list_live(const struct row_list *list);

/* value NULL: there must be none. */
void suite_check_text(
    struct suite *suite, const struct partition_id *partition, const char *key, const char *value);
bool suite_has_block(
    struct suite *suite, const struct partition_id *partition, uint32_t channel, uint64_t number);
/* Its content is the item's; what it takes of a pack. */
uint64_t suite_check_block(struct suite *suite, const struct partition_id *partition,
    uint32_t channel, uint64_t number, const struct item *item);
