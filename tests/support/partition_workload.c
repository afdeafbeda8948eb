#include "tests/support/partition_workload.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

enum {
    CHANGES_MAX = 20,
    REFERENCES_MAX = 4,
    LOOKED_AT_MAX = 60, /* blocks, for one to refer to */
    VALUE_MAX = 6000,
};
#define NEVER UINT_MAX

struct workload_op { /* one operation with all that it borrows */
    struct engine_op op;
    struct engine_change changes[CHANGES_MAX];
    struct block_id claims[REFERENCES_MAX], drops[REFERENCES_MAX];
    struct item item; /* the block's content */
};

struct workload_group {
    struct workload_op ops[WORKLOAD_GROUP_MAX];
    size_t count;
    size_t first_block; /* those of the workload from here on are its own */
};

struct workload *workload_create(uint64_t seed, unsigned group_max, size_t block_size_max)
{
    struct workload *workload = calloc(1, sizeof(*workload));

    invariant(workload != NULL && group_max <= WORKLOAD_GROUP_MAX);
    workload->random = seed | 1;
    workload->group_max = group_max;
    workload->block_size_max = block_size_max;
    workload->all_ids = calloc(WORKLOAD_PARTITIONS, sizeof(struct partition_id));
    invariant(workload->all_ids != NULL);
    for (unsigned i = 0; i < WORKLOAD_PARTITIONS; i++) /* the first is the one of all zeros */
        memset(&workload->ids[i], i == WORKLOAD_PARTITIONS - 1 ? 0xff : (int)i, PARTITION_ID_SIZE);
    memcpy(workload->all_ids, workload->ids, sizeof(workload->ids));
    workload->id_count = WORKLOAD_PARTITIONS;
    return workload;
}

void workload_destroy(struct workload *workload)
{
    free(workload->all_ids);
    free(workload->blocks);
    free(workload);
}

unsigned workload_below(struct workload *workload, unsigned limit)
{
    return (unsigned)random_below(&workload->random, limit);
}

/* Keys share prefixes, and end in bytes that sort first and last. */
struct slice workload_key(unsigned number)
{
    static const uint8_t heads[] = {'C', 'D', 'H', 'V', 0xff}, tails[] = {0, 1, 'x', 0xfe, 0xff};
    static uint8_t keys[WORKLOAD_KEYS][8];
    uint8_t *key = keys[number];

    key[0] = heads[number % 5];
    key[1] = (uint8_t)(number / 5);
    memset(key + 2, tails[number % 3 + number % 2], 4);
    return slice_of(key, number < 5 ? 1 : 2 + number % 5);
}

static struct slice value_of(struct workload *workload)
{
    static uint8_t pool[2 * VALUE_MAX];
    size_t size = workload_below(workload, workload_below(workload, 10) == 0 ? VALUE_MAX : 60);

    if (pool[0] == 0)
        content_fill(pool, sizeof(pool), 77, CONTENT_RANDOM);
    return slice_of(pool + workload_below(workload, VALUE_MAX), size);
}

/* ---- making up a commit ---- */

static void make_changes(struct workload *workload, struct workload_op *made)
{
    unsigned count = workload_below(workload, CHANGES_MAX);
    unsigned at = workload_below(workload, WORKLOAD_KEYS);

    for (unsigned i = 0; i < count; i++) {
        at = (at + 1 + workload_below(workload, WORKLOAD_KEYS / CHANGES_MAX - 1)) %
             WORKLOAD_KEYS; /* distinct */
        made->changes[i] = change_put(workload_key(at), value_of(workload));
        made->changes[i].remove = workload_below(workload, 4) == 0;
    }
    made->op.changes = made->changes;
    made->op.change_count = count;
}

