/*
 * store_fixture.h - a store in a folder of its own for tests, and calls that wait for their result.
 *
 * Method of a crash: the data folder is copied while the store is open, which is what kill -9 would
 * leave (all that was written, synced or not), and the copy is opened in its place.
 * Threads: a fixture belongs to one thread; the calls that take a store may be made by any number.
 * Memory:  what get gives is freed by the caller.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/store.h"
#include "tests/support/file_tree.h"

enum { FIXTURE_PATH_SIZE = 400, FIXTURE_SEGMENT = 64 * 1024 };

struct store_fixture {
    char root[FIXTURE_PATH_SIZE / 2]; /* removed at the end */
    char data_dir[FIXTURE_PATH_SIZE]; /* of the store, inside of root */
    unsigned generation;              /* of data_dir: one more with each crash */
    struct store_options options;
    struct store *store; /* NULL while closed */
};

/* A folder and options that make small things happen: segments of 64 KiB, packs of 1 MiB. Not
 * opened yet, so that a test can change the options. */
void fixture_init(struct store_fixture *fixture, enum engine_kind engine);
void fixture_open(struct store_fixture *fixture); /* fails the test if it cannot */
MUST_USE enum coffer_status fixture_try_open(struct store_fixture *fixture, struct error *err);
void fixture_close(struct store_fixture *fixture); /* fails the test if not all is durable */
void fixture_reopen(struct store_fixture *fixture);
/* Copy the folder as a kill would leave it now, close the store, go on with the copy: not opened.
 */
void fixture_crash(struct store_fixture *fixture);
void fixture_release(struct store_fixture *fixture); /* closes, removes the folder */

/* "ROOT/NAME"; "DATA/NAME". Both are in a buffer of the calling thread, good for a few calls. */
const char *fixture_path(const struct store_fixture *fixture, const char *name);
const char *fixture_data_path(const struct store_fixture *fixture, const char *name);
void fixture_remove_index(struct store_fixture *fixture); /* of a closed store */
/* Make reads cold, where the file system lets us. */
void fixture_drop_page_cache(struct store_fixture *fixture);

/* ---- content ---- */

enum content_kind { CONTENT_RANDOM, CONTENT_TEXT /* compressible */ };

/* The same bytes for the same seed, kind and size. */
void content_fill(void *out, size_t size, uint64_t seed, enum content_kind kind);
uint8_t *content_make(size_t size, uint64_t seed, enum content_kind kind); /* freed by the caller */
struct digest content_key(const void *data, size_t size);
/* xorshift; state is never 0. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t limit);
/* COFFER_TEST_SEED or one of the clock; printed either way. */
uint64_t test_seed(void);
bool test_long(void); /* COFFER_TEST_LONG is set */

/* ---- calls that wait ---- */

/* The body in pieces of `piece` bytes (0: at once). */
MUST_USE enum coffer_status store_put(struct store *store, const void *data, size_t size,
    size_t piece, const struct upload_options *options, struct upload_result *result,
    struct error *err);
/* Synced, of known size and key; fails the test unless it is stored (or was). */
struct digest store_put_good(struct store *store, const void *data, size_t size);
/* Buffered, into a channel (NULL: a default one). */
struct digest store_put_buffered(
    struct store *store, const char *channel, const void *data, size_t size, struct ticket *ticket);
/* The whole content, through whatever form the reader gives. */
MUST_USE enum coffer_status store_get(
    struct store *store, const struct digest *key, uint8_t **data, size_t *size, struct error *err);
/* Bytes [offset, offset + size); out has room for them. *form tells how they came (or NULL). */
MUST_USE enum coffer_status store_get_range(struct store *store, const struct digest *key,
    uint64_t offset, size_t size, void *out, enum reader_form *form, struct error *err);
/* What is stored as zstd, as it lies. */
MUST_USE enum coffer_status store_get_encoded(
    struct store *store, const struct digest *key, uint8_t **data, size_t *size, struct error *err);
MUST_USE enum coffer_status store_delete(struct store *store, const struct digest *keys,
    size_t count, uint64_t *deleted, bool *missing, struct error *err);
MUST_USE enum coffer_status store_delete_one(struct store *store, const struct digest *key);
/* With count 0: everything. *failed: how many of them could not be made durable. */
MUST_USE enum coffer_status store_sync(struct store *store, const struct ticket *tickets,
    size_t count, size_t *failed, struct error *err);
bool store_has(struct store *store, const struct digest *key);
/* Fails the test unless the content is there and right. */
void check_content(struct store *store, const struct digest *key, const void *data, size_t size);
