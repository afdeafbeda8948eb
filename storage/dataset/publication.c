/*
 * Versions become visible in ascending order: what is durable waits for the versions before it,
 * which other lanes may still be syncing, so that a reader who was shown version N will never find
 * a change in it.
 */
#include "storage/dataset/dataset_parts.h"

void waiter_add(struct waiter **list, struct waiter *waiter, struct waker waker)
{
    waiter->waker = waker;
    waiter->next = *list;
    *list = waiter;
}

void wake_later(struct wake_list *wakes, struct waiter **list)
{
    while (*list != NULL) {
        struct waiter *waiter = *list;

        *list = waiter->next;
        waiter->next = wakes->first;
        wakes->first = waiter;
    }
}

void wake_all(struct wake_list *wakes)
{
    while (wakes->first != NULL) {
        struct waiter *waiter = wakes->first;

        wakes->first = waiter->next; /* it may be gone once it is woken */
        waker_wake(waiter->waker);
    }
}

void publication_begin(struct dataset *dataset, struct publication *publication)
{
    publication->version = ++dataset->next_version;
    publication->settled = publication->durable = false;
    publication->next = NULL;
    *dataset->last_publication = publication;
    dataset->last_publication = &publication->next;
}

void publication_settle(
    struct dataset *dataset, struct publication *publication, bool durable, struct wake_list *wakes)
{
    publication->settled = true;
    publication->durable = durable;
    while (dataset->publications != NULL && dataset->publications->settled) {
        struct publication *first = dataset->publications;

        dataset->publications = first->next;
        if (dataset->publications == NULL)
            dataset->last_publication = &dataset->publications;
        if (!first->durable)
            continue; /* its number is not used */
        dataset->version = first->version;
        first->publish(first, wakes);
    }
}
