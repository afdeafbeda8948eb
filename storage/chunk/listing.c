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

struct page { /* of each of the two sources: the lowest keys behind `after` */
    struct digest *stored, *buffered;
    struct engine_row *rows;
    size_t stored_count, buffered_count;
    size_t size; /* a source that gave so many may have more */
};

struct list {
    struct store *store;
    struct slice prefix;
    struct digest after; /* the last key that was looked at */
    bool begun;          /* false: there is none */
    struct chunk_info *infos;
    size_t count, found;
    bool ended;
};

/* Which of the two has the next key: < 0 the index, > 0 the buffers, 0 both. */
static int next_of(const struct page *page, size_t stored, size_t buffered)
{
    if (stored == page->stored_count)
        return 1;
    if (buffered == page->buffered_count)
        return -1;
    return digest_compare(&page->stored[stored], &page->buffered[buffered]);
}

static void merge(struct list *list, const struct page *page, struct error *err)
{
    size_t i = 0, j = 0;

    while (list->found < list->count && (i < page->stored_count || j < page->buffered_count)) {
        int order = next_of(page, i, j);
        const struct digest *key = order <= 0 ? &page->stored[i] : &page->buffered[j];

        if (!has_prefix(key, list->prefix)) { /* they ascend: no more will have it */
            list->ended = true;
            return;
        }
        if (order <= 0)
            chunk_info_of_row(key, &page->rows[i], &list->infos[list->found++]);
        else if (store_stat(list->store, key, &list->infos[list->found], err) == COFFER_OK)
            list->found++; /* else it was deleted or failed meanwhile */
        list->after = *key;
        list->begun = true;
        i += order <= 0;
        j += order >= 0;
        /* What comes behind a full page is not known. */
        if ((i == page->stored_count && i == page->size) ||
            (j == page->buffered_count && j == page->size))
            return;
    }
    list->ended = list->found < list->count;
}

static enum coffer_status next_page(struct list *list, struct page *page, struct error *err)
{
    const struct digest *after = list->begun ? &list->after : NULL;
    enum coffer_status status;

    /* Buffers first: what moves from there to the index meanwhile is then seen at least once. */
    page->buffered_count = pending_collect(list->store->pending, after, page->buffered, page->size);
    qsort(page->buffered, page->buffered_count, sizeof(struct digest), by_digest);
    status = list->store->engine->ops->scan(
        list->store->engine, after, page->stored, page->rows, page->size, &page->stored_count, err);
    if (status == COFFER_OK)
        merge(list, page, err);
    return status;
}

enum coffer_status store_list(struct store *store, const struct digest *after, struct slice prefix,
    struct chunk_info *infos, size_t count, size_t *found, struct error *err)
{
    struct list list = {.store = store, .prefix = prefix, .infos = infos, .count = count};
    struct page page = {.size = count};
    enum coffer_status status = COFFER_OK;

    invariant(count <= STORE_LIST_MAX);
    *found = 0;
    if (!lowest_with(prefix, &list.after))
        return error_set(err, COFFER_BAD_KEY, "a prefix is up to 64 lower-case hexadecimal digits");
    list.begun = true;
    if (after != NULL && digest_compare(after, &list.after) >= 0)
        list.after = *after;
    else
        list.begun = step_back(&list.after);
    page.stored = calloc(count + 1, sizeof(struct digest));
    page.buffered = calloc(count + 1, sizeof(struct digest));
    page.rows = calloc(count + 1, sizeof(struct engine_row));
    invariant(page.stored != NULL && page.buffered != NULL && page.rows != NULL);
    while (status == COFFER_OK && !list.ended && list.found < count)
        status = next_page(&list, &page, err);
    *found = list.found;
    free(page.stored);
    free(page.buffered);
    free(page.rows);
    return status;
}
