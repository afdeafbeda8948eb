/*
 * validate.h - prove that the packs hold what the index says, and the index what the packs hold.
 *
 *  1. The ends of all packs are noted while the gate is closed, so that every record before them
 *     has its rows.
 *  2. Each pack is scanned (pack_scan.h): header and payload checksums of every record, and the
 *     SHA-256 of every chunk whose payload is whole in memory. What a record is about is looked up
 *     in the index: a row that leads here must say the same; what none leads to is unreferenced.
 *     More of that than the pack's count of dead bytes means that the index has lost rows.
 *  3. The rows of all chunks, sorted by place, are followed to their record headers.
 *
 * Commits, deletions and repack go on: before anything is called missing its row is looked up once
 * more, and what was dead at that moment counts as dead.
 *
 * Threads: any.
 * Memory:  that of a scan, and a fixed number of records and rows.
 */
#pragma once

#include "storage/engine.h"

MUST_USE enum coffer_status local_validate(
    struct engine *base, struct engine_validation *validation, struct error *err);
