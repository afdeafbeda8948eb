#include "tests/support/offset_content.h"

static uint64_t hash_of(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3u;
    return hash;
}

static uint8_t byte_at(uint64_t hash, uint64_t offset)
{
    uint64_t word = (hash ^ (offset / 8)) * 0x9e3779b97f4a7c15u;

    word ^= word >> 29;
    word *= 0xbf58476d1ce4e5b9u;
    return (uint8_t)(word >> (offset % 8 * 8));
}

void offset_content_fill(const char *name, uint64_t offset, void *out, size_t size)
{
    uint64_t hash = hash_of(name);

    for (size_t i = 0; i < size; i++)
        ((uint8_t *)out)[i] = byte_at(hash, offset + i);
}

bool offset_content_check(const char *name, uint64_t offset, const void *data, size_t size)
{
    uint64_t hash = hash_of(name);

    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)data)[i] != byte_at(hash, offset + i))
            return false;
    return true;
}
