#include "api/dataset_settings.h"

#include <stdio.h>
#include <string.h>

#include "api/json_in.h"
#include "storage/base/invariant.h"

enum { LEVEL_DEFAULT = 9, LEVEL_MAX = 19 };

static const char *const compressions[] = {"none", "zstd", NULL};
static const char *const formats[] = {[ARCHIVE_TAR] = "tar", [ARCHIVE_TAR_ZST] = "tar.zst", NULL};
static const char *const kinds[] = {[CLOSE_VERIFY] = "verify",
    [CLOSE_COMPRESS] = "compress",
    [CLOSE_PACKAGE] = "package",
    [CLOSE_NOTIFY] = "notify",
    NULL};

const char *archive_format_name(enum archive_format format)
{
    return formats[format];
}

static enum coffer_status take_url(
    struct slice url, struct close_action *action, const char *what, struct error *err)
{
    const unsigned char *at = url.data;

    if (url.data == NULL)
        return error_set(err, COFFER_BAD_REQUEST, "%s has no \"url\"", what);
    if (url.size >= DATASET_URL_SIZE)
        return error_set(err, COFFER_BAD_REQUEST, "the \"url\" of %s has more than %d bytes", what,
            DATASET_URL_SIZE - 1);
    if (!((url.size > 7 && memcmp(at, "http://", 7) == 0) ||
            (url.size > 8 && memcmp(at, "https://", 8) == 0)))
        return error_set(err, COFFER_BAD_REQUEST,
            "the \"url\" of %s begins with http:// or https://, not \"%.60s\"", what,
            (const char *)at);
    for (size_t i = 0; i < url.size; i++)
        if (at[i] <= ' ' || at[i] >= 0x7f)
            return error_set(err, COFFER_BAD_REQUEST,
                "the \"url\" of %s has a blank, or a character that is to be percent-encoded",
                what);
    memcpy(action->url, at, url.size);
    action->url[url.size] = '\0';
    return COFFER_OK;
}

/* The fields of other kinds were read too, so that one table names all of them. */
static enum coffer_status check_fields(
    json_t *object, enum close_kind kind, const char *what, struct error *err)
{
    static const char *const own[] = {[CLOSE_VERIFY] = "do",
        [CLOSE_COMPRESS] = "level",
        [CLOSE_PACKAGE] = "format",
        [CLOSE_NOTIFY] = "url"};
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (strcmp(name, "do") != 0 && strcmp(name, own[kind]) != 0)
            return error_set(err, COFFER_UNKNOWN_FIELD, "%s, \"%s\", has no field \"%s\"", what,
                kinds[kind], name);
    }
    return COFFER_OK;
}

static enum coffer_status read_action(
    json_t *object, size_t position, struct close_action *action, struct error *err)
{
    unsigned kind = CLOSE_VERIFY, format = ARCHIVE_TAR;
    uint64_t level = LEVEL_DEFAULT;
    struct slice url = {NULL, 0};
    const struct json_field fields[] = {JSON_WORD("do", &kind, kinds),
        JSON_COUNT("level", &level, 1, LEVEL_MAX), JSON_WORD("format", &format, formats),
        JSON_TEXT("url", &url)};
    enum coffer_status status;
    char what[48];

    (void)snprintf(what, sizeof(what), "action %zu of \"on_close\"", position + 1);
    if (!json_is_object(object) || json_object_get(object, "do") == NULL)
        return error_set(err, COFFER_BAD_JSON,
            "%s is an object that says what to do: {\"do\":\"verify\"}, for instance", what);
    status = json_in_read(object, what, fields, ARRAY_COUNT(fields), err);
    if (status != COFFER_OK)
        return status;
    *action = (struct close_action){
        .kind = (enum close_kind)kind, .level = (int)level, .format = (enum archive_format)format};
    status = check_fields(object, action->kind, what, err);
    if (status == COFFER_OK && action->kind == CLOSE_NOTIFY)
        status = take_url(url, action, what, err);
    return status;
}

static enum coffer_status read_actions(
    json_t *list, struct dataset_settings *settings, struct error *err)
{
    size_t count = json_array_size(list);

    if (count > DATASET_ACTIONS_MAX)
        return error_set(err, COFFER_BAD_REQUEST, "\"on_close\" may have %d actions, not %zu",
            DATASET_ACTIONS_MAX, count);
    settings->action_count = (unsigned)count;
    for (size_t i = 0; i < count; i++) {
        enum coffer_status status =
            read_action(json_array_get(list, i), i, &settings->actions[i], err);

        if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}

enum coffer_status dataset_settings_read(json_t *body, const struct store *store,
    struct dataset_settings *settings, json_t **metadata, struct error *err)
{
    unsigned compression;
    json_t *actions = NULL;
    enum coffer_status status;

    *metadata = NULL;
    dataset_settings_default(store, settings);
    compression = settings->compression == CODEC_ZSTD ? 1 : 0;
    const struct json_field fields[] = {
        JSON_COUNT("buffer_size", &settings->buffer_size, 0, store_options_of(store)->memory_limit),
        JSON_WORD("compression", &compression, compressions), JSON_LIST("on_close", &actions),
        JSON_OBJECT("metadata", metadata)};
    status = json_in_read(body, "the body", fields, ARRAY_COUNT(fields), err);
    if (status != COFFER_OK)
        return status;
    settings->compression = compression == 1 ? CODEC_ZSTD : CODEC_NONE;
    return actions == NULL ? COFFER_OK : read_actions(actions, settings, err);
}

static void write_action(struct json_out *out, const struct close_action *action)
{
    json_out_object(out);
    json_out_member_text(out, "do", kinds[action->kind]);
    if (action->kind == CLOSE_COMPRESS)
        json_out_member_u64(out, "level", (uint64_t)action->level);
    if (action->kind == CLOSE_PACKAGE)
        json_out_member_text(out, "format", formats[action->format]);
    if (action->kind == CLOSE_NOTIFY)
        json_out_member_text(out, "url", action->url);
    json_out_object_end(out);
}

void dataset_settings_write(struct json_out *out, const struct dataset_settings *settings)
{
    json_out_object(out);
    json_out_member_u64(out, "buffer_size", settings->buffer_size);
    json_out_member_text(out, "compression", codec_name(settings->compression));
    json_out_name(out, "on_close");
    json_out_array(out);
    for (unsigned i = 0; i < settings->action_count; i++)
        write_action(out, &settings->actions[i]);
    json_out_array_end(out);
    json_out_object_end(out);
}
