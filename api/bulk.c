#include "api/bulk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"

struct bulk_pool {
    pthread_mutex_t lock; /* a leaf: nothing else is taken under it */
    pthread_cond_t work;  /* there is a task, or the end has come */
    pthread_cond_t ended; /* a thread ended */
    unsigned threads_max;
    uint64_t idle_ns;
    unsigned threads;                /* (lock) */
    unsigned idle;                   /* (lock) those that wait for work */
    unsigned waiting;                /* (lock) tasks in the queue */
    bool closing;                    /* (lock) */
    struct bulk_task *first, **last; /* (lock) */
};

struct bulk_pool *bulk_pool_create(unsigned threads_max, uint64_t idle_ns)
{
    struct bulk_pool *pool = calloc(1, sizeof(*pool));
    pthread_condattr_t attributes;

    invariant(pool != NULL && threads_max > 0);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, &attributes);
    pthread_cond_init(&pool->ended, NULL);
    pthread_condattr_destroy(&attributes);
    pool->threads_max = threads_max;
    pool->idle_ns = idle_ns;
    pool->last = &pool->first;
    return pool;
}

/* With the lock: the next task, or NULL when this thread has been idle long enough. */
static struct bulk_task *take_task(struct bulk_pool *pool)
{
    struct timespec deadline = clock_timespec(clock_monotonic_ns() + pool->idle_ns);
    struct bulk_task *task;

    pool->idle++;
    while (pool->first == NULL && !pool->closing)
        if (pthread_cond_timedwait(&pool->work, &pool->lock, &deadline) == ETIMEDOUT)
            break;
    pool->idle--;
    task = pool->first;
    if (task == NULL)
        return NULL;
    pool->first = task->next;
    if (pool->first == NULL)
        pool->last = &pool->first;
    pool->waiting--;
    return task;
}

static void *thread_main(void *argument)
{
    struct bulk_pool *pool = argument;
    struct bulk_task *task;

    (void)pthread_setname_np(pthread_self(), "bulk");
    pthread_mutex_lock(&pool->lock);
    while ((task = take_task(pool)) != NULL) {
        pthread_mutex_unlock(&pool->lock);
        task->run(task); /* the task may be gone now */
        pthread_mutex_lock(&pool->lock);
    }
    pool->threads--;
    pthread_cond_signal(&pool->ended); /* under the lock: destroy() frees it */
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* With the lock. */
static bool start_thread(struct bulk_pool *pool)
{
    pthread_attr_t attributes;
    pthread_t thread;
    bool started;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    started = pthread_create(&thread, &attributes, thread_main, pool) == 0;
    pthread_attr_destroy(&attributes);
    if (started)
        pool->threads++;
    return started;
}

enum coffer_status bulk_pool_submit(
    struct bulk_pool *pool, struct bulk_task *task, struct error *err)
{
    enum coffer_status status = COFFER_OK;

    task->next = NULL;
    pthread_mutex_lock(&pool->lock);
    invariant(!pool->closing);
    if (pool->idle <= pool->waiting && pool->threads < pool->threads_max && !start_thread(pool) &&
        pool->threads == 0) {
        status = error_set(
            err, COFFER_OVERLOADED, "no thread can be started for this work; try again later");
    } else {
        *pool->last = task;
        pool->last = &task->next;
        pool->waiting++;
        pthread_cond_signal(&pool->work);
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

bool bulk_pool_withdraw(struct bulk_pool *pool, struct bulk_task *task)
{
    bool found = false;

    pthread_mutex_lock(&pool->lock);
    for (struct bulk_task **at = &pool->first; *at != NULL; at = &(*at)->next) {
        if (*at != task)
            continue;
        *at = task->next;
        if (task->next == NULL)
            pool->last = at;
        pool->waiting--;
        found = true;
        break;
    }
    pthread_mutex_unlock(&pool->lock);
    return found;
}

void bulk_pool_destroy(struct bulk_pool *pool)
{
    if (pool == NULL)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    pthread_cond_broadcast(&pool->work);
    while (pool->threads > 0)
        pthread_cond_wait(&pool->ended, &pool->lock);
    invariant(pool->first == NULL);
    pthread_mutex_unlock(&pool->lock);
    pthread_cond_destroy(&pool->ended);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

void bulk_pool_look(struct bulk_pool *pool, struct bulk_pool_state *state)
{
    pthread_mutex_lock(&pool->lock);
    *state = (struct bulk_pool_state){
        .threads = pool->threads, .running = pool->threads - pool->idle, .waiting = pool->waiting};
    pthread_mutex_unlock(&pool->lock);
}
