/*
 * Goal: every row of routes.def is found by its own path, and nothing else is. Method: ask for
 * each row, then for the neighbours that a careless matcher confuses.
 */
#include "api/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum coffer_status find(
    enum exchange_method method, const char *path, struct route_match *match)
{
    static char scratch[1024];

    return route_match(
        method, slice_from_text(path), strchr(path, '%') == NULL ? NULL : scratch, match, NULL);
}

/* The path with "p0", "p1" in the place of its parameters: how many. */
static unsigned fill_in(const char *pattern, char *path)
{
    unsigned count = 0;

    while (*pattern != '\0') {
        if (*pattern != '{') {
            *path++ = *pattern++;
            continue;
        }
        *path++ = 'p';
        *path++ = (char)('0' + count++);
        pattern = strchr(pattern, '}') + 1;
    }
    *path = '\0';
    return count;
}

static void test_every_row_is_found(void **state)
{
    size_t count;
    const struct route *routes = route_all(&count);

    (void)state;
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        char path[256];
        unsigned params = fill_in(routes[i].path, path);
        struct route_match match;

        assert_int_equal(find(routes[i].method, path, &match), COFFER_OK);
        assert_ptr_equal(match.route, &routes[i]);
        assert_int_equal(match.param_count, params);
        for (unsigned p = 0; p < params; p++) {
            const char name[] = {'p', (char)('0' + p)};

            assert_true(slice_equal(match.params[p], slice_of(name, 2)));
        }
        if (routes[i].method == METHOD_GET) {
            assert_int_equal(find(METHOD_HEAD, path, &match), COFFER_OK);
            assert_ptr_equal(match.route, &routes[i]);
        }
        assert_int_equal(find(METHOD_OPTIONS, path, &match), COFFER_METHOD_NOT_ALLOWED);
        assert_non_null(strstr(match.allow, "OPTIONS"));
    }
}

static void test_methods(void **state)
{
    struct route_match match;

    (void)state;
    assert_int_equal(find(METHOD_POST, "/v1/chunks/abc", &match), COFFER_METHOD_NOT_ALLOWED);
    assert_string_equal(match.allow, "GET, HEAD, PUT, DELETE, OPTIONS");
    assert_null(match.route);
    assert_int_equal(find(METHOD_GET, "/v1/chunks/stat", &match), COFFER_METHOD_NOT_ALLOWED);
    assert_string_equal(match.allow, "POST, OPTIONS");
    assert_int_equal(find(METHOD_DELETE, "/v1/chunks", &match), COFFER_METHOD_NOT_ALLOWED);
    assert_string_equal(match.allow, "GET, HEAD, POST, OPTIONS");
    assert_int_equal(find(METHOD_OTHER, "/healthz", &match), COFFER_METHOD_NOT_ALLOWED);
    assert_string_equal(match.allow, "GET, HEAD, OPTIONS");
    assert_int_equal(find(METHOD_PATCH, "/readyz", &match), COFFER_METHOD_NOT_ALLOWED);
}

static void test_no_such_path(void **state)
{
    static const char *const paths[] = {"", "/", "v1/chunks", "//", "/v1", "/v1/", "/v1/chunks/",
        "/v1/chunks/a/b", "/v1/chunks/stat/", "//v1/chunks", "/v1//chunks", "/V1/chunks",
        "/v1/chunks/.../..", "/healthz/", "/healthzz", "/bucket/key", "/v1/chunk", "*",
        "/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p"};
    struct route_match match;

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(find(METHOD_GET, paths[i], &match), COFFER_NO_SUCH_PATH);
        assert_int_equal(find(METHOD_OPTIONS, paths[i], &match), COFFER_NO_SUCH_PATH);
        assert_null(match.allow);
    }
}

static void test_percent(void **state)
{
    struct route_match match;

    (void)state;
    assert_int_equal(find(METHOD_GET, "/v1/%63hunks/a%2Fb%20c", &match), COFFER_OK);
    assert_string_equal(match.route->name, "chunk_get");
    assert_true(slice_equal(match.params[0], slice_from_text("a/b c")));
    assert_int_equal(find(METHOD_GET, "/v1/chunks/sha1%3aab", &match), COFFER_OK);
    assert_true(slice_equal(match.params[0], slice_from_text("sha1:ab")));
    assert_int_equal(find(METHOD_GET, "/v1%2Fchunks", &match), COFFER_NO_SUCH_PATH);
    assert_int_equal(find(METHOD_GET, "/v1/chunks/%", &match), COFFER_BAD_REQUEST);
    assert_int_equal(find(METHOD_GET, "/v1/chunks/%4", &match), COFFER_BAD_REQUEST);
    assert_int_equal(find(METHOD_GET, "/v1/chunks/%zz", &match), COFFER_BAD_REQUEST);
    assert_int_equal(find(METHOD_GET, "/v1/chunks/a%00", &match), COFFER_BAD_REQUEST);
    assert_int_equal(find(METHOD_GET, "/v1/chunks/%25", &match), COFFER_OK);
    assert_true(slice_equal(match.params[0], slice_from_text("%")));
}

/* Any bytes are answered, and the params lie inside of what was given. */
static void test_any_bytes(void **state)
{
    static const char alphabet[] = "/v1chunks%20aF{}*?.\x80";

    (void)state;
    srandom(3);
    for (int round = 0; round < 200000; round++) {
        char path[40], scratch[40];
        size_t size = (size_t)random() % sizeof(path);
        struct route_match match;
        enum coffer_status status;

        for (size_t i = 0; i < size; i++)
            path[i] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
        if (size > 11 && round % 2 == 0)
            memcpy(path, "/v1/chunks/", 11);
        status = route_match(METHOD_GET, slice_of(path, size), scratch, &match, NULL);
        assert_int_equal(status == COFFER_OK, match.route != NULL);
        for (unsigned i = 0; i < match.param_count; i++) {
            const char *at = match.params[i].data;

            assert_true((at >= path && at + match.params[i].size <= path + size) ||
                        (at >= scratch && at + match.params[i].size <= scratch + sizeof(scratch)));
            assert_true(match.params[i].size > 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row_is_found),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_no_such_path),
        cmocka_unit_test(test_percent),
        cmocka_unit_test(test_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
