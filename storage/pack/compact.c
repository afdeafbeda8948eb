/*
 * Which packs are worth it, run after run, until there are none.
 */
#include "storage/pack/compact.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"
#include "storage/pack/compact_parts.h"

enum {
    SMALL_MIN = 4,    /* packs that are merged: at least so many, */
    SMALL_FACTOR = 4, /* the largest at most so many times the smallest */
};

struct candidate {
    struct pack *pack;
    uint64_t size;
    double ratio; /* of it that can be given back */
};

struct choice { /* of the packs of one run */
    struct local_engine *engine;
    const struct engine_compaction *compaction;
    struct pack **packs; /* all there are */
    size_t pack_count;
    struct candidate *candidates;
    size_t count;
};

static struct local_engine *local_of(struct engine *base)
{
    return container_of(base, struct local_engine, base);
}

/* Dead bytes that can be given back. */
static uint64_t reclaimable(struct local_engine *engine, struct pack *pack)
{
    uint64_t dead = pack->dead_bytes;
    struct pack *pinned;

    if (!atomic_load(&pack->fixed_known) &&
        pack_set_pin(engine->packs, pack->id, &pinned, NULL) == COFFER_OK) {
        atomic_store(&pack->fixed, pack_seal_fixed(pack, pack->fd));
        atomic_store(&pack->fixed_known, true);
        pack_set_unpin(engine->packs, pinned);
    }
    return dead > pack->fixed ? dead - pack->fixed : 0;
}

/* A pack that is complete, and whose good records can all be told from its damaged ones. */
static bool is_candidate(const struct pack *pack, uint64_t newest)
{
    enum pack_state state = (enum pack_state)atomic_load(&pack->state);

    return pack->nonce != 0 && pack->id <= newest &&
           (state == PACK_SEALED || state == PACK_POISONED) && !atomic_load(&pack->kept) &&
           (pack->damaged == 0 || pack_live_bytes(pack) == 0);
}

static void find_candidates(struct choice *choice, uint64_t newest)
{
    struct pack_totals totals;

    pack_set_totals(choice->engine->packs, &totals);
    choice->packs = calloc(totals.packs + 1, sizeof(struct pack *));
    choice->candidates = calloc(totals.packs + 1, sizeof(struct candidate));
    invariant(choice->packs != NULL && choice->candidates != NULL);
    choice->pack_count = pack_set_list(choice->engine->packs, 0, choice->packs, totals.packs);
    for (size_t i = 0; i < choice->pack_count; i++) {
        struct pack *pack = choice->packs[i];
        uint64_t size = pack->end;

        if (!is_candidate(pack, newest))
            continue;
        choice->candidates[choice->count++] = (struct candidate){.pack = pack,
            .size = size,
            .ratio = size <= PACK_HEADER_SIZE
                         ? 1
                         : (double)reclaimable(choice->engine, pack) / (double)size};
    }
}

static int by_ratio(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return x->ratio > y->ratio ? -1 : x->ratio < y->ratio;
}

static int by_size(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    return x->size < y->size ? -1 : x->size > y->size;
}

static bool is_worth_it(const struct choice *choice, const struct candidate *candidate)
{
    double wanted = choice->compaction->dead_ratio;

    return wanted >= 0 && candidate->ratio > 0 && candidate->ratio >= wanted;
}

/* What a pack adds to the new one, at most. */
static uint64_t remains_of(const struct candidate *candidate)
{
    return candidate->size - (uint64_t)(candidate->ratio * (double)candidate->size);
}

static uint64_t oldest_but(const struct choice *choice, const struct pack *pack)
{
    uint64_t oldest = UINT64_MAX;

    for (size_t i = 0; i < choice->pack_count; i++)
        if (choice->packs[i] != pack && choice->packs[i]->base_lsn < oldest)
            oldest = choice->packs[i]->base_lsn;
    return oldest;
}

/* Take candidates from number `from` on, as many as fit into one pack. */
static enum coffer_status take(
    const struct choice *choice, size_t from, size_t to, struct compact_run *run, struct error *err)
{
    uint64_t bytes = 0;

    for (size_t i = from; i < to && run->victim_count < COMPACT_VICTIMS_MAX; i++) {
        const struct candidate *candidate = &choice->candidates[i];
        struct victim *victim = &run->victims[run->victim_count];
        enum coffer_status status;

        if (run->victim_count > 0 && bytes + remains_of(candidate) > run->engine->options.pack_size)
            continue;
        status = pack_set_pin(run->engine->packs, candidate->pack->id, &victim->pack, err);
        if (status != COFFER_OK)
            return status;
        bytes += remains_of(candidate);
        pack_file_name(candidate->pack->id, victim->name);
        victim->oldest_elsewhere = oldest_but(choice, candidate->pack);
        run->victim_count++;
    }
    return COFFER_OK;
}

/* The smallest packs that are of one size, more or less, and make one that is larger by as much.
 * So each byte is copied as often as sizes between the smallest and a whole pack differ by that. */
