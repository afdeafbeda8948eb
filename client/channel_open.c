/*
 * coffer_channel_open(): a writer, or a reader of what is committed.
 */
#include <string.h>

#include "client/call.h"
#include "client/channel_parts.h"
#include "client/failure.h"
#include "client/reader_file.h"

/* "?version=V&follow=true", or nothing. */
static void add_query(struct text *path, uint64_t version, bool follow)
{
    const char *mark = "?";

    if (version != 0) {
        text_printf(path, "?version=%llu", (unsigned long long)version);
        mark = "&";
    }
    if (follow)
        text_printf(path, "%sfollow=true", mark);
}

static int no_such_channel(const char *dataset, const char *channel, struct coffer_error *err)
{
    (void)failure(err, "no_such_channel",
        "the dataset %s has no channel %s, or is not there, or not as of this version", dataset,
        channel);
    if (err != NULL)
        err->status = 404;
    return -1;
}

static FILE *open_reader(struct coffer_client *client, const char *dataset, const char *channel,
    const struct coffer_channel_options *options, struct coffer_error *err)
{
    struct reader_source source = {
        .offset = options->offset, .end = SIZE_UNKNOWN, .ranges = true, .follow = options->follow};
    struct request request = {.method = "HEAD"};
    char *plain = dataset_path(dataset, "/channels/", channel);
    struct text path = {0};
    struct call_answer answer = {0};
    int result = -1;

    if (plain != NULL)
        text_printf(&path, "%s", plain);
    add_query(&path, options->version, false);
    request.path = path.data;
    if (plain == NULL || path.failed)
        result = failure(err, "no_memory", "no memory for a stream");
    else
        result = call_send(client, &request, NULL, NULL, &answer, err);
    if (result != 0 && answer.status == 404)
        result = no_such_channel(dataset, channel, err);
    if (result == 0 && !options->follow) {
        source.end = answer.length;
        if (answer.etag.size > 0)
            source.etag = text_take(&answer.etag);
    }
    if (plain != NULL && result == 0) {
        path.size = strlen(plain);
        add_query(&path, options->version, options->follow);
        source.path = text_take(&path);
    }
    free(plain);
    text_release(&path);
    call_release(&answer);
    return result == 0 ? reader_file_open(client, &source, err) : NULL;
}

FILE *coffer_channel_open(struct coffer_client *client, const char *dataset, const char *channel,
    const char *mode, const struct coffer_channel_options *options, struct coffer_error *err)
{
    static const struct coffer_channel_options defaults;

    options = options == NULL ? &defaults : options;
    if (strcmp(mode, "a") == 0)
        return writer_open(client, dataset, channel, options, err);
    if (strcmp(mode, "r") == 0)
        return open_reader(client, dataset, channel, options, err);
    (void)failure(err, "bad_argument", "a channel is opened with \"a\" or \"r\", not \"%s\"", mode);
    return NULL;
}
