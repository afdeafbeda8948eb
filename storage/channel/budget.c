#include "storage/channel/budget.h"

#include <stddef.h>

void budget_init(struct budget *budget, uint64_t limit)
{
    lock_init(&budget->lock, LOCK_BUDGET);
    budget->limit = limit;
    budget->used = 0;
    budget->first = NULL;
    budget->last = &budget->first;
}

void budget_release_all(struct budget *budget)
{
    lock_release(&budget->lock);
}

static bool fits(const struct budget *budget, uint64_t bytes)
{
    return budget->used == 0 || budget->used + bytes <= budget->limit;
}

bool budget_take(struct budget *budget, struct budget_request *request)
{
    bool granted;

    lock_take(&budget->lock);
    request->next = NULL;
    request->granted = budget->first == NULL && fits(budget, request->bytes);
    granted = request->granted; /* a queued one may be, once the lock is dropped */
    if (granted) {
        budget->used += request->bytes;
    } else {
        *budget->last = request;
        budget->last = &request->next;
    }
    lock_drop(&budget->lock);
    return granted;
}

bool budget_has_room(struct budget *budget, uint64_t bytes)
{
    bool room;

    lock_take(&budget->lock);
    room = budget->first == NULL && fits(budget, bytes);
    lock_drop(&budget->lock);
    return room;
}

bool budget_try(struct budget *budget, uint64_t bytes)
{
    bool room;

    lock_take(&budget->lock);
    room = budget->first == NULL && budget->used + bytes <= budget->limit;
    if (room)
        budget->used += bytes;
    lock_drop(&budget->lock);
    return room;
}

bool budget_granted(struct budget *budget, const struct budget_request *request)
{
    bool granted;

    lock_take(&budget->lock);
    granted = request->granted;
    lock_drop(&budget->lock);
    return granted;
}

bool budget_cancel(struct budget *budget, struct budget_request *request)
{
    bool granted;

    lock_take(&budget->lock);
    granted = request->granted;
    for (struct budget_request **at = &budget->first; !granted && *at != NULL; at = &(*at)->next)
        if (*at == request) {
            *at = request->next;
            if (*at == NULL)
                budget->last = at;
            break;
        }
    lock_drop(&budget->lock);
    if (!granted)
        budget_give(budget, 0); /* those behind it may be smaller */
    return granted;
}

void budget_give(struct budget *budget, uint64_t bytes)
{
    enum { WAKE_AT_ONCE = 32 };
    struct waker wakers[WAKE_AT_ONCE];
    size_t count;

    do {
        count = 0;
        lock_take(&budget->lock);
        budget->used -= bytes;
        bytes = 0;
        while (
            budget->first != NULL && count < WAKE_AT_ONCE && fits(budget, budget->first->bytes)) {
            struct budget_request *request = budget->first;

            budget->first = request->next;
            if (budget->first == NULL)
                budget->last = &budget->first;
            budget->used += request->bytes;
            wakers[count++] = request->waker;
            request->granted = true; /* from here on the request may be gone */
        }
        lock_drop(&budget->lock);
        for (size_t i = 0; i < count; i++)
            waker_wake(wakers[i]);
    } while (count == WAKE_AT_ONCE);
}

uint64_t budget_used(struct budget *budget)
{
    uint64_t used;

    lock_take(&budget->lock);
    used = budget->used;
    lock_drop(&budget->lock);
    return used;
}
