#include "storage/pack/touched.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"

enum { CAPACITY_MIN = 4096, CAPACITY_KEPT = 65536 }; /* powers of two */

/* The slot of the mark, or the free one where it would be. 0 marks a free one. */
static uint64_t *slot_of(const struct touched *touched, uint64_t mark)
{
    for (size_t i = mark >> 1;; i++) {
        uint64_t *slot = &touched->slots[i & (touched->capacity - 1)];

        if (*slot == mark || *slot == 0)
            return slot;
    }
}

bool touched_has(const struct touched *touched, uint64_t mark)
{
    return touched->count > 0 && *slot_of(touched, mark | 1) != 0;
}

static void grow(struct touched *touched)
{
    struct touched larger = {
        .capacity = touched->capacity == 0 ? CAPACITY_MIN : 2 * touched->capacity};

    larger.slots = calloc(larger.capacity, sizeof(uint64_t));
    invariant(larger.slots != NULL);
    for (size_t i = 0; i < touched->capacity; i++)
        if (touched->slots[i] != 0)
            *slot_of(&larger, touched->slots[i]) = touched->slots[i];
    larger.count = touched->count;
    free(touched->slots);
    *touched = larger;
}

void touched_add(struct touched *touched, uint64_t mark)
{
    uint64_t *slot;

    if (2 * touched->count >= touched->capacity)
        grow(touched);
    slot = slot_of(touched, mark | 1);
    touched->count += *slot == 0;
    *slot = mark | 1;
}

void touched_clear(struct touched *touched)
{
    if (touched->capacity > CAPACITY_KEPT)
        touched_release(touched);
    else if (touched->count > 0)
        memset(touched->slots, 0, touched->capacity * sizeof(uint64_t));
    touched->count = 0;
}

void touched_release(struct touched *touched)
{
    free(touched->slots);
    memset(touched, 0, sizeof(*touched));
}
