/*
 * backup.h - all packs, as they are at one moment, in another folder.
 *
 *  1. Compactions are kept out, so that no pack goes while it is copied, and none is half made.
 *  2. The ends of all packs are noted while the gate is closed. Whatever was acknowledged lies
 *     before them, and no commit record without what it is about.
 *  3. A sealed pack never changes: it is there already (same header, same size), or linked from an
 *     earlier backup, or from the store itself, or copied. Any other pack is copied up to its end.
 *     A copy is written under another name, synced, read again from the disk and compared, and
 *     only then renamed; so what has a pack's name is whole, also after a crash.
 *
 * Threads: any.
 */
#pragma once

#include "storage/engine.h"

MUST_USE enum coffer_status local_backup(
    struct engine *base, struct engine_backup *backup, struct error *err);
