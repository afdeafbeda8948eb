/*
 * key_file.h - the file of access keys: {"keys":[{"id","secret","rights","prefixes"}]}, mode 600.
 *
 * Changed as a whole: a new file is written, synced and renamed over the old one, so a server never
 * reads half of it. Those who change it take turns, by a lock on its folder.
 */
#pragma once

#include <jansson.h>

struct key_file {
    const char *name;
    char *folder;
    int folder_fd; /* locked */
    json_t *root, *keys;
};

/* An exit code; what is wrong was said. `make`: it need not be there. */
int key_file_open(struct key_file *file, const char *name, int make);
/* The place of a key, or the number of keys. */
size_t key_file_find(const struct key_file *file, const char *id);
int key_file_write(struct key_file *file);
void key_file_close(struct key_file *file);
