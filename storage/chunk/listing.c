/*
 * The chunks in key order: the index merged with what is still in the buffers.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"

/* The lowest key with the prefix; false: the prefix is no hexadecimal. */
static bool lowest_with(struct slice prefix, struct digest *key)
{
    char text[DIGEST_HEX_SIZE + 1];

    if (prefix.size > DIGEST_HEX_SIZE)
        return false;
    memset(text, '0', sizeof(text));
    if (prefix.size > 0)
        memcpy(text, prefix.data, prefix.size);
    return digest_from_hex(slice_of(text, DIGEST_HEX_SIZE), key);
}

static bool has_prefix(const struct digest *key, struct slice prefix)
{
    char text[DIGEST_HEX_SIZE + 1];

    digest_to_hex(key, text);
    return prefix.size == 0 || memcmp(text, prefix.data, prefix.size) == 0;
}

/* The largest key below `key`, so that "after" it means "from key on"; false: there is none. */
static bool step_back(struct digest *key)
{
    for (size_t i = DIGEST_SIZE; i-- > 0;)
        if (key->bytes[i]-- != 0)
            return true;
    return false;
}

static int by_digest(const void *a, const void *b)
{
    return digest_compare(a, b);
}

struct page { /* of each of the two sources */
    struct digest *stored, *buffered;
    struct engine_row *rows;
    size_t stored_count, buffered_count;
};

static size_t merge(struct store *store, const struct page *page, struct slice prefix,
    struct chunk_info *infos, size_t count, struct error *err)
{
    size_t i = 0, j = 0, found = 0;

    while (found < count && (i < page->stored_count || j < page->buffered_count)) {
        int order = i == page->stored_count ? 1
                    : j == page->buffered_count
                        ? -1
                        : digest_compare(&page->stored[i], &page->buffered[j]);
        const struct digest *key = order <= 0 ? &page->stored[i] : &page->buffered[j];

        if (!has_prefix(key, prefix))
            break; /* they ascend: no more will have it */
        if (order <= 0)
            infos[found++] = (struct chunk_info){.key = *key,
                .size = page->rows[i].size,
                .stored_size = page->rows[i].stored_size,
                .codec = page->rows[i].codec,
                .state = CHUNK_DURABLE,
                .pack = page->rows[i].pack,
                .offset = page->rows[i].offset,
                .segmented = page->rows[i].segmented};
        else if (store_stat(store, key, &infos[found], err) == COFFER_OK)
            found++; /* else it was deleted or failed meanwhile */
        i += order <= 0;
        j += order >= 0;
    }
    return found;
}

enum coffer_status store_list(struct store *store, const struct digest *after, struct slice prefix,
    struct chunk_info *infos, size_t count, size_t *found, struct error *err)
{
    struct page page;
    struct digest from;
    enum coffer_status status = COFFER_OK;

    invariant(count <= STORE_LIST_MAX);
    *found = 0;
    if (!lowest_with(prefix, &from))
        return error_set(err, COFFER_BAD_KEY, "a prefix is up to 64 lower-case hexadecimal digits");
    if (after == NULL || digest_compare(after, &from) < 0)
        after = step_back(&from) ? &from : NULL;
    page.stored = calloc(count + 1, sizeof(struct digest));
    page.buffered = calloc(count + 1, sizeof(struct digest));
    page.rows = calloc(count + 1, sizeof(struct engine_row));
    invariant(page.stored != NULL && page.buffered != NULL && page.rows != NULL);
    /* Buffers first: what moves from there to the index meanwhile is then seen at least once. */
    page.buffered_count = pending_collect(store->pending, after, page.buffered, count);
    qsort(page.buffered, page.buffered_count, sizeof(struct digest), by_digest);
    status = store->engine->ops->scan(
        store->engine, after, page.stored, page.rows, count, &page.stored_count, err);
    if (status == COFFER_OK)
        *found = merge(store, &page, prefix, infos, count, err);
    free(page.stored);
    free(page.buffered);
    free(page.rows);
    return status;
}
