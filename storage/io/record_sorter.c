#include "storage/io/record_sorter.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"

struct run {
    uint64_t next, end; /* in the spill: what is still to be read of it */
    size_t at, count;   /* in its part of the merge buffer */
};

struct record_sorter {
    size_t record_size, run_max;
    struct spill_place place;
    char *buffer; /* the run that is being filled; the runs' parts while they are merged */
    size_t buffer_count, buffer_room;
    struct spill *spill; /* NULL: one run is enough */
    struct run *runs;
    size_t run_count, run_room;
    size_t part;  /* records of the buffer for each run */
    size_t *heap; /* of runs that have records, by their next one */
    size_t heap_count;
    size_t given; /* of the only run */
};

struct record_sorter *record_sorter_create(size_t record_size, struct spill_place place)
{
    struct record_sorter *sorter = calloc(1, sizeof(*sorter));

    invariant(sorter != NULL && record_size > 0 && record_size <= RECORD_SORTER_RUN);
    sorter->record_size = record_size;
    sorter->run_max = RECORD_SORTER_RUN / record_size;
    sorter->place = place;
    return sorter;
}

void record_sorter_destroy(struct record_sorter *sorter)
{
    if (sorter == NULL)
        return;
    spill_destroy(sorter->spill);
    free(sorter->buffer);
    free(sorter->runs);
    free(sorter->heap);
    free(sorter);
}

static enum coffer_status no_memory(struct error *err)
{
    return error_set(err, COFFER_OVERLOADED, "no memory to sort a list; try again later");
}

/* ---- runs ---- */

static int by_bytes(const void *a, const void *b, void *size)
{
    return memcmp(a, b, *(const size_t *)size);
}

static void sort_buffer(struct record_sorter *sorter)
{
    if (sorter->buffer_count > 1)
        qsort_r(sorter->buffer, sorter->buffer_count, sorter->record_size, by_bytes,
            &sorter->record_size);
}

/* The buffer becomes a run in the spill. */
static enum coffer_status end_run(struct record_sorter *sorter, struct error *err)
{
    enum coffer_status status;

    if (sorter->run_count == sorter->run_room) {
        size_t room = sorter->run_room == 0 ? 16 : 2 * sorter->run_room;
        struct run *runs = realloc(sorter->runs, room * sizeof(struct run));

        if (runs == NULL)
            return no_memory(err);
        sorter->runs = runs;
        sorter->run_room = room;
    }
    if (sorter->spill == NULL)
        sorter->spill = spill_create(sorter->record_size, sorter->place);
    sort_buffer(sorter);
    sorter->runs[sorter->run_count] = (struct run){.next = spill_count(sorter->spill)};
    status = spill_append(sorter->spill, sorter->buffer, sorter->buffer_count, err);
    if (status != COFFER_OK)
        return status;
    sorter->runs[sorter->run_count++].end = spill_count(sorter->spill);
    sorter->buffer_count = 0;
    return COFFER_OK;
}

enum coffer_status record_sorter_add(
    struct record_sorter *sorter, const void *record, struct error *err)
{
    if (sorter->buffer_count == sorter->run_max) {
        enum coffer_status status = end_run(sorter, err);

        if (status != COFFER_OK)
            return status;
    }
    if (sorter->buffer_count == sorter->buffer_room) {
        size_t room = sorter->buffer_room == 0 ? 16 : 2 * sorter->buffer_room;
        char *buffer;

        room = room < sorter->run_max ? room : sorter->run_max;
        buffer = realloc(sorter->buffer, room * sorter->record_size);
        if (buffer == NULL)
            return no_memory(err);
        sorter->buffer = buffer;
        sorter->buffer_room = room;
    }
    memcpy(
        sorter->buffer + sorter->buffer_count++ * sorter->record_size, record, sorter->record_size);
    return COFFER_OK;
}

/* ---- merging ---- */

