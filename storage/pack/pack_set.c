#include "storage/pack/pack_set.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"
#include "storage/pack/pack_format.h"

struct pack_set {
    struct lock lock;
    char dir[PATH_MAX - PACK_NAME_SIZE];
    uint64_t pack_size;
    unsigned descriptors_max;
    unsigned descriptors;   /* (lock) open ones */
    struct pack **packs;    /* (lock) ascending by id */
    size_t count, capacity; /* (lock) */
    size_t hand;            /* (lock) where the search for an idle descriptor goes on */
    struct pack **removed;  /* (lock) ascending by id */
    size_t removed_count;   /* (lock) */
};

enum coffer_status pack_set_create(const char *dir, uint64_t pack_size, unsigned descriptors_max,
    struct pack_set **out, struct error *err)
{
    struct pack_set *set = calloc(1, sizeof(*set));

    invariant(set != NULL);
    if (snprintf(set->dir, sizeof(set->dir), "%s", dir) >= (int)sizeof(set->dir)) {
        free(set);
        return error_set(err, COFFER_BAD_OPTION, "the data folder's name is too long");
    }
    lock_init(&set->lock, LOCK_PACK_SET);
    set->pack_size = pack_size;
    set->descriptors_max = descriptors_max;
    *out = set;
    return COFFER_OK;
}

static void destroy_packs(struct pack **packs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (packs[i]->fd >= 0)
            close(packs[i]->fd);
        free((void *)(uintptr_t)packs[i]->verified);
        free(packs[i]);
    }
    free(packs);
}

void pack_set_destroy(struct pack_set *set)
{
    if (set == NULL)
        return;
    destroy_packs(set->packs, set->count);
    destroy_packs(set->removed, set->removed_count);
    lock_release(&set->lock);
    free(set);
}

const char *pack_set_dir(const struct pack_set *set)
{
    return set->dir;
}

struct pack *pack_set_add(struct pack_set *set, uint64_t id, uint64_t nonce, uint64_t base_lsn,
    int fd, const struct index_pack *row, uint64_t dead_bytes)
{
    struct pack *pack = calloc(1, sizeof(*pack));
    /* A pack is sealed when it has reached its size; what is written beyond is one batch. */
    uint64_t span = row->end > set->pack_size ? row->end : set->pack_size;
    size_t at;

    invariant(pack != NULL);
    pack->id = id;
    pack->nonce = nonce;
    pack->base_lsn = base_lsn;
    pack->state = (int)row->state;
    pack->end = row->end;
    pack->records = row->records;
    pack->dead_bytes = dead_bytes;
    pack->fd = fd;
    pack->verified_size = (size_t)(span / VERIFIED_SLOT_SIZE / 8 + 1);
    pack->verified = calloc(1, pack->verified_size);
    invariant(pack->verified != NULL);
    lock_take(&set->lock);
    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 16 : 2 * set->capacity;
        set->packs = realloc(set->packs, set->capacity * sizeof(struct pack *));
        invariant(set->packs != NULL);
    }
    at = set->count++;
    while (at > 0 && set->packs[at - 1]->id > id) {
        set->packs[at] = set->packs[at - 1];
        at--;
    }
    invariant(at == 0 || set->packs[at - 1]->id < id);
    set->packs[at] = pack;
    set->descriptors += fd >= 0;
    lock_drop(&set->lock);
    return pack;
}

