#include "storage/pack/validate.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/pack/validate_parts.h"

enum { PAUSE_MAX_NS = 20000000, DOUBTS_MAX = 64 };

enum verdict { NOT_HASHED, HASH_GOOD, HASH_BAD };

/* Bad places that a power cut may have left of writes that nobody was promised. A later record
 * knows how far the pack was durable before it: what is bad before there is damage. */
struct doubts {
    struct engine_damage places[DOUBTS_MAX];
    size_t count;
};

struct extent { /* of a pack that is looked at */
    uint64_t pack, end;
    bool copying; /* a repack is filling it: the rows of its records come after them */
};

static struct local_engine *local_of(struct engine *base)
{
    return container_of(base, struct local_engine, base);
}

/* ---- being watched ---- */

enum coffer_status validate_keep_pace(const struct validate *validate, struct error *err)
{
    const struct engine_validation *validation = validate->validation;
    uint64_t rate = validation->bytes_per_second;

    while (validation->progress == NULL ||
           validation->progress(validation->context, validation->bytes_read, validate->total)) {
        uint64_t elapsed = clock_monotonic_ns() - validate->started_ns, due;
        struct timespec pause;

        due = rate == 0
                  ? 0
                  : (uint64_t)((double)validation->bytes_read * (double)NS_PER_S / (double)rate);
        if (due <= elapsed)
            return COFFER_OK;
        pause = clock_timespec(min_u64(due - elapsed, PAUSE_MAX_NS));
        (void)nanosleep(&pause, NULL);
    }
    return error_set(err, COFFER_DRAINING, "it was stopped");
}

void validate_report(const struct validate *validate, const struct engine_damage *damage)
{
    local_count_damage(validate->engine, damage->pack, damage->offset, damage->what);
    if (validate->validation->damage != NULL)
        validate->validation->damage(validate->validation->context, damage);
}

/* ---- one record ---- */

/* By any thread: has the content of a chunk the hash that is its name? */
static uint8_t hash_chunk(void *context, const struct record_header *header, const uint8_t *payload)
{
    struct slice stored = slice_of(payload, (size_t)header->stored_size);
    struct digest digest;
    uint8_t *raw;
    bool decoded;

    (void)context;
    if (header->type != RECORD_CHUNK)
        return NOT_HASHED;
    if (header->codec == CODEC_NONE) {
        sha256_once(payload, stored.size, &digest);
        return memcmp(digest.bytes, header->key, DIGEST_SIZE) == 0 ? HASH_GOOD : HASH_BAD;
    }
    if (header->raw_size > CODEC_RAW_MAX)
        return HASH_BAD;
    raw = malloc((size_t)header->raw_size + 1);
    if (raw == NULL)
        return NOT_HASHED;
    decoded = codec_decode(decoder_of_thread(), header->codec, stored, raw,
                  (size_t)header->raw_size, NULL) == COFFER_OK;
    if (decoded)
        sha256_once(raw, (size_t)header->raw_size, &digest);
    free(raw);
    return decoded && memcmp(digest.bytes, header->key, DIGEST_SIZE) == 0 ? HASH_GOOD : HASH_BAD;
}

/* A chunk that is alive and was not hashed is given to somebody who can. */
static enum coffer_status hash_later(
    struct validate *validate, uint64_t pack, const struct pack_scan_item *item, struct error *err)
{
    struct engine_validation *validation = validate->validation;
    struct engine_row row;
    struct digest key;
    enum coffer_status status;

    if (validation->hash_later == NULL ||
        (item->header.type != RECORD_CHUNK && item->header.type != RECORD_MANIFEST))
        return COFFER_OK;
    memcpy(key.bytes, item->header.key, DIGEST_SIZE);
    status = index_find_chunk(validate->engine->index, &key, &row, err);
    if (status == COFFER_NO_SUCH_CHUNK ||
        (status == COFFER_OK && (row.pack != pack || row.offset != item->offset)))
        return COFFER_OK;
    return status == COFFER_OK ? validation->hash_later(validation->context, &key, &row, err)
                               : status;
}

static void doubt(
    const struct validate *validate, struct doubts *doubts, const struct engine_damage *damage)
{
    if (doubts->count == DOUBTS_MAX)
        validate_report(validate, damage); /* a power cut leaves a few */
    else
        doubts->places[doubts->count++] = *damage;
}

/* Those before `durable` are damage. */
static void settle_doubts(const struct validate *validate, struct doubts *doubts, uint64_t durable)
{
    size_t left = 0;

    for (size_t i = 0; i < doubts->count; i++) {
        if (doubts->places[i].offset < durable)
            validate_report(validate, &doubts->places[i]);
        else
            doubts->places[left++] = doubts->places[i];
    }
    doubts->count = left;
}

static enum coffer_status look_at(struct validate *validate, uint64_t pack,
    const struct pack_scan_item *item, struct doubts *doubts, uint64_t *dead, struct error *err)
{
    struct engine_damage damage = {.pack = pack, .offset = item->offset};
    enum coffer_status status = COFFER_OK;
    uint64_t unreferenced;

    if (item->kind == PACK_SCAN_GAP) {
        damage.what = "no record can be read here";
        doubt(validate, doubts, &damage);
        return COFFER_OK;
    }
    settle_doubts(validate, doubts, item->header.durable);
    validate->validation->records++;
    if (!item->payload_good || item->verdict == HASH_BAD) {
        damage.what = item->payload_good ? "the content does not have the hash that names it"
                                         : "the content of the record fails its checksum";
        status = validate_owner(validate, pack, item, &damage, err);
        if (status == COFFER_OK && damage.owner == OWNER_NONE)
            doubt(validate, doubts, &damage);
        else if (status == COFFER_OK)
            validate_report(validate, &damage);
        return status;
    }
    status = validate_references(validate, pack, item, &unreferenced, err);
    if (status == COFFER_OK && item->verdict == NOT_HASHED)
        status = hash_later(validate, pack, item, err);
    *dead += unreferenced;
    return status;
}

