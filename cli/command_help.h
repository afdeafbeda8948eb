/*
 * command_help.h - what --help and --version print, made from commands.def.
 */
#pragma once

#include <stdio.h>

#include "cli/command_line.h"

/* If --help or --version was given: print it, and true. */
bool help_wanted(const struct command_line *line);
/* Of one command; of all whose group it is; or NULL: of all. */
void help_print(FILE *out, const struct command_row *command, const char *group);
