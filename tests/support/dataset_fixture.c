#include "tests/support/dataset_fixture.h"

#include "storage/base/clock.h"
#include "storage/base/invariant.h"

static struct slice text_of(const char *text)
{
    return text == NULL ? slice_of(NULL, 0) : slice_from_text(text);
}

void ds_check_status(const char *call, enum coffer_status status, enum coffer_status expected,
    const struct error *err)
{
    if (status != expected)
        fail_msg(
            "%s: %s (%s), not %s", call, status_code(status), err->text, status_code(expected));
}

/* ---- changes ---- */

/* Wait for a change that was begun with the gate's waker. */
static enum coffer_status finish(struct change *change, struct gate *gate, struct error *err)
{
    enum coffer_status status;

    while ((status = change_finish(change, err)) == COFFER_AGAIN)
        gate_wait(gate);
    return status;
}

enum coffer_status ds_create(struct store *store, const char *name,
    const struct dataset_settings *settings, const char *metadata, bool *created, struct error *err)
{
    struct dataset_settings plain;
    struct change *change = NULL;
    struct gate gate;
    enum coffer_status status;

    gate_init(&gate);
    dataset_settings_default(store, &plain);
    status = dataset_create(store, slice_from_text(name), settings == NULL ? &plain : settings,
        text_of(metadata == NULL ? "{}" : metadata), gate_waker(&gate), &change, err);
    if (status == COFFER_OK)
        status = finish(change, &gate, err);
    if (status == COFFER_OK && created != NULL)
        *created = change_created(change);
    change_close(change);
    gate_release(&gate);
    return status;
}

struct dataset *ds_hold(struct store *store, const char *name)
{
    struct dataset *dataset;
    struct error error;

    if (dataset_hold(store, slice_from_text(name), &dataset, &error) != COFFER_OK)
        fail_msg("%s", error.text);
    return dataset;
}

struct dataset *ds_make(struct store *store, const char *name)
{
    struct error error;

    if (ds_create(store, name, NULL, NULL, NULL, &error) != COFFER_OK)
        fail_msg("%s", error.text);
    return ds_hold(store, name);
}

bool ds_exists(struct store *store, const char *name)
{
    struct dataset *dataset = NULL;
    enum coffer_status status = dataset_hold(store, slice_from_text(name), &dataset, NULL);

    dataset_drop(dataset);
    return status == COFFER_OK;
}

#define CHANGE_CALL(begin)                                                                         \
    struct change *change = NULL;                                                                  \
    struct gate gate;                                                                              \
    enum coffer_status status;                                                                     \
                                                                                                   \
    gate_init(&gate);                                                                              \
    status = begin;                                                                                \
    if (status == COFFER_OK)                                                                       \
        status = finish(change, &gate, err);

#define CHANGE_OVER                                                                                \
    change_close(change);                                                                          \
    gate_release(&gate);                                                                           \
    return status

enum coffer_status ds_delete(struct dataset *dataset, struct error *err)
{
    CHANGE_CALL(dataset_delete(dataset, gate_waker(&gate), &change, err))
    CHANGE_OVER;
}

enum coffer_status ds_set_metadata(
    struct dataset *dataset, uint64_t tag, const char *was, const char *metadata, struct error *err)
{
    CHANGE_CALL(dataset_set_metadata(
        dataset, tag, text_of(was), slice_from_text(metadata), gate_waker(&gate), &change, err))
    CHANGE_OVER;
}

enum coffer_status ds_close_begin(struct dataset *dataset, struct error *err)
{
    CHANGE_CALL(dataset_close_begin(dataset, gate_waker(&gate), &change, err))
    CHANGE_OVER;
}

enum coffer_status ds_closed(struct dataset *dataset, struct error *err)
{
    CHANGE_CALL(dataset_closed(dataset, gate_waker(&gate), &change, err))
    CHANGE_OVER;
}

enum coffer_status ds_claim(struct dataset *dataset, const char *channel, uint64_t *epoch,
    uint64_t *offset, struct error *err)
{
    CHANGE_CALL(stream_claim(dataset, slice_from_text(channel), gate_waker(&gate), &change, err))
    if (status == COFFER_OK)
        change_claim(change, epoch, offset);
    CHANGE_OVER;
}

/* ---- transactions ---- */

