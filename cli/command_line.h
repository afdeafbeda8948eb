/*
 * command_line.h - the words that coffer was called with, as commands.def says what they mean.
 *
 * Options may stand before and behind arguments; those of everybody also before the command; behind
 * "--" everything is an argument. `-o FILE`, `-oFILE`, `--output FILE` and `--output=FILE` are the
 * same. All values are checked here, so that a command begins with what it can work with.
 *
 * Memory: texts are those of argv. command_line_release() when done, also after a failure.
 */
#pragma once

#include <stdbool.h>

#include "cli/command_table.h"
#include "cli/option_values.h"

enum { OPTIONS_MAX = 160, COMMAND_WHY_SIZE = 200 };

struct option_value {
    bool given;
    const char *text;        /* as it was given last */
    uint64_t number;         /* NUMBER, SIZE, TIME (ms) */
    double ratio;            /* RATIO */
    struct byte_range range; /* RANGE */
    const char **list;       /* LIST: all of them */
    size_t count;
};

struct command_line {
    const struct command_row *command; /* NULL: none was named */
    const char *group;                 /* a group was named, and no command of it; or NULL */
    const char **arguments;
    size_t count;
    struct option_value values[OPTIONS_MAX]; /* in the order of option_rows() */
    char why[COMMAND_WHY_SIZE];              /* what is wrong */
};

/* False: line->why says it, line->command may be known. With --help or --version the number of
 * arguments is not looked at. */
bool command_line_parse(int argc, char **argv, struct command_line *line);
void command_line_release(struct command_line *line);

/* The option `name` of line->command; it must have one. */
const struct option_value *option_value(const struct command_line *line, const char *name);
bool option_given(const struct command_line *line, const char *name);
const char *option_text(const struct command_line *line, const char *name); /* NULL: not given */
uint64_t option_number(const struct command_line *line, const char *name, uint64_t standard);
