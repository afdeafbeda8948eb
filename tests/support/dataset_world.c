#include "tests/support/dataset_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

const char *const world_names[SLOTS] = {"run-a", "run-b.2", "x_y"};

unsigned world_below(struct world *world, unsigned limit)
{
    return (unsigned)random_below(&world->random, limit);
}

bool world_one_in(struct world *world, unsigned chances)
{
    return world_below(world, chances) == 0;
}

/* ---- the version log ---- */

struct log_check {
    struct world *world;
    struct model_dataset *model;
    unsigned engine, slot;
    uint64_t at[MODEL_CHANNELS]; /* how far each channel has come */
    uint64_t last;
};

static unsigned channel_of(const char *name)
{
    unsigned channel = 0;

    while (channel < MODEL_CHANNELS && strcmp(model_channel_names[channel], name) != 0)
        channel++;
    assert_true(channel < MODEL_CHANNELS);
    return channel;
}

/* The part of a version covers whole appends, which are told their version; or were told it. */
static void check_part(struct log_check *check, const struct version_info *version,
    const struct version_part *part, const struct model_transaction *transaction)
{
    unsigned number = channel_of(part->name), e = check->engine;
    struct model_run *run = &check->model->channels[number].run;
    uint64_t end = part->offset + part->length, records = 0;

    if (part->length == 0) { /* a channel of a transaction in which nothing was staged */
        assert_non_null(transaction);
        assert_int_equal(part->records, 0);
        return;
    }
    assert_int_equal(part->offset, check->at[number]);
    assert_true(end <= run->size);
    for (size_t i = 0; i < run->append_count; i++) {
        struct model_append *append = &run->appends[i];

        if (append->offset < part->offset || append->offset >= end)
            continue;
        assert_true(append->offset + append->length <= end);
        if (append->version[e] == 0) {
            assert_true(append->buffered || transaction != NULL);
            append->version[e] = version->version;
        }
        assert_int_equal(append->version[e], version->version);
        records += append->records;
    }
    assert_int_equal(part->records, records);
    check->at[number] = end;
}

static bool check_version(void *context, const struct version_info *version)
{
    struct log_check *check = context;
    struct side *side = &check->world->sides[check->engine];
    struct model_transaction *transaction = NULL;

    assert_true(version->version > check->last);
    check->last = version->version;
    assert_true(side->logged[check->slot] < VERSIONS_MAX);
    side->log[check->slot][side->logged[check->slot]++] = version->version;
    if (version->transaction != NULL) {
        transaction = model_find(check->model, version->transaction);
        assert_non_null(transaction);
        assert_int_equal(transaction->state, TRANSACTION_COMMITTED);
        assert_int_equal(transaction->version[check->engine], version->version);
    } else {
        assert_int_equal(version->part_count, 1);
        assert_true(version->parts[0].length > 0);
    }
    for (size_t i = 0; i < version->part_count; i++) {
        assert_true(i == 0 || strcmp(version->parts[i - 1].name, version->parts[i].name) < 0);
        check_part(check, version, &version->parts[i], transaction);
    }
    return true;
}

/* Everything that is visible is of exactly one version; what was told to be durable is visible. */
void world_check_log(struct world *world, unsigned slot)
{
    EACH_SIDE(e)
    {
        struct log_check check = {world, world->models[slot], e, slot, {0}, 0};
        struct side *side = &world->sides[e];
        struct dataset_info info;
        bool more;

        side->logged[slot] = 0;
        WORLD_CHECK(dataset_versions(side->datasets[slot], 0, check_version, &check, &more, err),
            COFFER_OK);
        assert_false(more);
        dataset_info(side->datasets[slot], &info);
        assert_true(info.version >= check.last && info.version >= side->versions[slot]);
        assert_true(info.tag >= side->tags[slot]);
        side->versions[slot] = info.version;
        side->tags[slot] = info.tag;
        for (unsigned i = 0; i < MODEL_CHANNELS; i++) {
            const struct model_channel *channel = &world->models[slot]->channels[i];

            if (check.at[i] < channel->settled || check.at[i] > channel->run.size)
                fail_msg("step %u: channel %s has %llu bytes, not %llu to %llu", world->step,
                    model_channel_names[i], (unsigned long long)check.at[i],
                    (unsigned long long)channel->settled, (unsigned long long)channel->run.size);
        }
    }
}

/* ---- appends ---- */

static size_t a_size(struct world *world)
{
    switch (world_below(world, 60)) {
    case 0:
        return (1 << 20) - 2 + world_below(world, 5); /* a block */
    case 1:
        return (1 << 20) + world_below(world, BODY_MAX - (1 << 20));
    case 2:
        return 65530 + world_below(world, 12);
    case 3:
    case 4:
    case 5:
        return 1 + world_below(world, 30000);
    default:
        return 1 + world_below(world, 300);
    }
}

