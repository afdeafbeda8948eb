#include "storage/memory/memory_table.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"

struct content *content_create(const void *bytes, uint64_t size)
{
    struct content *content = malloc(sizeof(*content) + size);

    invariant(content != NULL);
    content->references = 1;
    content->size = size;
    if (size > 0)
        memcpy(content->bytes, bytes, size);
    return content;
}

void content_drop(struct content *content)
{
    if (content != NULL && --content->references == 0)
        free(content);
}

size_t table_place(const struct table *table, const uint8_t *key)
{
    size_t low = 0, high = table->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (memcmp(table->entries[middle].key, key, DIGEST_SIZE) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct entry *table_find(const struct table *table, const uint8_t *key)
{
    size_t at = table_place(table, key);

    return at < table->count && memcmp(table->entries[at].key, key, DIGEST_SIZE) == 0
               ? &table->entries[at]
               : NULL;
}

/* Rows have no place in memory but their number. */
struct entry *table_find_lsn(const struct table *table, uint64_t lsn)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->entries[i].row.lsn == lsn)
            return &table->entries[i];
    return NULL;
}

void table_remove(struct table *table, const uint8_t *key)
{
    struct entry *entry = table_find(table, key);
    size_t after;

    if (entry == NULL)
        return;
    if (entry->content != NULL)
        table->bytes -= entry->content->size;
    content_drop(entry->content);
    after = table->count - (size_t)(entry - table->entries) - 1;
    memmove(entry, entry + 1, after * sizeof(*entry));
    table->count--;
}

void table_put(struct table *table, const struct entry *entry)
{
    size_t at;

    table_remove(table, entry->key);
    at = table_place(table, entry->key);
    if (table->count == table->capacity) {
        table->capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
        table->entries = realloc(table->entries, table->capacity * sizeof(struct entry));
        invariant(table->entries != NULL);
    }
    memmove(
        &table->entries[at + 1], &table->entries[at], (table->count - at) * sizeof(struct entry));
    table->entries[at] = *entry;
    table->count++;
    if (entry->content != NULL)
        table->bytes += entry->content->size;
}

void table_release(struct table *table)
{
    for (size_t i = 0; i < table->count; i++)
        content_drop(table->entries[i].content);
    free(table->entries);
}
