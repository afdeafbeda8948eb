/*
 * bench_data: the content that the benchmark stores and reads, made from a seed, so that every
 * contestant gets the same bytes under the same names (the SHA-256 of each body in hexadecimal).
 *
 *   bench_data keys  SEED FIRST COUNT SIZE      a name a line, in order
 *   bench_data tar   SEED FIRST COUNT SIZE      a tar of the bodies on standard output
 *   bench_data files SEED FIRST COUNT SIZE DIR  DIR/ab/abcdef..., a folder for the first two digits
 *
 * Bodies are pseudo-random, hence incompressible; body number FIRST + i of a seed is always the
 * same, so a large set can be made in parts.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/digest.h"

enum { TAR_BLOCK = 512, OUTPUT_BUFFER = 1 << 20, SIZE_MAX_BODY = 1 << 30 };

struct set {
    uint64_t seed, first, count;
    size_t size; /* bytes of each body */
    const char *dir;
    uint8_t *body; /* set.size rounded up to 8 */
};

/* One body with its name: 0, or -1 with errno. */
typedef int set_visitor(const struct set *set, const char *name);

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void body_fill(const struct set *set, uint64_t number)
{
    uint64_t state = set->seed;

    state = splitmix64(&state) ^ number * 0xd1342543de82ef95u;
    for (size_t at = 0; at < set->size; at += sizeof(uint64_t)) {
        uint64_t word = splitmix64(&state);

        memcpy(set->body + at, &word, sizeof(word));
    }
}

static int name_print(const struct set *set, const char *name)
{
    (void)set;
    return puts(name) < 0 ? -1 : 0;
}

/* A ustar entry: the header, the body, zeros up to the next block. */
static int tar_entry_print(const struct set *set, const char *name)
{
    static const char zeros[TAR_BLOCK];
    char header[TAR_BLOCK + 1] = {0};
    unsigned sum = 0;
    size_t padding = (TAR_BLOCK - set->size % TAR_BLOCK) % TAR_BLOCK;

    memcpy(header, name, DIGEST_HEX_SIZE);
    memcpy(header + 100, "0000644\0000000000\0000000000\0", 24);
    snprintf(header + 124, 13, "%011zo", set->size);
    snprintf(header + 136, 13, "%011o", 0U);
    memcpy(header + 148, "        0ustar\00000", 17);
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
    header[155] = ' ';
    if (fwrite(header, 1, TAR_BLOCK, stdout) != TAR_BLOCK ||
        fwrite(set->body, 1, set->size, stdout) != set->size ||
        fwrite(zeros, 1, padding, stdout) != padding)
        return -1;
    return 0;
}

static int file_write(const struct set *set, const char *name)
{
    char path[4096];
    size_t done = 0;
    int fd;

    snprintf(path, sizeof(path), "%s/%.2s/%s", set->dir, name, name);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return -1;
    while (done < set->size) {
        ssize_t written = write(fd, set->body + done, set->size - done);

        if (written < 0) {
            close(fd);
            return -1;
        }
        done += (size_t)written;
    }
    return close(fd);
}

static int folders_make(const char *dir)
{
    char path[4096];

    for (unsigned i = 0; i < 256; i++) {
        snprintf(path, sizeof(path), "%s/%02x", dir, i);
        if (mkdir(path, 0755) != 0 && access(path, W_OK) != 0)
            return -1;
    }
    return 0;
}

static int set_visit(const struct set *set, set_visitor *visit)
{
    for (uint64_t i = 0; i < set->count; i++) {
        struct digest digest;
        char name[DIGEST_HEX_SIZE + 1];

        body_fill(set, set->first + i);
        sha256_once(set->body, set->size, &digest);
        digest_to_hex(&digest, name);
        if (visit(set, name) != 0)
            return -1;
    }
    return 0;
}

static int tar_print(const struct set *set)
{
    static const char end[2 * TAR_BLOCK];

    if (set_visit(set, tar_entry_print) != 0)
        return -1;
    return fwrite(end, 1, sizeof(end), stdout) == sizeof(end) ? 0 : -1;
}

static int usage(void)
{
    fputs("usage: bench_data keys|tar|files SEED FIRST COUNT SIZE [DIR]\n", stderr);
    return 2;
}

static bool number_parse(const char *text, uint64_t *out)
{
    char *end;

    *out = strtoull(text, &end, 10);
    return end != text && *end == '\0';
}

int main(int argc, char **argv)
{
    struct set set = {0};
    uint64_t size;
    int result;

    if (argc < 6 || !number_parse(argv[2], &set.seed) || !number_parse(argv[3], &set.first) ||
        !number_parse(argv[4], &set.count) || !number_parse(argv[5], &size) ||
        size > SIZE_MAX_BODY || (strcmp(argv[1], "files") == 0) != (argc == 7))
        return usage();
    set.size = size;
    set.body = calloc(size / 8 + 1, 8);
    if (set.body == NULL || setvbuf(stdout, NULL, _IOFBF, OUTPUT_BUFFER) != 0) {
        perror("bench_data");
        return 3;
    }
    if (strcmp(argv[1], "keys") == 0) {
        result = set_visit(&set, name_print);
    } else if (strcmp(argv[1], "tar") == 0) {
        result = tar_print(&set);
    } else if (strcmp(argv[1], "files") == 0) {
        set.dir = argv[6];
        result = folders_make(set.dir) != 0 ? -1 : set_visit(&set, file_write);
    } else {
        return usage();
    }
    if (result != 0 || fflush(stdout) != 0) {
        perror("bench_data");
        result = 3;
    }
    free(set.body);
    return result;
}
