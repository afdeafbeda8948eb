#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/dataset_world.h"

/* ---- transactions ---- */

/* An open one, mostly; or one that has ended, or never was. */
static void a_transaction(struct world *world, const struct model_dataset *model, char id[16])
{
    bool open = !world_one_in(world, 5);

    (void)snprintf(id, 16, "t%u", world_below(world, IDS));
    for (const struct model_transaction *at = model->transactions; at != NULL; at = at->next)
        if (open ? at->state == TRANSACTION_OPEN : world_one_in(world, 10))
            memcpy(id, at->id, 16);
}

static void check_info(
    const struct transaction_info *info, const struct model_transaction *wanted, unsigned e)
{
    assert_string_equal(info->id, wanted->id);
    assert_int_equal(info->state, wanted->state);
    assert_int_equal(info->whole, wanted->whole);
    assert_int_equal(info->barrier, wanted->barrier);
    assert_int_equal(info->commit_when_ready, wanted->commit_when_ready);
    assert_int_equal(info->reason[0] != '\0', wanted->state == TRANSACTION_ABORTED);
    if (wanted->state == TRANSACTION_COMMITTED)
        assert_int_equal(info->version, wanted->version[e]);
    else
        assert_int_equal(info->version, 0);
}

void world_open(struct world *world, unsigned slot)
{
    struct model_dataset *model = world->models[slot];
    const char *channels[MODEL_CHANNELS + 1];
    unsigned set = world_one_in(world, 4) ? 0 : 1 + world_below(world, MODEL_WHOLE), count = 0;
    bool barrier = world_one_in(world, 3), commit_when_ready = set != 0 && world_one_in(world, 3),
         created;
    struct transaction_info info;
    enum coffer_status wanted;
    char id[16];

    (void)snprintf(id, sizeof(id), "t%u", world_below(world, IDS));
    if (world_one_in(world, 5))
        a_transaction(world, model, id);
    wanted = model_open(model, id, set, barrier, commit_when_ready, &created);
    for (unsigned i = 0; i < MODEL_CHANNELS; i++)
        if ((set >> i & 1) != 0)
            channels[count++] = model_channel_names[i];
    channels[count] = NULL;
    EACH_SIDE(e)
    {
        WORLD_CHECK(tx_open(world->sides[e].datasets[slot], id, set == 0 ? NULL : channels,
                        80000000, barrier, commit_when_ready, &info, err),
            wanted);
        if (wanted != COFFER_OK)
            continue;
        assert_int_equal(info.created, created);
        check_info(&info, model_find(model, id), e);
    }
}

/* A commit was answered: with a new version, or the same as before. */
static void note_commit(
    struct world *world, unsigned slot, const struct transaction_info *info, unsigned e)
{
    struct model_transaction *transaction = model_find(world->models[slot], info->id);

    if (transaction->version[e] == 0) {
        assert_true(info->version > world->sides[e].versions[slot]);
        world->sides[e].versions[slot] = transaction->version[e] = info->version;
        world->commits++;
    }
    check_info(info, transaction, e);
}

void world_commit(struct world *world, unsigned slot)
{
    struct transaction_info info;
    enum coffer_status wanted;
    char id[16];

    a_transaction(world, world->models[slot], id);
    wanted = model_commit(world->models[slot], id);
    EACH_SIDE(e)
    {
        WORLD_CHECK(tx_commit(world->sides[e].datasets[slot], id, 0, &info, err), wanted);
        if (wanted == COFFER_OK)
            note_commit(world, slot, &info, e);
    }
}

void world_ready(struct world *world, unsigned slot)
{
    unsigned channel = world_below(world, MODEL_CHANNELS + 1);
    struct transaction_info info;
    enum coffer_status wanted;
    bool committed;
    char id[16];

    a_transaction(world, world->models[slot], id);
    wanted = model_ready(world->models[slot], id, channel, &committed);
    EACH_SIDE(e)
    {
        WORLD_CHECK(
            tx_ready(world->sides[e].datasets[slot], id,
                channel == MODEL_CHANNELS ? NULL : model_channel_names[channel], &info, err),
            wanted);
        if (wanted == COFFER_OK && committed)
            note_commit(world, slot, &info, e);
        else if (wanted == COFFER_OK)
            assert_int_equal(info.state, TRANSACTION_OPEN);
    }
}

void world_abort(struct world *world, unsigned slot)
{
    struct transaction_info info;
    enum coffer_status wanted;
    char id[16];

    a_transaction(world, world->models[slot], id);
    wanted = model_abort(world->models[slot], id);
    EACH_SIDE(e)
    {
        WORLD_CHECK(tx_abort(world->sides[e].datasets[slot], id, "why not", &info, err), wanted);
        if (wanted == COFFER_OK)
            check_info(&info, model_find(world->models[slot], id), e);
    }
}

struct parts_check {
    const struct model_dataset *model;
    const struct model_transaction *transaction;
    unsigned next;
};

static bool check_listed(void *context, const struct version_part *part)
{
    struct parts_check *check = context;
    const struct model_transaction *transaction = check->transaction;

    while (check->next < MODEL_CHANNELS && (transaction->members >> check->next & 1) == 0)
        check->next++;
    assert_true(check->next < MODEL_CHANNELS);
    assert_string_equal(part->name, model_channel_names[check->next]);
    if (transaction->state == TRANSACTION_COMMITTED) {
        const struct model_run *staged = &transaction->staged[check->next];

        assert_int_equal(part->offset, staged->base);
        assert_int_equal(part->length, staged->size);
        assert_int_equal(part->records, staged->records);
    }
    check->next++;
    return true;
}

void world_find_transaction(struct world *world, unsigned slot)
{
    struct model_transaction *transaction;
    struct transaction_info info;
    enum coffer_status wanted;
    char id[16];

    a_transaction(world, world->models[slot], id);
    transaction = model_find(world->models[slot], id);
    wanted = transaction == NULL ? COFFER_NO_SUCH_TRANSACTION : COFFER_OK;
    EACH_SIDE(e)
    {
        struct parts_check check = {world->models[slot], transaction, 0};
        struct dataset *dataset = world->sides[e].datasets[slot];

        WORLD_CHECK(transaction_find(dataset, slice_from_text(id), &info, err), wanted);
        if (wanted == COFFER_OK)
            check_info(&info, transaction, e);
        WORLD_CHECK(
            transaction_parts(dataset, slice_from_text(id), check_listed, &check, err), wanted);
        /* A crash leaves the row of its opening: the channels that joined later are not in it. */
        if (wanted == COFFER_OK &&
            !(transaction->whole && transaction->state == TRANSACTION_ABORTED))
            for (; check.next < MODEL_CHANNELS; check.next++)
                assert_int_equal(transaction->members >> check.next & 1, 0);
    }
}