enum coffer_status tx_open(struct dataset *dataset, const char *id, const char *const *channels,
    uint64_t ttl_ms, bool barrier, bool commit_when_ready, struct transaction_info *info,
    struct error *err)
{
    struct slice names[64];
    struct transaction_options options = {.id = text_of(id),
        .channels = names,
        .ttl_ns = ttl_ms * NS_PER_MS,
        .barrier = barrier,
        .commit_when_ready = commit_when_ready};

    for (; channels != NULL && channels[options.channel_count] != NULL; options.channel_count++)
        names[options.channel_count] = slice_from_text(channels[options.channel_count]);
    CHANGE_CALL(transaction_open(dataset, &options, gate_waker(&gate), &change, err))
    if (status == COFFER_OK && info != NULL)
        change_transaction(change, info);
    CHANGE_OVER;
}

enum coffer_status tx_ready(struct dataset *dataset, const char *id, const char *channel,
    struct transaction_info *info, struct error *err)
{
    CHANGE_CALL(transaction_ready(
        dataset, slice_from_text(id), text_of(channel), gate_waker(&gate), &change, err))
    if (status == COFFER_OK && info != NULL)
        change_transaction(change, info);
    CHANGE_OVER;
}

enum coffer_status tx_commit(struct dataset *dataset, const char *id, uint64_t wait_ms,
    struct transaction_info *info, struct error *err)
{
    CHANGE_CALL(transaction_commit(
        dataset, slice_from_text(id), wait_ms * NS_PER_MS, gate_waker(&gate), &change, err))
    if (status == COFFER_OK && info != NULL)
        change_transaction(change, info);
    CHANGE_OVER;
}

enum coffer_status tx_abort(struct dataset *dataset, const char *id, const char *reason,
    struct transaction_info *info, struct error *err)
{
    CHANGE_CALL(transaction_abort(
        dataset, slice_from_text(id), text_of(reason), gate_waker(&gate), &change, err))
    if (status == COFFER_OK && info != NULL)
        change_transaction(change, info);
    CHANGE_OVER;
}

enum transaction_state tx_state(struct dataset *dataset, const char *id)
{
    struct transaction_info info;
    struct error error;

    if (transaction_find(dataset, slice_from_text(id), &info, &error) != COFFER_OK)
        fail_msg("%s", error.text);
    return info.state;
}

/* ---- appending ---- */

