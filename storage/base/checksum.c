#include "storage/base/checksum.h"

#include <xxhash.h>

#include "storage/base/invariant.h"

uint64_t checksum_once(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

uint64_t checksum_xxh64(const void *data, size_t size)
{
    return XXH64(data, size, 0);
}

void checksum_init(struct checksum *sum)
{
    sum->state = XXH3_createState();
    invariant(sum->state != NULL);
    invariant(XXH3_64bits_reset(sum->state) == XXH_OK);
}

void checksum_update(struct checksum *sum, const void *data, size_t size)
{
    invariant(XXH3_64bits_update(sum->state, data, size) == XXH_OK);
}

uint64_t checksum_value(const struct checksum *sum)
{
    return XXH3_64bits_digest(sum->state);
}

void checksum_release(struct checksum *sum)
{
    XXH3_freeState(sum->state);
    sum->state = NULL;
}
