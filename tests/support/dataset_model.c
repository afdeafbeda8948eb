#include "tests/support/dataset_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"

const char *const model_channel_names[MODEL_CHANNELS] = {"B.c-1", "a", "b",
    "long-name-of-sixty-three-characters-0123456789.0123456789_01234", "z", "z0"};

enum { LARGE = 1 << 20 /* bytes: more than this is never buffered */ };

/* ---- runs ---- */

static void run_release(struct model_run *run)
{
    free(run->bytes);
    free(run->ends);
    free(run->appends);
    *run = (struct model_run){0};
}

static void add_record(struct model_run *run, uint64_t end)
{
    if (run->records == run->ends_capacity) {
        run->ends_capacity = 2 * run->ends_capacity + 16;
        run->ends = realloc(run->ends, run->ends_capacity * sizeof(uint64_t));
        invariant(run->ends != NULL);
    }
    run->ends[run->records++] = end;
}

static struct model_append *add_append(struct model_run *run, const uint8_t *data, size_t size)
{
    struct model_append *append;

    if (run->size + size > run->capacity) {
        run->capacity = 2 * (run->size + size);
        run->bytes = realloc(run->bytes, run->capacity);
        invariant(run->bytes != NULL);
    }
    memcpy(run->bytes + run->size, data, size);
    run->appends = realloc(run->appends, (run->append_count + 1) * sizeof(*append));
    invariant(run->appends != NULL);
    append = &run->appends[run->append_count++];
    *append = (struct model_append){
        .offset = run->base + run->size, .length = size, .record = run->base_record + run->records};
    run->size += size;
    return append;
}

/* A body as one record, or as its lines. */
static struct model_append *add_body(
    struct model_run *run, const uint8_t *data, size_t size, bool lines)
{
    struct model_append *append = add_append(run, data, size);
    size_t start = run->size - size, before = run->records;

    for (size_t i = 0; i + 1 < size && lines; i++)
        if (data[i] == '\n')
            add_record(run, start + i + 1);
    add_record(run, run->size);
    append->records = run->records - before;
    append->lines = lines;
    return append;
}

static void join_run(struct model_run *run, const struct model_run *staged)
{
    size_t start = run->size;

    for (size_t i = 0; i < staged->append_count; i++) {
        const struct model_append *from = &staged->appends[i];
        struct model_append *append =
            add_append(run, staged->bytes + (from->offset - staged->base), from->length);

        append->records = from->records;
        append->record = from->record;
        append->lines = from->lines;
    }
    for (size_t i = 0; i < staged->records; i++)
        add_record(run, start + staged->ends[i]);
}

/* How many records the bytes [from, to) of the run are; 0: they are not whole records. */
static uint64_t whole_records(
    const struct model_run *run, uint64_t from, uint64_t to, uint64_t *first)
{
    uint64_t start = 0, count = 0;

    for (size_t i = 0; i < run->records && start < to; i++) {
        if (start == from)
            *first = i;
        if (start == from || count > 0)
            count++;
        start = run->ends[i];
    }
    return start == to ? count : 0;
}

uint64_t model_records_in(const struct model_run *run, uint64_t size)
{
    uint64_t records = 0;

    while (records < run->records && run->ends[records] <= size)
        records++;
    return records;
}

/* ---- datasets ---- */

struct model_dataset *model_create(void)
{
    struct model_dataset *dataset = calloc(1, sizeof(*dataset));

    invariant(dataset != NULL);
    return dataset;
}

void model_destroy(struct model_dataset *dataset)
{
    struct model_transaction *at = dataset->transactions, *next;

    for (; at != NULL; at = next) {
        next = at->next;
        for (unsigned i = 0; i < MODEL_CHANNELS; i++)
            run_release(&at->staged[i]);
        free(at);
    }
    for (unsigned i = 0; i < MODEL_CHANNELS; i++)
        run_release(&dataset->channels[i].run);
    free(dataset);
}

static enum coffer_status takes_data(const struct model_dataset *dataset)
{
    if (dataset->deleted)
        return COFFER_NO_SUCH_DATASET;
    return dataset->state == DATASET_OPEN ? COFFER_OK : COFFER_DATASET_CLOSED;
}

