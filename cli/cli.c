#include "cli/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/progress.h"

enum { PATIENCE_S = 60, MESSAGE_SIZE = 1024, REAL_DIGITS = 6 };

/* ---- the server ---- */

struct coffer_client *cli_client(struct cli *cli, int *code)
{
    struct coffer_options options = {.key = option_text(&cli->line, "key"),
        .user_agent = NULL,
        .timeout = cli->timeout_s,
        .patience = PATIENCE_S,
        .impatient = true};
    const char *url = option_text(&cli->line, "url");
    struct coffer_error err;

    *code = CLI_DONE;
    if (cli->client != NULL)
        return cli->client;
    if (url == NULL)
        url = getenv("COFFER_URL"); /* NOLINT(concurrency-mt-unsafe): nobody sets variables */
    if (options.key == NULL)
        options.key = getenv("COFFER_KEY"); /* NOLINT(concurrency-mt-unsafe): the same */
    if (options.key != NULL && options.key[0] == '\0')
        options.key = NULL;
    cli->client = coffer_open(url != NULL && url[0] != '\0' ? url : NULL, &options, &err);
    if (cli->client == NULL)
        *code = cli_failed(&err, NULL);
    return cli->client;
}

void cli_release(struct cli *cli)
{
    coffer_close(cli->client);
    command_line_release(&cli->line);
}

/* ---- saying it ---- */

int cli_say(int code, const char *format, ...)
{
    char text[MESSAGE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    progress_hide();
    (void)fprintf(stderr, "coffer: %s\n", text);
    return code;
}

/* By what the server's answer means to a caller; see enum cli_exit. */
static int exit_of(const struct coffer_error *err)
{
    if (err->number == EINVAL && strcmp(err->code, "bad_argument") == 0)
        return CLI_WRONG;
    if (strcmp(err->code, "data_corrupt") == 0)
        return CLI_NO;
    switch (err->status) {
    case 400:
        return CLI_WRONG;
    case 404:
    case 409:
    case 410:
    case 412:
    case 416:
    case 422:
        return CLI_NO;
    default:
        return CLI_BROKEN;
    }
}

int cli_failed(const struct coffer_error *err, const char *about)
{
    const char *mark = about == NULL ? "" : ": ";

    if (strcmp(err->code, "local_file") == 0)
        return cli_say(err->number == ENOENT ? CLI_NO : CLI_BROKEN, "%s%s%s",
            about == NULL ? "" : about, mark, err->detail);
    return cli_say(exit_of(err), "%s%s%s (%s%s%s)", about == NULL ? "" : about, mark, err->detail,
        err->code, err->request_id[0] == '\0' ? "" : ", request ", err->request_id);
}

int cli_errno(const char *about)
{
    int number = errno;
    char text[128];

    return cli_say(number == ENOENT ? CLI_NO : CLI_BROKEN, "%s: %s", about,
        strerror_r(number, text, sizeof(text)));
}

int cli_no_memory(void)
{
    return cli_say(CLI_BROKEN, "there is no memory left");
}

int cli_worse(int one, int other)
{
    return one > other ? one : other;
}

int cli_flush(int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno == EPIPE) /* who read it has seen enough */
        return cli_worse(code, CLI_BROKEN);
    return cli_worse(code, cli_errno("standard output"));
}

/* ---- JSON ---- */

json_t *cli_parse(char *text, int *code)
{
    json_error_t reason;
    json_t *json = text == NULL ? NULL : json_loads(text, JSON_DECODE_ANY, &reason);

    *code = CLI_DONE;
    if (json == NULL)
        *code = cli_say(CLI_BROKEN, "the server's answer is not JSON");
    free(text);
    return json;
}

int cli_call(struct cli *cli, const char *method, const char *path, json_t *body, json_t **answer)
{
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT), *reply = NULL;
    bool lost = body != NULL && text == NULL;
    struct coffer_client *client;
    struct coffer_error err;
    int code;

    json_decref(body);
    if (answer != NULL)
        *answer = NULL;
    if (lost || path == NULL)
        return cli_no_memory();
    client = cli_client(cli, &code);
    if (client != NULL &&
        coffer_call(client, method, path, text, answer == NULL ? NULL : &reply, &err) != 0)
        code = cli_failed(&err, NULL);
    free(text);
    if (code == CLI_DONE && answer != NULL)
        *answer = cli_parse(reply, &code);
    return code;
}

int cli_print_json(json_t *json)
{
    int result =
        json_dumpf(json, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(REAL_DIGITS));

    json_decref(json);
    if (result != 0 || fputc('\n', stdout) == EOF)
        return ferror(stdout) ? cli_flush(CLI_DONE) : cli_no_memory();
    return CLI_DONE;
}

/* The length of the UTF-8 sequence at `text`; 0: it is none. */
static size_t sequence_size(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t size = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
    json_t *sequence;

    if (at[0] >= 0xf5)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    sequence = json_stringn(text, size); /* refuses surrogates and what is too long */
    json_decref(sequence);
    return sequence == NULL ? 0 : size;
}

json_t *json_text(const char *bytes)
{
    static const char replacement[] = "\xef\xbf\xbd";
    json_t *json = json_string(bytes);
    size_t out = 0, size;
    char *text;

    if (json != NULL)
        return json;
    text = malloc(3 * strlen(bytes) + 1);
    if (text == NULL)
        return NULL;
    while (*bytes != '\0') {
        size = sequence_size(bytes);
        memcpy(text + out, size == 0 ? replacement : bytes, size == 0 ? 3 : size);
        out += size == 0 ? 3 : size;
        bytes += size == 0 ? 1 : size;
    }
    json = json_stringn(text, out);
    free(text);
    return json;
}

const char *json_member(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "" : text;
}

uint64_t json_u64(const json_t *object, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(object, name));
}

/* ---- paths ---- */

static void put_escaped(FILE *out, const char *text)
{
    for (; *text != '\0'; text++)
        if (strchr("-._~:", *text) != NULL || (*text >= '0' && *text <= '9') ||
            (*text >= 'A' && *text <= 'Z') || (*text >= 'a' && *text <= 'z'))
            (void)fputc(*text, out);
        else
            (void)fprintf(out, "%%%02X", (unsigned)(unsigned char)*text);
}

char *cli_path(const char *format, ...)
{
    char *path = NULL;
    size_t size;
    FILE *out = open_memstream(&path, &size);
    va_list arguments;
    bool good;

    if (out == NULL) {
        (void)cli_no_memory();
        return NULL;
    }
    va_start(arguments, format);
    for (; *format != '\0'; format++)
        if (format[0] == '%' && format[1] == 's') {
            put_escaped(out, va_arg(arguments, const char *));
            format++;
        } else {
            (void)fputc(*format, out);
        }
    va_end(arguments);
    good = !ferror(out);
    if (fclose(out) == 0 && good)
        return path;
    free(path);
    (void)cli_no_memory();
    return NULL;
}
