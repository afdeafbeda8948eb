/*
 * Goal: the text of a tree reads as the same tree, and a merge patch does what RFC 7396 says.
 * Method: texts that must stay as they are; the examples of the RFC's appendix A.
 */
#include "api/json_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

static json_t *parse(const char *text)
{
    json_error_t where;
    json_t *value = json_loads(text, JSON_DECODE_ANY, &where);

    if (value == NULL)
        fail_msg("%s: %s", text, where.text);
    return value;
}

static void assert_text(json_t *value, const char *expected)
{
    struct json_out out;
    char text[512];

    json_out_fixed(&out, text, sizeof(text) - 1);
    json_value_write(&out, value);
    assert_true(json_out_ok(&out));
    text[json_out_text(&out).size] = '\0';
    assert_string_equal(text, expected);
}

static void test_texts(void **state)
{
    static const char *const texts[] = {"{}", "[]", "null", "true", "false", "\"\"",
        "{\"b\":1,\"a\":{\"c\":[1,-2,[],{}],\"d\":null},\"\":\"\"}", "[0.1,1.0,-0.25,1e+300,1e-07]",
        "[9223372036854775807,-9223372036854775808]", "[3.141592653589793]",
        "\"\\\"\\\\\\n\\t\\u0001/\\u007f\"", "\"gr\u00fc\u00df dich \U0001f600\""};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        json_t *value = parse(texts[i]);

        assert_text(value, texts[i]);
        json_decref(value);
    }
}

/* Every real number is read back as it was. */
static void test_reals(void **state)
{
    uint64_t bits = 0x123456789abcdefULL;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct json_out out;
        char text[64];
        double number;
        json_t *value;

        bits = bits * 6364136223846793005ULL + 1442695040888963407ULL;
        memcpy(&number, &bits, sizeof(number));
        value = json_real(number);
        if (value == NULL)
            continue; /* infinite, or none: JSON has no such numbers */
        json_out_fixed(&out, text, sizeof(text) - 1);
        json_value_write(&out, value);
        json_decref(value);
        assert_true(json_out_ok(&out));
        text[json_out_text(&out).size] = '\0';
        value = parse(text);
        assert_true(json_is_real(value));
        assert_true(json_real_value(value) == number);
        json_decref(value);
    }
}

static void test_merge(void **state)
{
    static const struct {
        const char *target, *patch, *result;
    } cases[] = {
        {"{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"b\":\"c\"}", "{\"a\":\"b\",\"b\":\"c\"}"},
        {"{\"a\":\"b\"}", "{\"a\":null}", "{}"},
        {"{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}"},
        {"{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}"},
        {"{\"a\":\"c\"}", "{\"a\":[\"b\"]}", "{\"a\":[\"b\"]}"},
        {"{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}", "{\"a\":{\"b\":\"d\"}}"},
        {"{\"a\":[{\"b\":\"c\"}]}", "{\"a\":[1]}", "{\"a\":[1]}"},
        {"[\"a\",\"b\"]", "[\"c\",\"d\"]", "[\"c\",\"d\"]"},
        {"{\"a\":\"b\"}", "[\"c\"]", "[\"c\"]"},
        {"{\"a\":\"foo\"}", "null", "null"},
        {"{\"a\":\"foo\"}", "\"bar\"", "\"bar\""},
        {"{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}"},
        {"[1,2]", "{\"a\":\"b\",\"c\":null}", "{\"a\":\"b\"}"},
        {"{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        json_t *target = parse(cases[i].target), *patch = parse(cases[i].patch);
        json_t *result = merge_patch(target, patch);

        assert_non_null(result);
        assert_text(result, cases[i].result);
        assert_text(target, cases[i].target);
        assert_text(patch, cases[i].patch);
        json_decref(result);
        json_decref(target);
        json_decref(patch);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_reals),
        cmocka_unit_test(test_merge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
