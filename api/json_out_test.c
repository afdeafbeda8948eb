/*
 * Goal: what json_out writes is JSON, whatever the bytes given, and what does not fit is noticed.
 * Method: compare with known text, and give hostile strings to another reader (jansson).
 */
#include "api/json_out.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_values(void **state)
{
    static const char expected[] = "{\"a\":[1,\"x\",true,{\"b\":18446744073709551615}],\"n\":null,"
                                   "\"c\":false,\"r\":[1,2]}";
    char buffer[256];
    struct json_out out;

    (void)state;
    json_out_fixed(&out, buffer, sizeof(buffer));
    json_out_object(&out);
    json_out_name(&out, "a");
    json_out_array(&out);
    json_out_u64(&out, 1);
    json_out_string(&out, slice_from_text("x"));
    json_out_bool(&out, true);
    json_out_object(&out);
    json_out_member_u64(&out, "b", UINT64_MAX);
    json_out_object_end(&out);
    json_out_array_end(&out);
    json_out_name(&out, "n");
    json_out_null(&out);
    json_out_member_bool(&out, "c", false);
    json_out_name(&out, "r");
    json_out_raw(&out, slice_from_text("[1,2]"));
    json_out_object_end(&out);
    assert_true(json_out_ok(&out));
    assert_int_equal(json_out_text(&out).size, strlen(expected));
    assert_memory_equal(json_out_text(&out).data, expected, strlen(expected));
}

static void test_times_and_numbers(void **state)
{
    static const char expected[] =
        "[\"0\",\"18446744073709551615\",null,\"1970-01-01T00:00:01.002Z\","
        "\"2001-09-09T01:46:40.000Z\"]";
    char buffer[256];
    struct json_out out;

    (void)state;
    json_out_fixed(&out, buffer, sizeof(buffer));
    json_out_array(&out);
    json_out_number_text(&out, 0);
    json_out_number_text(&out, UINT64_MAX);
    json_out_time(&out, 0);
    json_out_time(&out, 1002999999);
    json_out_time(&out, 1000000000000000000);
    json_out_array_end(&out);
    assert_true(json_out_ok(&out));
    assert_int_equal(json_out_text(&out).size, strlen(expected));
    assert_memory_equal(json_out_text(&out).data, expected, strlen(expected));
}

/* What does not fit is not taken, and the rest is fine. */
static void test_some(void **state)
{
    char buffer[5];
    struct json_out out;

    (void)state;
    json_out_fixed(&out, buffer, sizeof(buffer));
    assert_int_equal(json_out_some(&out, slice_of("abc", 3)), 3);
    assert_int_equal(json_out_some(&out, slice_of("def", 3)), 2);
    assert_int_equal(json_out_some(&out, slice_of("f", 1)), 0);
    assert_int_equal(json_out_some(&out, slice_of(NULL, 0)), 0);
    assert_true(json_out_ok(&out));
    assert_memory_equal(json_out_text(&out).data, "abcde", 5);
}

static void test_lines(void **state)
{
    struct json_out out;

    (void)state;
    json_out_growable(&out, 4096);
    for (uint64_t i = 0; i < 3; i++) {
        json_out_object(&out);
        json_out_member_u64(&out, "i", i);
        json_out_object_end(&out);
        json_out_line(&out);
    }
    assert_int_equal(json_out_text(&out).size, 24);
    assert_memory_equal(json_out_text(&out).data, "{\"i\":0}\n{\"i\":1}\n{\"i\":2}\n", 24);
    json_out_release(&out);
}

static void test_any_bytes_are_a_json_string(void **state)
{
    unsigned char bytes[700];
    struct json_out out;

    (void)state;
    srandom(7);
    json_out_growable(&out, 1 << 16);
    for (int round = 0; round < 3000; round++) {
        size_t size = (size_t)random() % sizeof(bytes);
        json_t *parsed;
        json_error_t error;

        for (size_t i = 0; i < size; i++)
            bytes[i] = (unsigned char)(round % 2 == 0 ? random() : random() % 128);
        json_out_reset(&out);
        json_out_array(&out);
        json_out_string(&out, slice_of(bytes, size));
        json_out_array_end(&out);
        assert_true(json_out_ok(&out));
        parsed =
            json_loadb(json_out_text(&out).data, json_out_text(&out).size, JSON_ALLOW_NUL, &error);
        assert_non_null(parsed);
        if (round % 2 != 0) { /* ASCII comes back as it was */
            assert_int_equal(json_string_length(json_array_get(parsed, 0)), size);
            assert_memory_equal(json_string_value(json_array_get(parsed, 0)), bytes, size);
        }
        json_decref(parsed);
    }
    json_out_release(&out);
}

static void test_utf8(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"\xc3\xa9", "\"\xc3\xa9\""},
        {"\xe2\x82\xac", "\"\xe2\x82\xac\""},
        {"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
        {"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* a surrogate */
        {"\xc0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\""},                 /* overlong */
        {"\xf5\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {"a\xe2\x82", "\"a\xef\xbf\xbd\xef\xbf\xbd\""}, /* cut short */
        {"\x01\n\"\\\x7f", "\"\\u0001\\n\\\"\\\\\\u007f\""},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char buffer[64];
        struct json_out out;

        json_out_fixed(&out, buffer, sizeof(buffer));
        json_out_string(&out, slice_from_text(cases[i].in));
        assert_int_equal(json_out_text(&out).size, strlen(cases[i].out));
        assert_memory_equal(buffer, cases[i].out, strlen(cases[i].out));
    }
}

static void item(struct json_out *out, const struct digest *key)
{
    json_out_object(out);
    json_out_member_digest(out, "key", key);
    json_out_member_u64(out, "size", 123456789);
    json_out_member_string(out, "name", slice_from_text("a\"b"));
    json_out_object_end(out);
}

/* Every buffer that is too small by one byte or by all is noticed, and nothing beyond it touched.
 */
static void test_full(void **state)
{
    struct digest key = {{1, 2, 3}};
    char buffer[256];
    struct json_out out;
    size_t whole;

    (void)state;
    json_out_fixed(&out, buffer, sizeof(buffer));
    item(&out, &key);
    whole = json_out_text(&out).size;
    for (size_t size = 0; size < whole; size++) {
        char *small = malloc(size + 1);

        json_out_fixed(&out, small, size);
        item(&out, &key);
        assert_false(json_out_ok(&out));
        json_out_rewind(&out, (struct json_out_mark){0, false});
        assert_true(json_out_ok(&out));
        free(small);
    }
    json_out_growable(&out, whole + 1);
    item(&out, &key);
    assert_true(json_out_ok(&out));
    assert_int_equal(json_out_text(&out).size, whole);
    item(&out, &key);
    assert_false(json_out_ok(&out));
    json_out_release(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_times_and_numbers),
        cmocka_unit_test(test_some),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_any_bytes_are_a_json_string),
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_full),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
