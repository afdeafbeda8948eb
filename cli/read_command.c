/*
 * coffer dataset read, dataset archive: what comes as a stream, to standard output or a file.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/hashed_file.h"
#include "cli/progress.h"

enum { COPY_SIZE = 256 * 1024 };

/* Up to `length` bytes, each as soon as it is there. */
static int copy_stream(FILE *stream, uint64_t length, struct hashed_sink *sink, bool at_once)
{
    char *buffer = malloc(COPY_SIZE);
    int code = buffer == NULL ? cli_no_memory() : CLI_DONE;
    struct coffer_error err;
    ssize_t got = 1;

    while (code == CLI_DONE && length > 0 && got > 0) {
        got = coffer_stream_read(
            stream, buffer, length < COPY_SIZE ? (size_t)length : COPY_SIZE, &err);
        if (got < 0)
            code = cli_failed(&err, NULL);
        else if (!hashed_sink_write(sink, buffer, (size_t)got) ||
                 (at_once && fflush(sink->out) != 0))
            code = cli_worse(CLI_BROKEN, cli_errno(sink->name));
        length -= got > 0 ? (uint64_t)got : 0;
    }
    free(buffer);
    return code;
}

static int copy_to_output(struct cli *cli, FILE *stream, uint64_t length, bool at_once)
{
    struct hashed_sink sink;
    int code = hashed_sink_open(&sink, option_text(&cli->line, "output"));

    if (code != CLI_DONE)
        return code;
    code = copy_stream(stream, length, &sink, at_once);
    return hashed_sink_close(&sink, code);
}

/* ---- read ---- */

/* Where a range begins and how long it is, which needs the channel's size. */
static int place_range(struct cli *cli, struct coffer_client *client,
    const struct coffer_channel_options *options, uint64_t *offset, uint64_t *length)
{
    const struct option_value *range = option_value(&cli->line, "range");
    const char *const *arguments = cli->line.arguments;
    struct coffer_error err;
    uint64_t size;
    FILE *stream = coffer_channel_open(client, arguments[0], arguments[1], "r", options, &err);

    if (stream == NULL)
        return cli_failed(&err, NULL);
    size = coffer_stream_size(stream);
    (void)fclose(stream);
    if (range_within(&range->range, size, offset, length))
        return CLI_DONE;
    return cli_say(CLI_NO, "%s: %s begins behind its end, it has %llu bytes", arguments[1],
        range->text, (unsigned long long)size);
}

int dataset_read_command(struct cli *cli)
{
    struct coffer_channel_options options = {.version = option_number(&cli->line, "version", 0)};
    const char *const *arguments = cli->line.arguments;
    const struct option_value *range = option_value(&cli->line, "range");
    bool follow = option_given(&cli->line, "follow");
    uint64_t length = UINT64_MAX, size;
    struct coffer_client *client;
    struct coffer_error err;
    FILE *stream;
    int code;

    if (follow && (options.version != 0 || (range->given && range->range.last != UINT64_MAX)))
        return cli_say(CLI_WRONG, "--follow has no end: not with --version, nor a range A-B");
    client = cli_client(cli, &code);
    if (client != NULL && range->given)
        code = place_range(cli, client, &options, &options.offset, &length);
    if (code != CLI_DONE)
        return code;
    options.follow = follow;
    stream = coffer_channel_open(client, arguments[0], arguments[1], "r", &options, &err);
    if (stream == NULL)
        return cli_failed(&err, NULL);
    if (follow)
        length = UINT64_MAX;
    size = coffer_stream_size(stream);
    progress_start(arguments[1], follow ? 0 : range->given ? length : size, PROGRESS_BYTES);
    code = copy_to_output(cli, stream, length, follow);
    progress_end();
    (void)fclose(stream);
    return code;
}

/* ---- archive ---- */

int dataset_archive_command(struct cli *cli)
{
    const char *format = option_text(&cli->line, "format");
    const char *version = option_text(&cli->line, "version");
    struct coffer_client *client;
    struct coffer_error err;
    FILE *stream = NULL;
    char *path;
    int code;

    path = cli_path(version == NULL ? "/v1/datasets/%s/archive?format=%s"
                                    : "/v1/datasets/%s/archive?format=%s&version=%s",
        cli->line.arguments[0], format == NULL ? "tar" : format, version == NULL ? "" : version);
    if (path == NULL)
        return CLI_BROKEN;
    client = cli_client(cli, &code);
    if (client != NULL) {
        stream = coffer_body_open(client, path, &err);
        if (stream == NULL)
            code = cli_failed(&err, NULL);
    }
    if (stream != NULL) {
        progress_start("archive", 0, PROGRESS_BYTES);
        code = copy_to_output(cli, stream, UINT64_MAX, false);
        progress_end();
        (void)fclose(stream);
    }
    free(path);
    return code;
}