static struct model_transaction *whole_one(const struct model_dataset *dataset)
{
    struct model_transaction *at = dataset->transactions;

    while (at != NULL && !(at->whole && at->state == TRANSACTION_OPEN))
        at = at->next;
    return at;
}

static enum coffer_status ended(const struct model_transaction *transaction)
{
    return transaction->state == TRANSACTION_COMMITTED ? COFFER_TRANSACTION_COMMITTED
                                                       : COFFER_TRANSACTION_ABORTED;
}

bool model_channel_exists(const struct model_channel *channel)
{
    return channel->run.size > 0 || channel->epoch > 0;
}

void model_settle_channel(struct model_channel *channel)
{
    channel->settled = channel->run.size;
}

void model_settle(struct model_dataset *dataset)
{
    for (unsigned i = 0; i < MODEL_CHANNELS; i++)
        model_settle_channel(&dataset->channels[i]);
}

uint64_t model_size_at(const struct model_channel *channel, unsigned engine, uint64_t version)
{
    uint64_t size = 0;

    for (size_t i = 0; i < channel->run.append_count; i++) {
        const struct model_append *append = &channel->run.appends[i];

        if (append->version[engine] != 0 && append->version[engine] <= version)
            size = append->offset + append->length;
    }
    return size;
}

/* ---- appends ---- */

static bool is_member(const struct model_transaction *transaction, unsigned channel)
{
    return (transaction->members >> channel & 1) != 0;
}

uint64_t model_end(const struct model_dataset *dataset, const struct model_transaction *transaction,
    unsigned channel)
{
    uint64_t end = dataset->channels[channel].run.size;

    return transaction == NULL ? end : end + transaction->staged[channel].size;
}

/* Whether such an append may go on, whatever its offset. */
static enum coffer_status may_append(
    const struct model_dataset *dataset, const struct model_request *request)
{
    const struct model_channel *channel = &dataset->channels[request->channel];
    enum coffer_status status = takes_data(dataset);

    if (status != COFFER_OK)
        return status;
    if (request->has_epoch && request->epoch != channel->epoch)
        return request->epoch < channel->epoch ? COFFER_FENCED : COFFER_BAD_REQUEST;
    if (request->transaction == NULL)
        return channel->transaction != NULL || whole_one(dataset) != NULL ? COFFER_CHANNEL_BUSY
                                                                          : COFFER_OK;
    if (request->transaction->state != TRANSACTION_OPEN)
        return ended(request->transaction);
    if (!is_member(request->transaction, request->channel) && !request->transaction->whole)
        return COFFER_NO_SUCH_CHANNEL;
    request->transaction->ready &= ~(1U << request->channel); /* its writer goes on */
    return COFFER_OK;
}

enum coffer_status model_begin(
    const struct model_dataset *dataset, struct model_request *request, uint64_t *current)
{
    enum coffer_status status;
    uint64_t end;

    if (request->id != NULL) {
        if (dataset->deleted)
            return COFFER_NO_SUCH_DATASET;
        request->transaction = model_find(dataset, request->id);
        if (request->transaction == NULL)
            return COFFER_NO_SUCH_TRANSACTION;
        if (request->transaction->state != TRANSACTION_OPEN)
            return ended(request->transaction);
    }
    status = may_append(dataset, request);
    end = model_end(dataset, request->transaction, request->channel);
    *current = end;
    if (status == COFFER_OK && request->has_offset && request->offset != end &&
        (request->offset > end ||
            (!request->size_unknown && request->size > end - request->offset)))
        return COFFER_OFFSET_MISMATCH;
    return status;
}

/* The append that the last of these bytes came with. */
static const struct model_append *append_of(const struct model_run *run, uint64_t end)
{
    size_t i = 0;

    while (run->appends[i].offset + run->appends[i].length < end)
        i++;
    return &run->appends[i];
}

