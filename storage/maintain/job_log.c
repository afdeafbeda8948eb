#include "storage/maintain/job_log.h"

#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/chunk/store_parts.h"

static const struct partition_id jobs_partition = {"coffer jobs"};

struct save {
    struct lane_op lane_op;
    struct gate gate;
};

static void saved(struct lane_op *op)
{
    waker_wake(gate_waker(&container_of(op, struct save, lane_op)->gate));
}

static enum coffer_status commit(
    struct store *store, const struct engine_change *changes, size_t count, struct error *err)
{
    struct lane *lane = lane_set_steady(store->lanes, 0);
    struct save save = {.lane_op = {.urgent = true,
                            .awaited = true,
                            .done = saved,
                            .op = {.kind = ENGINE_BATCH,
                                .partition = jobs_partition,
                                .changes = changes,
                                .change_count = count}}};
    struct lane_waiter waiter = {.bytes = 0};

    for (size_t i = 0; i < count; i++)
        save.lane_op.bytes += changes[i].key.size + changes[i].value.size;
    gate_init(&save.gate);
    waiter.waker = gate_waker(&save.gate);
    while (!lane_push(lane, &save.lane_op, &waiter))
        gate_wait(&save.gate);
    gate_wait(&save.gate);
    gate_release(&save.gate);
    if (save.lane_op.op.status != COFFER_OK)
        return error_set(err, save.lane_op.op.status, "the state of a job could not be written: %s",
            status_title(save.lane_op.op.status));
    return COFFER_OK;
}

enum coffer_status job_log_save(struct store *store, const struct job_row *row,
    const uint64_t *gone, size_t gone_count, struct error *err)
{
    struct engine_change *changes = calloc(gone_count + 1, sizeof(*changes));
    uint8_t(*keys)[JOB_ROW_KEY_SIZE] = calloc(gone_count + 1, sizeof(*keys));
    enum coffer_status status;
    size_t size;
    void *value = job_row_encode(row, &size);

    invariant(changes != NULL && keys != NULL);
    job_row_key(row->id, keys[0]);
    changes[0] = (struct engine_change){
        .key = slice_of(keys[0], sizeof(keys[0])), .value = slice_of(value, size)};
    for (size_t i = 0; i < gone_count; i++) {
        job_row_key(gone[i], keys[i + 1]);
        changes[i + 1] = (struct engine_change){
            .key = slice_of(keys[i + 1], sizeof(keys[i + 1])), .remove = true};
    }
    status = commit(store, changes, gone_count + 1, err);
    free(value);
    free(keys);
    free(changes);
    return status;
}

struct load {
    job_log_visit *visit;
    void *context;
};

static bool load_row(void *context, struct slice key, struct slice value)
{
    struct load *load = context;
    const uint8_t *at = key.data;
    struct job_row row;
    bool known = job_row_decode(key, value, &row);

    if (!known)
        log_write(LOG_WARN, "job_skipped",
            "a job in the history cannot be read, or is of a kind that this version lacks");
    if (key.size == JOB_ROW_KEY_SIZE)
        load->visit(load->context, get_be64(at + 1), known ? &row : NULL);
    return true;
}

enum coffer_status job_log_load(
    struct store *store, job_log_visit *visit, void *context, struct error *err)
{
    struct load load = {visit, context};

    return store->engine->ops->row_scan(store->engine, &jobs_partition,
        slice_from_text(JOB_ROW_KEY_PREFIX), slice_of("", 0), false, load_row, &load, err);
}
