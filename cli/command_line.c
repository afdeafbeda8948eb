#include "cli/command_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"
#include "storage/base/status.h"

struct words { /* what is left of argv */
    int argc;
    char **argv;
    int at;
};

static bool wrong(struct command_line *line, const char *format, ...) PRINTF_LIKE(2, 3);

static bool wrong(struct command_line *line, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(line->why, sizeof(line->why), format, arguments);
    va_end(arguments);
    return false;
}

/* ---- values ---- */

static bool parse_value(const struct option_row *row, struct option_value *value)
{
    switch (row->kind) {
    case OPTION_NUMBER:
        return value_number(value->text, &value->number);
    case OPTION_SIZE:
        return value_size(value->text, &value->number);
    case OPTION_TIME:
        return value_time(value->text, &value->number);
    case OPTION_RATIO:
        return value_ratio(value->text, &value->ratio);
    case OPTION_RANGE:
        return value_range(value->text, &value->range);
    case OPTION_CHOICE:
        return value_choice(value->text, row->value);
    case OPTION_TEXT:
    case OPTION_LIST:
        return value->text[0] != '\0';
    case OPTION_FLAG:
        break;
    }
    return true;
}

static bool set_value(struct command_line *line, size_t at, const char *text)
{
    static const char *const what[] = {[OPTION_TEXT] = "a text that is not empty",
        [OPTION_LIST] = "a text that is not empty",
        [OPTION_NUMBER] = "a number",
        [OPTION_SIZE] = "a size (bytes, or KiB, MiB, GiB)",
        [OPTION_TIME] = "a time (ms, s, min)",
        [OPTION_RATIO] = "a number from 0 to 1",
        [OPTION_RANGE] = "a range (A-B, A- or -N)"};
    struct option_value *value = &line->values[at];
    const struct option_row *row;
    size_t count;

    row = &option_rows(&count)[at];
    value->given = true;
    value->text = text;
    if (row->kind == OPTION_LIST) {
        const char **grown = realloc(value->list, (value->count + 1) * sizeof(*grown));

        invariant(grown != NULL);
        value->list = grown;
        value->list[value->count++] = text;
    }
    if (parse_value(row, value))
        return true;
    if (row->kind == OPTION_CHOICE)
        return wrong(line, "--%s: \"%.60s\" is none of %s", row->name, text, row->value);
    return wrong(line, "--%s: \"%.60s\" is not %s", row->name, text, what[row->kind]);
}

/* ---- options ---- */

/* Its place in option_rows(); or the number of rows: there is none. */
static size_t find_option(
    const struct command_row *command, const char *name, size_t size, char letter)
{
    size_t count, i;
    const struct option_row *rows = option_rows(&count);

    for (i = 0; i < count; i++) {
        bool named = name != NULL
                         ? strlen(rows[i].name) == size && strncmp(rows[i].name, name, size) == 0
                         : rows[i].letter != 0 && rows[i].letter == letter;
        /* A command's own one comes before everybody's: `read --version V`. */
        if (named && command != NULL && strcmp(rows[i].command, command->name) == 0)
            return i;
    }
    for (i = 0; i < count; i++)
        if (rows[i].command[0] == '\0' &&
            (name != NULL ? strlen(rows[i].name) == size && strncmp(rows[i].name, name, size) == 0
                          : rows[i].letter != 0 && rows[i].letter == letter))
            return i;
    return count;
}

static bool no_such_option(struct command_line *line, const char *word, int size)
{
    if (line->command == NULL)
        return wrong(line, "there is no option %.*s, or it belongs behind the command", size, word);
    return wrong(line, "%s has no option %.*s; see: coffer help %s", line->command->name, size,
        word, line->command->name);
}

static bool take_long(struct command_line *line, struct words *words)
{
    const char *word = words->argv[words->at++];
    const char *name = word + 2, *equals = strchr(name, '=');
    size_t size = equals == NULL ? strlen(name) : (size_t)(equals - name), count;
    const struct option_row *rows = option_rows(&count);
    size_t at = find_option(line->command, name, size, 0);

    if (at == count)
        return no_such_option(line, word, (int)size + 2);
    if (rows[at].kind == OPTION_FLAG) {
        if (equals != NULL)
            return wrong(line, "--%s takes no value", rows[at].name);
        return set_value(line, at, "");
    }
    if (equals != NULL)
        return set_value(line, at, equals + 1);
    if (words->at == words->argc)
        return wrong(line, "--%s needs %s", rows[at].name, rows[at].value);
    return set_value(line, at, words->argv[words->at++]);
}

