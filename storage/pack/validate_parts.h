/*
 * validate_parts.h - what the files of validate.h share: validate.c (packs, records),
 * validate_rows.c (the index against them). Nobody else includes it.
 */
#pragma once

#include "storage/pack/local_parts.h"
#include "storage/pack/pack_scan.h"
#include "storage/pack/validate.h"

struct validate {
    struct local_engine *engine;
    struct engine_validation *validation;
    uint64_t started_ns, total; /* bytes of all packs, at the start */
};

/* COFFER_DRAINING when it is to stop; waits where it is faster than asked. */
MUST_USE enum coffer_status validate_keep_pace(const struct validate *validate, struct error *err);
void validate_report(const struct validate *validate, const struct engine_damage *damage);

/* validate_rows.c */

/* A good record of the pack: *dead are those of its bytes that nothing refers to. */
MUST_USE enum coffer_status validate_references(struct validate *validate, uint64_t pack,
    const struct pack_scan_item *item, uint64_t *dead, struct error *err);
/* What a damaged record belongs to, as far as its header says. */
MUST_USE enum coffer_status validate_owner(struct validate *validate, uint64_t pack,
    const struct pack_scan_item *item, struct engine_damage *damage, struct error *err);
/* All rows of chunks lead to a record of theirs. */
MUST_USE enum coffer_status validate_rows(struct validate *validate, struct error *err);