static char *record_of(const struct record_sorter *sorter, size_t run)
{
    return sorter->buffer + (run * sorter->part + sorter->runs[run].at) * sorter->record_size;
}

/* The next part of a run that has given all it had in the buffer; count 0 at its end. */
static enum coffer_status refill(struct record_sorter *sorter, size_t number, struct error *err)
{
    struct run *run = &sorter->runs[number];

    run->at = 0;
    run->count =
        run->end - run->next < sorter->part ? (size_t)(run->end - run->next) : sorter->part;
    run->next += run->count;
    return spill_read(
        sorter->spill, run->next - run->count, run->count, record_of(sorter, number), err);
}

static bool is_before(const struct record_sorter *sorter, size_t a, size_t b)
{
    return memcmp(record_of(sorter, a), record_of(sorter, b), sorter->record_size) < 0;
}

/* Bring the heap in order below `at`. */
static void sift_down(struct record_sorter *sorter, size_t at)
{
    size_t run = sorter->heap[at];

    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= sorter->heap_count)
            break;
        if (child + 1 < sorter->heap_count &&
            is_before(sorter, sorter->heap[child + 1], sorter->heap[child]))
            child++;
        if (!is_before(sorter, sorter->heap[child], run))
            break;
        sorter->heap[at] = sorter->heap[child];
        at = child;
    }
    sorter->heap[at] = run;
}

static enum coffer_status start_merge(struct record_sorter *sorter, struct error *err)
{
    size_t part = RECORD_SORTER_MERGE / sorter->record_size / sorter->run_count;

    free(sorter->buffer);
    sorter->part = part > 0 ? part : 1;
    sorter->buffer = malloc(sorter->run_count * sorter->part * sorter->record_size);
    sorter->heap = calloc(sorter->run_count, sizeof(size_t));
    if (sorter->buffer == NULL || sorter->heap == NULL)
        return no_memory(err);
    for (size_t i = 0; i < sorter->run_count; i++) {
        enum coffer_status status = refill(sorter, i, err);

        if (status != COFFER_OK)
            return status;
        sorter->heap[sorter->heap_count++] = i;
    }
    for (size_t i = sorter->heap_count / 2; i-- > 0;)
        sift_down(sorter, i);
    return COFFER_OK;
}

enum coffer_status record_sorter_finish(struct record_sorter *sorter, struct error *err)
{
    enum coffer_status status;

    if (sorter->run_count == 0) {
        sort_buffer(sorter);
        return COFFER_OK;
    }
    status = end_run(sorter, err);
    return status == COFFER_OK ? start_merge(sorter, err) : status;
}

static enum coffer_status next_merged(
    struct record_sorter *sorter, char *out, size_t max, size_t *count, struct error *err)
{
    while (*count < max && sorter->heap_count > 0) {
        size_t number = sorter->heap[0];
        struct run *run = &sorter->runs[number];

        memcpy(
            out + (*count)++ * sorter->record_size, record_of(sorter, number), sorter->record_size);
        if (++run->at == run->count) {
            enum coffer_status status = refill(sorter, number, err);

            if (status != COFFER_OK)
                return status;
            if (run->count == 0)
                sorter->heap[0] = sorter->heap[--sorter->heap_count];
        }
        if (sorter->heap_count > 0)
            sift_down(sorter, 0);
    }
    return COFFER_OK;
}

enum coffer_status record_sorter_next(
    struct record_sorter *sorter, void *records, size_t max, size_t *count, struct error *err)
{
    *count = 0;
    if (sorter->run_count > 0)
        return next_merged(sorter, records, max, count, err);
    *count =
        sorter->buffer_count - sorter->given < max ? sorter->buffer_count - sorter->given : max;
    if (*count > 0)
        memcpy(records, sorter->buffer + sorter->given * sorter->record_size,
            *count * sorter->record_size);
    sorter->given += *count;
    return COFFER_OK;
}
