/*
 * dataset_world.h - the two engines and the model (dataset_model.h) of dataset_model_test.c, and
 * what it does with appends: every call is made on both engines, every answer compared with the
 * model's.
 *
 * Threads: one.
 */
#pragma once

#include <stdio.h>

#include "tests/support/dataset_fixture.h"
#include "tests/support/dataset_model.h"

enum {
    SLOTS = 3, /* datasets */
    PENDING = 3,
    IDS = 500, /* of transactions of a dataset */
    BODY_MAX = 4 << 20,
    VERSIONS_MAX = 100000,
};

struct side { /* one engine */
    struct store_fixture fixture;
    struct dataset *datasets[SLOTS];
    uint64_t versions[SLOTS], tags[SLOTS]; /* the last ones seen */
    uint64_t log[SLOTS][VERSIONS_MAX];     /* of versions, as it was last read */
    size_t logged[SLOTS];
};

struct pending { /* an append that is not finished yet */
    bool used;
    unsigned slot;
    struct model_dataset *model;
    struct model_request request;
    uint8_t *data;
    char id[16];
    struct append *appends[MODEL_ENGINES];
    struct gate gates[MODEL_ENGINES];
};

struct world {
    struct side sides[MODEL_ENGINES]; /* local, memory */
    uint64_t random;
    struct model_dataset *models[SLOTS]; /* NULL: no such dataset */
    struct model_dataset *gone;          /* deleted, but perhaps something of them is open */
    struct pending pending[PENDING];
    uint8_t *body;
    unsigned step, crashes, reopens, deletions, commits, repeats;
};

extern const char *const world_names[SLOTS];

#define WORLD_CHECK(call, expected)                                                                \
    do {                                                                                           \
        struct error error_ = {0};                                                                 \
        struct error *err = &error_;                                                               \
        enum coffer_status status_ = (call), expected_ = (expected);                               \
                                                                                                   \
        if (status_ != expected_)                                                                  \
            fail_msg("step %u: %s: %s (%s), not %s", world->step, #call, status_code(status_),     \
                error_.text, status_code(expected_));                                              \
        if (status_ != COFFER_OK && status_ != COFFER_AGAIN && error_.text[0] == '\0')             \
            fail_msg("step %u: %s: %s without a text", world->step, #call, status_code(status_));  \
        (void)err;                                                                                 \
    } while (0)

/* NOLINTNEXTLINE(bugprone-macro-parentheses): it is a name */
#define EACH_SIDE(e) for (unsigned e = 0; e < MODEL_ENGINES; e++)

unsigned world_below(struct world *world, unsigned limit);
bool world_one_in(struct world *world, unsigned chances);

/* Read the version log of a dataset: everything that is visible is of exactly one version, and what
 * was told to be durable is visible. */
void world_check_log(struct world *world, unsigned slot);
/* An append; one that is left open for a while, or finished or closed; a claim. */
void world_append(struct world *world, unsigned slot);
void world_pending(struct world *world, unsigned slot);
void world_close_pending(struct world *world);
void world_claim(struct world *world, unsigned slot);

/* Transactions (dataset_world_transactions.c). */
void world_open(struct world *world, unsigned slot);
void world_ready(struct world *world, unsigned slot);
void world_commit(struct world *world, unsigned slot);
void world_abort(struct world *world, unsigned slot);
void world_find_transaction(struct world *world, unsigned slot);

/* Looking (dataset_world_reads.c). Everything accepted is durable, and adds up. */
void world_sync(struct world *world);
/* A channel, or a range of it, now or as of a version; its records; the dataset itself. */
void world_read(struct world *world, unsigned slot);
void world_records(struct world *world, unsigned slot);
void world_look(struct world *world, unsigned slot);
