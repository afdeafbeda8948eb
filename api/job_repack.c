/*
 * {"kind":"repack"} and {"kind":"pack"}.
 */
#include "api/job_request.h"
#include "api/json_in.h"
#include "storage/base/invariant.h"
#include "storage/maintenance.h"

enum { LEVEL_MAX = 19 }; /* of zstd, as of the options */

static enum coffer_status read_options(
    json_t *body, struct repack_options *options, bool with_ratio, struct error *err)
{
    uint64_t level = 0;
    const struct json_field fields[] = {
        JSON_COUNT("bytes_per_second", &options->bytes_per_second, 0, INT64_MAX),
        JSON_RATIO("dead_ratio", &options->dead_ratio),
        JSON_COUNT("compression_level", &level, 1, LEVEL_MAX),
    };
    enum coffer_status status =
        json_in_read(body, "the body", fields, with_ratio ? ARRAY_COUNT(fields) : 1, err);

    options->compression_level = (int)level;
    return status;
}

enum coffer_status job_request_repack(
    struct store *store, json_t *options, uint64_t *id, struct error *err)
{
    struct repack_options repack;
    enum coffer_status status;

    repack_options_default(store, &repack);
    status = read_options(options, &repack, true, err);
    return status == COFFER_OK ? store_repack_start(store, &repack, id, err) : status;
}

enum coffer_status job_request_pack(
    struct store *store, json_t *options, uint64_t *id, struct error *err)
{
    struct repack_options pack;
    enum coffer_status status;

    pack_options_default(store, &pack);
    status = read_options(options, &pack, false, err);
    return status == COFFER_OK ? store_pack_start(store, &pack, id, err) : status;
}
