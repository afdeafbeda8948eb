#include "storage/chunk/sorted_keys.h"

enum coffer_status sorted_keys(const struct key_source *keys, struct spill_place place,
    struct record_sorter **out, struct error *err)
{
    struct digest some[SORTED_KEYS_AT_ONCE];
    enum coffer_status status = COFFER_OK;

    *out = record_sorter_create(sizeof(struct sorted_key), place);
    if (keys->count > UINT32_MAX)
        return error_set(err, COFFER_CONTENT_TOO_LARGE, "too many keys; send several requests");
    for (uint64_t at = 0; at < keys->count && status == COFFER_OK; at += SORTED_KEYS_AT_ONCE) {
        size_t count = (size_t)min_u64(keys->count - at, SORTED_KEYS_AT_ONCE);

        status = key_source_read(keys, at, count, some, err);
        for (size_t i = 0; i < count && status == COFFER_OK; i++) {
            struct sorted_key key = {.key = some[i]};

            put_be32(key.position, (uint32_t)(at + i));
            status = record_sorter_add(*out, &key, err);
        }
    }
    return status == COFFER_OK ? record_sorter_finish(*out, err) : status;
}
