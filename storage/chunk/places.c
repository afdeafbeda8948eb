#include "storage/chunk/places.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/chunk/record_reader.h"
#include "storage/chunk/sorted_keys.h"
#include "storage/chunk/write.h"
#include "storage/codec/codec.h"

enum { KEYS_AT_ONCE = SORTED_KEYS_AT_ONCE, PLACES_AT_ONCE = 64 };

struct stored_place { /* sorted as bytes, for which `rank` is enough: it never repeats */
    uint8_t rank[20]; /* big-endian: pack, offset, position; or position, pack, offset */
    struct digest key;
    uint8_t kind, codec, unused[2];
    uint64_t lsn, checksum;
    uint32_t size, stored_size;
};
static_assert(sizeof(struct stored_place) == 80, "no padding");

struct places {
    struct store *store;
    struct bulk_options options;
    uint8_t *missing; /* a bit for each position */
    uint64_t missing_count;
    struct record_sorter *sorter; /* of struct stored_place */
    struct stored_place some[PLACES_AT_ONCE];
    size_t some_count, some_at;
};

static bool is_small(const struct engine_row *row)
{
    return !row->segmented && row->stored_size <= RECORD_SMALL_MAX && row->size <= CODEC_FRAME_SIZE;
}

/* ---- finding ---- */

static enum coffer_status add(struct places *places, const struct sorted_key *key,
    enum place_kind kind, const struct engine_row *row, struct error *err)
{
    struct stored_place place = {.key = key->key, .kind = (uint8_t)kind};
    bool in_request_order = places->options.order == BULK_REQUEST_ORDER;
    uint32_t position = sorted_key_position(key);
    uint8_t *at = place.rank + (in_request_order ? sizeof(position) : 0);

    put_be32(place.rank + (in_request_order ? 0 : 16), position);
    if (kind == PLACE_SMALL || kind == PLACE_LARGE) {
        put_be64(at, row->pack);
        put_be64(at + 8, row->offset);
    }
    if (kind == PLACE_SMALL) {
        place.codec = (uint8_t)row->codec;
        place.lsn = row->lsn;
        place.checksum = row->checksum;
        place.size = (uint32_t)row->size;
        place.stored_size = (uint32_t)row->stored_size;
    }
    if (kind == PLACE_MISSING) {
        places->missing[position / 8] |= (uint8_t)(1U << position % 8);
        places->missing_count++;
    }
    return record_sorter_add(places->sorter, &place, err);
}

/* Look up some keys, which ascend and may repeat. Buffers first: what moves from there to the index
 * meanwhile is then seen at least once. */
static enum coffer_status find_some(
    struct places *places, const struct sorted_key *keys, size_t count, struct error *err)
{
    struct engine *engine = places->store->engine;
    struct digest wanted[KEYS_AT_ONCE];
    struct engine_row rows[KEYS_AT_ONCE];
    bool buffered[KEYS_AT_ONCE], found[KEYS_AT_ONCE];
    enum coffer_status status;

    for (size_t i = 0; i < count; i++) {
        struct chunk_write *write = pending_find(places->store->pending, &keys[i].key);

        buffered[i] = write != NULL;
        write_unref(write);
        wanted[i] = keys[i].key;
    }
    status = engine->ops->find_many(engine, wanted, count, rows, found, err);
    for (size_t i = 0; i < count && status == COFFER_OK; i++) {
        enum place_kind kind = PLACE_MISSING;

        if (buffered[i])
            kind = PLACE_BUFFERED;
        else if (found[i])
            kind = is_small(&rows[i]) ? PLACE_SMALL : PLACE_LARGE;
        status = add(places, &keys[i], kind, &rows[i], err);
    }
    return status;
}

static bool is_cancelled(const struct places *places)
{
    return places->options.cancelled != NULL && places->options.cancelled(places->options.context);
}

static enum coffer_status find_all(
    struct places *places, struct record_sorter *keys, struct error *err)
{
    struct sorted_key some[KEYS_AT_ONCE];
    enum coffer_status status;
    size_t count;

    do {
        if (is_cancelled(places))
            return error_set(err, COFFER_DRAINING, "nobody waits for the chunks any more");
        status = record_sorter_next(keys, some, KEYS_AT_ONCE, &count, err);
        if (status == COFFER_OK)
            status = find_some(places, some, count, err);
    } while (status == COFFER_OK && count == KEYS_AT_ONCE);
    return status;
}

enum coffer_status places_find(
    struct store *store, const struct bulk_options *options, struct places **out, struct error *err)
{
    struct places *places = calloc(1, sizeof(*places));
    struct record_sorter *keys = NULL;
    enum coffer_status status = COFFER_OK;

    invariant(places != NULL);
    places->store = store;
    places->options = *options;
    places->missing = calloc(1, options->keys.count / 8 + 1);
    places->sorter = record_sorter_create(sizeof(struct stored_place), store_spill_place(store));
    if (places->missing == NULL)
        status = error_set(err, COFFER_OVERLOADED, "no memory for so many keys; try again later");
    if (status == COFFER_OK)
        status = sorted_keys(&options->keys, store_spill_place(store), &keys, err);
    if (status == COFFER_OK)
        status = find_all(places, keys, err);
    if (status == COFFER_OK)
        status = record_sorter_finish(places->sorter, err);
    record_sorter_destroy(keys);
    if (status != COFFER_OK) {
        places_destroy(places);
        return status;
    }
    *out = places;
    return COFFER_OK;
}

void places_destroy(struct places *places)
{
    if (places == NULL)
        return;
    record_sorter_destroy(places->sorter);
    free(places->missing);
    free(places);
}

/* ---- giving ---- */

uint64_t places_missing_count(const struct places *places)
{
    return places->missing_count;
}

bool places_is_missing(const struct places *places, uint64_t position)
{
    return (places->missing[position / 8] >> position % 8 & 1) != 0;
}

enum coffer_status places_next(
    struct places *places, struct place *place, bool *more, struct error *err)
{
    const struct stored_place *from;
    bool in_request_order = places->options.order == BULK_REQUEST_ORDER;
    const uint8_t *at;

    if (places->some_at == places->some_count) {
        enum coffer_status status = record_sorter_next(
            places->sorter, places->some, PLACES_AT_ONCE, &places->some_count, err);

        places->some_at = 0;
        if (status != COFFER_OK)
            return status;
    }
    *more = places->some_at < places->some_count;
    if (!*more)
        return COFFER_OK;
    from = &places->some[places->some_at++];
    at = from->rank + (in_request_order ? sizeof(place->position) : 0);
    place->key = from->key;
    place->kind = (enum place_kind)from->kind;
    place->position = get_be32(from->rank + (in_request_order ? 0 : 16));
    place->row = (struct engine_row){.size = from->size,
        .stored_size = from->stored_size,
        .codec = (enum codec)from->codec,
        .pack = get_be64(at),
        .offset = get_be64(at + 8),
        .lsn = from->lsn,
        .checksum = from->checksum};
    return COFFER_OK;
}
