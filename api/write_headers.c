#include "api/write_headers.h"

#include "api/conditions.h"
#include "api/digest_header.h"
#include "storage/base/invariant.h"

enum coffer_status durability_header(
    struct exchange *exchange, enum durability *durability, struct error *err)
{
    struct slice value = exchange_header(exchange, HEADER_DURABILITY);

    *durability = exchange->service->durability;
    if (value.data == NULL)
        return COFFER_OK;
    if (slice_equal(value, slice_from_text("synced")))
        *durability = DURABILITY_SYNCED;
    else if (slice_equal(value, slice_from_text("buffered")))
        *durability = DURABILITY_BUFFERED;
    else
        return error_set(err, COFFER_BAD_REQUEST,
            "Coffer-Durability is synced or buffered, not \"%.*s\"",
            (int)(value.size < 60 ? value.size : 60), (const char *)value.data);
    return COFFER_OK;
}

enum coffer_status digest_headers(struct exchange *exchange, const struct digest *key,
    struct digest *digest, bool *found, struct error *err)
{
    static const enum exchange_header_id ids[] = {HEADER_CONTENT_DIGEST, HEADER_REPR_DIGEST};

    *found = false;
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        struct slice value = exchange_header(exchange, ids[i]);
        struct digest named;
        enum coffer_status status;
        bool has;

        if (likely(value.data == NULL))
            continue;
        status = digest_header_parse(value, &named, &has, err);
        if (status != COFFER_OK)
            return status;
        if (!has)
            continue;
        if ((key != NULL && !digest_equal(&named, key)) ||
            (*found && !digest_equal(&named, digest)))
            return error_set(err, COFFER_DIGEST_MISMATCH, "%s name different contents",
                key == NULL ? "Content-Digest and Repr-Digest"
                            : "Content-Digest, Repr-Digest and the key of the path");
        *digest = named;
        *found = true;
    }
    return COFFER_OK;
}

enum coffer_status encoding_header(struct exchange *exchange, struct error *err)
{
    struct slice encoding = exchange_header(exchange, HEADER_CONTENT_ENCODING);

    if (likely(encoding.data == NULL) || media_type_is(encoding, "identity"))
        return COFFER_OK;
    return error_set(err, COFFER_UNSUPPORTED_MEDIA_TYPE,
        "the body is taken as it comes: send it without Content-Encoding");
}
