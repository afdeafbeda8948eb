/*
 * bulk.h - threads for work that may block: batches of chunks, archives.
 *
 * Order:   tasks start first in, first out, each on a thread of its own, up to `threads_max` at
 *          once; the rest waits. Threads are started when they are needed and end after `idle_ns`
 *          without work.
 * Memory:  a task is embedded in the owner's struct and belongs to the pool from submit until its
 *          run() is called: run() may free it. Nothing is allocated a task.
 * Threads: any thread may call anything but destroy. run() may submit, but not destroy.
 * Errors:  COFFER_OVERLOADED if there is no thread and none can be started.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/base/status.h"

struct bulk_pool;

struct bulk_task {
    void (*run)(struct bulk_task *task);
    struct bulk_task *next; /* of the pool */
};

enum { BULK_THREADS_DEFAULT = 16 };
#define BULK_IDLE_DEFAULT_NS (UINT64_C(10) * 1000000000)

struct bulk_pool *bulk_pool_create(unsigned threads_max, uint64_t idle_ns);
MUST_USE enum coffer_status bulk_pool_submit(
    struct bulk_pool *pool, struct bulk_task *task, struct error *err);
/* Take a task back. False: it was started (and may be over), run() has it. */
bool bulk_pool_withdraw(struct bulk_pool *pool, struct bulk_task *task);
/* Waits for all tasks, also for those that have not started. NULL is a no-op. */
void bulk_pool_destroy(struct bulk_pool *pool);

struct bulk_pool_state {
    unsigned threads, running, waiting;
};
void bulk_pool_look(struct bulk_pool *pool, struct bulk_pool_state *state);