/* Where the pack is, or would be. */
static size_t place(struct pack *const *packs, size_t count, uint64_t id)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (packs[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct pack *find(const struct pack_set *set, uint64_t id)
{
    size_t at = place(set->packs, set->count, id);

    return at < set->count && set->packs[at]->id == id ? set->packs[at] : NULL;
}

static bool was_removed(const struct pack_set *set, uint64_t id)
{
    size_t at = place(set->removed, set->removed_count, id);

    return at < set->removed_count && set->removed[at]->id == id;
}

/* Close one descriptor that nobody uses, if there is any. */
static void close_idle(struct pack_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        struct pack *pack = set->packs[set->hand++ % set->count];

        if (pack->fd >= 0 && pack->pins == 0) {
            close(pack->fd);
            pack->fd = -1;
            set->descriptors--;
            return;
        }
    }
}

static enum coffer_status open_pack(struct pack_set *set, struct pack *pack, struct error *err)
{
    char path[PATH_MAX], name[PACK_NAME_SIZE];
    int fault = fault_errno(FAULT_PACK_OPEN);

    if (set->descriptors >= set->descriptors_max)
        close_idle(set);
    pack_file_name(pack->id, name);
    (void)snprintf(path, sizeof(path), "%s/%s", set->dir, name);
    errno = fault;
    pack->fd = fault != 0 ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (pack->fd < 0)
        return error_errno(err, "open pack %s", path);
    set->descriptors++;
    return COFFER_OK;
}

enum coffer_status pack_set_pin(
    struct pack_set *set, uint64_t id, struct pack **out, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    struct pack *pack;

    lock_take(&set->lock);
    pack = find(set, id);
    if (pack == NULL || pack->nonce == 0) {
        bool removed = was_removed(set, id);

        lock_drop(&set->lock);
        if (removed)
            return COFFER_NO_SUCH_CHUNK;
        return error_set(err, COFFER_DATA_CORRUPT, "pack %llu is missing or its header is damaged",
            (unsigned long long)id);
    }
    if (pack->fd < 0)
        status = open_pack(set, pack, err);
    if (status == COFFER_OK) {
        pack->pins++;
        *out = pack;
    }
    lock_drop(&set->lock);
    return status;
}

/* With the lock: nobody reads a removed pack any more. */
static void let_go(struct pack_set *set, struct pack *pack)
{
    if (pack->fd >= 0) {
        close(pack->fd);
        set->descriptors--;
    }
    pack->fd = -1;
    free((void *)(uintptr_t)pack->verified);
    pack->verified = NULL;
    pack->verified_size = 0;
}

void pack_set_unpin(struct pack_set *set, struct pack *pack)
{
    lock_take(&set->lock);
    invariant(pack->pins > 0);
    pack->pins--;
    if (pack->removed && pack->pins == 0)
        let_go(set, pack);
    lock_drop(&set->lock);
}

void pack_set_remove(struct pack_set *set, struct pack *pack)
{
    size_t at;

    lock_take(&set->lock);
    at = place(set->packs, set->count, pack->id);
    invariant(at < set->count && set->packs[at] == pack);
    set->count--;
    memmove(&set->packs[at], &set->packs[at + 1], (set->count - at) * sizeof(struct pack *));
    set->removed = realloc(set->removed, (set->removed_count + 1) * sizeof(struct pack *));
    invariant(set->removed != NULL);
    at = place(set->removed, set->removed_count, pack->id);
    memmove(&set->removed[at + 1], &set->removed[at],
        (set->removed_count - at) * sizeof(struct pack *));
    set->removed[at] = pack;
    set->removed_count++;
    pack->removed = true;
    if (pack->pins == 0)
        let_go(set, pack);
    lock_drop(&set->lock);
}

void pack_set_add_dead(struct pack_set *set, uint64_t id, uint64_t bytes)
{
    struct pack *pack;

    lock_take(&set->lock);
    pack = find(set, id);
    if (pack != NULL)
        pack->dead_bytes += bytes;
    lock_drop(&set->lock);
}

void pack_set_add_damaged(struct pack_set *set, uint64_t id)
{
    struct pack *pack;

    lock_take(&set->lock);
    pack = find(set, id);
    if (pack != NULL)
        pack->damaged++;
    lock_drop(&set->lock);
}

uint64_t pack_live_bytes(const struct pack *pack)
{
    uint64_t end = pack->end, dead = pack->dead_bytes;

    return end > dead + PACK_HEADER_SIZE ? end - dead - PACK_HEADER_SIZE : 0;
}

void pack_set_totals(struct pack_set *set, struct pack_totals *totals)
{
    memset(totals, 0, sizeof(*totals));
    lock_take(&set->lock);
    for (size_t i = 0; i < set->count; i++) {
        totals->packs++;
        totals->bytes += set->packs[i]->end;
        totals->dead_bytes += set->packs[i]->dead_bytes;
        totals->live_bytes += pack_live_bytes(set->packs[i]);
        totals->damaged += set->packs[i]->damaged;
    }
    lock_drop(&set->lock);
}

size_t pack_set_list(struct pack_set *set, uint64_t after, struct pack **packs, size_t count)
{
    size_t found = 0;

    lock_take(&set->lock);
    for (size_t i = 0; i < set->count && found < count; i++)
        if (set->packs[i]->id > after)
            packs[found++] = set->packs[i];
    lock_drop(&set->lock);
    return found;
}

uint64_t pack_set_last_id(struct pack_set *set)
{
    uint64_t id;

    lock_take(&set->lock);
    id = set->count == 0 ? 0 : set->packs[set->count - 1]->id;
    lock_drop(&set->lock);
    return id;
}
