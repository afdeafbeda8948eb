/*
 * Goal: texts of the command line mean what docs/cli.md says, and anything else means nothing.
 * Method: tables of both.
 */
#include "cli/option_values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

typedef bool amount_function(const char *text, uint64_t *out);

struct amount {
    amount_function *parse;
    const char *text;
    bool good;
    uint64_t value;
};

static void test_amounts(void **state)
{
    static const struct amount amounts[] = {
        {value_number, "0", true, 0},
        {value_number, "18446744073709551615", true, UINT64_MAX},
        {value_number, "18446744073709551616", false, 0},
        {value_number, "", false, 0},
        {value_number, "-1", false, 0},
        {value_number, "1 ", false, 0},
        {value_number, "1s", false, 0},
        {value_size, "4096", true, 4096},
        {value_size, "4KiB", true, 4096},
        {value_size, "3mib", true, UINT64_C(3) << 20},
        {value_size, "2GiB", true, UINT64_C(2) << 30},
        {value_size, "1TiB", true, UINT64_C(1) << 40},
        {value_size, "16777216TiB", false, 0},
        {value_size, "1KB", false, 0},
        {value_size, "1.5KiB", false, 0},
        {value_size, "KiB", false, 0},
        {value_time, "5", true, 5000},
        {value_time, "5ms", true, 5},
        {value_time, "2s", true, 2000},
        {value_time, "3min", true, 180000},
        {value_time, "1h", true, 3600000},
        {value_time, "1d", false, 0},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(amounts); i++) {
        uint64_t value = 0;

        assert_int_equal(amounts[i].parse(amounts[i].text, &value), amounts[i].good);
        if (amounts[i].good)
            assert_int_equal(value, amounts[i].value);
    }
}

static void test_ratios(void **state)
{
    static const char *const wrong[] = {"", "-0.1", "1.01", "a", "0.5x", "nan", "inf", " 1"};
    double ratio;

    (void)state;
    assert_true(value_ratio("0", &ratio) && ratio == 0);
    assert_true(value_ratio(".25", &ratio) && ratio == 0.25);
    assert_true(value_ratio("1.0", &ratio) && ratio == 1);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_false(value_ratio(wrong[i], &ratio));
}

static void test_choices(void **state)
{
    (void)state;
    assert_true(value_choice("put", "put|get|append"));
    assert_true(value_choice("append", "put|get|append"));
    assert_false(value_choice("pu", "put|get"));
    assert_false(value_choice("put|get", "put|get"));
    assert_false(value_choice("", "put|get"));
}

static void test_ranges(void **state)
{
    static const struct {
        const char *text;
        uint64_t size;
        bool within;
        uint64_t offset, length;
    } ranges[] = {
        {"0-0", 10, true, 0, 1},
        {"2-4", 10, true, 2, 3},
        {"2-99", 10, true, 2, 8},
        {"9-", 10, true, 9, 1},
        {"10-", 10, false, 0, 0},
        {"10-20", 10, false, 0, 0},
        {"-3", 10, true, 7, 3},
        {"-30", 10, true, 0, 10},
        {"-1", 0, false, 0, 0},
        {"0-", 0, false, 0, 0},
        {"0-18446744073709551615", 10, true, 0, 10},
        {"18446744073709551615-", UINT64_MAX, false, 0, 0},
    };
    static const char *const wrong[] = {"", "-", "5", "4-2", "-0", "a-b", "1-2-3", "1-2,4-5", "--5",
        "1 -2", "18446744073709551616-"};
    struct byte_range range;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(ranges); i++) {
        uint64_t offset, length;

        assert_true(value_range(ranges[i].text, &range));
        assert_int_equal(range_within(&range, ranges[i].size, &offset, &length), ranges[i].within);
        if (!ranges[i].within)
            continue;
        assert_int_equal(offset, ranges[i].offset);
        assert_int_equal(length, ranges[i].length);
    }
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        assert_false(value_range(wrong[i], &range));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_amounts),
        cmocka_unit_test(test_ratios),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
