/*
 * folder.h - the data folder of a local store: its marker file, its format, its lock.
 *
 * DIR/STORE names the format and the store's id; DIR/lock is locked (flock) while a server has the
 * store open; packs/ and index/ belong to the local engine. A folder that holds something else and
 * no STORE is not taken for a store: a slip of the option must not scatter files over a home
 * folder.
 */
#pragma once

#include <stdint.h>

#include "storage/base/status.h"

enum { FOLDER_FORMAT_VERSION = 1 };

/* Make or open it. COFFER_LOCKED, COFFER_FORMAT_UNKNOWN (nothing was touched), COFFER_IO,
 * COFFER_DISK_FULL. */
MUST_USE enum coffer_status folder_open(
    const char *dir, uint8_t uuid[16], int *lock_fd, struct error *err);
void folder_close(int lock_fd); /* -1 is a no-op */
