/* The small parts: status, digest, log, fault points, locks, wakers. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/digest.h"
#include "storage/base/fault.h"
#include "storage/base/invariant.h"
#include "storage/base/lock.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/base/waker.h"

/* ---- status ---- */

static void test_status_catalogue(void **state)
{
    (void)state;
    for (int i = 0; i < COFFER_STATUS_COUNT; i++) {
        enum coffer_status status = (enum coffer_status)i;

        assert_true(strlen(status_code(status)) > 0 && strlen(status_title(status)) > 0);
        assert_int_equal(strspn(status_code(status), "abcdefghijklmnopqrstuvwxyz_"),
            strlen(status_code(status)));
        assert_in_range(status_http(status), 200, 599);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(status_code(status), status_code((enum coffer_status)j));
    }
    assert_int_equal(status_http(COFFER_DISK_FULL), 507);
    assert_true(status_retry(COFFER_OVERLOADED));
    assert_false(status_retry(COFFER_DIGEST_MISMATCH));
}

static void test_errors(void **state)
{
    struct error error;
    char large[1000];

    (void)state;
    assert_int_equal(error_set(NULL, COFFER_IO, "nobody listens"), COFFER_IO);
    assert_int_equal(error_set(&error, COFFER_BAD_KEY, "key %d", 7), COFFER_BAD_KEY);
    assert_int_equal(error.status, COFFER_BAD_KEY);
    assert_string_equal(error.text, "key 7");
    memset(large, 'x', sizeof(large));
    large[sizeof(large) - 1] = '\0';
    assert_int_equal(error_set(&error, COFFER_IO, "%s", large), COFFER_IO);
    assert_int_equal(strlen(error.text), ERROR_TEXT_SIZE - 1);
    errno = ENOSPC;
    assert_int_equal(error_errno(&error, "write %s", "it"), COFFER_DISK_FULL);
    assert_string_equal(error.text, "write it: No space left on device");
    errno = EDQUOT;
    assert_int_equal(error_errno(NULL, "write"), COFFER_DISK_FULL);
    errno = EIO;
    assert_int_equal(error_errno(&error, "%s", large), COFFER_IO);
    assert_int_equal(errno, EIO);
}

/* ---- digest ---- */

