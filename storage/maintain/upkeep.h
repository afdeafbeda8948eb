/*
 * upkeep.h - what maintains a store without being asked: runs the jobs of
 * storage/maintenance.h, and starts a repack when enough is dead.
 *
 * Order:   created when jobs are there; destroyed before them.
 * Threads: create and destroy belong to one thread. One thread of its own, unless the store's
 *          repack_dead_ratio is 0 or its engine has no packs.
 */
#pragma once

struct upkeep;
struct store;

struct upkeep *upkeep_create(struct store *store);
void upkeep_destroy(struct upkeep *upkeep); /* NULL is a no-op */
