#include "storage/memory/memory_partition.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"

/* ---- the set ---- */

struct memory_partition *partitions_find(
    const struct memory_partitions *set, const struct partition_id *id)
{
    for (size_t i = 0; i < set->count; i++)
        if (memcmp(&set->all[i]->id, id, sizeof(*id)) == 0)
            return set->all[i];
    return NULL;
}

struct memory_partition *partitions_find_or_make(
    struct memory_partitions *set, const struct partition_id *id)
{
    struct memory_partition *partition = partitions_find(set, id);

    if (partition != NULL)
        return partition;
    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 16 : 2 * set->capacity;
        set->all = realloc(set->all, set->capacity * sizeof(struct memory_partition *));
        invariant(set->all != NULL);
    }
    partition = calloc(1, sizeof(*partition));
    invariant(partition != NULL);
    partition->id = *id;
    set->all[set->count++] = partition;
    return partition;
}

static void destroy(struct memory_partition *partition)
{
    for (size_t i = 0; i < partition->count; i++)
        free(partition->rows[i]);
    free(partition->rows);
    table_release(&partition->blocks);
    free(partition);
}

void partitions_drop(struct memory_partitions *set, const struct partition_id *id)
{
    for (size_t i = 0; i < set->count; i++)
        if (memcmp(&set->all[i]->id, id, sizeof(*id)) == 0) {
            destroy(set->all[i]);
            set->all[i] = set->all[--set->count];
            return;
        }
}

void partitions_release(struct memory_partitions *set)
{
    for (size_t i = 0; i < set->count; i++)
        destroy(set->all[i]);
    free(set->all);
}

struct entry *partitions_find_lsn(const struct memory_partitions *set, uint64_t lsn)
{
    struct entry *entry = NULL;

    for (size_t i = 0; i < set->count && entry == NULL; i++)
        entry = table_find_lsn(&set->all[i]->blocks, lsn);
    return entry;
}

uint64_t partitions_bytes(const struct memory_partitions *set)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < set->count; i++)
        bytes += set->all[i]->bytes + set->all[i]->blocks.bytes;
    return bytes;
}

/* ---- one partition ---- */

void partition_block_key(const struct block_id *block, uint8_t out[DIGEST_SIZE])
{
    memset(out, 0, DIGEST_SIZE);
    put_be32(out, block->channel);
    put_be64(out + 4, block->number);
}

/* As memcmp() of the longer one with zeros behind the shorter, which comes first. */
static int compare_keys(struct slice a, struct slice b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);

    if (order != 0 || a.size == b.size)
        return order;
    return a.size < b.size ? -1 : 1;
}

static struct slice key_of(const struct memory_row *row)
{
    return slice_of(row->bytes, row->key_size);
}

static bool has_prefix(const struct memory_row *row, struct slice prefix)
{
    return row->key_size >= prefix.size &&
           (prefix.size == 0 || memcmp(row->bytes, prefix.data, prefix.size) == 0);
}

/* Where the first row with a key >= `key` is or would be. */
static size_t place_of(const struct memory_partition *partition, struct slice key)
{
    size_t low = 0, high = partition->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare_keys(key_of(partition->rows[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Where the first row is or would be whose key comes behind all those with this prefix. */
static size_t place_behind(const struct memory_partition *partition, struct slice prefix)
{
    size_t low = 0, high = partition->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct memory_row *row = partition->rows[middle];

        if (has_prefix(row, prefix) || compare_keys(key_of(row), prefix) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct memory_row *partition_row(const struct memory_partition *partition, struct slice key)
{
    size_t at = place_of(partition, key);

    return at < partition->count && slice_equal(key_of(partition->rows[at]), key)
               ? partition->rows[at]
               : NULL;
}

static struct memory_row *make_row(const struct engine_change *change)
{
    struct memory_row *row = malloc(sizeof(*row) + change->key.size + change->value.size);

    invariant(row != NULL);
    row->key_size = change->key.size;
    row->value_size = change->value.size;
    memcpy(row->bytes, change->key.data, change->key.size);
    if (change->value.size > 0)
        memcpy(row->bytes + row->key_size, change->value.data, change->value.size);
    return row;
}

void partition_change(struct memory_partition *partition, const struct engine_change *change)
{
    size_t at = place_of(partition, change->key);
    struct memory_row **place;
    bool found = at < partition->count && slice_equal(key_of(partition->rows[at]), change->key);

    if (found) {
        place = &partition->rows[at];
        partition->bytes -= (*place)->key_size + (*place)->value_size;
        free(*place);
        if (change->remove) {
            memmove(place, place + 1, (partition->count - at - 1) * sizeof(struct memory_row *));
            partition->count--;
        }
    }
    if (change->remove)
        return;
    if (partition->count == partition->capacity) {
        partition->capacity = partition->capacity == 0 ? 16 : 2 * partition->capacity;
        partition->rows =
            realloc(partition->rows, partition->capacity * sizeof(struct memory_row *));
        invariant(partition->rows != NULL);
    }
    place = &partition->rows[at];
    if (!found) {
        memmove(place + 1, place, (partition->count - at) * sizeof(struct memory_row *));
        partition->count++;
    }
    *place = make_row(change);
    partition->bytes += change->key.size + change->value.size;
}

void partition_scan(const struct memory_partition *partition, struct slice prefix,
    struct slice from, bool backwards,
    bool (*visit)(void *context, struct slice key, struct slice value), void *context)
{
    size_t first = place_of(partition, prefix), end = place_behind(partition, prefix);
    bool more = true;

    if (from.size > 0) {
        size_t place = place_of(partition, from);

        if (!backwards && place > first)
            first = place;
        if (backwards) {
            if (place < partition->count && slice_equal(key_of(partition->rows[place]), from))
                place++;
            if (place < end)
                end = place;
        }
    }
    while (more && first < end) {
        const struct memory_row *row = partition->rows[backwards ? --end : first++];

        more = visit(context, key_of(row), slice_of(row->bytes + row->key_size, row->value_size));
    }
}
