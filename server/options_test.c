/*
 * Goal: every row of options.def is legal by its own parser, every source of a setting works in
 * the right order, and what is wrong is refused with one line that names its place.
 */
#include "server/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"

enum { ARGS_MAX = 32 };

/* Split at blanks; the words live until the next call. */
static enum coffer_status parse(
    struct options *options, const char *arguments, const char *environment, struct error *err)
{
    static char words[1024], variables[1024];
    char *argv[ARGS_MAX] = {words}, *environ_list[ARGS_MAX] = {NULL};
    enum options_action action;
    char *rest = NULL;
    int argc = 1, count = 0;

    (void)snprintf(words, sizeof(words), "%s", arguments);
    (void)snprintf(variables, sizeof(variables), "%s", environment);
    for (char *word = strtok_r(words, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest))
        argv[argc++] = word;
    for (char *word = strtok_r(variables, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest))
        environ_list[count++] = word;
    return options_parse(options, argc, argv, environ_list, &action, err);
}

static void assert_refused(const char *arguments, const char *environment, const char *text)
{
    struct options options;
    struct error err = {COFFER_OK, ""};

    assert_int_equal(parse(&options, arguments, environment, &err), COFFER_BAD_OPTION);
    if (strstr(err.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    assert_null(strchr(err.text, '\n'));
}

static void test_defaults_are_legal(void **state)
{
    struct options options;
    struct store_options store, standard;
    struct error err;

    (void)state;
    assert_int_equal(parse(&options, "", "", &err), COFFER_OK);
    assert_string_equal(options.data_dir, "coffer-data");
    assert_int_equal(options.listen.count, 1);
    assert_string_equal(options.listen.addresses[0], "127.0.0.1:8420");
    assert_int_equal(options.durability, 0);
    assert_int_equal(options.buffer_size, 8 << 20);
    assert_int_equal(options.memory_limit, 256 << 20);
    assert_int_equal(options.flush_interval, NS_PER_S);
    assert_false(options.allow_anonymous);
    /* What the store thinks best is what a user gets who sets nothing. */
    options_for_store(&options, &store);
    store_options_default(&standard);
    assert_int_equal(store.engine, standard.engine);
    assert_int_equal(store.buffer_size, standard.buffer_size);
    assert_int_equal(store.memory_limit, standard.memory_limit);
    assert_int_equal(store.sync_delay_ns, standard.sync_delay_ns);
    assert_int_equal(store.flush_interval_ns, standard.flush_interval_ns);
    assert_int_equal(store.pack_size, standard.pack_size);
    assert_int_equal(store.segment_size, standard.segment_size);
    assert_int_equal(store.compression, standard.compression);
    assert_int_equal(store.compression_level, standard.compression_level);
    assert_int_equal(store.compression_min_size, standard.compression_min_size);
    assert_int_equal(store.max_space, standard.max_space);
    assert_int_equal(store.io_method, standard.io_method);
    options_release(&options);
}

/* Bounds are text for the same parser; each bound itself is allowed. */
static void test_bounds_parse(void **state)
{
    const struct option_row *rows;
    size_t count;

    (void)state;
    rows = options_rows(&count);
    for (size_t i = 0; i < count; i++) {
        uint64_t min = 1, max = 0;

        assert_true(strlen(rows[i].help) > 0);
        if (rows[i].type == OPTION_SIZE) {
            assert_true(option_parse_size(rows[i].min, &min));
            assert_true(option_parse_size(rows[i].max, &max));
        } else if (rows[i].type == OPTION_TIME) {
            assert_true(option_parse_time(rows[i].min, &min));
            assert_true(option_parse_time(rows[i].max, &max));
        } else {
            continue;
        }
        assert_true(min < max);
    }
}

static void test_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t value; /* 0: refused, but for "0" */
    } sizes[] = {{"0", 0}, {"850", 850}, {"1KiB", 1024}, {"8MiB", 8 << 20}, {"1 GiB", 1 << 30},
        {"2tib", UINT64_C(2) << 40}, {"7B", 7}},
      times[] = {{"0", 0}, {"0ms", 0}, {"5ms", 5 * NS_PER_MS}, {"1s", NS_PER_S},
          {"2min", UINT64_C(120) * NS_PER_S}, {"1h", UINT64_C(3600) * NS_PER_S}};
    static const char *const no_sizes[] = {"", "x", "-1", "1KB", "1.5MiB", "MiB", "1MiB ",
        "18446744073709551616", "99999999999TiB", "0x10"};
    static const char *const no_times[] = {"", "5", "ms", "-1ms", "1 day", "99999999999999h"};
    uint64_t value;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        assert_true(option_parse_size(sizes[i].text, &value));
        assert_int_equal(value, sizes[i].value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(times); i++) {
        assert_true(option_parse_time(times[i].text, &value));
        assert_int_equal(value, times[i].value);
    }
    for (size_t i = 0; i < ARRAY_COUNT(no_sizes); i++)
        assert_false(option_parse_size(no_sizes[i], &value));
    for (size_t i = 0; i < ARRAY_COUNT(no_times); i++)
        assert_false(option_parse_time(no_times[i], &value));
}

