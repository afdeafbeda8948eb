/*
 * dataset_fixture.h - calls on datasets that wait for their result, for tests. Names are C strings.
 *
 * Threads: any number, each with objects of its own.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/datasets.h"
#include "tests/support/store_fixture.h"

/* Everything that an append may say; zeros are a synced append of one record. */
struct append_call {
    const char *transaction; /* NULL: none */
    bool has_offset, has_epoch, lines, buffered, size_unknown;
    uint64_t offset, epoch;
    size_t piece;     /* bytes of body a call; 0: at once */
    uint64_t current; /* out: of an offset mismatch */
};

MUST_USE enum coffer_status ds_create(struct store *store, const char *name,
    const struct dataset_settings *settings, /* or NULL */
    const char *metadata, bool *created, struct error *err);
struct dataset *ds_make(struct store *store, const char *name); /* made, and held */
struct dataset *ds_hold(
    struct store *store, const char *name); /* fails the test if it is not there */
bool ds_exists(struct store *store, const char *name);
MUST_USE enum coffer_status ds_delete(struct dataset *dataset, struct error *err);
MUST_USE enum coffer_status ds_set_metadata(struct dataset *dataset, uint64_t tag, const char *was,
    const char *metadata, struct error *err);
MUST_USE enum coffer_status ds_close_begin(struct dataset *dataset, struct error *err);
MUST_USE enum coffer_status ds_closed(struct dataset *dataset, struct error *err);

MUST_USE enum coffer_status ds_append(struct dataset *dataset, const char *channel,
    const void *data, size_t size, struct append_call *call, struct append_result *result,
    struct error *err);
/* A text as one synced record; fails the test unless it is appended. */
struct append_result ds_append_text(struct dataset *dataset, const char *channel, const char *text);
MUST_USE enum coffer_status ds_claim(struct dataset *dataset, const char *channel, uint64_t *epoch,
    uint64_t *offset, struct error *err);

/* The whole channel as of a version (0: now); the caller frees it. */
MUST_USE enum coffer_status ds_read(struct dataset *dataset, const char *channel, uint64_t version,
    uint8_t **data, size_t *size, struct error *err);
MUST_USE enum coffer_status ds_read_range(struct dataset *dataset, const char *channel,
    uint64_t offset, size_t size, void *out, struct error *err);
/* Fails the test unless the channel is this. */
void ds_check_text(struct dataset *dataset, const char *channel, const char *text);
void ds_check_bytes(
    struct dataset *dataset, const char *channel, uint64_t version, const void *data, size_t size);
uint64_t ds_version(struct dataset *dataset);
enum dataset_state ds_state(struct dataset *dataset);

/* `channels` is NULL-terminated, or NULL: the whole dataset. */
MUST_USE enum coffer_status tx_open(struct dataset *dataset, const char *id,
    const char *const *channels, uint64_t ttl_ms, bool barrier, bool commit_when_ready,
    struct transaction_info *info, struct error *err);
MUST_USE enum coffer_status tx_ready(struct dataset *dataset, const char *id, const char *channel,
    struct transaction_info *info, struct error *err);
MUST_USE enum coffer_status tx_commit(struct dataset *dataset, const char *id, uint64_t wait_ms,
    struct transaction_info *info, struct error *err);
MUST_USE enum coffer_status tx_abort(struct dataset *dataset, const char *id, const char *reason,
    struct transaction_info *info, struct error *err);
enum transaction_state tx_state(struct dataset *dataset, const char *id);

/* Fails the test unless the call, which may use `err`, answers `expected`. */
#define CHECK_STATUS(call, expected)                                                               \
    do {                                                                                           \
        struct error error_ = {0};                                                                 \
        struct error *err = &error_;                                                               \
        enum coffer_status status_ = (call);                                                       \
                                                                                                   \
        ds_check_status(#call, status_, (expected), err);                                          \
    } while (0)
void ds_check_status(const char *call, enum coffer_status status, enum coffer_status expected,
    const struct error *err);

/* ---- a store with a dataset "run1", as a cmocka state ---- */

struct dataset_test_state {
    struct store_fixture fixture;
    struct dataset *dataset; /* held */
};
int dataset_set_up_memory(void **state);
int dataset_set_up_local(void **state);
int dataset_tear_down(void **state);
/* Only over the local engine, which keeps what it has: a restart, as kill -9 would leave it, or a
 * restart without the index. */
enum restart_how { RESTART_CLEAN, RESTART_CRASH, RESTART_NO_INDEX };
void dataset_restart(struct dataset_test_state *state, enum restart_how how);

#define BOTH_ENGINES(test)                                                                         \
    cmocka_unit_test_setup_teardown(test, dataset_set_up_memory, dataset_tear_down),               \
        cmocka_unit_test_setup_teardown(test, dataset_set_up_local, dataset_tear_down)
