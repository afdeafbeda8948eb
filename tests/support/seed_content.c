#include "tests/support/seed_content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"

uint64_t seed_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void seed_fill(void *out, size_t size, uint64_t seed)
{
    uint64_t state = seed;
    char *at = out;

    while (size > 0) {
        char piece[32];
        uint64_t value = seed_next(&state);
        size_t length = sizeof(value);

        if (seed % 2 == 0)
            memcpy(piece, &value, length);
        else
            length = (size_t)snprintf(
                piece, sizeof(piece), "line %06u of this text\n", (unsigned)(value % 1000000));
        length = length < size ? length : size;
        memcpy(at, piece, length);
        at += length;
        size -= length;
    }
}

char *seed_content(size_t size, uint64_t seed, char key[DIGEST_HEX_SIZE + 1])
{
    char *content = malloc(size + 1);
    struct digest digest;

    invariant(content != NULL);
    seed_fill(content, size, seed);
    content[size] = '\0';
    sha256_once(content, size, &digest);
    digest_to_hex(&digest, key);
    return content;
}
