/*
 * file_tree.h - folders and small files for tests. What fails here is a broken invariant.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { TREE_PATH_SIZE = 700 };

void tree_remove(const char *path);
void tree_copy(const char *from, const char *to); /* `to` is made; sparse files stay sparse */
/* The names in a folder that end with `suffix`, sorted; count of them. Names are 64 bytes each. */
size_t folder_list(const char *path, const char *suffix, char names[][64], size_t max);
uint8_t *file_bytes(const char *path, size_t *size); /* freed by the caller */
void file_put_bytes(const char *path, const void *data, size_t size);
void file_flip(const char *path, uint64_t offset, uint8_t mask);