static void test_flags(void **state)
{
    struct options options;
    struct error err;

    (void)state;
    assert_int_equal(parse(&options,
                         "--data-dir /d --listen 127.0.0.1:0 --listen=unix:/s --allow-anonymous "
                         "--durability buffered --compression=none --pack-size 2MiB "
                         "--segment-size=1MiB --engine memory --log-level debug",
                         "", &err),
        COFFER_OK);
    assert_string_equal(options.data_dir, "/d");
    assert_int_equal(options.listen.count, 2);
    assert_string_equal(options.listen.addresses[1], "unix:/s");
    assert_true(options.allow_anonymous);
    assert_int_equal(options.durability, 1);
    assert_int_equal(options.compression, 0);
    assert_int_equal(options.pack_size, 2 << 20);
    assert_int_equal(options.engine, 1);
    assert_int_equal(options.log_level, 0);
    options_release(&options);
}

static void write_file(char path[64], const char *text)
{
    int fd;

    (void)snprintf(path, 64, "/tmp/coffer-options-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* A flag goes before a variable, a variable before the file, the file before the default. */
static void test_precedence(void **state)
{
    struct options options;
    struct error err;
    char path[64], arguments[256];

    (void)state;
    write_file(path,
        "{\"buffer_size\": \"1MiB\", \"sync_delay\": \"1ms\", \"compression_level\": 3,"
        " \"listen\": [\"127.0.0.1:1\", \"127.0.0.1:2\"], \"allow_anonymous\": true}");
    (void)snprintf(arguments, sizeof(arguments), "--buffer-size 3MiB --config %s", path);
    assert_int_equal(
        parse(&options, arguments, "COFFER_BUFFER_SIZE=2MiB COFFER_SYNC_DELAY=2ms", &err),
        COFFER_OK);
    assert_int_equal(options.buffer_size, 3 << 20);
    assert_int_equal(options.sync_delay, 2 * NS_PER_MS);
    assert_int_equal(options.compression_level, 3);
    assert_int_equal(options.listen.count, 2);
    assert_true(options.allow_anonymous);
    options_release(&options);

    (void)snprintf(
        arguments, sizeof(arguments), "COFFER_CONFIG=%s COFFER_LISTEN=127.0.0.1:3,unix:/x", path);
    assert_int_equal(parse(&options, "", arguments, &err), COFFER_OK);
    assert_int_equal(options.buffer_size, 1 << 20);
    assert_int_equal(options.listen.count, 2);
    assert_string_equal(options.listen.addresses[1], "unix:/x");
    options_release(&options);
    (void)unlink(path);
}

static void test_refused(void **state)
{
    (void)state;
    assert_refused("--frobnicate 1", "", "--frobnicate");
    assert_refused("frobnicate", "", "frobnicate");
    assert_refused("--data-dir", "", "a value is needed");
    assert_refused("--data-dir=", "", "a value is needed");
    assert_refused("--buffer-size 12x", "", "--buffer-size: \"12x\"");
    assert_refused("--buffer-size=-1", "", "--buffer-size");
    assert_refused("--sync-delay 5", "", "--sync-delay: \"5\" is not a time");
    assert_refused("--sync-delay 11s", "", "between 0ms and 10s");
    assert_refused("--durability maybe", "", "synced|buffered");
    assert_refused("--durability sync", "", "synced|buffered");
    assert_refused("--compression-level 0", "", "between 1 and 19");
    assert_refused("--allow-anonymous=perhaps", "", "neither yes nor no");
    assert_refused("--listen ,", "", "--listen: an address is empty");
    assert_refused("", "COFFER_PACK_SIZE=big", "COFFER_PACK_SIZE");
    assert_refused("--config /nonexistent/c.json", "", "/nonexistent/c.json");
    assert_refused("--header-size-max 1MiB", "", "--connection-memory");
    assert_refused("--buffer-size 1GiB", "", "--memory-limit");
    assert_refused("--segment-size 8MiB --pack-size 4MiB", "", "--pack-size");
}

static void test_config_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {{"", "config file"}, {"[]", "one JSON object"}, {"{\"a\":1}", "\"a\""},
        {"{\"pack_size\":\"x\"}", "\"pack_size\""}, {"{\"pack_size\":1.5}", "\"pack_size\""},
        {"{\"listen\":[]}", "the list is empty"}, {"{\"listen\":[1]}", "not a list of texts"},
        {"{\"config\":\"x\"}", "no such setting"},
        {"{\"data_dir\":\"a\",\"data_dir\":\"b\"}", "dup"},
        {"{\"data_dir\":\"a\\u0000b\"}", "config file"}};
    char path[64], arguments[128];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        write_file(path, cases[i].text);
        (void)snprintf(arguments, sizeof(arguments), "--config %s", path);
        assert_refused(arguments, "", cases[i].says);
        (void)unlink(path);
    }
}

static void test_help_and_version(void **state)
{
    char program[] = "cofferd", help[] = "--help", version[] = "--version", wrong[] = "--nonsense";
    char *ask_help[] = {program, wrong, help}, *ask_version[] = {program, version};
    struct options options;
    enum options_action action;
    struct error err;
    char *text = NULL;
    size_t size = 0, count;
    FILE *out = open_memstream(&text, &size);
    const struct option_row *rows = options_rows(&count);

    (void)state;
    assert_int_equal(options_parse(&options, 3, ask_help, NULL, &action, &err), COFFER_OK);
    assert_int_equal(action, OPTIONS_HELP);
    assert_int_equal(options_parse(&options, 2, ask_version, NULL, &action, &err), COFFER_OK);
    assert_int_equal(action, OPTIONS_VERSION);
    assert_non_null(out);
    options_help(out);
    (void)fclose(out);
    for (size_t i = 0; i < count; i++)
        assert_non_null(strstr(text, rows[i].help));
    assert_non_null(strstr(text, "--data-dir TEXT"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_legal),
        cmocka_unit_test(test_bounds_parse),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_config_refused),
        cmocka_unit_test(test_help_and_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
