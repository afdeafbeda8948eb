/*
 * {"kind":"validate"}.
 */
#include "api/job_request.h"
#include "api/json_in.h"
#include "storage/base/invariant.h"
#include "storage/maintenance.h"

enum coffer_status job_request_validate(
    struct store *store, json_t *body, uint64_t *id, struct error *err)
{
    struct validate_options options = {0};
    bool repair = false;
    const struct json_field fields[] = {
        JSON_COUNT("bytes_per_second", &options.bytes_per_second, 0, INT64_MAX),
        JSON_BOOL("repair", &repair),
    };
    enum coffer_status status = json_in_read(body, "the body", fields, ARRAY_COUNT(fields), err);

    if (status == COFFER_OK && repair)
        return error_set(err, COFFER_BAD_REQUEST,
            "this version finds damage and does not repair it: put the content again, which takes "
            "the place of a damaged copy");
    return status == COFFER_OK ? store_validate_start(store, &options, id, err) : status;
}
