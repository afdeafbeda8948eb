/*
 * engine_suite.h - an engine to be tested, and chunks to put into it; its calls fail the test when
 * the engine fails.
 */
#pragma once

#include "storage/engine.h"
#include "tests/support/store_fixture.h"

enum { LANES = 6, SEGMENT_SIZE = 64 * 1024, OPS_MAX = 600 };

struct suite {
    const char *name;
    bool persistent;
    struct store_fixture fixture; /* for its folder */
    struct engine *engine;
};

struct item { /* a chunk with its content, as an engine takes it */
    struct digest key;
    uint8_t *block, *body;
    size_t size;
};

/* For cmocka: a suite with an open engine in *state. */
int suite_set_up_memory(void **state);
int suite_set_up_local(void **state);
int suite_tear_down(void **state);
/* One test against each of them, for an array of struct CMUnitTest. */
#define CONTRACT(test)                                                                             \
    {#test " (memory)", test, suite_set_up_memory, suite_tear_down, NULL},                         \
    {                                                                                              \
#test " (local)", test, suite_set_up_local, suite_tear_down, NULL                          \
    }

void suite_open(struct suite *suite);
MUST_USE enum coffer_status suite_try_open(struct suite *suite, struct error *err);
void suite_close(struct suite *suite);
/* These three do nothing to the memory engine, which would lose all. */
void suite_reopen(struct suite *suite);
void suite_rebuild(struct suite *suite); /* reopen without the index */
void suite_crash(struct suite *suite);   /* go on with what kill -9 would leave now */
struct item item_make(size_t size, uint64_t seed, enum content_kind kind);
void items_free(struct item *items, size_t count);
struct engine_op op_put(const struct item *item);
struct engine_op op_segment(
    const struct item *item, const struct upload_id *upload, uint64_t segment);
struct engine_op op_delete(const struct digest *keys, size_t count);
void suite_commit(struct suite *suite, unsigned lane, struct engine_op *ops, size_t count);
void suite_put(struct suite *suite, const struct item *item);
uint64_t suite_delete(struct suite *suite, const struct digest *keys, size_t count);
bool suite_has(struct suite *suite, const struct digest *key);
void item_check_pinned(
    const struct engine_row *row, const struct engine_source *source, const struct item *item);
void suite_check_row(struct suite *suite, const struct engine_row *row, const struct item *item);
void suite_check_item(struct suite *suite, const struct item *item);
struct engine_status suite_status(struct suite *suite);
