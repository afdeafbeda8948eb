/*
 * cli.h - what every command works with: its words, the server, and how it says what.
 *
 * Results go to standard output, everything else to standard error. A command returns an exit code:
 * that of its worst failure, so that `get` of many goes on after one is missing.
 *
 * Threads: commands run on the main thread; cli_client(), cli_say() and cli_failed() are for any,
 *          once the client is there.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/command_line.h"
#include "client/coffer.h"
#include "storage/base/status.h"

enum cli_exit {
    CLI_DONE = 0,
    CLI_NO = 1,     /* the answer is no: missing, damaged, refused because of what is there */
    CLI_WRONG = 2,  /* wrong use */
    CLI_BROKEN = 3, /* the server or a disk failed */
};

struct cli {
    struct command_line line;
    const char *url; /* NULL: the library's default */
    bool json;
    unsigned timeout_s; /* before cli_client(): in which the server need not move; 0: as usual */
    struct coffer_client *client;
};

/* The client, made at its first use; NULL: *code says why not, and it was said. */
struct coffer_client *cli_client(struct cli *cli, int *code);
void cli_release(struct cli *cli);

/* "coffer: TEXT" on standard error, in one piece. Returns `code`. */
int cli_say(int code, const char *format, ...) PRINTF_LIKE(2, 3);
/* The same for a failed call; `about` (may be NULL) is what it was about. Returns its exit code. */
int cli_failed(const struct coffer_error *err, const char *about);
/* "ABOUT: STRERROR" by errno: CLI_NO for what is not there, else CLI_BROKEN. */
int cli_errno(const char *about);
int cli_no_memory(void);
/* The worse of two exit codes. */
int cli_worse(int one, int other);
/* Whether all that was printed got out; else it is said, unless its reader has gone. Returns the
 * code to end with. */
int cli_flush(int code);

/* ---- JSON ---- */

/* A request with a JSON body (dropped; NULL: none); *answer (may be NULL) is to be dropped. */
int cli_call(struct cli *cli, const char *method, const char *path, json_t *body, json_t **answer);
/* The text as JSON; NULL: *code, and it was said. The text is freed. */
json_t *cli_parse(char *text, int *code);
/* A line of JSON on standard output, which drops it. */
int cli_print_json(json_t *json);
/* A JSON string of any bytes: what is not UTF-8 becomes U+FFFD. */
json_t *json_text(const char *bytes);
const char *json_member(const json_t *object, const char *name); /* a string, or "" */
uint64_t json_u64(const json_t *object, const char *name);       /* or 0 */

/* "/v1/..." with each %s of the format escaped, for free(); NULL: no memory, and it was said. */
char *cli_path(const char *format, ...);
