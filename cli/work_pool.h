/*
 * work_pool.h - a few threads that work off what one thread gives them, in no order.
 *
 * Threads: give and finish by the thread that created it; `work` runs on many at a time.
 * Memory:  at most twice as many items as threads are under way: work_pool_give() waits.
 */
#pragma once

struct work_pool;
typedef void work_function(void *context, void *item); /* the item is its own */

/* NULL: errno; with fewer threads than asked for it works too. */
struct work_pool *work_pool_create(unsigned threads, work_function *work, void *context);
void work_pool_give(struct work_pool *pool, void *item);
/* All is done; the pool is gone. */
void work_pool_finish(struct work_pool *pool);
