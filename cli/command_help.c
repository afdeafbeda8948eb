#include "cli/command_help.h"

#include <string.h>

#include "cli/cli.h"
#include "client/coffer.h"
#include "storage/base/invariant.h"

enum { WIDTH = 78, NAME_COLUMN = 20, OPTION_COLUMN = 30 };

/* ---- laying out ---- */

/* Words of `text` up to the width; what follows the first line is indented. `at`: where it is. */
static void print_wrapped(FILE *out, const char *text, size_t at, size_t indent)
{
    bool first = true;

    while (*text != '\0') {
        size_t length = strcspn(text, " ");

        if (!first && at + 1 + length > WIDTH) {
            (void)fprintf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            (void)fputc(' ', out);
            at++;
        }
        (void)fwrite(text, 1, length, out);
        at += length;
        text += length;
        text += strspn(text, " ");
        first = false;
    }
    (void)fputc('\n', out);
}

static void print_option(FILE *out, const struct option_row *option)
{
    char text[96];
    int size = option->letter != 0
                   ? snprintf(text, sizeof(text), "  -%c, --%s", option->letter, option->name)
                   : snprintf(text, sizeof(text), "      --%s", option->name);

    if (option->kind != OPTION_FLAG)
        size += snprintf(text + size, sizeof(text) - (size_t)size, " %s", option->value);
    (void)fputs(text, out);
    if (size >= OPTION_COLUMN - 1) {
        (void)fputc('\n', out);
        size = 0;
    }
    (void)fprintf(out, "%*s", OPTION_COLUMN - size, "");
    print_wrapped(out, option->help, OPTION_COLUMN, OPTION_COLUMN);
}

static void print_options(FILE *out, const struct command_row *command, const char *title)
{
    const char *owner = command == NULL ? "" : command->name;
    bool any = false;
    size_t count;
    const struct option_row *rows = option_rows(&count);

    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].command, owner) == 0) {
            if (!any)
                (void)fprintf(out, "\n%s\n", title);
            any = true;
            print_option(out, &rows[i]);
        }
}

static void print_example(FILE *out, const char *example)
{
    (void)fputs("\nexample:\n", out);
    while (*example != '\0') {
        size_t length = strcspn(example, "\n");

        (void)fprintf(out, "  %.*s\n", (int)length, example);
        example += length;
        example += *example == '\n' ? 1 : 0;
    }
}

/* ---- help ---- */

static void print_command(FILE *out, const struct command_row *command)
{
    (void)fprintf(out, "usage: coffer %s [OPTION...]%s%s\n\n", command->name,
        command->arguments[0] == '\0' ? "" : " ", command->arguments);
    print_wrapped(out, command->summary, 0, 0);
    if (command->details[0] != '\0') {
        (void)fputc('\n', out);
        print_wrapped(out, command->details, 0, 0);
    }
    print_options(out, command, "options:");
    print_options(out, NULL, "options of every command:");
    print_example(out, command->example);
}

static void print_list(FILE *out, const char *group)
{
    size_t count, size = group == NULL ? 0 : strlen(group);
    const struct command_row *rows = command_rows(&count);

    for (size_t i = 0; i < count; i++) {
        int length = (int)strlen(rows[i].name);

        if (group != NULL && (strncmp(rows[i].name, group, size) != 0 || rows[i].name[size] != ' '))
            continue;
        (void)fprintf(
            out, "  %s%*s", rows[i].name, length < NAME_COLUMN ? NAME_COLUMN - length : 1, "");
        print_wrapped(out, rows[i].summary, NAME_COLUMN + 2, NAME_COLUMN + 2);
    }
}

void help_print(FILE *out, const struct command_row *command, const char *group)
{
    if (command != NULL) {
        print_command(out, command);
        return;
    }
    (void)fprintf(out, "usage: coffer [OPTION...] %s%sCOMMAND [ARGUMENT...]\n\ncommands:\n",
        group == NULL ? "" : group, group == NULL ? "" : " ");
    print_list(out, group);
    print_options(out, NULL, "options of every command:");
    (void)fputs("\n\"coffer help COMMAND\" tells more. Exit code: 0 done, 1 the answer is no "
                "(missing, damaged),\n2 wrong use, 3 the server or a disk failed.\n",
        out);
}

bool help_wanted(const struct command_line *line)
{
    struct command_line everybody = *line;

    everybody.command = NULL; /* a command may have a --version of its own */
    if (option_given(&everybody, "version")) {
        (void)printf("coffer %s\n", coffer_version());
        return true;
    }
    if (!option_given(line, "help"))
        return false;
    help_print(stdout, line->command, line->group);
    return true;
}

int help_command(struct cli *cli)
{
    const struct command_line *line = &cli->line;
    const struct command_row *command;
    char name[128];
    size_t count;
    const struct command_row *rows = command_rows(&count);

    if (line->count == 0) {
        help_print(stdout, NULL, NULL);
        return CLI_DONE;
    }
    (void)snprintf(name, sizeof(name), "%s%s%s", line->arguments[0], line->count > 1 ? " " : "",
        line->count > 1 ? line->arguments[1] : "");
    command = command_find(name);
    if (command != NULL) {
        help_print(stdout, command, NULL);
        return CLI_DONE;
    }
    for (size_t i = 0; i < count; i++)
        if (strncmp(rows[i].name, name, strlen(name)) == 0 && rows[i].name[strlen(name)] == ' ') {
            help_print(stdout, NULL, name);
            return CLI_DONE;
        }
    return cli_say(CLI_WRONG, "there is no command %.100s; see: coffer help", name);
}
