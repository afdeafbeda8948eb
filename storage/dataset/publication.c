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
    publication->durable = false;
    publication->next = NULL;
    *dataset->last_publication = publication;
    dataset->last_publication = &publication->next;
}

/* It has failed: its number is not used, and its maker may be gone before those before it are
 * settled. */
static void take_out(struct dataset *dataset, const struct publication *publication)
{
    struct publication **at = &dataset->publications;

    while (*at != publication)
        at = &(*at)->next;
    *at = publication->next;
    if (*at == NULL)
        dataset->last_publication = at;
}

void publication_settle(
    struct dataset *dataset, struct publication *publication, bool durable, struct wake_list *wakes)
{
    publication->durable = durable;
    if (!durable)
        take_out(dataset, publication);
    while (dataset->publications != NULL && dataset->publications->durable) {
        struct publication *first = dataset->publications;

        dataset->publications = first->next;
        if (dataset->publications == NULL)
            dataset->last_publication = &dataset->publications;
        dataset->version = first->version;
        first->publish(first, wakes);
    }
}
