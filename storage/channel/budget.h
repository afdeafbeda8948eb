/*
 * budget.h - the memory that bodies under way may take, all together.
 *
 * Order:   first come, first served: nobody is overtaken by a smaller request, so nobody starves.
 * Threads: any. Wakers are called without the lock.
 * Memory:  a request is the caller's until it is granted or cancelled.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/lock.h"
#include "storage/base/waker.h"

struct budget {
    struct lock lock;
    uint64_t limit, used;         /* bytes; (lock) used */
    struct budget_request *first; /* (lock) those who wait */
    struct budget_request **last; /* (lock) */
};

struct budget_request {
    uint64_t bytes;
    struct waker waker;
    bool granted;                /* (budget.lock) */
    struct budget_request *next; /* the budget's own */
};

void budget_init(struct budget *budget, uint64_t limit);
void budget_release_all(struct budget *budget);
/* True: granted now. False: the waker is called when it is; ask budget_granted() then. A request
 * larger than the limit is granted when it is alone. */
bool budget_take(struct budget *budget, struct budget_request *request);
/* Whether a request of so many bytes would be granted now. */
bool budget_has_room(struct budget *budget, uint64_t bytes);
bool budget_granted(struct budget *budget, const struct budget_request *request);
/* The request waits no more; true if it had been granted meanwhile (its bytes are still taken). */
bool budget_cancel(struct budget *budget, struct budget_request *request);
/* Take them if that is possible now; never waits. */
bool budget_try(struct budget *budget, uint64_t bytes);
void budget_give(struct budget *budget, uint64_t bytes);
uint64_t budget_used(struct budget *budget);
