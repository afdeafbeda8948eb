/*
 * Goal: the headers mean what RFC 9110 says. Method: its own examples and the edges of each rule,
 * then random text, which may be refused but never read beyond its end.
 */
#include "api/conditions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct slice text(const char *value)
{
    return value == NULL ? slice_of(NULL, 0) : slice_from_text(value);
}

static void test_etag_lists(void **state)
{
    static const struct {
        const char *list, *etag;
        bool strong, weak;
    } cases[] = {
        {"\"a\"", "\"a\"", true, true},
        {"W/\"a\"", "\"a\"", false, true},
        {"\"a\"", "W/\"a\"", false, true},
        {"W/\"a\"", "W/\"a\"", false, true},
        {"\"b\"", "\"a\"", false, false},
        {"\"b\", \"a\"", "\"a\"", true, true},
        {"\"b\" ,\t\"c,\\\",\"a\"", "\"a\"", true, true}, /* a backslash escapes nothing here */
        {" , ,\"a\",", "\"a\"", true, true},
        {"*", "\"a\"", true, true},
        {" * ", "\"a\"", true, true},
        {"*", "", false, false},
        {"\"a\"", "", false, false},
        {"a", "\"a\"", false, false},
        {"\"a", "\"a\"", false, false},
        {"w/\"a\"", "\"a\"", false, false},
        {"\"x\" \"a\"", "\"a\"", false, false},
        {"", "\"a\"", false, false},
        {"\"\"", "\"\"", true, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            etag_list_has(text(cases[i].list), text(cases[i].etag), false), cases[i].strong);
        assert_int_equal(
            etag_list_has(text(cases[i].list), text(cases[i].etag), true), cases[i].weak);
    }
}

static void test_check(void **state)
{
    const struct slice none = text(NULL), etag = text("\"a\"");

    (void)state;
    assert_int_equal(conditions_check(none, none, etag, true), CONDITION_PROCEED);
    assert_int_equal(conditions_check(etag, none, etag, true), CONDITION_PROCEED);
    assert_int_equal(conditions_check(text("\"b\""), none, etag, true), CONDITION_FAILED);
    assert_int_equal(conditions_check(text("*"), none, text(""), false), CONDITION_FAILED);
    assert_int_equal(conditions_check(none, etag, etag, true), CONDITION_NOT_MODIFIED);
    assert_int_equal(conditions_check(none, etag, etag, false), CONDITION_FAILED);
    assert_int_equal(conditions_check(none, text("*"), text(""), false), CONDITION_PROCEED);
    assert_int_equal(conditions_check(none, text("*"), etag, false), CONDITION_FAILED);
    assert_int_equal(conditions_check(none, text("W/\"a\""), etag, true), CONDITION_NOT_MODIFIED);
    assert_int_equal(conditions_check(text("\"b\""), etag, etag, true), CONDITION_FAILED);
}

static void test_ranges(void **state)
{
    static const struct {
        const char *range;
        uint64_t size;
        enum range_verdict verdict;
        uint64_t offset, length;
    } cases[] = {
        {NULL, 10, RANGE_WHOLE, 0, 10},
        {"bytes=0-4", 10, RANGE_PART, 0, 5},
        {"bytes=0-0", 10, RANGE_PART, 0, 1},
        {"bytes=9-9", 10, RANGE_PART, 9, 1},
        {"bytes=3-", 10, RANGE_PART, 3, 7},
        {"bytes=3-99", 10, RANGE_PART, 3, 7},
        {"bytes=-3", 10, RANGE_PART, 7, 3},
        {"bytes=-30", 10, RANGE_PART, 0, 10},
        {"Bytes= 3-4 ", 10, RANGE_PART, 3, 2},
        {"bytes=0-18446744073709551615", 10, RANGE_PART, 0, 10},
        {"bytes=0-99999999999999999999999", 10, RANGE_PART, 0, 10},
        {"bytes=-99999999999999999999999", 10, RANGE_PART, 0, 10},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=10-11", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=99999999999999999999999-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-1", 0, RANGE_WHOLE, 0, 0},
        {"bytes=4-3", 10, RANGE_WHOLE, 0, 10},
        {"bytes=a-3", 10, RANGE_WHOLE, 0, 10},
        {"bytes=1-b", 10, RANGE_WHOLE, 0, 10},
        {"bytes=--3", 10, RANGE_WHOLE, 0, 10},
        {"bytes=-", 10, RANGE_WHOLE, 0, 10},
        {"bytes=", 10, RANGE_WHOLE, 0, 10},
        {"bytes", 10, RANGE_WHOLE, 0, 10},
        {"bytes=1", 10, RANGE_WHOLE, 0, 10},
        {"bytes=+1-2", 10, RANGE_WHOLE, 0, 10},
        {"bytes=1 -2", 10, RANGE_WHOLE, 0, 10},
        {"bytes=99999999999999999999999x-", 10, RANGE_WHOLE, 0, 10},
        {"bytes=0-1,3-4", 10, RANGE_WHOLE, 0, 10},
        {"items=0-1", 10, RANGE_WHOLE, 0, 10},
        {"", 10, RANGE_WHOLE, 0, 10},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t offset, length;
        enum range_verdict verdict = range_select(
            text(cases[i].range), text(NULL), text("\"a\""), cases[i].size, &offset, &length);

        if (verdict != cases[i].verdict)
            print_message("%s\n", cases[i].range);
        assert_int_equal(verdict, cases[i].verdict);
        if (verdict != RANGE_UNSATISFIABLE) {
            assert_int_equal(offset, cases[i].offset);
            assert_int_equal(length, cases[i].length);
        }
    }
}

