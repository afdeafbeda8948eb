/* The memory budget: first come, first served; nobody waits when there is room. */
#include "storage/channel/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

static void count_wake(void *context)
{
    (*(unsigned *)context)++;
}

static struct budget_request request_of(uint64_t bytes, unsigned *wakes)
{
    return (struct budget_request){.bytes = bytes, .waker = {count_wake, wakes}};
}

static void test_in_order(void **state)
{
    struct budget budget;
    unsigned wakes[4] = {0};
    struct budget_request first = request_of(60, &wakes[0]), large = request_of(80, &wakes[1]),
                          small = request_of(10, &wakes[2]), last = request_of(20, &wakes[3]);

    (void)state;
    budget_init(&budget, 100);
    assert_true(budget_has_room(&budget, 100));
    assert_true(budget_take(&budget, &first));
    assert_true(budget_has_room(&budget, 40));
    assert_false(budget_has_room(&budget, 41));
    assert_false(budget_take(&budget, &large));
    assert_false(budget_take(&budget, &small)); /* it would fit, but is behind */
    assert_false(budget_take(&budget, &last));
    assert_false(budget_has_room(&budget, 0));
    assert_int_equal(budget_used(&budget), 60);
    budget_give(&budget, 60);
    assert_int_equal(wakes[1] + wakes[2], 2);
    assert_int_equal(wakes[3], 0);
    assert_true(budget_granted(&budget, &large) && budget_granted(&budget, &small));
    assert_int_equal(budget_used(&budget), 90);
    budget_give(&budget, 10);
    assert_int_equal(wakes[3], 1);
    assert_int_equal(budget_used(&budget), 100);
    budget_give(&budget, 100);
    assert_int_equal(wakes[0], 0); /* who did not wait is not woken */
    budget_release_all(&budget);
}

static void test_larger_than_the_limit(void **state)
{
    struct budget budget;
    unsigned wakes = 0;
    struct budget_request one = request_of(1, &wakes), huge = request_of(1000, &wakes);

    (void)state;
    budget_init(&budget, 100);
    assert_true(budget_take(&budget, &one));
    assert_false(budget_take(&budget, &huge));
    budget_give(&budget, 1);
    assert_true(budget_granted(&budget, &huge)); /* alone */
    assert_int_equal(budget_used(&budget), 1000);
    budget_give(&budget, 1000);
    assert_int_equal(budget_used(&budget), 0);
    budget_release_all(&budget);
}

static void test_cancel(void **state)
{
    struct budget budget;
    unsigned wakes[4] = {0};
    struct budget_request requests[4];

    (void)state;
    budget_init(&budget, 100);
    requests[0] = request_of(60, &wakes[0]);
    requests[1] = request_of(80, &wakes[1]);
    requests[2] = request_of(30, &wakes[2]);
    requests[3] = request_of(50, &wakes[3]);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(budget_take(&budget, &requests[i]), i == 0);
    assert_false(budget_cancel(&budget, &requests[1])); /* the one that blocks the others */
    assert_int_equal(wakes[1], 0);
    assert_int_equal(wakes[2], 1);
    assert_false(budget_cancel(&budget, &requests[3])); /* the last one */
    assert_true(budget_cancel(&budget, &requests[2]));  /* too late: its bytes are taken */
    budget_give(&budget, 30);
    budget_give(&budget, 60);
    assert_int_equal(wakes[3], 0);
    assert_int_equal(budget_used(&budget), 0);
    requests[3] = request_of(50, &wakes[3]); /* the list is in order */
    assert_true(budget_take(&budget, &requests[3]));
    budget_give(&budget, 50);
    budget_release_all(&budget);
}

static void test_many_are_woken(void **state)
{
    enum { COUNT = 100 }; /* more than are woken in one go */
    struct budget budget;
    struct budget_request first, requests[COUNT];
    unsigned wakes = 0;

    (void)state;
    budget_init(&budget, COUNT);
    first = request_of(COUNT, &wakes);
    assert_true(budget_take(&budget, &first));
    for (size_t i = 0; i < COUNT; i++) {
        requests[i] = request_of(1, &wakes);
        assert_false(budget_take(&budget, &requests[i]));
    }
    budget_give(&budget, COUNT);
    assert_int_equal(wakes, COUNT);
    budget_give(&budget, COUNT);
    assert_int_equal(budget_used(&budget), 0);
    budget_release_all(&budget);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_larger_than_the_limit),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_many_are_woken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
