/*
 * Goal: percentiles are those of what was added, within 1.6 percent. Method: known distributions.
 */
#include "cli/latency.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_near(uint64_t value, uint64_t wanted)
{
    assert_true(value >= wanted - wanted / 60 && value <= wanted + wanted / 60 + 1);
}

static void test_uniform(void **state)
{
    struct latency *latency = calloc(2, sizeof(*latency));

    (void)state;
    assert_int_equal(latency_percentile(latency, 0.5), 0);
    for (uint64_t i = 1; i <= 1000000; i++)
        latency_add(&latency[i % 2], i * 1000);
    latency_merge(latency, &latency[1]);
    assert_int_equal(latency->count, 1000000);
    check_near(latency_percentile(latency, 0.5), 500000000);
    check_near(latency_percentile(latency, 0.99), 990000000);
    check_near(latency_percentile(latency, 0.999), 999000000);
    assert_int_equal(latency_percentile(latency, 1), 1000000000);
    free(latency);
}

static void test_each_size(void **state)
{
    struct latency *latency = malloc(sizeof(*latency));

    (void)state;
    for (uint64_t ns = 1; ns < UINT64_C(1) << 43; ns += 1 + ns / 7) {
        *latency = (struct latency){.count = 0};
        latency_add(latency, ns);
        latency_add(latency, ns);
        latency_add(latency, UINT64_MAX); /* more than it tells apart */
        check_near(latency_percentile(latency, 0.5), ns);
    }
    free(latency);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_each_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