static enum coffer_status take_small(
    const struct choice *choice, struct compact_run *run, struct error *err)
{
    uint64_t pack_size = choice->engine->options.pack_size;

    qsort(choice->candidates, choice->count, sizeof(struct candidate), by_size);
    for (size_t i = 0; i + SMALL_MIN <= choice->count; i++) {
        const struct candidate *first = &choice->candidates[i];
        uint64_t bytes = 0;
        size_t to = i;

        while (to < choice->count && to - i < COMPACT_VICTIMS_MAX &&
               first[to - i].size <= SMALL_FACTOR * first->size &&
               bytes + remains_of(&first[to - i]) <= pack_size)
            bytes += remains_of(&first[to++ - i]);
        if (to - i >= SMALL_MIN)
            return take(choice, i, to, run, err);
    }
    return COFFER_OK;
}

/* Victims, if there are any, into a new run. */
static enum coffer_status choose(struct local_engine *engine, struct engine_compaction *compaction,
    uint64_t newest, struct compact_run *run, struct error *err)
{
    struct choice choice = {.engine = engine, .compaction = compaction};
    enum coffer_status status = COFFER_OK;
    size_t worth = 0;

    find_candidates(&choice, newest);
    if (choice.count > 0)
        qsort(choice.candidates, choice.count, sizeof(struct candidate), by_ratio);
    while (worth < choice.count && is_worth_it(&choice, &choice.candidates[worth]))
        worth++;
    run->total = run->before;
    for (size_t i = 0; i < worth; i++)
        run->total += choice.candidates[i].size;
    compaction->bytes_worth += run->total - run->before;
    if (compaction->look_only)
        worth = 0;
    else if (worth > 0)
        status = take(&choice, 0, worth, run, err);
    else if (compaction->merge_small)
        status = take_small(&choice, run, err);
    for (size_t i = 0; i < run->victim_count && worth == 0; i++)
        run->total += run->victims[i].pack->end;
    free(choice.candidates);
    free(choice.packs);
    return status;
}

static enum coffer_status run_once(struct local_engine *engine,
    struct engine_compaction *compaction, uint64_t newest, bool *more, struct error *err)
{
    struct compact_run *run = calloc(1, sizeof(*run));
    enum coffer_status status;

    invariant(run != NULL);
    run->engine = engine;
    run->compaction = compaction;
    run->before = compaction->bytes_read;
    status = choose(engine, compaction, newest, run, err);
    *more = run->victim_count > 0;
    if (status == COFFER_OK && *more)
        status = compact_run(run, err);
    for (size_t i = 0; i < run->victim_count; i++)
        pack_set_unpin(engine->packs, run->victims[i].pack);
    free(run);
    return status;
}

/* Whether it is better sealed than gone on with: those without a record never are. */
static bool is_to_seal(const struct pack_writer *writer, const struct engine_compaction *compaction)
{
    uint64_t end = pack_writer_end(writer), dead = pack_writer_pack(writer)->dead_bytes;

    return end > PACK_HEADER_SIZE &&
           (compaction->merge_small || (compaction->dead_ratio >= 0 &&
                                           (double)dead >= compaction->dead_ratio * (double)end));
}

static void seal_idle(struct local_engine *engine, struct engine_compaction *compaction)
{
    struct local_lane lane = {.batch = index_batch_create()};
    struct pack_writer **rest = NULL;
    size_t rest_count = 0;

    while (!engine->failed && (lane.writer = local_take_free_writer(engine)) != NULL) {
        if (compaction->look_only || !is_to_seal(lane.writer, compaction)) {
            if (is_to_seal(lane.writer, compaction))
                compaction->bytes_worth += pack_writer_end(lane.writer);
            rest = realloc(rest, (rest_count + 1) * sizeof(struct pack_writer *));
            invariant(rest != NULL);
            rest[rest_count++] = lane.writer;
            continue;
        }
        gate_enter(&engine->gate);
        local_seal(engine, &lane, 0);
        gate_leave(&engine->gate);
        compaction->packs_sealed++;
    }
    for (size_t i = 0; i < rest_count; i++)
        local_free_writer(engine, rest[i]);
    free(rest);
    index_batch_destroy(lane.batch);
}

enum coffer_status local_compact(
    struct engine *base, struct engine_compaction *compaction, struct error *err)
{
    struct local_engine *engine = local_of(base);
    enum coffer_status status = COFFER_OK;
    struct error own;
    uint64_t newest;
    bool more = true;

    if (err == NULL)
        err = &own;
    if (engine->failed)
        return error_set(err, COFFER_IO, "writes are refused since an earlier failure");
    if (atomic_exchange(&engine->compacting, true))
        return error_set(err, COFFER_JOB_CONFLICT, "a repack is under way");
    if (compaction->seal_idle)
        seal_idle(engine, compaction);
    newest = pack_set_last_id(engine->packs);
    while (status == COFFER_OK && more) {
        status = run_once(engine, compaction, newest, &more, err);
        if (compaction->merge_small)
            newest = pack_set_last_id(engine->packs); /* what it made may be merged once more */
    }
    atomic_store(&engine->compacting, false);
    return status;
}
