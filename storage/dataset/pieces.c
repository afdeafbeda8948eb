/*
 * Extents on their way: relative to where they will be, merged while they are gathered.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/dataset/dataset_parts.h"

void pieces_release(struct piece_list *list)
{
    free(list->items);
    row_buffer_release(&list->lengths);
    *list = (struct piece_list){0};
}

void pieces_close(struct piece_list *list)
{
    struct piece *last;

    if (list->count == 0)
        return;
    last = &list->items[list->count - 1];
    lengths_flush(&list->writer, &list->lengths);
    if (last->records > 0)
        last->lengths_size = list->lengths.used - last->lengths_at;
}

static struct piece *add(struct piece_list *list)
{
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 4 : 2 * list->capacity;
        list->items = realloc(list->items, list->capacity * sizeof(struct piece));
        invariant(list->items != NULL);
    }
    return &list->items[list->count++];
}

struct piece *pieces_open(struct piece_list *list, uint64_t block, uint64_t block_offset)
{
    struct piece *piece;

    pieces_close(list);
    piece = add(list);
    *piece = (struct piece){.start = list->length,
        .block = block,
        .block_offset = block_offset,
        .first_record = list->records,
        .lengths_at = list->lengths.used};
    return piece;
}

void pieces_extend(struct piece_list *list, uint64_t bytes)
{
    list->items[list->count - 1].length += bytes;
    list->length += bytes;
}

void pieces_records(struct piece_list *list, uint64_t length, uint64_t count)
{
    struct piece *last = &list->items[list->count - 1];

    if (list->lengths.used - last->lengths_at >= EXTENT_LENGTHS_MAX)
        last = pieces_open(list, last->block, last->block_offset + last->length);
    lengths_add(&list->writer, &list->lengths, length, count);
    last->records += count;
    list->records += count;
    pieces_extend(list, length * count);
}

void pieces_join(struct piece_list *list, const struct piece_list *from)
{
    size_t lengths_at;

    pieces_close(list);
    lengths_at = list->lengths.used;
    row_buffer_bytes(&list->lengths, from->lengths.data, from->lengths.used);
    for (size_t i = 0; i < from->count; i++) {
        struct piece *piece = add(list);

        *piece = from->items[i];
        piece->start += list->length;
        piece->first_record += list->records;
        piece->lengths_at += lengths_at;
    }
    list->length += from->length;
    list->records += from->records;
}

void pieces_take(struct piece_list *list, const struct extent *extent)
{
    struct piece *last = &list->items[list->count - 1];
    struct lengths_reader reader = {extent->lengths};
    uint64_t length, run;

    /* Records behind the rest of one that started before, or too many of them, are another piece
     * of the same block. */
    if (extent->records > 0 && last->length > 0 &&
        (last->records == 0 ||
            list->lengths.used - last->lengths_at + extent->lengths.size >= EXTENT_LENGTHS_MAX))
        last = pieces_open(list, last->block, last->block_offset + last->length);
    while (lengths_next(&reader, &length, &run))
        lengths_add(&list->writer, &list->lengths, length, run);
    last->records += extent->records;
    list->records += extent->records;
    pieces_extend(list, extent->length);
}

struct slice piece_lengths(const struct piece_list *list, const struct piece *piece)
{
    if (piece->lengths_size == 0)
        return slice_of(NULL, 0);
    return slice_of(list->lengths.data + piece->lengths_at, piece->lengths_size);
}

const struct piece *pieces_find(const struct piece_list *list, uint64_t offset)
{
    size_t low = 0, high = list->count;

    if (offset >= list->length)
        return NULL;
    while (high - low > 1) { /* the last one with start <= offset */
        size_t middle = low + (high - low) / 2;

        if (list->items[middle].start <= offset)
            low = middle;
        else
            high = middle;
    }
    return &list->items[low];
}
