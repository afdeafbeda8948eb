#include "storage/pack/index_apply.h"

#include "storage/base/bytes.h"
#include "storage/pack/pack_format.h"

static void put_dead(struct applier *applier)
{
    for (unsigned i = 0; i < applier->dead_count; i++) {
        index_batch_add_dead(applier->batch, applier->dead[i].pack, applier->dead[i].bytes);
        pack_set_add_dead(applier->packs, applier->dead[i].pack, applier->dead[i].bytes);
    }
    applier->dead_count = 0;
}

/* A row in the index for each of a million deletions would be a million to add up for whoever asks
 * for the sum, so those of a batch are added up here. */
void apply_dead(struct applier *applier, uint64_t pack, uint64_t bytes)
{
    for (unsigned i = 0; i < applier->dead_count; i++) {
        if (applier->dead[i].pack == pack) {
            applier->dead[i].bytes += bytes;
            return;
        }
    }
    if (applier->dead_count == APPLY_PACKS)
        put_dead(applier);
    applier->dead[applier->dead_count].pack = pack;
    applier->dead[applier->dead_count++].bytes = bytes;
}

enum coffer_status apply_write(struct applier *applier, struct error *err)
{
    enum coffer_status status;

    put_dead(applier);
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
    if (old.lsn == row->lsn) { /* a second copy: of a manifest, with the same segments */
        apply_dead(
            applier, row->pack, record_size(row->segmented ? MANIFEST_SIZE : row->stored_size));
        return COFFER_OK;
    }
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
            if (old.lsn != row->lsn || old.pack != row->pack)
                apply_dead(applier, row->pack, record_size(row->stored_size));
            return COFFER_OK;
        }
        if (status == COFFER_OK)
            apply_dead(applier, old.pack, record_size(old.stored_size));
    }
    if (segment == 0 || look) /* in a replay the first one may be gone by a repack */
        index_batch_put_upload(applier->batch, upload);
    index_batch_put_segment(applier->batch, upload, segment, row);
    return COFFER_OK;
}

/* What is in the batch becomes visible, without a watermark: a replay would apply it again. */
static enum coffer_status write_part(
    struct applier *applier, const struct digest *keys, size_t count, struct error *err)
{
    enum coffer_status status = apply_write(applier, err);

    for (size_t i = 0; i < count && applier->rows != NULL; i++)
        row_cache_drop(applier->rows, &keys[i]);
    return status;
}

/* At most APPLY_AT_ONCE, into the batch. */
static enum coffer_status delete_some(struct applier *applier, const struct digest *keys,
    size_t count, uint64_t lsn, uint64_t *deleted, struct error *err)
{
    struct engine_row rows[APPLY_AT_ONCE];
    bool found[APPLY_AT_ONCE];
    enum coffer_status status = index_find_chunks(applier->index, keys, count, rows, found, err);

    for (size_t i = 0; i < count && status == COFFER_OK; i++) {
        if (!found[i] || rows[i].lsn > lsn)
            continue;
        index_batch_delete_chunk(applier->batch, &keys[i]);
        applier->chunks--;
        (*deleted)++;
        status = retire(applier, &rows[i], err);
    }
    return status;
}

enum coffer_status apply_delete_all(struct applier *applier, const struct key_source *keys,
    uint64_t lsn, uint64_t *deleted, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    *deleted = 0;
    for (uint64_t at = 0; at < keys->count && status == COFFER_OK; at += APPLY_AT_ONCE) {
        struct digest some[APPLY_AT_ONCE];
        size_t count = (size_t)min_u64(keys->count - at, APPLY_AT_ONCE);

        status = key_source_read(keys, at, count, some, err);
        if (status == COFFER_OK)
            status = delete_some(applier, some, count, lsn, deleted, err);
        if (status == COFFER_OK && keys->count > APPLY_AT_ONCE)
            status = write_part(applier, some, count, err);
    }
    return status;
}