/* "-l", "-lp PREFIX", "-oFILE" */
static bool take_short(struct command_line *line, struct words *words)
{
    const char *word = words->argv[words->at++];
    size_t count;
    const struct option_row *rows = option_rows(&count);

    for (const char *letter = word + 1; *letter != '\0'; letter++) {
        size_t at = find_option(line->command, NULL, 0, *letter);

        if (at == count)
            return no_such_option(line, word, (int)strlen(word));
        if (rows[at].kind == OPTION_FLAG) {
            if (!set_value(line, at, ""))
                return false;
            continue;
        }
        if (letter[1] != '\0')
            return set_value(line, at, letter + 1);
        if (words->at == words->argc)
            return wrong(line, "-%c needs %s", *letter, rows[at].value);
        return set_value(line, at, words->argv[words->at++]);
    }
    return true;
}

/* ---- the command ---- */

static bool is_group(const char *word)
{
    size_t count, size = strlen(word);
    const struct command_row *rows = command_rows(&count);

    for (size_t i = 0; i < count; i++)
        if (strncmp(rows[i].name, word, size) == 0 && rows[i].name[size] == ' ')
            return true;
    return false;
}

/* `append` was meant to be `dataset append`. */
static bool no_such_command(struct command_line *line, const char *word)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);

    for (size_t i = 0; i < count; i++) {
        const char *space = strchr(rows[i].name, ' ');

        if (space != NULL && strcmp(space + 1, word) == 0)
            return wrong(
                line, "there is no command %.60s; is it \"coffer %s\"?", word, rows[i].name);
    }
    return wrong(line, "there is no command %.60s; see: coffer help", word);
}

static bool take_command(struct command_line *line, const char *word)
{
    char name[128];

    if (line->group != NULL)
        (void)snprintf(name, sizeof(name), "%s %s", line->group, word);
    else
        (void)snprintf(name, sizeof(name), "%s", word);
    line->command = command_find(name);
    if (line->command == NULL && line->group == NULL && is_group(word)) {
        line->group = word;
        return true;
    }
    if (line->command != NULL) {
        line->group = NULL;
        return true;
    }
    if (line->group != NULL)
        return wrong(line, "there is no command %.100s; see: coffer help %.60s", name, line->group);
    return no_such_command(line, word);
}

/* A group alone: its list. */
static void finish_group(struct command_line *line)
{
    char name[128];

    if (line->group == NULL)
        return;
    (void)snprintf(name, sizeof(name), "%s ls", line->group);
    line->command = command_find(name);
}

static bool check_count(struct command_line *line)
{
    const struct command_row *command = line->command;

    if (line->count < (size_t)command->least)
        return wrong(line, "%s needs %s; see: coffer help %s", command->name, command->arguments,
            command->name);
    if (line->count > (size_t)command->most)
        return wrong(line, "\"%.60s\" is more than %s takes; see: coffer help %s",
            line->arguments[command->most], command->name, command->name);
    return true;
}

bool command_line_parse(int argc, char **argv, struct command_line *line)
{
    struct words words = {argc, argv, 1};
    bool only_arguments = false, good = true;
    size_t count;

    *line = (struct command_line){.arguments = calloc((size_t)argc + 1, sizeof(char *))};
    (void)option_rows(&count);
    invariant(line->arguments != NULL && count <= OPTIONS_MAX);
    while (good && words.at < argc) {
        const char *word = argv[words.at];

        if (!only_arguments && strcmp(word, "--") == 0) {
            only_arguments = true;
            words.at++;
        } else if (!only_arguments && strncmp(word, "--", 2) == 0) {
            good = take_long(line, &words);
        } else if (!only_arguments && word[0] == '-' && word[1] != '\0') {
            good = take_short(line, &words);
        } else {
            words.at++;
            if (line->command == NULL)
                good = take_command(line, word);
            else
                line->arguments[line->count++] = word;
        }
    }
    if (!good)
        return false;
    if (option_given(line, "help") || line->values[find_option(NULL, "version", 7, 0)].given)
        return true;
    finish_group(line);
    if (line->command == NULL)
        return wrong(line, "a command is needed; see: coffer help");
    return check_count(line);
}

void command_line_release(struct command_line *line)
{
    size_t count;

    (void)option_rows(&count);
    for (size_t i = 0; i < count; i++)
        free((void *)line->values[i].list);
    free((void *)line->arguments);
    *line = (struct command_line){0};
}

const struct option_value *option_value(const struct command_line *line, const char *name)
{
    size_t count, at = find_option(line->command, name, strlen(name), 0);

    (void)option_rows(&count);
    invariant(at < count);
    return &line->values[at];
}

bool option_given(const struct command_line *line, const char *name)
{
    return option_value(line, name)->given;
}

const char *option_text(const struct command_line *line, const char *name)
{
    return option_value(line, name)->text;
}

uint64_t option_number(const struct command_line *line, const char *name, uint64_t standard)
{
    const struct option_value *value = option_value(line, name);

    return value->given ? value->number : standard;
}
