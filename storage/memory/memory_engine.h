/*
 * memory_engine.h - the reference engine: everything in memory, nothing durable, small enough to
 * be read in one go. The model that the local engine is tested against.
 */
#pragma once

#include "storage/engine.h"

struct engine *memory_engine_create(void);
