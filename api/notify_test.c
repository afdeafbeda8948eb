/*
 * Goal: a notification comes to the other server whatever that does, unless it never answers well;
 * and never to anything but an HTTP server. Method: a server in this process that fails as it is
 * told to.
 */
#include "api/notify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/hook_server.h"

static const char summary[] = "{\"event\":\"dataset_close\"}";

struct caller {
    uint64_t waits[NOTIFY_TRIES]; /* how long each was to be */
    unsigned wait_count;
    unsigned wait_max;     /* after so many it is to stop */
    _Atomic bool stopping; /* at once */
};

static bool wait_none(void *context, uint64_t ns)
{
    struct caller *caller = context;

    caller->waits[caller->wait_count++] = ns;
    return caller->wait_count <= caller->wait_max;
}

static bool is_stopping(void *context)
{
    struct caller *caller = context;

    return atomic_load(&caller->stopping);
}

static enum coffer_status send_to(
    const char *url, struct caller *caller, struct notify_result *result, struct error *err)
{
    struct notify_caller notify = {wait_none, is_stopping, caller};

    return notify_send(url, slice_from_text(summary), 100, &notify, result, err);
}

static void test_tried_until_it_works(void **state)
{
    struct caller caller = {.wait_max = NOTIFY_TRIES};
    struct notify_result result;
    struct hook_server hook;
    struct error err;

    (void)state;
    hook_start(&hook, (const int[]){503, 404, 204, 0});
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_OK);
    assert_int_equal(result.tries, 3);
    assert_int_equal(result.answer, 204);
    assert_int_equal(caller.wait_count, 2);
    assert_int_equal(caller.waits[0], 100);
    assert_int_equal(caller.waits[1], 200);
    assert_int_equal(hook_count(&hook), 3);
    for (unsigned i = 0; i < 3; i++)
        assert_string_equal(hook_body(&hook, i), summary);
    hook_stop(&hook);
}

static void test_given_up(void **state)
{
    struct caller caller = {.wait_max = NOTIFY_TRIES};
    struct notify_result result;
    struct hook_server hook;
    struct error err;

    (void)state;
    hook_start(&hook, (const int[]){500, 0});
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_NOTIFY_FAILED);
    assert_int_equal(result.tries, NOTIFY_TRIES);
    assert_int_equal(result.answer, 500);
    assert_non_null(strstr(err.text, "500"));
    assert_int_equal(caller.waits[NOTIFY_TRIES - 2], 800);
    hook_stop(&hook);
    /* Nobody listens there now. */
    caller.wait_count = 0;
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_NOTIFY_FAILED);
    assert_int_equal(result.tries, NOTIFY_TRIES);
    assert_int_equal(result.answer, 0);
}

static void test_redirects(void **state)
{
    struct caller caller = {.wait_max = NOTIFY_TRIES};
    struct notify_result result;
    struct hook_server hook;
    struct error err;

    (void)state;
    hook_start(&hook, (const int[]){HOOK_RETRY, 200, 0});
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_OK);
    assert_int_equal(result.tries, 1);
    assert_string_equal(hook_body(&hook, 1), summary); /* it stays a POST */
    hook_stop(&hook);
    hook_start(&hook, (const int[]){HOOK_MOVED, 0});
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_NOTIFY_FAILED);
    assert_int_equal(hook_count(&hook), NOTIFY_TRIES);
    hook_stop(&hook);
    caller.wait_count = 0;
    assert_int_equal(send_to("file:///etc/hostname", &caller, &result, &err), COFFER_NOTIFY_FAILED);
}

struct stopper {
    struct hook_server *hook;
    struct caller *caller;
};

static void *stop_when_asked(void *context)
{
    struct stopper *stopper = context;

    hook_wait(stopper->hook, 1);
    atomic_store(&stopper->caller->stopping, true);
    return NULL;
}

static void test_stopped(void **state)
{
    struct caller caller = {.wait_max = 1};
    struct notify_result result;
    struct hook_server hook;
    struct stopper stopper = {&hook, &caller};
    struct error err;
    pthread_t thread;

    (void)state;
    hook_start(&hook, (const int[]){500, 0});
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_DRAINING); /* in a pause */
    assert_int_equal(hook_count(&hook), 2);
    hook_stop(&hook);
    hook_start(&hook, (const int[]){HOOK_HOLD, 0});
    assert_int_equal(pthread_create(&thread, NULL, stop_when_asked, &stopper), 0);
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_DRAINING); /* in a try */
    pthread_join(thread, NULL);
    assert_int_equal(send_to(hook.url, &caller, &result, &err), COFFER_DRAINING); /* before it */
    assert_int_equal(hook_count(&hook), 1);
    hook_stop(&hook);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tried_until_it_works),
        cmocka_unit_test(test_given_up),
        cmocka_unit_test(test_redirects),
        cmocka_unit_test(test_stopped),
    };
    int failed;

    notify_init();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    notify_release();
    return failed;
}