static const char EMPTY_HEX[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char EMPTY_BASE64[] = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

static void test_digest_forms(void **state)
{
    static const char *const bad_hex[] = {"", "e3",
        "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550"};
    static const char *const bad_base64[] = {"", "47DE",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUU",
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==",
        "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
        "47DEQpj8HBSa+/TI\nW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "47DEQpj8=BSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="};
    char text[DIGEST_HEX_SIZE + 1];
    struct digest digest, again;

    (void)state;
    sha256_once("", 0, &digest);
    digest_to_hex(&digest, text);
    assert_string_equal(text, EMPTY_HEX);
    assert_true(digest_from_hex(slice_from_text(EMPTY_HEX), &again));
    assert_true(digest_equal(&digest, &again));
    digest_to_base64(&digest, text);
    assert_string_equal(text, EMPTY_BASE64);
    memset(&again, 0, sizeof(again));
    assert_true(digest_from_base64(slice_from_text(EMPTY_BASE64), &again));
    assert_true(digest_equal(&digest, &again));
    for (size_t i = 0; i < ARRAY_COUNT(bad_hex); i++)
        assert_false(digest_from_hex(slice_from_text(bad_hex[i]), &again));
    for (size_t i = 0; i < ARRAY_COUNT(bad_base64); i++)
        assert_false(digest_from_base64(slice_from_text(bad_base64[i]), &again));
}

static void test_sha256_in_pieces(void **state)
{
    char data[1000];
    struct digest whole, pieces;
    struct sha256 sha;

    (void)state;
    memset(data, 'a', sizeof(data));
    sha256_once(data, sizeof(data), &whole);
    for (size_t piece = 1; piece < 200; piece += 37) {
        sha256_init(&sha);
        for (size_t at = 0; at < sizeof(data); at += piece)
            sha256_update(&sha, data + at, (size_t)min_u64(piece, sizeof(data) - at));
        sha256_final(&sha, &pieces);
        sha256_release(&sha);
        sha256_release(&sha); /* legal twice */
        assert_true(digest_equal(&whole, &pieces));
    }
}

static void test_bytes(void **state)
{
    uint8_t bytes[8];

    (void)state;
    put_le32(bytes, 0x01020304);
    assert_memory_equal(bytes, "\4\3\2\1", 4);
    put_be64(bytes, 0x0102030405060708);
    assert_memory_equal(bytes, "\1\2\3\4\5\6\7\10", 8);
    assert_true(get_be64(bytes) == 0x0102030405060708);
    assert_int_equal(round_up(0, 8), 0);
    assert_int_equal(round_up(1, 8), 8);
    assert_int_equal(round_up(8, 8), 8);
}

/* ---- log ---- */

/* What is logged is read back from a file in place of standard error. */
static void logged(char *out, size_t size, const char *event, const char *text)
{
    FILE *file = tmpfile();
    int saved = dup(STDERR_FILENO);
    ssize_t got;

    assert_non_null(file);
    assert_true(saved >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
    log_write(LOG_WARN, event, "%s", text);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
    got = pread(fileno(file), out, size - 1, 0);
    assert_true(got >= 0);
    out[got] = '\0';
    (void)fclose(file);
}

static void test_log(void **state)
{
    char line[8000], large[6000];

    (void)state;
    log_configure(LOG_WARN, true);
    assert_false(log_enabled(LOG_INFO));
    logged(line, sizeof(line), "event", "say \"hi\"\\\n\x01 end");
    assert_non_null(strstr(line, "\"level\":\"warn\",\"event\":\"event\","));
    assert_non_null(strstr(line, "\"message\":\"say \\\"hi\\\"\\\\\\u000a\\u0001 end\"}\n"));
    logged(line, sizeof(line), "event", "good \xc3\xa4, bad \xff\xc3");
    assert_non_null(strstr(line, "good \xc3\xa4, bad \\ufffd\\ufffd\"}\n")); /* JSON is UTF-8 */
    memset(large, '"', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    logged(line, sizeof(line), "event", large); /* cut, but a whole line of JSON */
    assert_true(strlen(line) < 4100);
    assert_string_equal(line + strlen(line) - 5, "\\\"\"}\n");

    log_configure(LOG_INFO, false);
    logged(line, sizeof(line), "event", "one\ntwo\r\x1b[1m");
    assert_non_null(strstr(line, " warn  event: one two  [1m\n"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    logged(line, sizeof(line), "event", large);
    assert_int_equal(line[strlen(line) - 1], '\n');
    log_configure(LOG_ERROR, false);
    logged(line, sizeof(line), "event", "quiet");
    assert_string_equal(line, "");
}

/* ---- fault points ---- */

static void test_fault_counts(void **state)
{
    (void)state;
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), 0);
    fault_arm(FAULT_PACK_SYNC, EIO, 2, 2);
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), 0);
    assert_int_equal(fault_errno(FAULT_PACK_WRITE), 0);
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), EIO);
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), EIO);
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), 0);
    assert_int_equal(fault_hits(FAULT_PACK_SYNC), 2);
    fault_arm(FAULT_PACK_SYNC, ENOSPC, 1, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(fault_errno(FAULT_PACK_SYNC), ENOSPC);
    fault_disarm_all();
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), 0);
}

static void test_fault_text(void **state)
{
    static const char *const bad[] = {"pack_sync", "=EIO", "pack_sync=", "pack_sync=EWHAT",
        "pack_sync=EIO@0", "pack_sync=EIO@", "pack_sync=EIO@x", "pack_sync=EIOx",
        "pack_sync=EIO@1x", "pack_sync=EIO ", "nothing=EIO", "pack=EIO",
        "pack_sync=EIO;index_write=EIO", "pack_sync=EIO@1x2y"};
    struct error error;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(fault_configure(bad[i], &error), COFFER_BAD_OPTION);
        assert_non_null(strstr(error.text, "COFFER_FAULTS"));
    }
    fault_disarm_all();
    assert_int_equal(fault_configure("", NULL), COFFER_OK);
    assert_int_equal(
        fault_configure("pack_sync=EIO@2,pack_write=shortx*,index_write=ENOSPC@1x2", NULL),
        COFFER_OK);
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), 0);
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), EIO);
    assert_int_equal(fault_errno(FAULT_PACK_SYNC), 0);
    for (int i = 0; i < 9; i++)
        assert_int_equal(fault_errno(FAULT_PACK_WRITE), FAULT_SHORT);
    assert_int_equal(fault_errno(FAULT_INDEX_WRITE), ENOSPC);
    assert_int_equal(fault_errno(FAULT_INDEX_WRITE), ENOSPC);
    assert_int_equal(fault_errno(FAULT_INDEX_WRITE), 0);
    fault_disarm_all();
    for (int i = 0; i < FAULT_COUNT; i++)
        assert_true(strlen(fault_name((enum fault_site)i)) > 3);
}

