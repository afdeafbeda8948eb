#include "storage/pack/index_apply.h"

#include <string.h>

#include "storage/pack/pack_format.h"

/* What dies lies side by side more often than not: one counter for a run of it. */
static void settle_dead(struct applier *applier)
{
    if (applier->dead_bytes == 0)
        return;
    index_batch_add_dead(applier->batch, applier->dead_pack, applier->dead_bytes);
    pack_set_add_dead(applier->packs, applier->dead_pack, applier->dead_bytes);
    applier->dead_bytes = 0;
}

void apply_dead(struct applier *applier, uint64_t pack, uint64_t bytes)
{
    if (applier->dead_pack != pack)
        settle_dead(applier);
    applier->dead_pack = pack;
    applier->dead_bytes += bytes;
}

enum coffer_status apply_write(struct applier *applier, struct error *err)
{
    enum coffer_status status;

    settle_dead(applier);
    index_batch_add_chunks(applier->batch, applier->chunks);
    status = index_write(applier->index, applier->batch, err);
    index_batch_clear(applier->batch);
    applier->written_chunks += applier->chunks;
    applier->chunks = 0;
    return status;
}

enum coffer_status apply_step(struct applier *applier, size_t *steps, struct error *err)
{
    return ++*steps % APPLY_STEPS_AT_ONCE == 0 ? apply_write(applier, err) : COFFER_OK;
}

enum coffer_status apply_drop_segments(
    struct applier *applier, const struct upload_id *upload, uint64_t count, struct error *err)
{
    for (uint64_t i = 0; i < count; i++) {
        struct engine_row row;
        enum coffer_status status = index_find_segment(applier->index, upload, i, &row, err);

        if (status == COFFER_NO_SUCH_CHUNK)
            continue;
        if (status != COFFER_OK)
            return status;
        index_batch_delete_segment(applier->batch, upload, i);
        apply_dead(applier, row.pack, record_size(row.stored_size));
    }
    return COFFER_OK;
}

/* What the row in the index holds is no longer referred to. */
static enum coffer_status retire(
    struct applier *applier, const struct engine_row *row, struct error *err)
{
    if (!row->segmented) {
        apply_dead(applier, row->pack, record_size(row->stored_size));
        return COFFER_OK;
    }
    apply_dead(applier, row->pack, record_size(MANIFEST_SIZE));
    return apply_drop_segments(
        applier, &row->upload, segment_count(row->size, row->segment_size), err);
}

/* Whether `row` is to be written; retires an older copy, or counts `row` as dead. */
static enum coffer_status make_way(struct applier *applier, const struct digest *key,
    const struct engine_row *row, bool look, bool *write, struct error *err)
{
    struct engine_row old;
    enum coffer_status status;

    *write = true;
    if (!look) {
        applier->chunks++;
        return COFFER_OK;
    }
    status = index_find_chunk(applier->index, key, &old, err);
    if (status == COFFER_NO_SUCH_CHUNK) {
        applier->chunks++;
        return COFFER_OK;
    }
    if (status != COFFER_OK)
        return status;
    if (old.lsn == row->lsn && old.pack == row->pack) {
        *write = false; /* applied before */
        return COFFER_OK;
    }
    if (old.lsn < row->lsn)
        return retire(applier, &old, err);
    *write = false;
    return retire(applier, row, err);
}

enum coffer_status apply_chunk(struct applier *applier, const struct digest *key,
    const struct engine_row *row, bool look, struct error *err)
{
    bool write;
    enum coffer_status status = make_way(applier, key, row, look, &write, err);

    if (status == COFFER_OK && write)
        index_batch_put_chunk(applier->batch, key, row);
    return status;
}

enum coffer_status apply_manifest(struct applier *applier, const struct digest *key,
    const struct engine_row *row, bool look, struct error *err)
{
    bool write;
    enum coffer_status status = make_way(applier, key, row, look, &write, err);

    if (status != COFFER_OK)
        return status;
    if (write)
        index_batch_put_chunk(applier->batch, key, row);
    index_batch_delete_upload(applier->batch, &row->upload);
    return COFFER_OK;
}

enum coffer_status apply_segment(struct applier *applier, const struct upload_id *upload,
    uint64_t segment, const struct engine_row *row, bool look, struct error *err)
{
    if (look) {
        struct engine_row old;
        enum coffer_status status = index_find_segment(applier->index, upload, segment, &old, err);

        if (status != COFFER_OK && status != COFFER_NO_SUCH_CHUNK)
            return status;
        if (status == COFFER_OK && old.lsn >= row->lsn) {
            if (old.lsn != row->lsn)
                apply_dead(applier, row->pack, record_size(row->stored_size));
            return COFFER_OK;
        }
        if (status == COFFER_OK)
            apply_dead(applier, old.pack, record_size(old.stored_size));
    }
    if (segment == 0)
        index_batch_put_upload(applier->batch, upload);
    index_batch_put_segment(applier->batch, upload, segment, row);
    return COFFER_OK;
}

enum coffer_status apply_delete(struct applier *applier, const struct digest *key, uint64_t lsn,
    bool *deleted, struct error *err)
{
    struct engine_row row;
    enum coffer_status status = index_find_chunk(applier->index, key, &row, err);

    *deleted = false;
    if (status == COFFER_NO_SUCH_CHUNK)
        return COFFER_OK;
    if (status != COFFER_OK || row.lsn > lsn)
        return status;
    index_batch_delete_chunk(applier->batch, key);
    applier->chunks--;
    *deleted = true;
    return retire(applier, &row, err);
}

enum coffer_status apply_delete_all(struct applier *applier, const uint8_t *keys, size_t count,
    uint64_t lsn, uint64_t *deleted, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    size_t steps = 0;

    *deleted = 0;
    for (size_t i = 0; i < count && status == COFFER_OK; i++) {
        struct digest key;
        bool was_there;

        memcpy(key.bytes, keys + i * DIGEST_SIZE, DIGEST_SIZE);
        status = apply_delete(applier, &key, lsn, &was_there, err);
        *deleted += was_there;
        if (status == COFFER_OK)
            status = apply_step(applier, &steps, err);
    }
    return status;
}
