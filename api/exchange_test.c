/*
 * Goal: the head of a request is read as RFC 9110 and 9112 say, memory given out is ours until the
 * exchange closes, and a waiting step is called again exactly once, however early the wake comes.
 */
#include "api/exchange.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/exchange_driver.h"

static struct service service = {
    .version = "test", .collect_max = 100, .memory_max = 1000, .state = SERVICE_READY};

static void no_suspend(void *context)
{
    (void)context;
}

static const struct exchange_host no_host = {no_suspend, no_suspend, NULL};

static struct exchange *open_one(const char *method, const char *target)
{
    struct exchange *exchange = exchange_open(&service, no_host);

    exchange_set_method(exchange, method);
    exchange_set_target(exchange, target, 1000);
    return exchange;
}

static void add(struct exchange *exchange, const char *name, const char *value)
{
    exchange_add_header(exchange, name, strlen(name), value, strlen(value));
}

static void assert_slice(struct slice slice, const char *text)
{
    assert_int_equal(slice.size, strlen(text));
    assert_memory_equal(slice.data, text, slice.size);
}

static void test_target(void **state)
{
    struct exchange *exchange = open_one("GET", "/a/b%2Fc?x=1&y=2");

    (void)state;
    assert_slice(exchange->path, "/a/b%2Fc");
    assert_slice(exchange->query, "x=1&y=2");
    exchange_close(exchange);
    exchange = open_one("GET", "http://host:1/a?b");
    assert_slice(exchange->path, "/a");
    assert_slice(exchange->query, "b");
    assert_slice(exchange->target, "http://host:1/a?b");
    exchange_close(exchange);
    exchange = open_one("GET", "/a");
    assert_int_equal(exchange->query.size, 0);
    assert_int_equal(exchange->bad, COFFER_OK);
    exchange_set_target(exchange, "/abcdef", 6);
    assert_int_equal(exchange->bad, COFFER_URI_TOO_LONG);
    exchange_close(exchange);
}

static void test_methods(void **state)
{
    static const char *const names[] = {
        "GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "get", "", "GETS"};

    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(names); i++) {
        struct exchange *exchange = open_one(names[i], "/");

        assert_int_equal(exchange->method, i < METHOD_OTHER ? i : METHOD_OTHER);
        exchange_close(exchange);
    }
}

static void test_headers(void **state)
{
    struct exchange *exchange = open_one("GET", "/");

    (void)state;
    add(exchange, "ACCEPT", "a");
    add(exchange, "x-unknown", "b");
    add(exchange, "accept", "c");
    add(exchange, "If-Range", "\"x\"");
    add(exchange, "", "z");
    assert_slice(exchange_header(exchange, HEADER_ACCEPT), "a, c");
    assert_slice(exchange_header(exchange, HEADER_IF_RANGE), "\"x\"");
    assert_false(exchange_has(exchange, HEADER_RANGE));
    assert_int_equal(exchange->bad, COFFER_OK);
    add(exchange, "Host", "a");
    add(exchange, "Host", "a");
    assert_int_equal(exchange->bad, COFFER_BAD_REQUEST);
    exchange_close(exchange);
}

static void test_framing(void **state)
{
    static const struct {
        const char *length, *coding;
        int status; /* 0: legal */
        uint64_t size;
    } cases[] = {{NULL, NULL, 0, 0}, {"0", NULL, 0, 0}, {"50", NULL, 0, 50}, {"007", NULL, 0, 7},
        {"-1", NULL, 400, 0}, {"", NULL, 400, 0}, {"1, 1", NULL, 400, 0}, {"+1", NULL, 400, 0},
        {"0x1", NULL, 400, 0}, {"1000000000000000000", NULL, 413, 0},
        {NULL, "chunked", 0, UPLOAD_SIZE_UNKNOWN}, {NULL, "Chunked", 0, UPLOAD_SIZE_UNKNOWN},
        {NULL, "gzip", 400, 0}, {NULL, "gzip, chunked", 400, 0}, {NULL, "identity", 400, 0},
        {"5", "chunked", 400, 0}};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct exchange *exchange = open_one("GET", "/healthz");

        if (cases[i].length != NULL)
            add(exchange, "Content-Length", cases[i].length);
        if (cases[i].coding != NULL)
            add(exchange, "Transfer-Encoding", cases[i].coding);
        exchange_start(exchange);
        if (cases[i].status == 0)
            assert_int_equal(exchange->body_size, cases[i].size);
        else
            assert_int_equal(exchange->reply.status, cases[i].status);
        exchange_close(exchange);
    }
}

