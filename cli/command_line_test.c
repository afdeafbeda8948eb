/*
 * Goal: words become a command, its arguments and its options, in whatever order they stand; and
 * the table of commands is one that the program, its help and its completion can rely on.
 * Method: command lines and what is in them; rules over all rows.
 */
#include "cli/command_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

enum { WORDS_MAX = 16 };

static struct command_line line;

/* Of words with blanks between them; they live until the next call. */
static bool parse(const char *text)
{
    static char copy[256];
    char *words[WORDS_MAX], *rest = copy;
    int count = 0;

    command_line_release(&line);
    (void)snprintf(copy, sizeof(copy), "coffer %s", text);
    for (char *word; (word = strsep(&rest, " ")) != NULL;)
        words[count++] = word;
    return command_line_parse(count, words, &line);
}

static void test_orders(void **state)
{
    static const char *const same[] = {
        "--json put -d synced a b --channel c",
        "put a b --json --durability=synced -cc",
        "--json put --channel=c -dsynced -- a b",
        "put --json a -d synced b -c c --",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(same); i++) {
        assert_true(parse(same[i]));
        assert_string_equal(line.command->name, "put");
        assert_int_equal(line.count, 2);
        assert_string_equal(line.arguments[0], "a");
        assert_string_equal(line.arguments[1], "b");
        assert_true(option_given(&line, "json"));
        assert_string_equal(option_text(&line, "durability"), "synced");
        assert_string_equal(option_text(&line, "channel"), "c");
        assert_null(option_text(&line, "url"));
    }
}

static void test_groups(void **state)
{
    (void)state;
    assert_true(parse("dataset --json show run-7"));
    assert_string_equal(line.command->name, "dataset show");
    assert_string_equal(line.arguments[0], "run-7");
    assert_true(parse("jobs"));
    assert_string_equal(line.command->name, "jobs ls");
    assert_false(parse("jobs 7"));
    assert_true(parse("dataset --help"));
    assert_string_equal(line.group, "dataset");
    assert_null(line.command);
}

static void test_values(void **state)
{
    (void)state;
    assert_true(parse("dataset begin ds -c a --channel=b -cc --ttl 2min"));
    assert_int_equal(option_value(&line, "channel")->count, 3);
    assert_string_equal(option_value(&line, "channel")->list[1], "b");
    assert_int_equal(option_number(&line, "ttl", 7), 120000);
    assert_true(parse("dataset read ds ch -V 12 -f"));
    assert_int_equal(option_number(&line, "version", 7), 12);
    assert_true(parse("dataset read ds ch"));
    assert_int_equal(option_number(&line, "version", 7), 7);
    assert_true(parse("dataset read ds ch --version 3")); /* its own, not everybody's */
    assert_int_equal(option_number(&line, "version", 7), 3);
    assert_true(parse("put - -"));
    assert_string_equal(line.arguments[1], "-");
    assert_true(parse("get k -r 5-6"));
    assert_int_equal(option_value(&line, "range")->range.last, 6);
    assert_true(parse("ls -lp 00"));
    assert_true(option_given(&line, "long"));
    assert_string_equal(option_text(&line, "prefix"), "00");
}

static void test_wrong(void **state)
{
    static const char *const wrong[] = {"", "--", "nonsense", "--prefix 0 ls", "ls --pre 0",
        "ls -x", "ls --prefix", "ls -p", "ls --long=1", "put", "get a b", "dataset read ds ch -V x",
        "put a -d never", "ls --prefix="};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        assert_false(parse(wrong[i]));
        assert_true(line.why[0] != '\0');
        assert_null(strchr(line.why, '\n'));
    }
}

/* ---- the tables ---- */

static void test_commands(void **state)
{
    size_t count;
    const struct command_row *rows = command_rows(&count);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        const char *space = strchr(rows[i].name, ' ');

        assert_ptr_equal(command_find(rows[i].name), &rows[i]); /* once */
        assert_true(rows[i].least <= rows[i].most);
        assert_true((rows[i].most == 0) == (rows[i].arguments[0] == '\0'));
        assert_true((rows[i].most == MANY) == (strstr(rows[i].arguments, "...") != NULL) ||
                    strcmp(rows[i].name, "help") == 0);
        assert_non_null(strstr(rows[i].example, "coffer "));
        assert_true(strlen(rows[i].summary) < 60);
        assert_true(rows[i].summary[strlen(rows[i].summary) - 1] != '.');
        if (space != NULL) { /* a group alone is its list, and no command has its name */
            char name[64];

            (void)snprintf(name, sizeof(name), "%.*s", (int)(space - rows[i].name), rows[i].name);
            assert_null(command_find(name));
            (void)strncat(name, " ls", sizeof(name) - strlen(name) - 1);
            assert_non_null(command_find(name));
        }
    }
}

static void test_options(void **state)
{
    size_t count;
    const struct option_row *rows = option_rows(&count);

    (void)state;
    assert_true(count <= OPTIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(rows[i].command[0] == '\0' || command_find(rows[i].command) != NULL);
        assert_true((rows[i].kind == OPTION_FLAG) == (rows[i].value[0] == '\0'));
        assert_true((rows[i].kind == OPTION_CHOICE) == (strchr(rows[i].value, '|') != NULL));
        for (size_t j = 0; j < i; j++)
            if (strcmp(rows[i].command, rows[j].command) == 0) {
                assert_string_not_equal(rows[i].name, rows[j].name);
                assert_true(rows[i].letter == 0 || rows[i].letter != rows[j].letter);
            }
    }
}

static int release(void **state)
{
    (void)state;
    command_line_release(&line);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_options),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
