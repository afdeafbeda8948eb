#include "storage/base/waker.h"

static void gate_open(void *context)
{
    struct gate *gate = context;

    pthread_mutex_lock(&gate->lock);
    gate->open = true;
    pthread_cond_signal(&gate->opened); /* under the lock: the waiter may release the gate next */
    pthread_mutex_unlock(&gate->lock);
}

void gate_init(struct gate *gate)
{
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->opened, NULL);
    gate->open = false;
}

void gate_wait(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (!gate->open)
        pthread_cond_wait(&gate->opened, &gate->lock);
    gate->open = false;
    pthread_mutex_unlock(&gate->lock);
}

void gate_release(struct gate *gate)
{
    pthread_cond_destroy(&gate->opened);
    pthread_mutex_destroy(&gate->lock);
}

struct waker gate_waker(struct gate *gate)
{
    return (struct waker){gate_open, gate};
}