/* ---- one pack ---- */

static enum coffer_status scan_pack(
    struct validate *validate, struct pack *pack, uint64_t end, uint64_t *dead, struct error *err)
{
    const struct pack_scan_look look = {.record = hash_chunk};
    char name[PACK_NAME_SIZE];
    struct pack_scan_item item = {.kind = PACK_SCAN_RECORD};
    struct doubts doubts = {.count = 0};
    struct pack_scan *scan;
    enum coffer_status status = COFFER_OK;

    pack_file_name(pack->id, name);
    scan = pack_scan_begin(pack->fd, name, pack->nonce, PACK_HEADER_SIZE, end, SCAN_PAYLOADS_ALL);
    pack_scan_look_at(scan, &look);
    while (status == COFFER_OK) {
        status = validate_keep_pace(validate, err);
        if (status == COFFER_OK)
            status = pack_scan_next(scan, &item, err);
        if (status != COFFER_OK || item.kind == PACK_SCAN_END)
            break;
        status = look_at(validate, pack->id, &item, &doubts, dead, err);
        validate->validation->bytes_read += item.size;
    }
    /* Everything before the end was durable when that was noted, and a start closes a pack with a
     * hole as poisoned: only there may something bad be nobody's loss. */
    if (atomic_load(&pack->state) != PACK_POISONED)
        settle_doubts(validate, &doubts, UINT64_MAX);
    pack_scan_end(scan);
    return status;
}

/* Dead bytes are counted when they die: so there are at least as many as were found. */
static void compare_dead(struct validate *validate, struct pack *pack, uint64_t found)
{
    struct engine_damage damage = {
        .pack = pack->id, .what = "the index leads to fewer of its records than live"};
    uint64_t counted;

    gate_close(&validate->engine->gate);
    counted = pack->dead_bytes;
    gate_leave(&validate->engine->gate);
    if (found > counted)
        validate_report(validate, &damage);
}

static enum coffer_status validate_pack(
    struct validate *validate, const struct extent *extent, struct error *err)
{
    struct engine_damage damage = {
        .pack = extent->pack, .what = "the pack is missing, or cannot be read as one"};
    uint64_t dead = 0;
    struct pack *pack;
    enum coffer_status status = pack_set_pin(validate->engine->packs, extent->pack, &pack, err);

    if (status == COFFER_NO_SUCH_CHUNK) /* repacked meanwhile */
        return COFFER_OK;
    if (status == COFFER_DATA_CORRUPT || (status == COFFER_OK && pack->nonce == 0)) {
        if (status == COFFER_OK)
            pack_set_unpin(validate->engine->packs, pack);
        validate_report(validate, &damage);
        return COFFER_OK;
    }
    if (status != COFFER_OK)
        return status;
    status = scan_pack(validate, pack, extent->end, &dead, err);
    if (status == COFFER_OK && pack->damaged == 0 && !extent->copying)
        compare_dead(validate, pack, dead);
    validate->validation->unreferenced_bytes += dead;
    pack_set_unpin(validate->engine->packs, pack);
    return status;
}

/* ---- all of it ---- */

static struct extent *note_extents(struct local_engine *engine, size_t *count)
{
    struct pack_totals totals;
    struct index_pack row;
    struct pack **packs;
    struct extent *extents;
    uint64_t dead;
    bool found;

    gate_close(&engine->gate);
    pack_set_totals(engine->packs, &totals);
    packs = calloc(totals.packs + 1, sizeof(struct pack *));
    extents = calloc(totals.packs + 1, sizeof(struct extent));
    invariant(packs != NULL && extents != NULL);
    *count = pack_set_list(engine->packs, 0, packs, totals.packs);
    for (size_t i = 0; i < *count; i++) {
        extents[i] = (struct extent){.pack = packs[i]->id, .end = packs[i]->end};
        if (atomic_load(&packs[i]->state) == PACK_OPEN)
            extents[i].copying = index_find_pack(engine->index, packs[i]->id, &row, &dead, &found,
                                     NULL) == COFFER_OK &&
                                 found && row.state == PACK_COPYING;
    }
    gate_leave(&engine->gate);
    free(packs);
    return extents;
}

enum coffer_status local_validate(
    struct engine *base, struct engine_validation *validation, struct error *err)
{
    struct validate validate = {
        .engine = local_of(base), .validation = validation, .started_ns = clock_monotonic_ns()};
    size_t count;
    struct extent *extents = note_extents(validate.engine, &count);
    enum coffer_status status = COFFER_OK;

    for (size_t i = 0; i < count; i++)
        validate.total += extents[i].end;
    for (size_t i = 0; i < count && status == COFFER_OK; i++)
        status = validate_pack(&validate, &extents[i], err);
    free(extents);
    return status == COFFER_OK ? validate_rows(&validate, err) : status;
}
