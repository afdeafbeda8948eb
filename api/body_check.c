#include "api/body_check.h"

#include "api/conditions.h"
#include "api/digest_header.h"
#include "api/write_headers.h"
#include "storage/base/invariant.h"

static const struct {
    enum body_form form;
    const char *media_type;
} media_types[] = {
    {BODY_FORM_JSON, "application/json"},
    {BODY_FORM_JSON, "text/json"},
    {BODY_FORM_JSON, "application/merge-patch+json"},
    {BODY_FORM_LINES, "text/plain"},
    {BODY_FORM_TAR, "application/x-tar"},
    {BODY_FORM_TAR, "application/tar"},
    {BODY_FORM_TAR, "application/x-ustar"},
    {BODY_FORM_TAR, "application/x-gtar"},
    {BODY_FORM_TAR, "application/octet-stream"},
};
static const char *const form_names[] = {"application/json", "text/plain", "application/x-tar"};

static enum coffer_status find_form(struct slice type, enum body_form first, enum body_form second,
    enum body_form *form, struct error *err)
{
    *form = first;
    if (type.data == NULL || type.size == 0 ||
        media_type_is(type, "application/x-www-form-urlencoded"))
        return COFFER_OK;
    for (size_t i = 0; i < ARRAY_COUNT(media_types); i++) {
        if (!media_type_is(type, media_types[i].media_type))
            continue;
        *form = media_types[i].form;
        if (*form == first || *form == second)
            return COFFER_OK;
    }
    if (first == second)
        return error_set(err, COFFER_UNSUPPORTED_MEDIA_TYPE, "this request takes %s, not \"%.*s\"",
            form_names[first], (int)(type.size < 80 ? type.size : 80), (const char *)type.data);
    return error_set(err, COFFER_UNSUPPORTED_MEDIA_TYPE,
        "this request takes %s or %s, not \"%.*s\"", form_names[first], form_names[second],
        (int)(type.size < 80 ? type.size : 80), (const char *)type.data);
}

enum coffer_status body_check_start(struct body_check *check, struct exchange *exchange,
    enum body_form first, enum body_form second, enum body_form *form, struct error *err)
{
    bool found = false;
    enum coffer_status status;

    *check = (struct body_check){.expects = false};
    status = encoding_header(exchange, err);
    if (status == COFFER_OK)
        status =
            find_form(exchange_header(exchange, HEADER_CONTENT_TYPE), first, second, form, err);
    if (status == COFFER_OK)
        status = digest_headers(exchange, NULL, &check->expected, &found, err);
    if (status != COFFER_OK || !found)
        return status;
    sha256_init(&check->sha);
    check->expects = true;
    return COFFER_OK;
}

void body_check_data(struct body_check *check, const void *data, size_t size)
{
    if (check->expects && size > 0)
        sha256_update(&check->sha, data, size);
}

enum coffer_status body_check_finish(struct body_check *check, struct error *err)
{
    struct digest digest;
    char text[DIGEST_HEADER_SIZE + 1];

    if (!check->expects)
        return COFFER_OK;
    sha256_final(&check->sha, &digest);
    if (digest_equal(&digest, &check->expected))
        return COFFER_OK;
    digest_header_format(&digest, text);
    return error_set(err, COFFER_DIGEST_MISMATCH,
        "the body that arrived has the digest %s; send it again", text);
}

void body_check_release(struct body_check *check)
{
    if (check->expects)
        sha256_release(&check->sha);
    check->expects = false;
}
