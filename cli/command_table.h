/*
 * command_table.h - the rows of commands.def.
 *
 * Threads: no state; the tables are constant.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum { MANY = INT_MAX };

enum option_kind {
    OPTION_FLAG,
    OPTION_TEXT,
    OPTION_LIST,   /* TEXT that may be repeated */
    OPTION_NUMBER, /* from 0 on */
    OPTION_SIZE,   /* bytes, or with KiB, MiB, GiB, TiB */
    OPTION_TIME,   /* ms, s, min, h; a bare number is seconds */
    OPTION_RATIO,  /* 0 to 1 */
    OPTION_RANGE,  /* A-B, A-, -N */
    OPTION_CHOICE, /* one of the words in `value` */
};

struct option_row {
    const char *command; /* "": everybody's */
    const char *name;    /* without its dashes */
    char letter;         /* or 0 */
    enum option_kind kind;
    const char *value, *help;
};

struct cli;
typedef int command_function(struct cli *cli); /* the exit code */

#define OPTION(command, name, letter, kind, value, help)
#define COMMAND(name, function, arguments, least, most, summary, details, example)                 \
    command_function function##_command;
#include "cli/commands.def"
#undef COMMAND
#undef OPTION

struct command_row {
    const char *name;
    command_function *run;
    const char *arguments;
    int least, most;
    const char *summary, *details, *example;
};

const struct command_row *command_rows(size_t *count);
const struct option_row *option_rows(size_t *count);
/* NULL: there is none of that name. */
const struct command_row *command_find(const char *name);
/* The option is this command's, or everybody's. `command` may be NULL: only everybody's. */
bool option_belongs(const struct option_row *option, const struct command_row *command);
