/*
 * offset_content.h - bytes that follow from a name and their offset: whoever reads some of them
 * knows whether they are right, wherever they come from.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void offset_content_fill(const char *name, uint64_t offset, void *out, size_t size);
bool offset_content_check(const char *name, uint64_t offset, const void *data, size_t size);
