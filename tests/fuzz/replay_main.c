/*
 * Goal: what the fuzzer once found stays mended. Method: give every file of a corpus folder, and
 * each of its prefixes, to the fuzz target, which ends the process when something does not hold.
 */
#include <dirent.h>
#include <errno.h>
#include <stdbool.h>

#include "tests/fuzz/fuzz.h"

enum {
    INPUT_SIZE_MAX = 1 << 20,
    PREFIX_SIZE_MAX = 512, /* longer inputs are cut at this many places near their start */
};

/* Each input lies in memory of exactly its size, so that a read behind it is seen. */
static void try_input(const char *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);

    fuzz_check(copy != NULL);
    memcpy(copy, bytes, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void replay_file(const char *path, char *buffer)
{
    FILE *file = fopen(path, "rb");
    size_t size;

    if (file == NULL) {
        (void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    size = fread(buffer, 1, INPUT_SIZE_MAX, file);
    (void)fclose(file);
    (void)fprintf(stderr, "%s\n", path); /* the last line before a crash names its input */
    try_input(buffer, size);
    for (size_t cut = 0; cut < size && cut < PREFIX_SIZE_MAX; cut++)
        try_input(buffer, cut);
}

int main(int argc, char **argv)
{
    char *buffer = malloc(INPUT_SIZE_MAX);
    unsigned count = 0;
    DIR *folder;

    fuzz_check(argc == 2 && buffer != NULL);
    folder = opendir(argv[1]);
    if (folder == NULL) {
        (void)fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
        free(buffer);
        return 1;
    }
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char path[4096];

        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        replay_file(path, buffer);
        count++;
    }
    closedir(folder);
    free(buffer);
    printf("%u inputs\n", count);
    return count > 0 ? 0 : 1; /* an empty corpus tests nothing */
}
