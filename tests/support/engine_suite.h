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

void suite_open(struct suite *suite);
void suite_close(struct suite *suite);
void suite_reopen(struct suite *suite);
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
