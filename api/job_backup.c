/*
 * {"kind":"backup","to":"DIR"}.
 */
#include <stdio.h>

#include "api/job_request.h"
#include "api/json_in.h"
#include "storage/base/invariant.h"
#include "storage/maintenance.h"

enum coffer_status job_request_backup(
    struct store *store, json_t *body, uint64_t *id, struct error *err)
{
    struct backup_options options = {0};
    char path[BACKUP_TO_MAX + 2];
    struct slice to = {0};
    const struct json_field fields[] = {
        JSON_TEXT("to", &to),
        JSON_COUNT("bytes_per_second", &options.bytes_per_second, 0, INT64_MAX),
    };
    enum coffer_status status = json_in_read(body, "the body", fields, ARRAY_COUNT(fields), err);

    if (status != COFFER_OK)
        return status;
    if (to.size == 0)
        return error_set(err, COFFER_BAD_REQUEST, "the body lacks \"to\", the backup's folder");
    /* One byte too many is refused as too long. */
    (void)snprintf(path, sizeof(path), "%.*s",
        (int)(to.size < sizeof(path) ? to.size : sizeof(path) - 1), (const char *)to.data);
    options.to = path;
    return store_backup_start(store, &options, id, err);
}
