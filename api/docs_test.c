/*
 * Goal: api/README.md has every route, and docs/errors.md every code that a client can see with
 * what to do about it, and neither has one that is not there. Method: compare the rows of their
 * tables with routes.def and status.def. The sources are found by COFFER_SOURCE.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/problem.h"
#include "api/route.h"
#include "storage/base/invariant.h"

static const char *const methods[] = {"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"};

static char *read_page(const char *name)
{
    const char *source = getenv("COFFER_SOURCE");
    char path[4096];
    char *text;
    size_t size;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", source == NULL ? "." : source, name);
    file = fopen(path, "r");
    if (file == NULL)
        fail_msg("%s cannot be read: set COFFER_SOURCE", path);
    text = calloc(1, 1 << 20);
    assert_non_null(text);
    size = fread(text, 1, (1 << 20) - 1, file);
    assert_in_range(size, 1, (1 << 20) - 2);
    fclose(file);
    return text;
}

static unsigned count(const char *text, const char *word)
{
    unsigned found = 0;

    for (; (text = strstr(text, word)) != NULL; text += strlen(word))
        found++;
    return found;
}

static void test_routes(void **state)
{
    char *page = read_page("api/README.md");
    char *table = strstr(page, "<!-- table:routes -->");
    size_t route_count;
    const struct route *routes = route_all(&route_count);
    char row[512];

    (void)state;
    assert_non_null(table);
    for (size_t i = 0; i < route_count; i++) {
        static const char *const bodies[] = {"NONE", "JSON", "STREAM"};
        char permission[16] = "";

        for (size_t c = 0; permission_name(routes[i].permission)[c] != '\0'; c++)
            permission[c] = (char)(permission_name(routes[i].permission)[c] - 'a' + 'A');
        (void)snprintf(row, sizeof(row), "\n| %s | %s | %s | %s | %s | %s |\n",
            methods[routes[i].method], routes[i].path, routes[i].name, permission,
            bodies[routes[i].body], routes[i].summary);
        if (strstr(table, row) == NULL)
            fail_msg("api/README.md has no row %s", row);
    }
    assert_int_equal(count(table, "\n| "), route_count + 2); /* the head and the rule too */
    free(page);
}

static void test_errors(void **state)
{
    char *page = read_page("docs/errors.md");
    char *advice = strstr(page, "\n## What to do\n");
    unsigned visible = 0;
    char row[256];

    (void)state;
    assert_non_null(advice);
    for (int i = 0; i < COFFER_STATUS_COUNT; i++) {
        enum coffer_status status = (enum coffer_status)i;

        (void)snprintf(
            row, sizeof(row), "\n| `%s` | %d | ", status_code(status), status_http(status));
        if (strstr(page, row) == NULL)
            fail_msg("docs/errors.md has no row %s", row);
        if (problem_public_status(status) != status)
            continue;
        visible++;
        (void)snprintf(row, sizeof(row), "\n| `%s` | ", status_code(status));
        if (strstr(advice, row) == NULL)
            fail_msg("docs/errors.md does not say what to do about %s", status_code(status));
    }
    assert_int_equal(count(advice, "\n| `"), visible);
    free(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
