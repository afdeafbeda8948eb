/*
 * lifecycle.h - from options to a serving store, and back to an empty process.
 *
 * Order:   signals_block() before any thread is started; lifecycle_run() does everything else.
 * Errors:  the result of lifecycle_run() is the process's exit code: 0 after a clean stop, 1 when
 *          the start failed or something accepted could not be synced, 2 when the options cannot be
 *          used (a wrong address, a data folder that is in use or of a newer format). Failures were
 *          logged, with one line.
 */
#pragma once

#include "server/options.h"

void signals_block(void); /* and ignore SIGPIPE */
int lifecycle_run(const struct options *options);