/* The signal that ends a child which does this. */
static int signal_of(void (*what)(void))
{
    pid_t child = fork();
    int result;

    assert_true(child >= 0);
    if (child == 0) {
        int nothing = open("/dev/null", O_WRONLY);

        (void)signal(SIGABRT, SIG_DFL); /* cmocka's handler would go on */
        (void)dup2(nothing, STDERR_FILENO);
        what();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    return WIFSIGNALED(result) ? WTERMSIG(result) : 0;
}

static void be_killed(void)
{
    fault_arm(FAULT_AFTER_SYNC, FAULT_KILL, 1, 1);
    (void)fault_errno(FAULT_AFTER_SYNC);
}

static void test_fault_kills(void **state)
{
    (void)state;
    assert_int_equal(signal_of(be_killed), SIGKILL);
}

/* ---- locks ---- */

static void take_in_order(void)
{
    struct lock outer, inner;

    lock_init(&outer, LOCK_LANE);
    lock_init(&inner, LOCK_PENDING);
    lock_take(&outer);
    lock_take(&inner);
    lock_drop(&inner);
    lock_drop(&outer);
}

static void take_against_order(void)
{
    struct lock outer, inner;

    lock_init(&outer, LOCK_PENDING);
    lock_init(&inner, LOCK_LANE);
    lock_take(&outer);
    lock_take(&inner);
}

static void take_two_of_a_rank(void)
{
    struct lock one, other;

    lock_init(&one, LOCK_LANE);
    lock_init(&other, LOCK_LANE);
    lock_take(&one);
    lock_take(&other);
}

static void drop_against_order(void)
{
    struct lock outer, inner;

    lock_init(&outer, LOCK_LANE);
    lock_init(&inner, LOCK_PENDING);
    lock_take(&outer);
    lock_take(&inner);
    lock_drop(&outer);
}

static void test_lock_order(void **state)
{
    (void)state;
    assert_int_equal(signal_of(take_in_order), 0);
#ifndef NDEBUG
    assert_int_equal(signal_of(take_against_order), SIGABRT);
    assert_int_equal(signal_of(take_two_of_a_rank), SIGABRT);
    assert_int_equal(signal_of(drop_against_order), SIGABRT);
#else
    (void)take_against_order;
    (void)take_two_of_a_rank;
    (void)drop_against_order;
#endif
}

static void test_lock_wait_ends(void **state)
{
    struct lock lock;
    pthread_cond_t condition;

    (void)state;
    lock_init(&lock, LOCK_LANE);
    condition_init(&condition);
    lock_take(&lock);
    assert_false(lock_wait_until(&lock, &condition, clock_monotonic_ns())); /* it has passed */
    lock_drop(&lock);
    pthread_cond_destroy(&condition);
    lock_release(&lock);
}

/* ---- wakers ---- */

static void *wake(void *context)
{
    waker_wake(gate_waker(context));
    return NULL;
}

static void test_gate(void **state)
{
    struct gate gate;
    pthread_t thread;

    (void)state;
    waker_wake((struct waker){NULL, NULL}); /* nobody */
    gate_init(&gate);
    waker_wake(gate_waker(&gate)); /* before the wait */
    gate_wait(&gate);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(pthread_create(&thread, NULL, wake, &gate), 0);
        gate_wait(&gate);
        pthread_join(thread, NULL);
    }
    gate_release(&gate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status_catalogue),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_digest_forms),
        cmocka_unit_test(test_sha256_in_pieces),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_fault_counts),
        cmocka_unit_test(test_fault_text),
        cmocka_unit_test(test_fault_kills),
        cmocka_unit_test(test_lock_order),
        cmocka_unit_test(test_lock_wait_ends),
        cmocka_unit_test(test_gate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
