/*
 * pack_set.h - all packs of a store: their files, how many bytes of them live, who reads them.
 *
 * Threads: any. The set's lock is held while a file is opened, never while one is read.
 * Memory:  a struct pack lives as long as the set, also after its removal; pin/unpin pair up and
 *          keep its descriptor open. At most descriptors_max idle descriptors are kept.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/base/status.h"
#include "storage/index/index.h"

enum { VERIFIED_SLOT_SIZE = 64 * 1024 };

struct pack {
    uint64_t id;
    uint64_t nonce;       /* 0: the file or its header is not usable */
    uint64_t base_lsn;    /* no record in it has a lower LSN; 0: not known */
    _Atomic int state;    /* enum pack_state */
    _Atomic uint64_t end; /* bytes written */
    _Atomic uint64_t records, dead_bytes, damaged;
    /* Dead bytes that a repack cannot give back, read from its seal; see compact.h. */
    _Atomic uint64_t fixed;
    _Atomic bool fixed_known;
    _Atomic bool kept; /* a repack could not empty it: not tried again in this run */
    int fd;            /* (pack_set.lock) -1: not open */
    unsigned pins;     /* (pack_set.lock) */
    bool removed;      /* (pack_set.lock) */
    /* One bit for each VERIFIED_SLOT_SIZE of the file: the payload of the record that starts there
     * was verified. Only for records that are larger than a slot, so that no two share a bit. */
    _Atomic uint8_t *verified;
    size_t verified_size; /* bytes */
};

struct pack_set;

MUST_USE enum coffer_status pack_set_create(const char *dir, uint64_t pack_size,
    unsigned descriptors_max, struct pack_set **out, struct error *err);
void pack_set_destroy(struct pack_set *set);
const char *pack_set_dir(const struct pack_set *set);

/* Take a pack in; fd may be -1 (opened when needed) and is owned by the set. No id twice. */
struct pack *pack_set_add(struct pack_set *set, uint64_t id, uint64_t nonce, uint64_t base_lsn,
    int fd, const struct index_pack *row, uint64_t dead_bytes);
/* Nothing refers to the pack any more, and its file is about to go: nobody finds it from now on,
 * but who has it pinned goes on reading. */
void pack_set_remove(struct pack_set *set, struct pack *pack);
/* The pack with an open descriptor. COFFER_NO_SUCH_CHUNK (err not filled) if it was removed, else
 * COFFER_DATA_CORRUPT if there is none with this id. */
MUST_USE enum coffer_status pack_set_pin(
    struct pack_set *set, uint64_t id, struct pack **out, struct error *err);
void pack_set_unpin(struct pack_set *set, struct pack *pack);

void pack_set_add_dead(struct pack_set *set, uint64_t id, uint64_t bytes);
void pack_set_add_damaged(struct pack_set *set, uint64_t id);

struct pack_totals {
    uint64_t packs, bytes, live_bytes, dead_bytes, damaged;
};
/* Of records that something refers to. */
uint64_t pack_live_bytes(const struct pack *pack);
void pack_set_totals(struct pack_set *set, struct pack_totals *totals);
/* Up to count packs with an id above `after`, ascending; they live as long as the set. */
size_t pack_set_list(struct pack_set *set, uint64_t after, struct pack **packs, size_t count);
uint64_t pack_set_last_id(struct pack_set *set);