/* Lines of few lengths, so that runs and repeats come up; sometimes a byte for a byte. */
static void fill_body(struct world *world, uint8_t *data, size_t size)
{
    size_t line = 1 + world_below(world, 40);
    bool regular = world_one_in(world, 3);

    content_fill(data, size, world->random, world_one_in(world, 2) ? CONTENT_TEXT : CONTENT_RANDOM);
    for (size_t at = line; at <= size; at += line) {
        data[at - 1] = '\n';
        if (!regular)
            line = size > 100000 && world_one_in(world, 50) ? 1 + world_below(world, 1500000)
                                                            : 1 + world_below(world, 60);
    }
}

/* The body is one that is there already, or nearly. */
static void make_repeat(
    struct world *world, const struct model_dataset *model, struct model_request *request)
{
    const struct model_run *run = &model->channels[request->channel].run;
    const struct model_transaction *transaction =
        request->id == NULL ? NULL : model_find(model, request->id);
    const struct model_append *append;

    if (transaction != NULL && transaction->state == TRANSACTION_OPEN && world_one_in(world, 2))
        run = &transaction->staged[request->channel];
    if (run->append_count == 0)
        return;
    append = &run->appends[world_below(world, (unsigned)run->append_count)];
    request->has_offset = true;
    request->offset = append->offset;
    request->size = append->length;
    if (request->lines && world_one_in(world, 2)) /* some of its lines, or some more */
        request->size = 1 + world_below(world, (unsigned)(run->base + run->size - append->offset));
    if (request->size > BODY_MAX)
        request->size = BODY_MAX;
    memcpy(world->body, run->bytes + (append->offset - run->base), request->size);
    if (world_one_in(world, 6))
        world->body[world_below(world, (unsigned)request->size)] ^= 1;
    if (world_one_in(world, 8))
        request->offset += 1;
    world->repeats++;
}

static void make_request(
    struct world *world, const struct model_dataset *model, struct model_request *request)
{
    static _Thread_local char id[16];
    uint64_t end;

    *request = (struct model_request){.channel = world_below(world, MODEL_CHANNELS),
        .lines = world_one_in(world, 3),
        .buffered = world_one_in(world, 2),
        .size_unknown = world_one_in(world, 2),
        .size = a_size(world),
        .data = world->body};
    fill_body(world, world->body, request->size);
    for (const struct model_transaction *at = model->transactions; at != NULL; at = at->next)
        if ((at->state == TRANSACTION_OPEN && world_one_in(world, 2)) || world_one_in(world, 150)) {
            (void)snprintf(id, sizeof(id), "%s", at->id);
            request->id = id;
            break;
        }
    if (world_one_in(world, 4)) {
        request->has_epoch = true;
        request->epoch = model->channels[request->channel].epoch;
        if (world_one_in(world, 6))
            request->epoch += world_below(world, 3) - 1;
    }
    end = model_end(
        model, request->id == NULL ? NULL : model_find(model, request->id), request->channel);
    switch (world_below(world, 8)) {
    case 0:
    case 1:
        request->has_offset = true;
        request->offset = end;
        break;
    case 2:
        request->has_offset = true;
        request->offset = world_below(world, (unsigned)end + 3);
        break;
    case 3:
    case 4:
        make_repeat(world, model, request);
        break;
    default:
        break;
    }
}

/* Begin it, and send the body; false: it is over, as the model says. */
static bool begin_append(struct world *world, struct pending *pending, unsigned slot)
{
    struct model_request *request = &pending->request;
    uint64_t wanted_current = 0;
    enum coffer_status wanted = model_begin(pending->model, request, &wanted_current);
    size_t piece = world_one_in(world, 2) ? request->size : 1 + world_below(world, 200000);

    EACH_SIDE(e)
    {
        struct append_options options = {
            .channel = slice_from_text(model_channel_names[request->channel]),
            .transaction = slice_from_text(request->id == NULL ? "" : request->id),
            .has_offset = request->has_offset,
            .has_epoch = request->has_epoch,
            .offset = request->offset,
            .epoch = request->epoch,
            .durability = request->buffered ? DURABILITY_BUFFERED : DURABILITY_SYNCED,
            .size = request->size_unknown ? UPLOAD_SIZE_UNKNOWN : request->size,
            .lines = request->lines};
        uint64_t current = 0;

        gate_init(&pending->gates[e]);
        WORLD_CHECK(append_begin(world->sides[e].datasets[slot], &options,
                        gate_waker(&pending->gates[e]), &pending->appends[e], &current, err),
            wanted);
        if (wanted == COFFER_OFFSET_MISMATCH)
            assert_int_equal(current, wanted_current);
        if (wanted != COFFER_OK) {
            gate_release(&pending->gates[e]);
            continue;
        }
        for (size_t at = 0, taken; at < request->size; at += taken) {
            size_t part = piece < request->size - at ? piece : request->size - at;
            struct error error;
            enum coffer_status status =
                append_data(pending->appends[e], request->data + at, part, &taken, &error);

            if (status == COFFER_AGAIN)
                gate_wait(&pending->gates[e]);
            else if (status != COFFER_OK)
                fail_msg("step %u: %s", world->step, error.text);
        }
    }
    pending->used = wanted == COFFER_OK;
    pending->slot = slot;
    return pending->used;
}

