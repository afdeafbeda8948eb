#include "cli/work_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

enum { THREADS_MAX = 64 };

struct work_pool {
    work_function *work;
    void *context;
    pthread_t threads[THREADS_MAX];
    unsigned thread_count;
    pthread_mutex_t lock;
    pthread_cond_t given, taken;
    void *items[THREADS_MAX]; /* (lock) a ring */
    unsigned first, count;    /* (lock) */
    bool finished;            /* (lock) */
};

static void *run(void *context)
{
    struct work_pool *pool = context;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        void *item;

        while (pool->count == 0 && !pool->finished)
            pthread_cond_wait(&pool->given, &pool->lock);
        if (pool->count == 0)
            break;
        item = pool->items[pool->first];
        pool->first = (pool->first + 1) % THREADS_MAX;
        pool->count--;
        pthread_cond_signal(&pool->taken);
        pthread_mutex_unlock(&pool->lock);
        pool->work(pool->context, item);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

struct work_pool *work_pool_create(unsigned threads, work_function *work, void *context)
{
    struct work_pool *pool = calloc(1, sizeof(*pool));
    int failed = 0;

    if (pool == NULL)
        return NULL;
    pool->work = work;
    pool->context = context;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->given, NULL);
    pthread_cond_init(&pool->taken, NULL);
    threads = threads < 1 ? 1 : threads > THREADS_MAX ? THREADS_MAX : threads;
    while (pool->thread_count < threads && failed == 0) {
        failed = pthread_create(&pool->threads[pool->thread_count], NULL, run, pool);
        pool->thread_count += failed == 0 ? 1 : 0;
    }
    if (pool->thread_count > 0)
        return pool;
    work_pool_finish(pool);
    errno = failed;
    return NULL;
}

void work_pool_give(struct work_pool *pool, void *item)
{
    pthread_mutex_lock(&pool->lock);
    while (pool->count == pool->thread_count)
        pthread_cond_wait(&pool->taken, &pool->lock);
    pool->items[(pool->first + pool->count) % THREADS_MAX] = item;
    pool->count++;
    pthread_cond_signal(&pool->given);
    pthread_mutex_unlock(&pool->lock);
}

void work_pool_finish(struct work_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->finished = true;
    pthread_cond_broadcast(&pool->given);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->thread_count; i++)
        (void)pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->given);
    pthread_cond_destroy(&pool->taken);
    free(pool);
}
