/*
 * compact.h - repack: give back what is dead in sealed packs, and make few packs of many.
 *
 * A run takes some packs (the victims) whose live bytes fit into one, and:
 *  1. merges their records by LSN and copies those that something refers to into a new pack, with
 *     their own LSN. Its base LSN is the lowest of the victims', so that replays stay right.
 *  2. syncs what it has copied, and moves the index rows, some hundred at a time with the gate
 *     closed, looking again at each: what was deleted or replaced since stays so.
 *  3. seals the new pack, marks the victims as removed, flushes the index and waits for it; only
 *     then unlinks them. A victim that still has live bytes, as damage leaves them, stays.
 * The new pack is PACK_COPYING in the index, durably, before it gets its first record: what of it
 * the index does not know yet is cut off at the next start, since a replay of copies alone could
 * bring back what was deleted after they were made. Without an index all packs are replayed
 * together, and of two records with one LSN one counts.
 *
 * Deletions: tombstones, drops of partitions and blocks, and removals of rows are copied as long as
 * a pack other than their own may hold an older record (its base LSN says so), since all that a
 * lost index can be made from is the packs. They are dead bytes that a later repack could not give
 * back either: the seal notes how many (pack_writer_seal()), and only dead bytes beyond that make
 * a pack a victim.
 * Claims are copied as long as their block lives; a claimed block that comes to stand alone claims
 * itself.
 *
 * Threads: any; one compaction at a time.
 * Memory:  a scan buffer for each victim (1 MiB, at most COMPACT_VICTIMS_MAX), 4 MiB of copies, and
 *          the largest record.
 */
#pragma once

#include "storage/engine.h"

enum { COMPACT_VICTIMS_MAX = 16 };

MUST_USE enum coffer_status local_compact(
    struct engine *base, struct engine_compaction *compaction, struct error *err);
