/*
 * dataset_set.h - the datasets of a store that are in memory, as the store sees them.
 *
 * Threads: create and destroy by the thread that opens and closes the store.
 */
#pragma once

#include "storage/base/status.h"

struct store;
struct dataset_set;

/* The store's engine and lanes are there. */
MUST_USE enum coffer_status dataset_set_create(
    struct store *store, struct dataset_set **out, struct error *err);
/* No object is open any more: wait for what is under way, while the lanes are still there. NULL is
 * a no-op. */
void dataset_set_quiesce(struct dataset_set *set);
/* The lanes are gone. NULL is a no-op. */
void dataset_set_destroy(struct dataset_set *set);