static void test_request_id(void **state)
{
    static const struct {
        const char *sent;
        bool taken;
    } cases[] = {{"abc-1._Z", true}, {"", false}, {"a b", false}, {"a\"b", false}, {"a\nb", false}};
    char lengthy[130];
    struct exchange *first = open_one("GET", "/"), *second = open_one("GET", "/");

    (void)state;
    assert_string_not_equal(first->request_id, second->request_id);
    exchange_close(first);
    exchange_close(second);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct exchange *exchange = open_one("GET", "/nowhere");

        add(exchange, "x-request-id", cases[i].sent);
        exchange_start(exchange);
        assert_int_equal(strcmp(exchange->request_id, cases[i].sent) == 0, cases[i].taken);
        assert_string_equal(exchange->reply.headers[0].value, exchange->request_id);
        exchange_close(exchange);
    }
    memset(lengthy, 'a', sizeof(lengthy));
    for (size_t size = 128; size <= 129; size++) {
        struct exchange *exchange = open_one("GET", "/nowhere");

        lengthy[size] = '\0';
        add(exchange, "x-request-id", lengthy);
        exchange_start(exchange);
        assert_int_equal(strcmp(exchange->request_id, lengthy) == 0, size == 128);
        exchange_close(exchange);
        lengthy[size] = 'a';
    }
}

static void test_query(void **state)
{
    static const char *const known[] = {"limit", "after", "empty", NULL}, *const less[] = {
                                                                              "limit", NULL};
    struct exchange *exchange = open_one("GET", "/?limit=5&after=a%20b+c&&empty=&limit=6&after");
    struct slice name, value;
    struct error err;
    size_t cursor = 0;
    bool more;
    int count = 0;

    (void)state;
    assert_int_equal(exchange_query(exchange, "limit", &value, &err), COFFER_OK);
    assert_string_equal(value.data, "5");
    assert_int_equal(exchange_query(exchange, "after", &value, &err), COFFER_OK);
    assert_string_equal(value.data, "a b c");
    assert_int_equal(exchange_query(exchange, "empty", &value, &err), COFFER_OK);
    assert_non_null(value.data);
    assert_int_equal(value.size, 0);
    assert_int_equal(exchange_query(exchange, "none", &value, &err), COFFER_OK);
    assert_null(value.data);
    do {
        assert_int_equal(
            exchange_query_next(exchange, &cursor, &more, &name, &value, &err), COFFER_OK);
        count += more;
    } while (more);
    assert_int_equal(count, 5);
    assert_int_equal(exchange_query_only(exchange, known, &err), COFFER_OK);
    assert_int_equal(exchange_query_only(exchange, less, &err), COFFER_BAD_REQUEST);
    assert_non_null(strstr(err.text, "after"));
    exchange_close(exchange);
    exchange = open_one("GET", "/?a=%4");
    assert_int_equal(exchange_query(exchange, "a", &value, &err), COFFER_BAD_REQUEST);
    exchange_close(exchange);
    exchange = open_one("GET", "/?a=%00");
    assert_int_equal(exchange_query(exchange, "a", &value, &err), COFFER_BAD_REQUEST);
    exchange_close(exchange);
}

/* More than the arena holds, and every piece keeps its content. */
static void test_memory(void **state)
{
    enum { PIECES = 200 };
    struct exchange *exchange = open_one("GET", "/");
    const char *texts[PIECES];
    char *large;

    (void)state;
    for (int i = 0; i < PIECES; i++) {
        uint64_t *zeroed = exchange_alloc(exchange, sizeof(*zeroed));

        assert_int_equal((uintptr_t)zeroed % 16, 0);
        assert_int_equal(*zeroed, 0);
        *zeroed = UINT64_MAX;
        texts[i] = exchange_number(exchange, (uint64_t)i * 1000003);
    }
    large = exchange_alloc(exchange, 100000);
    assert_int_equal(large[99999], 0);
    for (int i = 0; i < PIECES; i++)
        assert_int_equal(strtoull(texts[i], NULL, 10), (uint64_t)i * 1000003);
    assert_string_equal(exchange_number(exchange, 0), "0");
    assert_string_equal(exchange_number(exchange, UINT64_MAX), "18446744073709551615");
    assert_int_equal(strlen(exchange_format(exchange, "%0400d", 7)), 400);
    exchange_close(exchange);
}

