/*
 * Cutting the body of an append into blocks and records. A block of lines ends with a line feed, if
 * there is memory at once for a next body, to which what follows the line feed moves: so only a
 * line longer than a block goes on over several, as a rule. Memory is never waited for with a full
 * body in hand: two appends that did would wait for each other. Of a record that goes on, the piece
 * in which it starts gets the length once it is known: no piece in between has lengths of its own.
 */
#include <stdlib.h>
#include <string.h>

#include "storage/dataset/dataset_parts.h"

/* ---- records ---- */

/* The record that went on ends `bytes` into what comes now. */
static void end_record(struct append *append, uint64_t bytes)
{
    struct piece *start = &append->pieces.items[append->record_piece];
    struct lengths_writer writer = {0};

    pieces_extend(&append->pieces, bytes);
    lengths_add(&writer, &append->pieces.lengths, append->record_length + bytes, 1);
    lengths_flush(&writer, &append->pieces.lengths);
    start->lengths_size = append->pieces.lengths.used - start->lengths_at;
    append->record_piece = SIZE_MAX;
    append->record_length = 0;
}

/* `bytes` of a record that is not over: it starts here, or goes on. */
static void part_of_record(struct append *append, uint64_t bytes)
{
    struct piece_list *pieces = &append->pieces;

    if (append->record_piece == SIZE_MAX) {
        append->record_piece = pieces->count - 1;
        pieces->items[pieces->count - 1].records = 1;
        pieces->records++;
    }
    pieces_extend(pieces, bytes);
    append->record_length += bytes;
}

/* The lines of a body, of which the last may lack its line feed if `last`. */
static void split_lines(
    struct append *append, uint64_t block, const uint8_t *data, size_t size, bool last)
{
    struct piece_list *pieces = &append->pieces;
    size_t at = 0;

    (void)pieces_open(pieces, block, 0);
    while (at < size) {
        const uint8_t *feed = memchr(data + at, '\n', size - at);
        size_t end = feed == NULL ? size : (size_t)(feed - data) + 1;

        if (feed == NULL && !last) {
            if (pieces->items[pieces->count - 1].length > 0)
                (void)pieces_open(pieces, block, at); /* behind whole lines */
            part_of_record(append, size - at);
        } else if (append->record_piece != SIZE_MAX) {
            end_record(append, end - at);
            if (end < size)
                (void)pieces_open(pieces, block, end);
        } else {
            pieces_records(pieces, end - at, 1);
        }
        at = end;
    }
    if (last && append->record_piece != SIZE_MAX)
        end_record(append, 0);
    pieces_close(pieces);
}

/* The records in the next `size` bytes of the body, which are block `block`. */
static void split(struct append *append, uint64_t block, const void *data, size_t size, bool last)
{
    if (append->lines) {
        split_lines(append, block, data, size, last);
        return;
    }
    (void)pieces_open(&append->pieces, block, 0);
    part_of_record(append, size);
    if (last)
        end_record(append, 0);
}

void append_split(struct append *append)
{
    pieces_release(&append->pieces); /* it may have been done before, with another end */
    append->record_piece = SIZE_MAX;
    append->record_length = 0;
    split(append, 0, append->body->content, append->body->size, true);
}

/* ---- blocks ---- */

/* At most `limit` blocks are in flight, or COFFER_AGAIN; or the failure of one. */
static enum coffer_status wait_below(struct append *append, unsigned limit, struct error *err)
{
    return staging_wait(append->staging, limit, &append->waiter, append->waker, err);
}

/* Blocks that can only be thrown away would keep the dataset from closing. A transaction lives on
 * while a body for it comes in. */
static enum coffer_status still_taken(struct append *append, struct error *err)
{
    struct member *member;
    enum coffer_status status;
    uint64_t end;

    lock_take(&append->dataset->lock);
    if (append->transaction != NULL)
        status = append_check(append, &member, &end, err);
    else /* a channel that is busy now may be free in the end */
        status = dataset_takes_data(append->dataset, err);
    lock_drop(&append->dataset->lock);
    return status;
}

static enum coffer_status staging_begin(struct append *append, struct error *err)
{
    struct dataset *dataset = append->dataset;
    enum coffer_status status;

    lock_take(&dataset->lock);
    status = dataset_make_stream(dataset, slice_from_text(append->channel), &append->stream, err);
    lock_drop(&dataset->lock);
    if (status == COFFER_OK)
        append->staging = staging_create(dataset, append->stream->number, append->stream->lane);
    return status;
}

/* The body that comes after this one, with what this one has behind `cut`; NULL: no memory now. */
static struct body *make_next(const struct append *append, size_t cut)
{
    struct budget *budget = &append->dataset->store->budget;
    const struct body *body = append->body;
    struct body *next;

    if (!budget_try(budget, BLOCK_CONTENT_MAX))
        return NULL;
    next = body_create(BLOCK_CONTENT_MAX);
    if (next == NULL) {
        budget_give(budget, BLOCK_CONTENT_MAX);
        return NULL;
    }
    next->budget = budget;
    next->charged = BLOCK_CONTENT_MAX;
    next->size = body->size - cut;
    memcpy(next->content, body->content + cut, next->size);
    return next;
}

/* How much of a full body makes a block; what is behind that moves to append->next. */
static size_t cut_body(struct append *append, bool last)
{
    const struct body *body = append->body;
    const uint8_t *feed = last || !append->lines ? NULL : memrchr(body->content, '\n', body->size);
    size_t cut = feed == NULL ? body->size : (size_t)(feed - body->content) + 1;

    if (cut == body->size)
        return cut;
    append->next = make_next(append, cut);
    return append->next == NULL ? body->size : cut;
}

static enum coffer_status check_size(const struct append *append, struct error *err)
{
    if (append->pieces.count < STAGED_PIECES_MAX &&
        append->pieces.lengths.used <= STAGED_LENGTHS_MAX)
        return COFFER_OK;
    return error_set(err, COFFER_CONTENT_TOO_LARGE,
        "an append has at most %d blocks of %d bytes, and %d MiB of record lengths: send it in "
        "parts",
        STAGED_PIECES_MAX, BLOCK_CONTENT_MAX, STAGED_LENGTHS_MAX >> 20);
}

enum coffer_status append_stage(struct append *append, bool last, struct error *err)
{
    struct engine *engine = append->dataset->store->engine;
    enum coffer_status status;

    if (append->body == NULL) { /* the last block went before */
        if (last && append->record_piece != SIZE_MAX)
            end_record(append, 0);
        return COFFER_OK;
    }
    status = still_taken(append, err);
    if (status == COFFER_OK && append->staging == NULL)
        status = staging_begin(append, err);
    if (status == COFFER_OK)
        status = check_size(append, err);
    if (status != COFFER_OK)
        return status;
    if (!append->is_split) { /* once a block: what follows may have to be done again */
        append->cut = cut_body(append, last);
        append->block = engine->ops->next_number(engine);
        split(append, append->block, append->body->content, append->cut, last);
        append->is_split = true;
    }
    status = wait_below(append, STAGED_BLOCKS_IN_FLIGHT - 1, err);
    if (status == COFFER_OK) {
        append->room.waker = append->waker;
        status = staging_push(append->staging, append->block, append->body, append->cut,
            append->dataset->settings.compression, 0, &append->room, err);
    }
    if (status != COFFER_OK)
        return status;
    append->is_split = false;
    append->body = append->next; /* the lane has the other one */
    append->next = NULL;
    return COFFER_OK;
}

enum coffer_status append_staged(struct append *append, struct error *err)
{
    return wait_below(append, 0, err);
}
