/*
 * maintenance.h - what keeps a store small and whole: the fourth public face of the store, beside
 * store.h, datasets.h and jobs.h. Each piece of work is a call that blocks, for programs without a
 * server, and a job (jobs.h) for those with one.
 *
 * A repack gives the space of deleted content back: packs of which enough is dead are rewritten
 * without it, and their files removed. Reads and writes go on meanwhile. It may be stopped, or the
 * power fail, at any moment: what it did so far stays, and nothing is ever lost by it.
 *
 * A validation reads everything: every record's checksum, every chunk's SHA-256, and the index
 * against the packs both ways. It goes on after damage, and changes nothing.
 *
 * A backup is a folder that is a store without an index: what a store was at one moment. Nothing of
 * it changes later; packs that never change are shared with backups before it, and with the store
 * itself, as hard links.
 *
 * Threads: any; one repack or backup of a store at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/status.h"
#include "storage/store.h"

struct maintenance_watch {
    /* Called often, from the calling thread; false: stop soon. NULL: nobody looks. */
    bool (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

struct repack_options {
    double dead_ratio;         /* 0 to 1: rewrite packs of which so much is dead; < 0: none */
    int compression_level;     /* of what is rewritten: compress it again; 0: leave it as it is */
    uint64_t bytes_per_second; /* of packs read; 0: as fast as it goes */
    bool merge_small;          /* make one pack of several small ones */
    /* Look at open packs that nobody writes to as well, and seal those that are worth it (with
     * merge_small: all of them). */
    bool seal_idle;
};
/* What is asked for by one who says nothing more: the store's dead ratio and rate. */
void repack_options_default(const struct store *store, struct repack_options *options);
/* Of the job "pack": all that makes few packs of many. */
void pack_options_default(const struct store *store, struct repack_options *options);

struct repack_result {
    uint64_t packs_sealed, packs_rewritten, packs_written;
    uint64_t packs_kept; /* that were to be removed, and hold something that cannot be moved */
    uint64_t records_moved, bytes_read, bytes_written, bytes_freed;
};

/* Blocking. COFFER_DRAINING: stopped by the watch; COFFER_JOB_CONFLICT: one is under way;
 * COFFER_DISK_FULL. *result says what was done, in any case. */
MUST_USE enum coffer_status store_repack(struct store *store, const struct repack_options *options,
    const struct maintenance_watch *watch, struct repack_result *result, struct error *err);

/* The same as a job of the kind JOB_REPACK, or JOB_PACK, which writes out buffered content first.
 * As job_start(). */
MUST_USE enum coffer_status store_repack_start(
    struct store *store, const struct repack_options *options, uint64_t *id, struct error *err);
MUST_USE enum coffer_status store_pack_start(
    struct store *store, const struct repack_options *options, uint64_t *id, struct error *err);

/* ---- validation ---- */

struct validate_options {
    uint64_t bytes_per_second; /* of packs read; 0: as fast as it goes */
};

enum { VALIDATE_LISTED_MAX = 100, VALIDATE_KEY_SIZE = 160 };

struct validate_damage {
    uint64_t pack, offset;
    char key[VALIDATE_KEY_SIZE]; /* of a chunk in hexadecimal; "dataset NAME"; empty: not known */
    const char *what;            /* a constant */
};

struct validate_result {
    uint64_t checked; /* records */
    uint64_t bytes_read, chunks;
    uint64_t unreferenced_bytes;           /* dead, until a repack gives them back */
    uint64_t damaged_count, missing_count; /* of which at most so many are listed: */
    struct validate_damage damaged[VALIDATE_LISTED_MAX], missing[VALIDATE_LISTED_MAX];
};

/* Blocking, while reads and writes go on. What is damaged is in *result and in the log, and no
 * failure of the call. COFFER_DRAINING: stopped by the watch. */
MUST_USE enum coffer_status store_validate(struct store *store,
    const struct validate_options *options, const struct maintenance_watch *watch,
    struct validate_result *result, struct error *err);
/* The same as a job of the kind JOB_VALIDATE. As job_start(). */
MUST_USE enum coffer_status store_validate_start(
    struct store *store, const struct validate_options *options, uint64_t *id, struct error *err);

/* ---- backup ---- */

struct backup_options {
    const char *to;            /* a folder, absolute: empty, new, or one with earlier backups */
    uint64_t bytes_per_second; /* of packs copied; 0: as fast as it goes */
};

enum { BACKUP_NAME_SIZE = 32, BACKUP_TO_MAX = 100 /* bytes of `to` */ };

struct backup_result {
    char name[BACKUP_NAME_SIZE]; /* of the new folder in `to` */
    uint64_t packs, bytes, bytes_linked, bytes_copied;
};

/* Blocking; what is buffered at the call is written out first. What was made before a failure is
 * gone on with by the next one. COFFER_BAD_REQUEST: `to` cannot be used; COFFER_JOB_CONFLICT,
 * COFFER_DRAINING, COFFER_DISK_FULL, COFFER_DATA_CORRUPT (a pack is missing) as above. */
MUST_USE enum coffer_status store_backup(struct store *store, const struct backup_options *options,
    const struct maintenance_watch *watch, struct backup_result *result, struct error *err);
/* The same as a job of the kind JOB_BACKUP. As job_start(). */
MUST_USE enum coffer_status store_backup_start(
    struct store *store, const struct backup_options *options, uint64_t *id, struct error *err);
