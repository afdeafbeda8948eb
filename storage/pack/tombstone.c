#include "storage/pack/tombstone.h"

#include <assert.h>
#include <stdlib.h>

#include "storage/base/bytes.h"
#include "storage/base/checksum.h"
#include "storage/base/invariant.h"
#include "storage/engine.h"

enum { KEYS_AT_ONCE = 2048 };

static_assert(DIGEST_SIZE % RECORD_ALIGNMENT == 0, "keys need no padding");
static_assert((uint64_t)ENGINE_DELETE_MAX * DIGEST_SIZE <= RECORD_PAYLOAD_MAX, "they are a record");

static enum coffer_status sum_all(
    const struct key_source *keys, uint64_t *checksum, struct error *err)
{
    struct digest some[KEYS_AT_ONCE];
    enum coffer_status status = COFFER_OK;
    struct checksum sum;

    checksum_init(&sum);
    for (uint64_t at = 0; at < keys->count && status == COFFER_OK; at += KEYS_AT_ONCE) {
        size_t count = (size_t)min_u64(keys->count - at, KEYS_AT_ONCE);

        status = key_source_read(keys, at, count, some, err);
        if (status == COFFER_OK)
            checksum_update(&sum, some, count * DIGEST_SIZE);
    }
    *checksum = checksum_value(&sum);
    checksum_release(&sum);
    return status;
}

enum coffer_status tombstone_load(
    const struct key_source *keys, void **payload, uint64_t *checksum, struct error *err)
{
    size_t count = (size_t)keys->count;
    enum coffer_status status;

    invariant(count <= ENGINE_DELETE_MAX);
    *payload = NULL;
    if (count > TOMBSTONE_LOADED_MAX)
        return sum_all(keys, checksum, err);
    *payload = calloc(count + 1, DIGEST_SIZE);
    invariant(*payload != NULL);
    status = key_source_read(keys, 0, count, *payload, err);
    *checksum = checksum_once(*payload, count * DIGEST_SIZE);
    return status;
}

enum coffer_status tombstone_write(
    const struct key_source *keys, struct pack_writer *writer, struct error *err)
{
    struct digest some[KEYS_AT_ONCE];
    enum coffer_status status = COFFER_OK;

    for (uint64_t at = 0; at < keys->count && status == COFFER_OK; at += KEYS_AT_ONCE) {
        size_t count = (size_t)min_u64(keys->count - at, KEYS_AT_ONCE);
        struct iovec vector = {some, count * DIGEST_SIZE};

        status = key_source_read(keys, at, count, some, err);
        if (status == COFFER_OK)
            status = pack_writer_write(writer, &vector, 1, count * DIGEST_SIZE, err);
    }
    return status;
}