/* It was sent before: COFFER_OK and the first receipt. */
static enum coffer_status find_repeat(const struct model_dataset *dataset,
    const struct model_request *request, struct append_result *result,
    const struct model_append **first)
{
    const struct model_run *run = &dataset->channels[request->channel].run;
    uint64_t from = request->offset, record = 0, count;

    if (request->transaction != NULL && from >= run->size) {
        run = &request->transaction->staged[request->channel];
        from -= run->base;
        result->staged = true;
    }
    count = whole_records(run, from, from + request->size, &record);
    if (count == 0 || (!request->lines && count != 1) ||
        memcmp(run->bytes + from, request->data, request->size) != 0)
        return COFFER_OFFSET_MISMATCH;
    result->offset = request->offset;
    result->length = request->size;
    result->record = run->base_record + record;
    result->records = count;
    result->repeated = true;
    *first = append_of(run, request->offset + request->size);
    return COFFER_OK;
}

enum coffer_status model_finish(struct model_dataset *dataset, const struct model_request *request,
    struct append_result *result, const struct model_append **first, uint64_t *current)
{
    struct model_transaction *transaction = request->transaction;
    struct model_channel *channel = &dataset->channels[request->channel];
    struct model_run *run = &channel->run;
    enum coffer_status status = may_append(dataset, request);
    struct model_append *append;
    uint64_t end;

    memset(result, 0, sizeof(*result));
    *first = NULL;
    if (status != COFFER_OK)
        return status;
    *current = model_end(dataset, transaction, request->channel);
    if (request->has_offset && request->offset != *current) {
        if (request->offset > *current || request->size > *current - request->offset)
            return COFFER_OFFSET_MISMATCH;
        status = find_repeat(dataset, request, result, first);
        end = request->offset + request->size;
        if (end <= channel->run.size && channel->settled < end)
            channel->settled = end; /* it waited for that */
        return status;
    }
    if (transaction != NULL) {
        run = &transaction->staged[request->channel];
        if (!is_member(transaction, request->channel)) {
            transaction->members |= 1U << request->channel;
            channel->transaction = transaction;
            run->base = channel->run.size;
            run->base_record = channel->run.records;
        }
    }
    append = add_body(run, request->data, request->size, request->lines);
    result->staged = transaction != NULL;
    result->buffered = transaction == NULL && request->buffered && request->size <= LARGE;
    append->buffered = result->buffered;
    if (transaction == NULL && !result->buffered)
        model_settle_channel(channel);
    result->offset = append->offset;
    result->length = append->length;
    result->record = append->record;
    result->records = append->records;
    return COFFER_OK;
}

/* ---- transactions ---- */

struct model_transaction *model_find(const struct model_dataset *dataset, const char *id)
{
    struct model_transaction *at = dataset->transactions;

    while (at != NULL && strcmp(at->id, id) != 0)
        at = at->next;
    return at;
}

static void end_transaction(struct model_dataset *dataset, struct model_transaction *transaction,
    enum transaction_state state)
{
    transaction->state = state;
    for (unsigned i = 0; i < MODEL_CHANNELS; i++) {
        struct model_channel *channel = &dataset->channels[i];

        if (!is_member(transaction, i))
            continue;
        channel->transaction = NULL;
        if (state == TRANSACTION_COMMITTED) {
            join_run(&channel->run, &transaction->staged[i]);
            model_settle_channel(channel);
        }
    }
}

void model_abort_all(struct model_dataset *dataset)
{
    for (struct model_transaction *at = dataset->transactions; at != NULL; at = at->next)
        if (at->state == TRANSACTION_OPEN)
            end_transaction(dataset, at, TRANSACTION_ABORTED);
}

enum coffer_status model_claim(
    struct model_dataset *dataset, unsigned channel, uint64_t *epoch, uint64_t *offset)
{
    struct model_transaction *transaction = dataset->channels[channel].transaction;
    enum coffer_status status = takes_data(dataset);

    if (status != COFFER_OK)
        return status;
    if (transaction == NULL)
        transaction = whole_one(dataset);
    if (transaction != NULL)
        end_transaction(dataset, transaction, TRANSACTION_ABORTED);
    *epoch = ++dataset->channels[channel].epoch;
    *offset = dataset->channels[channel].run.size;
    model_settle_channel(&dataset->channels[channel]);
    return COFFER_OK;
}

