#include "cli/command_table.h"

#include <string.h>

#include "storage/base/invariant.h"

#define OPTION(command, name, letter, kind, value, help)
static const struct command_row commands[] = {
#define COMMAND(name, function, arguments, least, most, summary, details, example)                 \
    {name, function##_command, arguments, least, most, summary, details, example},
#include "cli/commands.def"
#undef COMMAND
#undef OPTION
};

static const struct option_row options[] = {
#define COMMAND(name, function, arguments, least, most, summary, details, example)
#define OPTION(command, name, letter, kind, value, help)                                           \
    {command, name, letter, OPTION_##kind, value, help},
#include "cli/commands.def"
#undef COMMAND
#undef OPTION
};

const struct command_row *command_rows(size_t *count)
{
    *count = ARRAY_COUNT(commands);
    return commands;
}

const struct option_row *option_rows(size_t *count)
{
    *count = ARRAY_COUNT(options);
    return options;
}

const struct command_row *command_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

bool option_belongs(const struct option_row *option, const struct command_row *command)
{
    return option->command[0] == '\0' ||
           (command != NULL && strcmp(option->command, command->name) == 0);
}
