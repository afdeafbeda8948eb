/*
 * recovery.h - bring the index up to what the packs hold, at start.
 *
 * Algorithm:
 *  1. Every pack that the index does not call sealed or poisoned is synced (what a killed server
 *     left in the page cache), and scanned from its watermark in the index, or from its start.
 *  2. The records of all these packs are applied in LSN order (a merge by lowest LSN), so that a
 *     deletion in one pack comes after the write in another that it deletes. Applying is
 *     idempotent; each index batch carries the watermarks of what it holds.
 *  3. A bad record below the durable offset of a later one, or in a sealed pack, is damage: it is
 *     counted and logged, and the records behind it count. If its header is whole it gets its row,
 *     so that reading it says data_corrupt and not no_such_chunk. Other bad places are torn: they
 *     were never acknowledged. What lies behind the last whole record of an open pack is cut off.
 *  4. Segments of uploads that never got their manifest, and blocks that no batch has claimed, are
 *     forgotten.
 *  5. Open packs below their size are given to lanes again, the others are sealed.
 * A missing or unusable index is the same with all watermarks at the start.
 */
#pragma once

#include "storage/base/status.h"

struct local_engine;

/* The engine's index is open and its pack set is empty; no other thread uses the engine. */
MUST_USE enum coffer_status recovery_run(struct local_engine *engine, struct error *err);
