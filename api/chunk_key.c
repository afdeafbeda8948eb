#include "api/chunk_key.h"

#include "api/conditions.h"
#include "storage/base/invariant.h"

enum { SHA1_HEX_SIZE = 40 };

static bool is_sha1_name(struct slice text)
{
    const char *at = text.data;

    if (text.size != 5 + SHA1_HEX_SIZE || memcmp(at, "sha1:", 5) != 0)
        return false;
    for (size_t i = 5; i < text.size; i++)
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
            return false;
    return true;
}

enum coffer_status chunk_key_of(
    const struct exchange *exchange, bool reading, struct digest *key, struct error *err)
{
    struct slice text = exchange->params[0];

    if (likely(digest_from_hex(text, key)))
        return COFFER_OK;
    if (reading && is_sha1_name(text))
        return error_set(err, COFFER_NO_SUCH_CHUNK, "no chunk was imported under this SHA-1 name");
    return error_set(err, COFFER_BAD_KEY,
        "a key is the SHA-256 of the chunk's bytes as 64 lower-case hexadecimal digits; this has "
        "%zu characters: \"%.*s\"",
        text.size, (int)(text.size < 80 ? text.size : 80), (const char *)text.data);
}

const char *chunk_etag(struct exchange *exchange, const struct digest *key, bool zstd)
{
    char *tag = exchange_alloc_text(exchange, CHUNK_ETAG_ZSTD_SIZE + 1);

    tag[0] = '"';
    digest_to_hex(key, tag + 1);
    memcpy(tag + 1 + DIGEST_HEX_SIZE, zstd ? "-zstd\"" : "\"", zstd ? 7 : 2);
    return tag;
}

enum coffer_status chunk_check_conditions(
    struct exchange *exchange, const struct digest *key, struct error *err)
{
    struct slice etag = slice_of("", 0);
    struct chunk_info info;
    enum coffer_status status;

    if (likely(!exchange_has(exchange, HEADER_IF_MATCH) &&
               !exchange_has(exchange, HEADER_IF_NONE_MATCH)))
        return COFFER_OK;
    status = store_stat(exchange->service->store, key, &info, err);
    if (status == COFFER_OK)
        etag = slice_of(chunk_etag(exchange, key, false), CHUNK_ETAG_SIZE);
    else if (status != COFFER_NO_SUCH_CHUNK)
        return status;
    if (conditions_check(exchange_header(exchange, HEADER_IF_MATCH),
            exchange_header(exchange, HEADER_IF_NONE_MATCH), etag, false) == CONDITION_PROCEED)
        return COFFER_OK;
    return error_set(err, COFFER_PRECONDITION_FAILED,
        status == COFFER_OK ? "the chunk is stored, and If-Match or If-None-Match exclude that"
                            : "the chunk is not stored, and If-Match wants it to be");
}
