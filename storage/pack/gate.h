/*
 * gate.h - who changes the index, and who must see it stand still for a moment.
 *
 * Shared:    every commit, from before its records are appended until its rows are in the index,
 *            and whatever else changes rows of the engine (gate_enter). Any number at once.
 * Exclusive: for moments only (gate_close): repack, while it looks again at some rows and moves
 *            them, so that no deletion comes in between; a backup, while it notes the durable ends
 *            of all packs, which are then those of one point in time.
 *
 * Order:   taken before any lock of lock.def, and held across the I/O of a commit. A thread takes
 *          it once. Who closes the gate waits for the commits that are inside, and later ones wait
 *          for him: so each side's wait is bounded by what the other does once.
 */
#pragma once

#include <pthread.h>

struct gate_lock {
    pthread_rwlock_t lock;
};

void gate_lock_init(struct gate_lock *gate);
void gate_lock_release(struct gate_lock *gate);
void gate_enter(struct gate_lock *gate); /* shared */
void gate_close(struct gate_lock *gate); /* exclusive */
void gate_leave(struct gate_lock *gate); /* after either */
