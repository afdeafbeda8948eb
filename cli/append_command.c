/*
 * coffer dataset append.
 *
 * With --per-line what is read is gathered and cut behind a line feed: full appends while there is
 * much, and what there is as soon as the input pauses, so that `tail -f` arrives as it is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

enum {
    APPEND_SIZE = 1 << 20,    /* of lines together */
    LINE_MAX_SIZE = 64 << 20, /* of one line */
    PAUSE_MS = 100,           /* of the input, until what there is is sent */
};

struct appending {
    struct cli *cli;
    struct coffer_client *client;
    const char *dataset, *channel;
    struct coffer_append_options options;
};

struct lines { /* read and not sent yet */
    char *data;
    size_t size, room;
};

static int print_receipt(const struct cli *cli, const struct coffer_receipt *receipt)
{
    json_t *json;

    if (!cli->json) {
        (void)printf("offset %" PRIu64 "  length %" PRIu64 "  record %" PRIu64, receipt->offset,
            receipt->length, receipt->record);
        if (receipt->version != 0)
            (void)printf("  version %" PRIu64, receipt->version);
        (void)putchar('\n');
        return CLI_DONE;
    }
    json = json_pack("{s:I, s:I, s:I}", "offset", (json_int_t)receipt->offset, "length",
        (json_int_t)receipt->length, "record", (json_int_t)receipt->record);
    if (json != NULL && receipt->version != 0)
        (void)json_object_set_new(json, "version", json_integer((json_int_t)receipt->version));
    return cli_print_json(json);
}

/* The next append belongs behind this one, if the caller said where they begin. */
static int appended(struct appending *appending, const struct coffer_receipt *receipt)
{
    appending->options.offset += receipt->length;
    return cli_flush(print_receipt(appending->cli, receipt)); /* who waits for it may go on */
}

static int append_whole(struct appending *appending, FILE *file)
{
    struct coffer_receipt receipt;
    struct coffer_error err;

    if (coffer_append_file(appending->client, appending->dataset, appending->channel, file,
            &appending->options, &receipt, &err) != 0)
        return cli_failed(&err, NULL);
    return appended(appending, &receipt);
}

/* ---- lines ---- */

static int send_lines(struct appending *appending, struct lines *lines, size_t size)
{
    struct coffer_receipt receipt;
    struct coffer_error err;

    if (size == 0)
        return CLI_DONE;
    if (coffer_append(appending->client, appending->dataset, appending->channel, lines->data, size,
            &appending->options, &receipt, &err) != 0)
        return cli_failed(&err, NULL);
    lines->size -= size;
    memmove(lines->data, lines->data + size, lines->size);
    return appended(appending, &receipt);
}

static size_t whole_lines(const struct lines *lines)
{
    const char *end = lines->size == 0 ? NULL : memrchr(lines->data, '\n', lines->size);

    return end == NULL ? 0 : (size_t)(end - lines->data) + 1;
}

static int make_room(struct lines *lines)
{
    size_t room = lines->room == 0 ? APPEND_SIZE : 2 * lines->room;
    char *grown;

    if (lines->size < lines->room)
        return CLI_DONE;
    if (room > LINE_MAX_SIZE)
        return cli_say(CLI_NO,
            "a line has more than %d MiB: it is none, or to be appended as a whole",
            LINE_MAX_SIZE >> 20);
    grown = realloc(lines->data, room);
    if (grown == NULL)
        return cli_no_memory();
    lines->data = grown;
    lines->room = room;
    return CLI_DONE;
}

static bool input_pauses(int fd)
{
    struct pollfd input = {.fd = fd, .events = POLLIN};

    return poll(&input, 1, PAUSE_MS) == 0;
}

static int append_lines(struct appending *appending, int fd, const char *name)
{
    struct lines lines = {.size = 0};
    int code = CLI_DONE;
    ssize_t got = 1;

    while (code == CLI_DONE && got > 0) {
        size_t whole = whole_lines(&lines);

        if (whole > 0 && (lines.size >= APPEND_SIZE || input_pauses(fd)))
            code = send_lines(appending, &lines, whole);
        if (code == CLI_DONE)
            code = make_room(&lines);
        if (code != CLI_DONE)
            break;
        do
            got = read(fd, lines.data + lines.size, lines.room - lines.size);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            code = cli_errno(name);
        else
            lines.size += (size_t)got;
    }
    if (code == CLI_DONE)
        code = send_lines(appending, &lines, lines.size); /* the last may have no line feed */
    free(lines.data);
    return code;
}

/* ---- files ---- */

static int append_one(struct appending *appending, const char *name)
{
    bool standard = strcmp(name, "-") == 0;
    FILE *file = standard ? stdin : fopen(name, "re");
    int code;

    if (file == NULL)
        return cli_errno(name);
    if (appending->options.per_line)
        code = append_lines(appending, fileno(file), name);
    else
        code = append_whole(appending, file);
    if (!standard)
        (void)fclose(file);
    return code;
}

int dataset_append_command(struct cli *cli)
{
    const struct command_line *line = &cli->line;
    const struct option_value *offset = option_value(line, "offset");
    const char *durability = option_text(line, "durability");
    struct appending appending = {.cli = cli,
        .dataset = line->arguments[0],
        .channel = line->arguments[1],
        .options = {.per_line = option_given(line, "per-line"),
            .has_offset = offset->given,
            .offset = offset->number,
            .epoch = option_number(line, "epoch", 0),
            .transaction = option_text(line, "transaction")}};
    int code;

    if (durability != NULL)
        appending.options.durability =
            strcmp(durability, "synced") == 0 ? COFFER_SYNCED : COFFER_BUFFERED;
    appending.client = cli_client(cli, &code);
    if (appending.client == NULL)
        return code;
    if (line->count == 2)
        return append_one(&appending, "-");
    /* In their order, and not past one that failed: what follows would be at another place. */
    for (size_t i = 2; code == CLI_DONE && i < line->count; i++)
        code = append_one(&appending, line->arguments[i]);
    return code;
}
