#include "api/dataset_use.h"

#include "api/conditions.h"
#include "api/list_query.h"
#include "storage/base/digest.h"
#include "storage/base/invariant.h"

enum { TAG_ID_SIZE = 8 }; /* bytes of the dataset's id in an entity tag */

static int shown(struct slice text)
{
    return (int)(text.size < 80 ? text.size : 80);
}

enum coffer_status dataset_of(
    const struct exchange *exchange, struct dataset **out, struct error *err)
{
    return dataset_hold(exchange->service->store, exchange->params[0], out, err);
}

enum coffer_status stream_name_check(struct slice name, const char *what, struct error *err)
{
    if (likely(stream_name_is_legal(name)))
        return COFFER_OK;
    return error_set(err, COFFER_BAD_NAME,
        "the name of a %s has 1 to %d letters, digits, dots, hyphens and underscores and begins "
        "with a letter or digit; this has %zu bytes: \"%.*s\"",
        what, STREAM_NAME_SIZE - 1, name.size, shown(name),
        name.size == 0 ? "" : (const char *)name.data);
}

enum coffer_status stream_name_of(
    const struct exchange *exchange, const char *what, struct slice *name, struct error *err)
{
    *name = exchange->params[1];
    return stream_name_check(*name, what, err);
}

enum coffer_status number_header(const struct exchange *exchange, enum exchange_header_id id,
    const char *name, bool *there, uint64_t *value, struct error *err)
{
    struct slice text = exchange_header(exchange, id);

    *there = text.data != NULL;
    if (!*there || query_number(text, 0, INT64_MAX, value))
        return COFFER_OK;
    return error_set(err, COFFER_BAD_REQUEST,
        "%s is a decimal number from 0 to 9223372036854775807, not \"%.*s\"", name, shown(text),
        (const char *)text.data);
}

enum coffer_status version_of(struct exchange *exchange, uint64_t *version, struct error *err)
{
    struct slice text;
    enum coffer_status status = exchange_query(exchange, "version", &text, err);

    *version = 0;
    if (status != COFFER_OK || text.data == NULL)
        return status;
    if (!query_number(text, 0, UINT64_MAX, version))
        return error_set(err, COFFER_BAD_REQUEST, "version is a number, not \"%.*s\"", shown(text),
            (const char *)text.data);
    if (*version == 0)
        return error_set(err, COFFER_NO_SUCH_VERSION, "versions are counted from 1");
    return COFFER_OK;
}

const char *dataset_etag(struct exchange *exchange, const struct dataset_info *info)
{
    char id[2 * TAG_ID_SIZE + 1];

    hex_encode(info->id, TAG_ID_SIZE, id);
    return exchange_format(exchange, "\"%s-%llu\"", id, (unsigned long long)info->tag);
}

enum coffer_status dataset_check_conditions(
    struct exchange *exchange, const struct dataset_info *info, struct error *err)
{
    const char *etag = info == NULL ? "" : dataset_etag(exchange, info);

    if (conditions_check(exchange_header(exchange, HEADER_IF_MATCH),
            exchange_header(exchange, HEADER_IF_NONE_MATCH), slice_from_text(etag),
            false) == CONDITION_PROCEED)
        return COFFER_OK;
    if (info == NULL)
        return error_set(
            err, COFFER_PRECONDITION_FAILED, "there is no such dataset, and If-Match wants one");
    return error_set(
        err, COFFER_PRECONDITION_FAILED, "the dataset's entity tag is %s: read it again", etag);
}