enum coffer_status model_open(struct model_dataset *dataset, const char *id, unsigned channels,
    bool barrier, bool commit_when_ready, bool *created)
{
    struct model_transaction *transaction = model_find(dataset, id);

    *created = false;
    if (commit_when_ready && channels == 0)
        return COFFER_BAD_REQUEST;
    if (dataset->deleted)
        return COFFER_NO_SUCH_DATASET;
    if (transaction != NULL)
        return transaction->state == TRANSACTION_OPEN ? COFFER_OK : ended(transaction);
    if (dataset->state != DATASET_OPEN)
        return COFFER_DATASET_CLOSED;
    for (unsigned i = 0; i < MODEL_CHANNELS; i++)
        if ((channels >> i & 1) != 0 && dataset->channels[i].transaction != NULL)
            return COFFER_CHANNEL_BUSY;
    if (whole_one(dataset) != NULL)
        return COFFER_CHANNEL_BUSY;
    for (struct model_transaction *at = dataset->transactions; at != NULL; at = at->next)
        if (at->state == TRANSACTION_OPEN && channels == 0)
            return COFFER_CHANNEL_BUSY;
    transaction = calloc(1, sizeof(*transaction));
    invariant(transaction != NULL);
    (void)snprintf(transaction->id, sizeof(transaction->id), "%s", id);
    transaction->whole = channels == 0;
    transaction->barrier = barrier;
    transaction->commit_when_ready = commit_when_ready;
    transaction->members = channels;
    for (unsigned i = 0; i < MODEL_CHANNELS; i++)
        if (is_member(transaction, i)) {
            dataset->channels[i].transaction = transaction;
            transaction->staged[i].base = dataset->channels[i].run.size;
            transaction->staged[i].base_record = dataset->channels[i].run.records;
        }
    transaction->next = dataset->transactions;
    dataset->transactions = transaction;
    *created = true;
    return COFFER_OK;
}

/* The transaction of that id, if it is still open; else what to answer who wants `wanted`. */
static enum coffer_status find_open(struct model_dataset *dataset, const char *id,
    enum transaction_state wanted, struct model_transaction **out)
{
    struct model_transaction *transaction = model_find(dataset, id);

    *out = NULL;
    if (dataset->deleted)
        return COFFER_NO_SUCH_DATASET;
    if (transaction == NULL)
        return COFFER_NO_SUCH_TRANSACTION;
    if (transaction->state != TRANSACTION_OPEN)
        return transaction->state == wanted ? COFFER_OK : ended(transaction);
    *out = transaction;
    return COFFER_OK;
}

enum coffer_status model_commit(struct model_dataset *dataset, const char *id)
{
    struct model_transaction *transaction;
    enum coffer_status status = find_open(dataset, id, TRANSACTION_COMMITTED, &transaction);

    if (transaction == NULL)
        return status;
    if (transaction->barrier && transaction->ready != transaction->members)
        return COFFER_TRANSACTION_NOT_READY;
    end_transaction(dataset, transaction, TRANSACTION_COMMITTED);
    return COFFER_OK;
}

enum coffer_status model_abort(struct model_dataset *dataset, const char *id)
{
    struct model_transaction *transaction;
    enum coffer_status status = find_open(dataset, id, TRANSACTION_ABORTED, &transaction);

    if (transaction != NULL)
        end_transaction(dataset, transaction, TRANSACTION_ABORTED);
    return status;
}

enum coffer_status model_ready(
    struct model_dataset *dataset, const char *id, unsigned channel, bool *committed)
{
    struct model_transaction *transaction;
    enum coffer_status status = find_open(dataset, id, TRANSACTION_COMMITTED, &transaction);

    *committed = transaction == NULL && status == COFFER_OK;
    if (transaction == NULL)
        return status;
    if (channel == MODEL_CHANNELS) {
        transaction->ready = transaction->members;
    } else if (is_member(transaction, channel)) {
        transaction->ready |= 1U << channel;
    } else if (transaction->whole) {
        transaction->members |= 1U << channel;
        transaction->ready |= 1U << channel;
        dataset->channels[channel].transaction = transaction;
        transaction->staged[channel].base = dataset->channels[channel].run.size;
        transaction->staged[channel].base_record = dataset->channels[channel].run.records;
    } else {
        return COFFER_NO_SUCH_CHANNEL;
    }
    *committed = transaction->commit_when_ready && transaction->ready == transaction->members;
    if (*committed)
        end_transaction(dataset, transaction, TRANSACTION_COMMITTED);
    return COFFER_OK;
}
