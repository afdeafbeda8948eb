/*
 * store_parts.h - what the files of the store share (storage/store.c, storage/chunk/). Nobody else
 * includes it.
 */
#pragma once

#include <stdatomic.h>

#include "storage/base/temp_file.h"
#include "storage/channel/budget.h"
#include "storage/channel/lane.h"
#include "storage/chunk/pending.h"
#include "storage/engine.h"
#include "storage/io/cold_reader.h"
#include "storage/store.h"

enum { BOOT_SIZE = 17 }; /* 16 digits and a NUL */

struct store {
    struct store_options options;
    char boot[BOOT_SIZE];
    struct engine *engine;
    struct lane_set *lanes;
    struct pending_table *pending;
    struct budget budget;      /* bodies on their way in */
    struct budget read_budget; /* content that is copied to be sent; never waited for */
    struct cold_reader *cold;
    struct dataset_set *datasets; /* storage/dataset/ */
    struct job_set *jobs;         /* storage/maintain/ */
    struct upkeep *upkeep;
    int lock_fd;                        /* -1: none */
    char temp_folder[TEMP_FOLDER_SIZE]; /* for what is too much for memory; empty: TMPDIR */
    /* What is refused before a byte is written: a look at the engine's status takes locks, so it is
     * done once for so many bytes. */
    _Atomic uint64_t used_space_seen, written_since_seen;
};

/* COFFER_CAPACITY_EXCEEDED if `bytes` more would be over max_space. */
MUST_USE enum coffer_status store_check_space(
    struct store *store, uint64_t bytes, struct error *err);
/* Where lists go that are too long for memory. */
struct spill_place store_spill_place(const struct store *store);
/* What is known of a durable chunk (chunk/reader.c). */
void chunk_info_of_row(
    const struct digest *key, const struct engine_row *row, struct chunk_info *info);
/* "BOOT:CHANNEL:SEQ" */
void ticket_format(
    const struct store *store, const char *channel, uint64_t seq, struct ticket *ticket);
/* As ticket_check(), and its parts. */
enum coffer_status ticket_parse(
    const struct store *store, struct slice text, struct slice *channel, uint64_t *seq);