static void test_charge(void **state)
{
    struct exchange *one = open_one("GET", "/"), *other = open_one("GET", "/");
    struct error err;

    (void)state;
    assert_int_equal(exchange_charge(one, 600, &err), COFFER_OK);
    assert_int_equal(exchange_charge(other, 600, &err), COFFER_OVERLOADED);
    assert_int_equal(exchange_charge(other, UINT64_MAX, &err), COFFER_OVERLOADED);
    assert_int_equal(exchange_charge(other, 400, &err), COFFER_OK);
    exchange_close(one);
    assert_int_equal(exchange_charge(other, 600, &err), COFFER_OK);
    exchange_close(other);
    assert_int_equal(atomic_load(&service.memory_used), 0);
}

static void test_answers_without_a_resource(void **state)
{
    static const struct {
        struct driver_request request;
        int status;
    } cases[] = {{{.target = "/nowhere"}, 404}, {{.target = "/v1/chunks/%zz"}, 400},
        {{.method = "PATCH", .target = "/v1/chunks/a"}, 405},
        {{.method = "BREW", .target = "/v1/chunks/a"}, 405},
        {{.method = "OPTIONS", .target = "/v1/chunks/a"}, 204},
        {{.method = "OPTIONS", .target = "*"}, 204}};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct driven driven;

        driver_run(&driven, &service, &cases[i].request);
        assert_int_equal(driven.status, cases[i].status);
        assert_non_null(driver_header(&driven, "X-Request-Id"));
        if (driven.status == 405 || driven.status == 204)
            assert_non_null(driver_header(&driven, "Allow"));
        if (driven.status >= 400)
            assert_string_equal(driver_header(&driven, "Content-Type"), "application/problem+json");
        driver_release(&driven);
    }
}

/* Without a store only health is served, and the body's limit holds. */
static void test_refusals(void **state)
{
    static const char body[200];
    struct driven driven;

    (void)state;
    for (int now = SERVICE_RECOVERING; now <= SERVICE_DRAINING; now += 2) {
        atomic_store(&service.state, now);
        driver_run(&driven, &service, &(struct driver_request){.target = "/v1/chunks"});
        assert_int_equal(driven.status, 503);
        assert_non_null(driver_header(&driven, "Retry-After"));
        driver_release(&driven);
        driver_run(&driven, &service, &(struct driver_request){.target = "/healthz"});
        assert_int_equal(driven.status, 200);
        driver_release(&driven);
    }
    atomic_store(&service.state, SERVICE_READY);
    driver_run(&driven, &service,
        &(struct driver_request){.method = "POST",
            .target = "/v1/chunks/stat",
            .body = body,
            .body_size = sizeof(body)});
    assert_int_equal(driven.status, 413);
    driver_release(&driven);
}

/* ---- waiting ---- */

/* A resource that waits `rounds` times in data() and in finish(), and is woken by another thread,
 * or, each third time, before its step has returned. */
struct waiting {
    pthread_t wakers[64];
    size_t started;
    int rounds, data_calls, finish_calls;
};

static void *wake_later(void *context)
{
    struct exchange *exchange = context;

    waker_wake(exchange_waker(exchange));
    return NULL;
}

static enum coffer_status wait_once(struct exchange *exchange, int *calls)
{
    struct waiting *waiting = exchange->state;

    if (++*calls > waiting->rounds) {
        *calls = 0;
        return COFFER_OK;
    }
    if (*calls % 3 == 0)
        waker_wake(exchange_waker(exchange));
    else
        assert_int_equal(
            pthread_create(&waiting->wakers[waiting->started++], NULL, wake_later, exchange), 0);
    return COFFER_AGAIN;
}

static enum coffer_status waiting_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    struct waiting *waiting = exchange->state;
    enum coffer_status status = wait_once(exchange, &waiting->data_calls);

    (void)data;
    (void)err;
    *taken = status == COFFER_AGAIN ? size / 2 : size;
    return status;
}

static enum coffer_status waiting_finish(struct exchange *exchange, struct error *err)
{
    struct waiting *waiting = exchange->state;
    enum coffer_status status = wait_once(exchange, &waiting->finish_calls);

