/*
 * temp_file.h - files without a name, for what a request needs beyond memory. They go with the
 * descriptor, whatever ends the process.
 *
 * Threads: any.
 */
#pragma once

#include "storage/base/status.h"

enum { TEMP_FOLDER_SIZE = 4096 };

/* `folder` is made if missing (not those above it); NULL, or one that cannot be used: TMPDIR, or
 * /tmp. */
MUST_USE enum coffer_status temp_file_open(const char *folder, int *fd, struct error *err);
