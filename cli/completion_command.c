/*
 * coffer completion bash: a function for bash's programmable completion, made from commands.def.
 */
#include <string.h>

#include "cli/cli.h"

static void print_option_words(const struct command_row *command)
{
    size_t count;
    const struct option_row *rows = option_rows(&count);

    for (size_t i = 0; i < count; i++)
        if (option_belongs(&rows[i], command))
            (void)printf(" --%s", rows[i].name);
}

/* The first words of all commands; with `group` the second words of its own. */
static void print_command_words(const char *group)
{
    size_t count, size = group == NULL ? 0 : strlen(group);
    const struct command_row *rows = command_rows(&count);
    const char *last = "";

    for (size_t i = 0; i < count; i++) {
        const char *word = rows[i].name;
        size_t length;

        if (group != NULL && (strncmp(word, group, size) != 0 || word[size] != ' '))
            continue;
        word += group == NULL ? 0 : size + 1;
        length = strcspn(word, " ");
        if (strncmp(last, word, length) == 0 && strcspn(last, " ") == length)
            continue;
        (void)printf(" %.*s", (int)length, word);
        last = word;
    }
}

/* What follows an option: its words, or files. */
static void print_values(void)
{
    size_t count;
    const struct option_row *rows = option_rows(&count);

    (void)puts("    case \"$command $before\" in");
    for (size_t i = 0; i < count; i++) {
        const struct option_row *row = &rows[i];
        bool files = strcmp(row->value, "FILE") == 0 || strcmp(row->value, "DIR") == 0;

        if (row->kind == OPTION_FLAG || (row->kind != OPTION_CHOICE && !files))
            continue;
        (void)printf("    \"%s --%s\"", row->command, row->name);
        if (row->letter != 0)
            (void)printf(" | \"%s -%c\"", row->command, row->letter);
        (void)fputs(") ", stdout);
        if (files) {
            (void)puts("mapfile -t COMPREPLY < <(compgen -f -- \"$word\") && return ;;");
            continue;
        }
        (void)fputs("mapfile -t COMPREPLY < <(compgen -W '", stdout);
        for (const char *at = row->value; *at != '\0'; at++)
            (void)putchar(*at == '|' ? ' ' : *at);
        (void)puts("' -- \"$word\") && return ;;");
    }
    (void)puts("    esac");
}

static void print_cases(void)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);
    const char *last = "";

    (void)puts("    case $command in");
    (void)fputs("    '') words='", stdout);
    print_command_words(NULL);
    print_option_words(NULL);
    (void)puts("' ;;");
    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(rows[i].name, " ");
        char group[64];

        if (rows[i].name[length] == ' ' &&
            (strncmp(last, rows[i].name, length) != 0 || last[length] != ' ')) {
            (void)snprintf(group, sizeof(group), "%.*s", (int)length, rows[i].name);
            (void)printf("    %s) words='", group);
            print_command_words(group);
            (void)puts("' ;;");
        }
        last = rows[i].name;
        (void)printf("    '%s') words='", rows[i].name);
        print_option_words(&rows[i]);
        (void)puts("' ;;");
    }
    (void)puts("    esac");
}

/* The groups, as a pattern of bash. */
static void print_groups(void)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);
    const char *last = "", *mark = "";

    for (size_t i = 0; i < count; i++) {
        size_t length = strcspn(rows[i].name, " ");

        if (rows[i].name[length] != ' ' || strncmp(last, rows[i].name, length + 1) == 0)
            continue;
        (void)printf("%s%.*s", mark, (int)length, rows[i].name);
        last = rows[i].name;
        mark = " | ";
    }
}

int completion_command(struct cli *cli)
{
    if (strcmp(cli->line.arguments[0], "bash") != 0)
        return cli_say(
            CLI_WRONG, "there is completion for bash, not for \"%.60s\"", cli->line.arguments[0]);
    (void)puts("# bash completion for coffer; made by: coffer completion bash\n"
               "_coffer() {\n"
               "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}\n"
               "    local command='' words='' i\n"
               "    COMPREPLY=()\n"
               "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
               "        case ${COMP_WORDS[i]} in\n"
               "        --url | --key) ((++i)) ;;\n"
               "        -*) ;;\n"
               "        *)\n"
               "            case $command in");
    (void)fputs("            ", stdout);
    print_groups();
    (void)puts(") command=\"$command ${COMP_WORDS[i]}\" && break ;;\n"
               "            '') command=${COMP_WORDS[i]} ;;\n"
               "            *) break ;;\n"
               "            esac\n"
               "            ;;\n"
               "        esac\n"
               "    done");
    print_values();
    print_cases();
    (void)puts("    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
               "    if [ -n \"$command\" ] && [[ $word != -* ]]; then\n"
               "        mapfile -t -O \"${#COMPREPLY[@]}\" COMPREPLY < <(compgen -f -- \"$word\")\n"
               "    fi\n"
               "}\n"
               "complete -o filenames -F _coffer coffer");
    return CLI_DONE;
}