    (void)err;
    if (status == COFFER_OK)
        exchange_reply(exchange, 200);
    return status;
}

static const struct resource waiting_resource = {.data = waiting_data, .finish = waiting_finish};

struct counting_host {
    struct gate gate;
    int suspended, resumed;
};

static void count_suspend(void *context)
{
    struct counting_host *host = context;

    host->suspended++;
}

static void count_resume(void *context)
{
    struct counting_host *host = context;

    __atomic_fetch_add(&host->resumed, 1, __ATOMIC_SEQ_CST);
    waker_wake(gate_waker(&host->gate));
}

static void wait_if_parked(struct exchange *exchange, struct counting_host *host)
{
    if (exchange_park(exchange))
        gate_wait(&host->gate);
}

static void test_wakes_are_never_lost_nor_doubled(void **state)
{
    enum { RUNS = 300 };
    static const char body[64];

    (void)state;
    for (int run = 0; run < RUNS; run++) {
        struct counting_host host = {.suspended = 0};
        struct exchange *exchange;
        struct waiting waiting = {.rounds = run % 7};
        size_t at = 0;

        gate_init(&host.gate);
        exchange =
            exchange_open(&service, (struct exchange_host){count_suspend, count_resume, &host});
        exchange->resource = &waiting_resource;
        exchange->body_kind = BODY_STREAM;
        exchange->state = &waiting;
        while (at < sizeof(body)) {
            size_t taken;

            if (exchange_receive(exchange, body + at, sizeof(body) - at, &taken) == COFFER_AGAIN)
                wait_if_parked(exchange, &host);
            at += taken;
        }
        assert_int_equal(exchange->received, sizeof(body));
        while (exchange_finish(exchange) == COFFER_AGAIN)
            wait_if_parked(exchange, &host);
        for (size_t i = 0; i < waiting.started; i++)
            pthread_join(waiting.wakers[i], NULL);
        assert_int_equal(host.suspended, host.resumed);
        assert_int_equal(exchange->reply.status, 200);
        exchange_close(exchange);
        gate_release(&host.gate);
    }
}

/* ---- failures of steps ---- */

static int releases;

static enum coffer_status failing_data(
    struct exchange *exchange, const void *data, size_t size, size_t *taken, struct error *err)
{
    (void)exchange;
    (void)data;
    *taken = size;
    return error_set(err, COFFER_DISK_FULL, "no room");
}

static enum coffer_status failing_finish(struct exchange *exchange, struct error *err)
{
    (void)exchange;
    return error_set(err, COFFER_DIGEST_MISMATCH, "another one");
}

static void failing_release(struct exchange *exchange)
{
    (void)exchange;
    releases++;
}

static const struct resource failing_resource = {
    .data = failing_data, .finish = failing_finish, .release = failing_release};

static void test_a_failure_becomes_a_problem(void **state)
{
    size_t taken;

    (void)state;
    releases = 0;
    for (int in_data = 0; in_data < 2; in_data++) {
        struct exchange *exchange = open_one("PUT", "/");

        exchange->resource = &failing_resource;
        exchange->body_kind = BODY_STREAM;
        if (in_data != 0) {
            assert_int_equal(exchange_receive(exchange, "abc", 3, &taken), COFFER_OK);
            assert_int_equal(taken, 3);
            assert_int_equal(exchange->reply.status, 507);
            /* The rest is dropped, and the first answer stays. */
            assert_int_equal(exchange_receive(exchange, "def", 3, &taken), COFFER_OK);
            assert_int_equal(taken, 3);
        }
        assert_int_equal(exchange_finish(exchange), COFFER_OK);
        assert_int_equal(exchange->reply.status, in_data != 0 ? 507 : 422);
        exchange_close(exchange);
        assert_int_equal(releases, in_data + 1);
    }
}

static int end_thread(void **state)
{
    (void)state;
    exchange_thread_end();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_target),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_framing),
        cmocka_unit_test(test_request_id),
        cmocka_unit_test(test_query),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_charge),
        cmocka_unit_test(test_answers_without_a_resource),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_wakes_are_never_lost_nor_doubled),
        cmocka_unit_test(test_a_failure_becomes_a_problem),
    };

    return cmocka_run_group_tests(tests, NULL, end_thread);
}