static void make_block(struct workload *workload, struct workload_op *made)
{
    static const size_t sizes[] = {0, 1, 100, 900, 5000, 70000, 300000};
    struct workload_block *block;

    workload->blocks =
        realloc(workload->blocks, (workload->block_count + 1) * sizeof(struct workload_block));
    invariant(workload->blocks != NULL);
    block = &workload->blocks[workload->block_count++];
    *block = (struct workload_block){.partition = made->op.partition,
        .id = {.channel = workload_below(workload, 3), .number = workload->next_number++},
        .size = sizes[workload_below(workload, ARRAY_COUNT(sizes))],
        .seed = workload->next_number,
        .kind = workload_below(workload, 2) == 0 ? CONTENT_TEXT : CONTENT_RANDOM,
        .came = workload->step + 1,
        .claimed = made->op.change_count > 0 ? workload->step + 1 : NEVER,
        .gone = NEVER};
    if (block->size > workload->block_size_max)
        block->size = workload->block_size_max;
    made->item = item_make(block->size, block->seed, block->kind);
    made->op.has_block = true;
    made->op.block = block->id;
    made->op.block_codec = workload_below(workload, 3) == 0 ? CODEC_NONE : CODEC_ZSTD;
    made->op.body = made->item.body;
    made->op.size = block->size;
}

/* Up to REFERENCES_MAX blocks of the partition that were there before the group: staged ones, which
 * are claimed, or claimed ones, which go. */
static size_t make_references(struct workload *workload, const struct workload_group *group,
    const struct workload_op *made, bool claim, struct block_id *references)
{
    size_t count = 0, wanted = workload_below(workload, REFERENCES_MAX + 1), start;

    if (group->first_block == 0)
        return 0;
    start = workload_below(workload, (unsigned)group->first_block);
    for (size_t i = 0; i < group->first_block && i < LOOKED_AT_MAX && count < wanted; i++) {
        struct workload_block *block = &workload->blocks[(start + i) % group->first_block];
        bool is_claimed = block->claimed <= workload->step;

        if (memcmp(&block->partition, &made->op.partition, PARTITION_ID_SIZE) != 0 ||
            block->gone != NEVER || is_claimed == claim || (claim && block->claimed != NEVER))
            continue;
        if (claim)
            block->claimed = workload->step + 1;
        else
            block->gone = workload->step + 1;
        references[count++] = block->id;
    }
    return count;
}

/* A row that is nowhere, and that no earlier operation of the group makes, need not be looked up.
 */
static void mark_fresh(struct workload_group *group, struct workload_op *made, struct suite *memory)
{
    for (size_t i = 0; i < made->op.change_count; i++) {
        struct engine_change *change = &made->changes[i];
        void *value;
        size_t size;
        bool found;

        assert_int_equal(memory->engine->ops->row_get(memory->engine, &made->op.partition,
                             change->key, &value, &size, &found, NULL),
            COFFER_OK);
        if (found)
            free(value);
        for (const struct workload_op *op = group->ops; op < made && !found; op++)
            for (size_t j = 0; j < op->op.change_count && !found; j++)
                found = memcmp(&op->op.partition, &made->op.partition, PARTITION_ID_SIZE) == 0 &&
                        slice_equal(op->changes[j].key, change->key);
        change->fresh = !found && !change->remove;
    }
}

/* `dropped`: a partition that the group has dropped, or WORKLOAD_PARTITIONS. */
static void make_op(struct workload *workload, struct workload_group *group, unsigned *dropped,
    struct suite *memory)
{
    struct workload_op *made = &group->ops[group->count];
    unsigned partition = workload_below(workload, WORKLOAD_PARTITIONS);

    if (partition == *dropped)
        partition = (partition + 1) % WORKLOAD_PARTITIONS;
    made->op = op_rows(&workload->ids[partition], NULL, 0);
    if (workload_below(workload, 60) == 0 && group->count == 0) {
        made->op = op_drop_partition(&workload->ids[partition]);
        *dropped = partition;
        group->count++;
        return;
    }
    if (workload_below(workload, 5) > 0)
        make_changes(workload, made);
    if (workload_below(workload, 3) == 0)
        make_block(workload, made);
    made->op.claim_count = make_references(workload, group, made, true, made->claims);
    made->op.claims = made->claims;
    made->op.drop_count = make_references(workload, group, made, false, made->drops);
    made->op.drops = made->drops;
    mark_fresh(group, made, memory);
    group->count++;
}

struct workload_group *workload_make(struct workload *workload, struct suite *memory)
{
    struct workload_group *group = calloc(1, sizeof(*group));
    size_t count = 1 + workload_below(workload, workload->group_max);
    unsigned dropped = WORKLOAD_PARTITIONS;

    invariant(group != NULL);
    group->first_block = workload->block_count;
    while (group->count < count)
        make_op(workload, group, &dropped, memory);
    return group;
}