static enum coffer_status send(struct append *append, const uint8_t *data, size_t size,
    size_t piece, struct gate *gate, struct error *err)
{
    size_t at = 0;

    while (at < size) {
        size_t part = piece == 0 || piece > size - at ? size - at : piece, taken;
        enum coffer_status status = append_data(append, data + at, part, &taken, err);

        at += taken;
        if (status == COFFER_AGAIN)
            gate_wait(gate);
        else if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}

enum coffer_status ds_append(struct dataset *dataset, const char *channel, const void *data,
    size_t size, struct append_call *call, struct append_result *result, struct error *err)
{
    struct append_call plain = {0};
    struct append_result own;
    struct append_options options = {.channel = slice_from_text(channel)};
    struct append *append = NULL;
    struct gate gate;
    enum coffer_status status;

    if (call == NULL)
        call = &plain;
    options.transaction = text_of(call->transaction);
    options.has_offset = call->has_offset;
    options.offset = call->offset;
    options.has_epoch = call->has_epoch;
    options.epoch = call->epoch;
    options.lines = call->lines;
    options.durability = call->buffered ? DURABILITY_BUFFERED : DURABILITY_SYNCED;
    options.size = call->size_unknown ? UPLOAD_SIZE_UNKNOWN : size;
    gate_init(&gate);
    status = append_begin(dataset, &options, gate_waker(&gate), &append, &call->current, err);
    if (status == COFFER_OK)
        status = send(append, data, size, call->piece, &gate, err);
    while (status == COFFER_OK && (status = append_finish(append, result == NULL ? &own : result,
                                       &call->current, err)) == COFFER_AGAIN) {
        gate_wait(&gate);
        status = COFFER_OK;
    }
    append_close(append);
    gate_release(&gate);
    return status;
}

struct append_result ds_append_text(struct dataset *dataset, const char *channel, const char *text)
{
    struct append_result result;
    struct error error;

    if (ds_append(dataset, channel, text, strlen(text), NULL, &result, &error) != COFFER_OK)
        fail_msg("%s", error.text);
    return result;
}

/* ---- reading ---- */

static enum coffer_status read_into(
    struct stream_reader *reader, uint8_t *out, size_t size, struct gate *gate, struct error *err)
{
    size_t at = 0, part;

    while (at < size) {
        enum coffer_status status = stream_read(reader, out + at, size - at, &part, err);

        if (status == COFFER_AGAIN) {
            gate_wait(gate);
            continue;
        }
        if (status != COFFER_OK)
            return status;
        if (part == 0)
            return error_set(err, COFFER_INTERNAL, "the channel ended %zu bytes early", size - at);
        at += part;
    }
    return COFFER_OK;
}

enum coffer_status ds_read(struct dataset *dataset, const char *channel, uint64_t version,
    uint8_t **data, size_t *size, struct error *err)
{
    struct stream_reader *reader = NULL;
    struct gate gate;
    enum coffer_status status;

    gate_init(&gate);
    *data = NULL;
    status =
        stream_open(dataset, slice_from_text(channel), version, gate_waker(&gate), &reader, err);
    if (status == COFFER_OK) {
        *size = (size_t)stream_size(reader);
        *data = malloc(*size + 1);
        invariant(*data != NULL);
        (*data)[*size] = 0;
        stream_select(reader, 0, *size, false);
        status = read_into(reader, *data, *size, &gate, err);
    }
    stream_close(reader);
    gate_release(&gate);
    if (status != COFFER_OK) {
        free(*data);
        *data = NULL;
    }
    return status;
}

enum coffer_status ds_read_range(struct dataset *dataset, const char *channel, uint64_t offset,
    size_t size, void *out, struct error *err)
{
    struct stream_reader *reader = NULL;
    struct gate gate;
    enum coffer_status status;

    gate_init(&gate);
    status = stream_open(dataset, slice_from_text(channel), 0, gate_waker(&gate), &reader, err);
    if (status == COFFER_OK) {
        stream_select(reader, offset, offset + size, false);
        status = read_into(reader, out, size, &gate, err);
    }
    stream_close(reader);
    gate_release(&gate);
    return status;
}

void ds_check_bytes(
    struct dataset *dataset, const char *channel, uint64_t version, const void *data, size_t size)
{
    struct error error;
    uint8_t *there;
    size_t there_size;

    if (ds_read(dataset, channel, version, &there, &there_size, &error) != COFFER_OK)
        fail_msg("channel %s: %s", channel, error.text);
    assert_int_equal(there_size, size);
    if (size > 0)
        assert_memory_equal(there, data, size);
    free(there);
}

void ds_check_text(struct dataset *dataset, const char *channel, const char *text)
{
    ds_check_bytes(dataset, channel, 0, text, strlen(text));
}

uint64_t ds_version(struct dataset *dataset)
{
    struct dataset_info info;

    dataset_info(dataset, &info);
    return info.version;
}

enum dataset_state ds_state(struct dataset *dataset)
{
    struct dataset_info info;

    dataset_info(dataset, &info);
    return info.state;
}

/* ---- a store with a dataset ---- */

static int set_up(void **state, enum engine_kind engine)
{
    struct dataset_test_state *self = calloc(1, sizeof(*self));

    fixture_init(&self->fixture, engine);
    fixture_open(&self->fixture);
    self->dataset = ds_make(self->fixture.store, "run1");
    *state = self;
    return 0;
}

int dataset_set_up_memory(void **state)
{
    return set_up(state, ENGINE_MEMORY);
}

int dataset_set_up_local(void **state)
{
    return set_up(state, ENGINE_LOCAL);
}

int dataset_tear_down(void **state)
{
    struct dataset_test_state *self = *state;

    dataset_drop(self->dataset);
    fixture_release(&self->fixture);
    free(self);
    return 0;
}

void dataset_restart(struct dataset_test_state *self, enum restart_how how)
{
    dataset_drop(self->dataset);
    self->dataset = NULL;
    if (how == RESTART_CRASH) {
        fixture_crash(&self->fixture);
    } else {
        fixture_close(&self->fixture);
        if (how == RESTART_NO_INDEX)
            fixture_remove_index(&self->fixture);
    }
    fixture_open(&self->fixture);
    self->dataset = ds_hold(self->fixture.store, "run1");
}