static void close_append(struct pending *pending)
{
    if (!pending->used)
        return;
    EACH_SIDE(e)
    {
        append_close(pending->appends[e]);
        gate_release(&pending->gates[e]);
    }
    free(pending->data);
    pending->data = NULL;
    pending->used = false;
}

static enum coffer_status wait_append(struct pending *pending, unsigned e,
    struct append_result *result, uint64_t *current, struct error *err)
{
    enum coffer_status status;

    while ((status = append_finish(pending->appends[e], result, current, err)) == COFFER_AGAIN)
        gate_wait(&pending->gates[e]);
    return status;
}

static void check_result(struct world *world, const struct append_result *got,
    const struct append_result *wanted, const struct model_append *first, unsigned e)
{
    assert_int_equal(got->offset, wanted->offset);
    assert_int_equal(got->length, wanted->length);
    assert_int_equal(got->record, wanted->record);
    assert_int_equal(got->records, wanted->records);
    assert_int_equal(got->staged, wanted->staged);
    assert_int_equal(got->buffered, wanted->buffered);
    assert_int_equal(got->repeated, wanted->repeated);
    assert_int_equal(got->ticket.text[0] != '\0', wanted->buffered);
    if (got->staged || got->buffered)
        assert_int_equal(got->version, 0);
    else
        assert_true(got->version > 0);
    if (first != NULL && !got->staged && first->version[e] != 0)
        assert_int_equal(got->version, first->version[e]);
    (void)world;
}

static void finish_append(struct world *world, struct pending *pending)
{
    struct model_dataset *model = pending->model;
    struct append_result wanted;
    const struct model_append *first;
    uint64_t wanted_current = 0;
    enum coffer_status status =
        model_finish(model, &pending->request, &wanted, &first, &wanted_current);

    EACH_SIDE(e)
    {
        struct append_result got = {0};
        struct side *side = &world->sides[e];
        uint64_t current = 0;

        WORLD_CHECK(wait_append(pending, e, &got, &current, err), status);
        if (status == COFFER_OFFSET_MISMATCH)
            assert_int_equal(current, wanted_current);
        if (status != COFFER_OK)
            continue;
        check_result(world, &got, &wanted, first, e);
        if (got.version != 0 && !got.repeated) {
            struct model_run *run = &model->channels[pending->request.channel].run;

            assert_true(got.version > side->versions[pending->slot]);
            side->versions[pending->slot] = got.version;
            run->appends[run->append_count - 1].version[e] = got.version;
        }
    }
    close_append(pending);
}

void world_append(struct world *world, unsigned slot)
{
    struct pending now = {.model = world->models[slot]};

    make_request(world, now.model, &now.request);
    if (begin_append(world, &now, slot))
        finish_append(world, &now);
}

/* One that is left open for a while. */
void world_pending(struct world *world, unsigned slot)
{
    struct pending *pending = &world->pending[world_below(world, PENDING)];

    if (pending->used) {
        if (world_one_in(world, 5))
            close_append(pending);
        else
            finish_append(world, pending);
        return;
    }
    *pending = (struct pending){.model = world->models[slot]};
    make_request(world, pending->model, &pending->request);
    pending->data = malloc(pending->request.size);
    invariant(pending->data != NULL);
    memcpy(pending->data, world->body, pending->request.size);
    pending->request.data = pending->data;
    if (pending->request.id != NULL) {
        memcpy(pending->id, pending->request.id, sizeof(pending->id));
        pending->request.id = pending->id;
    }
    if (!begin_append(world, pending, slot))
        free(pending->data);
}

void world_close_pending(struct world *world)
{
    for (unsigned i = 0; i < PENDING; i++)
        close_append(&world->pending[i]);
}

void world_claim(struct world *world, unsigned slot)
{
    unsigned channel = world_below(world, MODEL_CHANNELS);
    uint64_t wanted_epoch = 0, wanted_offset = 0, epoch, offset;
    enum coffer_status wanted =
        model_claim(world->models[slot], channel, &wanted_epoch, &wanted_offset);

    EACH_SIDE(e)
    {
        WORLD_CHECK(ds_claim(world->sides[e].datasets[slot], model_channel_names[channel], &epoch,
                        &offset, err),
            wanted);
        if (wanted == COFFER_OK) {
            assert_int_equal(epoch, wanted_epoch);
            assert_int_equal(offset, wanted_offset);
        }
    }
}