enum coffer_status workload_commit(struct workload_group *group, struct suite *suite, unsigned lane)
{
    struct engine_op ops[WORKLOAD_GROUP_MAX], *list[WORKLOAD_GROUP_MAX];
    enum coffer_status status;

    for (size_t i = 0; i < group->count; i++) {
        ops[i] = group->ops[i].op;
        list[i] = &ops[i];
    }
    status = suite->engine->ops->commit(suite->engine, lane, list, group->count, NULL);
    for (size_t i = 0; i < group->count; i++) /* all of them, or none */
        assert_int_equal(ops[i].status, status);
    return status;
}

static void settle_drop(struct workload *workload, const struct partition_id *dropped)
{
    struct partition_id next;

    for (size_t i = 0; i < workload->block_count; i++) {
        struct workload_block *block = &workload->blocks[i];

        if (memcmp(&block->partition, dropped, PARTITION_ID_SIZE) == 0 && block->gone == NEVER)
            block->gone = workload->step;
    }
    for (size_t i = 0; i < PARTITION_ID_SIZE; i++)
        next.bytes[i] = (uint8_t)workload_below(workload, 256);
    for (unsigned i = 0; i < WORKLOAD_PARTITIONS; i++)
        if (memcmp(&workload->ids[i], dropped, PARTITION_ID_SIZE) == 0)
            workload->ids[i] = next;
    workload->all_ids =
        realloc(workload->all_ids, (workload->id_count + 1) * sizeof(struct partition_id));
    invariant(workload->all_ids != NULL);
    workload->all_ids[workload->id_count++] = next;
}

void workload_settle(struct workload *workload, const struct workload_group *group)
{
    workload->step++;
    for (size_t i = 0; i < group->count; i++)
        if (group->ops[i].op.kind == ENGINE_DROP)
            settle_drop(workload, &group->ops[i].op.partition);
}

void workload_group_free(struct workload_group *group)
{
    if (group == NULL)
        return;
    for (size_t i = 0; i < group->count; i++)
        free(group->ops[i].item.block);
    free(group);
}

void workload_restart(struct workload *workload, struct suite *const *memory, size_t count)
{
    workload->step++;
    for (size_t i = 0; i < workload->block_count; i++) {
        struct workload_block *block = &workload->blocks[i];

        if (block->claimed != NEVER || block->gone != NEVER)
            continue;
        block->gone = workload->step;
        for (size_t j = 0; j < count; j++)
            assert_int_equal(memory[j]->engine->ops->drop_blocks(
                                 memory[j]->engine, &block->partition, &block->id, 1, NULL),
                COFFER_OK);
    }
}

void workload_forget(struct workload *workload)
{
    size_t kept = 0;

    for (size_t i = 0; i < workload->block_count; i++)
        if (workload->blocks[i].gone == NEVER)
            workload->blocks[kept++] = workload->blocks[i];
    workload->block_count = kept;
}

/* ---- comparing ---- */

bool workload_block_there(const struct workload_block *block, unsigned step, bool with_staged)
{
    return (with_staged ? block->came : block->claimed) <= step && step < block->gone;
}

bool workload_matches(const struct workload *workload, struct suite *suite, struct suite *memory,
    unsigned step, bool with_staged, uint64_t *live)
{
    bool same = true;

    *live = 0;
    for (size_t i = 0; i < workload->id_count && same; i++) {
        struct row_list got = suite_list_all(suite, &workload->all_ids[i]);
        struct row_list wanted = suite_list_all(memory, &workload->all_ids[i]);

        same = row_list_equal(&got, &wanted);
        *live += row_list_live(&got);
        row_list_release(&got);
        row_list_release(&wanted);
    }
    for (size_t i = 0; i < workload->block_count && same; i++) {
        const struct workload_block *block = &workload->blocks[i];
        bool there = suite_has_block(suite, &block->partition, block->id.channel, block->id.number);
        struct item item;

        same = there == workload_block_there(block, step, with_staged);
        if (!there)
            continue;
        item = item_make(block->size, block->seed, block->kind);
        *live +=
            suite_check_block(suite, &block->partition, block->id.channel, block->id.number, &item);
        free(item.block);
    }
    return same;
}
