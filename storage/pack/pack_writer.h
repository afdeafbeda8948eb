/*
 * pack_writer.h - append to the one pack of a lane: reserve, append, sync, seal.
 *
 * Order:   what pack_writer_append() wrote is durable when pack_writer_sync() has returned
 *          COFFER_OK. The pack's name is in its folder, durably, before create() returns.
 * Errors:  a failed append or sync poisons the pack: the writer refuses everything from then on,
 *          and the caller writes what was not durable to a new pack. The sync is never repeated:
 *          after a failure the kernel marks the pages clean, and a second fdatasync would answer
 *          "done" for bytes that never reached the disk (docs/durability.md).
 *          A failed reserve leaves everything as it was.
 * Threads: owned by one lane's thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "storage/base/status.h"
#include "storage/pack/pack_format.h"
#include "storage/pack/pack_set.h"

struct pack_writer; /* opaque: pack_writer.c */

/* Bytes at the end of a preallocation that only deletions may use: a full disk can be emptied. */
enum { PACK_WRITER_SPARE = 64 * 1024 };

/* Make a new pack file (its id above all others of the set) and add it to the set. `reserve`: bytes
 * of the disk that must stay free afterwards, 0 for a deletion. */
MUST_USE enum coffer_status pack_writer_create(struct pack_set *set,
    const struct pack_header *header, uint64_t reserve, struct pack_writer **out,
    struct error *err);
/* Go on writing a pack of the set that is open and whole up to its end; `offsets` (taken) has the
 * places of its `count` records in units of RECORD_ALIGNMENT. */
MUST_USE enum coffer_status pack_writer_adopt(struct pack_set *set, struct pack *pack,
    uint32_t *offsets, size_t count, struct pack_writer **out, struct error *err);
/* Cuts the preallocation off and lets the pack go; NULL is a no-op. */
void pack_writer_destroy(struct pack_writer *writer);

struct pack *pack_writer_pack(const struct pack_writer *writer);
uint64_t pack_writer_end(const struct pack_writer *writer);     /* where the next record starts */
uint64_t pack_writer_durable(const struct pack_writer *writer); /* everything before is synced */

/* Make sure that `bytes` can be appended; `spare`: the last PACK_WRITER_SPARE may be used too.
 * COFFER_DISK_FULL. */
MUST_USE enum coffer_status pack_writer_reserve(
    struct pack_writer *writer, uint64_t bytes, bool spare, uint64_t reserve, struct error *err);
/* Write the next `bytes` of records that pack_writer_append() is told of later (changes vectors).
 */
MUST_USE enum coffer_status pack_writer_write(struct pack_writer *writer, struct iovec *vectors,
    size_t vector_count, uint64_t bytes, struct error *err);
/* Append `records` whole records, whose sizes are in `sizes`: write their last `bytes`, which are
 * all of them unless pack_writer_write() was called (modifies vectors). */
MUST_USE enum coffer_status pack_writer_append(struct pack_writer *writer, struct iovec *vectors,
    size_t vector_count, uint64_t bytes, const uint64_t *sizes, size_t records, struct error *err);
MUST_USE enum coffer_status pack_writer_sync(struct pack_writer *writer, struct error *err);
/* Write the seal record, sync it and cut the file to its size; the pack is then read-only. `fixed`:
 * dead bytes of the pack that a repack could not give back, which the seal notes; those of the seal
 * itself are added. */
MUST_USE enum coffer_status pack_writer_seal(
    struct pack_writer *writer, uint64_t lsn, uint64_t fixed, struct error *err);
/* What the seal of a sealed pack notes; 0 if it cannot be read. `fd`: of the pack. */
uint64_t pack_seal_fixed(const struct pack *pack, int fd);
/* Close the pack to writing and cut off what was not durable, durably, as far as that works. */
void pack_writer_poison(struct pack_writer *writer);