/* Of a content that grows: only where it begins counts, and that may be its end. */
static void test_range_start(void **state)
{
    static const struct {
        const char *range;
        uint64_t size;
        enum range_verdict verdict;
        uint64_t offset;
    } cases[] = {{NULL, 10, RANGE_WHOLE, 0}, {"bytes=4-", 10, RANGE_PART, 4},
        {"bytes=4-6", 10, RANGE_PART, 4}, {"bytes=10-", 10, RANGE_PART, 10},
        {"bytes=11-", 10, RANGE_UNSATISFIABLE, 0}, {"bytes=0-", 0, RANGE_PART, 0},
        {"bytes=-3", 10, RANGE_PART, 7}, {"bytes=-30", 10, RANGE_PART, 0},
        {"bytes=-0", 10, RANGE_PART, 10}, {"bytes=-", 10, RANGE_WHOLE, 0},
        {"bytes=1-,3-", 10, RANGE_WHOLE, 0}, {"lines=4-", 10, RANGE_WHOLE, 0},
        {"bytes=99999999999999999999-", 10, RANGE_UNSATISFIABLE, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice range =
            cases[i].range == NULL ? slice_of(NULL, 0) : slice_from_text(cases[i].range);
        uint64_t offset = 99;

        assert_int_equal(range_start(range, cases[i].size, &offset), cases[i].verdict);
        assert_int_equal(offset, cases[i].offset);
    }
}

static void test_if_range(void **state)
{
    static const struct {
        const char *if_range;
        enum range_verdict verdict;
    } cases[] = {
        {NULL, RANGE_PART},
        {"\"a\"", RANGE_PART},
        {" \"a\" ", RANGE_PART},
        {"W/\"a\"", RANGE_WHOLE},
        {"\"b\"", RANGE_WHOLE},
        {"*", RANGE_WHOLE},
        {"Sat, 29 Oct 1994 19:43:31 GMT", RANGE_WHOLE},
        {"", RANGE_WHOLE},
    };
    uint64_t offset, length;

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(range_select(text("bytes=1-2"), text(cases[i].if_range), text("\"a\""), 10,
                             &offset, &length),
            cases[i].verdict);
}

static void test_accept_encoding(void **state)
{
    static const struct {
        const char *header;
        bool accepted;
    } cases[] = {
        {NULL, false},
        {"", false},
        {"zstd", true},
        {"ZSTD", true},
        {"gzip, zstd;q=0.5", true},
        {"gzip,deflate,br,zstd", true},
        {"zstd;q=0", false},
        {"zstd;q=0.000", false},
        {"zstd;q=0.001", true},
        {"zstd; q=0.1", true},
        {"*", false},
        {"gzip", false},
        {"zstd;q=0.5, identity", false},
        {"zstd;q=0.5, identity;q=0.5", true},
        {"identity;q=0, zstd", true},
        {"*;q=0, zstd", true},
        {"xzstd", false},
        {"zst", false},
        {"zstd;q=1.000", true},
        {" , ,zstd,", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(accepts_zstd(text(cases[i].header)), cases[i].accepted);
}

static void test_accept(void **state)
{
    (void)state;
    assert_true(accepts_ndjson(text("application/x-ndjson")));
    assert_true(accepts_ndjson(text("application/ndjson")));
    assert_true(accepts_ndjson(text("text/html, Application/X-NDJSON;q=0.9")));
    assert_true(accepts_ndjson(text("application/x-ndjson, */*;q=0.1")));
    assert_true(accepts_ndjson(text("text/x;p=\"a,b;c\", application/x-ndjson")));
    assert_false(accepts_ndjson(text("application/x-ndjson;q=0")));
    assert_false(accepts_ndjson(text("application/json, application/x-ndjson;q=0.5")));
    assert_false(accepts_ndjson(text("*/*")));
    assert_false(accepts_ndjson(text(NULL)));
    assert_true(media_type_is(text("Application/JSON; charset=utf-8"), "application/json"));
    assert_true(media_type_is(text("text/plain"), "text/plain"));
    assert_false(media_type_is(text("text/plainer"), "text/plain"));
    assert_false(media_type_is(text(NULL), "text/plain"));
    assert_false(media_type_is(text(""), "text/plain"));
}

static void test_any_bytes(void **state)
{
    static const char alphabet[] = "bytes=W/\"\",;q=0.1-29*zstd \\\t";

    (void)state;
    srandom(11);
    for (int round = 0; round < 100000; round++) {
        size_t size = (size_t)random() % 24;
        char *bytes = malloc(size + 1); /* so that a sanitizer sees a step too far */
        uint64_t offset, length;
        struct slice header;

        for (size_t i = 0; i < size; i++)
            bytes[i] = alphabet[(size_t)random() % (sizeof(alphabet) - 1)];
        if (size > 6 && round % 2 == 0)
            memcpy(bytes, "bytes=", 6);
        bytes = realloc(bytes, size == 0 ? 1 : size);
        header = slice_of(bytes, size);
        (void)etag_list_has(header, text("\"a\""), true);
        (void)etag_list_has(text("\"a\""), header, true);
        (void)accepts_zstd(header);
        (void)accepts_ndjson(header);
        (void)media_type_is(header, "a/b");
        if (range_select(header, text(NULL), text("\"a\""), 100, &offset, &length) == RANGE_PART)
            assert_true(length > 0 && offset < 100 && length <= 100 - offset);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_etag_lists),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_range_start),
        cmocka_unit_test(test_if_range),
        cmocka_unit_test(test_accept_encoding),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
