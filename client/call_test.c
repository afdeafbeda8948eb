/*
 * Goal: a request is sent again when that can help and is right, and only then; what it answers in
 * the end is the server's word. Method: a server that misbehaves by a script, and a clock on which
 * pauses are counted.
 */
#include "client/call.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/retry.h"
#include "tests/support/client_clock.h"
#include "tests/support/script_server.h"

/* What the first requests get; all later ones are answered well. */
struct step {
    int status; /* 0: 200 */
    enum script_fault fault;
    const char *code;    /* of a problem */
    const char *headers; /* more lines */
};

struct fixture {
    struct script_server server;
    struct coffer_client *client;
    struct fake_clock clock;
    const struct step *steps;
    unsigned count;
    unsigned requests;
    char bodies[16][64];        /* of requests */
    char head[SCRIPT_HEAD_MAX]; /* of the last one */
    char path[1024];
    struct coffer_error err;
};

static const char ANSWER[] = "{\"key\":\"k\",\"size\":5,\"created\":true,\"state\":\"durable\"}";

static void handle(void *context, struct script_request *request, struct script_reply *reply)
{
    struct fixture *fixture = context;
    const struct step *step =
        fixture->requests < fixture->count ? &fixture->steps[fixture->requests] : NULL;

    if (fixture->requests < ARRAY_COUNT(fixture->bodies))
        (void)snprintf(fixture->bodies[fixture->requests], sizeof(fixture->bodies[0]), "%.*s",
            (int)request->size, request->size == 0 ? "" : request->body);
    (void)snprintf(fixture->head, sizeof(fixture->head), "%s", request->head);
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s", request->path);
    fixture->requests++;
    script_text(reply, 200, ANSWER);
    if (step == NULL)
        return;
    if (step->code != NULL) {
        free(reply->to_free);
        script_problem(reply, step->status, step->code);
    }
    if (step->status != 0)
        reply->status = step->status;
    if (step->headers != NULL)
        (void)snprintf(reply->headers, sizeof(reply->headers), "%s", step->headers);
    reply->fault = step->fault;
    reply->cut_at = step->fault == SCRIPT_CUT ? 10 : 0;
}

static void open_client(struct fixture *fixture, const struct coffer_options *options)
{
    coffer_close(fixture->client);
    fixture->client = coffer_open(fixture->server.url, options, &fixture->err);
    assert_non_null(fixture->client);
    fake_clock_set(&fixture->clock, fixture->client);
}

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    assert_non_null(fixture);
    script_server_start(&fixture->server, handle, fixture);
    open_client(fixture, NULL);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;

    coffer_close(fixture->client);
    script_server_stop(&fixture->server);
    free(fixture);
    return 0;
}

/* One GET with this script. */
static int call(struct fixture *fixture, const struct step *steps, unsigned count)
{
    char *answer = NULL;
    int result;

    fixture->steps = steps;
    fixture->count = count;
    fixture->requests = 0;
    fake_clock_set(&fixture->clock, fixture->client);
    errno = 0;
    result = coffer_call(fixture->client, "GET", "/v1/status", NULL, &answer, &fixture->err);
    script_server_settle(&fixture->server);
    if (result == 0)
        assert_string_equal(answer, ANSWER);
    else
        assert_int_equal(errno, fixture->err.number);
    free(answer);
    return result;
}

static void test_repeated(void **state)
{
    static const struct step steps[] = {{.fault = SCRIPT_DROP}, {.fault = SCRIPT_RESET},
        {.fault = SCRIPT_CUT}, {.status = 503, .code = "overloaded"},
        {.status = 503, .code = "draining"}, {.status = 500, .code = "internal"}, {.status = 502},
        {.status = 504}, {.status = 429}};
    struct fixture *fixture = *state;

    for (unsigned i = 0; i < ARRAY_COUNT(steps); i++) {
        assert_int_equal(call(fixture, &steps[i], 1), 0);
        /* libcurl itself tries again when a connection that it kept turns out to be closed. */
        assert_int_equal(fixture->requests, 2);
    }
    assert_int_equal(call(fixture, steps, ARRAY_COUNT(steps)), 0);
    assert_int_equal(fixture->requests, ARRAY_COUNT(steps) + 1);
}

/* An impatient client gives up at once as long as nothing ever answered, and not later. */
static void test_impatient(void **state)
{
    static const struct step steps[] = {{.fault = SCRIPT_DROP}, {.fault = SCRIPT_DROP}};
    const struct coffer_options options = {.impatient = true};
    struct fixture *fixture = *state;

    open_client(fixture, &options);
    assert_int_equal(call(fixture, steps, 1), -1);
    assert_int_equal(fixture->clock.count, 0);
    assert_int_equal(call(fixture, NULL, 0), 0);
    assert_int_equal(call(fixture, steps, 2), 0);
    assert_true(fixture->clock.count > 0);
}

static void test_pauses(void **state)
{
    static const struct step busy[] = {{.status = 503}, {.status = 503}, {.status = 503},
        {.status = 503}, {.status = 503}, {.status = 503}, {.status = 503}, {.status = 503},
        {.status = 503}, {.status = 503}, {.status = 503, .headers = "Retry-After: 7\r\n"},
        {.status = 503}};
    struct fixture *fixture = *state;
    uint64_t longest = RETRY_FIRST_MS;

    assert_int_equal(call(fixture, busy, ARRAY_COUNT(busy)), 0);
    assert_int_equal(fixture->clock.count, ARRAY_COUNT(busy));
    for (unsigned i = 0; i < ARRAY_COUNT(busy); i++) {
        uint64_t pause = fixture->clock.pauses[i];

        if (i == 10)
            assert_int_equal(pause, 7000);
        else
            assert_true(pause >= longest / 2 && pause <= longest);
        longest = longest * 2 < RETRY_MAX_MS ? longest * 2 : RETRY_MAX_MS;
    }
}

static void test_patience_ends(void **state)
{
    struct step all[100];
    static const struct step long_after[] = {{.status = 503, .headers = "Retry-After: 61\r\n"}};
    struct fixture *fixture = *state;

    for (unsigned i = 0; i < ARRAY_COUNT(all); i++)
        all[i] = (struct step){.status = 503, .code = "overloaded"};
    assert_int_equal(call(fixture, all, ARRAY_COUNT(all)), -1);
    assert_string_equal(fixture->err.code, "overloaded");
    assert_int_equal(fixture->err.number, EAGAIN);
    assert_true(fixture->err.again);
    assert_true(fixture->clock.now_ms <= 60000 && fixture->clock.now_ms > 50000);
    /* Asked to wait longer than it wants to: not tried again. */
    assert_int_equal(call(fixture, long_after, 1), -1);
    assert_int_equal(fixture->requests, 1);
    open_client(fixture, &(const struct coffer_options){.no_retry = true});
    assert_int_equal(call(fixture, all, 1), -1);
    assert_int_equal(fixture->requests, 1);
}

static void test_not_repeated(void **state)
{
    static const struct {
        struct step step;
        int number;
        bool again;
    } cases[] = {{{.status = 404, .code = "no_such_dataset"}, ENOENT, false},
        {{.status = 409, .code = "offset_mismatch"}, ESTALE, false},
        {{.status = 409, .code = "fenced"}, EPERM, false},
        {{.status = 409, .code = "channel_busy"}, EBUSY, true},
        {{.status = 409, .code = "transaction_not_ready"}, EAGAIN, true},
        {{.status = 409, .code = "transaction_aborted"}, ECANCELED, false},
        {{.status = 500, .code = "data_corrupt"}, EBADMSG, false},
        {{.status = 500, .code = "sync_failed"}, EIO, false},
        {{.status = 507, .code = "disk_full"}, ENOSPC, false},
        {{.status = 401, .code = "unauthenticated"}, EACCES, false},
        {{.status = 418, .code = "a_code_of_later"}, EINVAL, false},
        {{.status = 404}, ENOENT, false},
        {{.status = 301, .headers = "Location: /elsewhere\r\n"}, EPROTO, false}};
    struct fixture *fixture = *state;

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        const struct step *step = &cases[i].step;

        assert_int_equal(call(fixture, step, 1), -1);
        assert_int_equal(fixture->requests, 1);
        assert_int_equal(fixture->err.number, cases[i].number);
        assert_int_equal(fixture->err.status, step->status);
        assert_int_equal(fixture->err.again, cases[i].again);
        assert_string_equal(fixture->err.code, step->code == NULL ? "bad_answer" : step->code);
        if (step->code != NULL) {
            assert_string_equal(fixture->err.detail, "d");
            assert_string_equal(fixture->err.request_id, "r-1");
        }
    }
}

static void test_no_server(void **state)
{
    struct fixture *fixture = *state;
    struct coffer_error err;
    struct coffer_client *client;
    struct fake_clock clock;

    client = coffer_open("unix:/nonexistent/socket", NULL, &err);
    fake_clock_set(&clock, client);
    assert_int_equal(coffer_call(client, "GET", "/healthz", NULL, NULL, &err), -1);
    assert_string_equal(err.code, "no_connection");
    assert_int_equal(err.number, ECONNREFUSED);
    assert_true(clock.count > 10);
    coffer_close(client);
    assert_null(coffer_open("ftp://example.org", NULL, &err));
    assert_string_equal(err.code, "bad_argument");
    (void)fixture;
}

static void test_silence(void **state)
{
    static const struct step silent[] = {{.fault = SCRIPT_SILENT}};
    struct fixture *fixture = *state;

    open_client(fixture, &(const struct coffer_options){.timeout = 1});
    assert_int_equal(call(fixture, silent, 1), 0); /* the second try is answered */
    assert_int_equal(fixture->requests, 2);
    open_client(fixture, &(const struct coffer_options){.timeout = 1, .no_retry = true});
    assert_int_equal(call(fixture, silent, 1), -1);
    assert_string_equal(fixture->err.code, "timed_out");
    assert_int_equal(fixture->err.number, ETIMEDOUT);
}

/* The client gave up before all was sent: the rest never comes, nor an end as if it were all. */
static void test_abandoned(void **state)
{
    const struct coffer_options options = {.timeout = 1, .no_retry = true};
    static const char body[32 << 20];
    struct fixture *fixture = *state;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd;
    struct coffer_client *client;
    char url[64];
    ssize_t got;

    assert_int_equal(bind(listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    client = coffer_open(url, &options, NULL);
    assert_non_null(client);
    assert_int_equal(coffer_put(client, body, sizeof(body), NULL, NULL, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "timed_out");
    coffer_close(client);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    do
        got = recv(fd, fixture->head, sizeof(fixture->head), 0);
    while (got > 0);
    assert_int_equal(got, -1);
    assert_int_equal(errno, ECONNRESET);
    (void)close(fd);
    (void)close(listener);
}

static int send_once(struct fixture *fixture, const struct step *steps, unsigned count)
{
    const struct request request = {
        .method = "POST", .path = "/x", .body = "body", .size = 4, .once = true};
    struct call_answer answer;
    int result;

    fixture->steps = steps;
    fixture->count = count;
    fixture->requests = 0;
    result = call_send(fixture->client, &request, NULL, NULL, &answer, &fixture->err);
    call_release(&answer);
    script_server_settle(&fixture->server);
    return result;
}

/* What must not be done twice is sent again only if it was certainly not done. */
static void test_once(void **state)
{
    static const struct step lost[] = {{.fault = SCRIPT_DROP}}, cut[] = {{.fault = SCRIPT_CUT}},
                             failed[] = {{.status = 500, .code = "internal"}},
                             refused[] = {{.status = 503, .code = "overloaded"}};
    struct fixture *fixture = *state;

    assert_int_equal(send_once(fixture, NULL, 0), 0); /* a connection that could be used again */
    assert_int_equal(send_once(fixture, lost, 1), -1);
    assert_string_equal(fixture->err.code, "answer_lost");
    assert_int_equal(fixture->requests, 1);
    assert_int_equal(send_once(fixture, cut, 1), -1);
    assert_int_equal(fixture->requests, 1);
    assert_int_equal(send_once(fixture, failed, 1), -1);
    assert_int_equal(fixture->requests, 1);
    assert_int_equal(send_once(fixture, refused, 1), 0);
    assert_int_equal(fixture->requests, 2);
}

static void test_headers(void **state)
{
    struct fixture *fixture = *state;

    open_client(
        fixture, &(const struct coffer_options){.key = "id:secret", .user_agent = "tested/1"});
    assert_int_equal(call(fixture, NULL, 0), 0);
    assert_non_null(strstr(fixture->head, "Authorization: Basic aWQ6c2VjcmV0\r\n"));
    assert_non_null(strstr(fixture->head, "User-Agent: tested/1\r\n"));
    open_client(fixture, &(const struct coffer_options){.key = "secret"});
    assert_int_equal(call(fixture, NULL, 0), 0);
    assert_non_null(strstr(fixture->head, "Authorization: Bearer secret\r\n"));
    assert_int_equal(coffer_dataset_delete(fixture->client, "../a b", NULL), 0);
    assert_string_equal(fixture->path, "/v1/datasets/..%2Fa%20b");
}

/* ---- bodies from files ---- */

static FILE *file_of(const char *text)
{
    FILE *file = tmpfile();

    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fseek(file, 2, SEEK_SET), 0);
    return file;
}

static void test_files(void **state)
{
    static const struct step steps[] = {
        {.fault = SCRIPT_DROP}, {.status = 503, .code = "overloaded"}};
    struct fixture *fixture = *state;
    struct coffer_chunk chunk;
    FILE *file = file_of("--hello");

    fixture->steps = steps;
    fixture->count = 2;
    assert_int_equal(coffer_put_file(fixture->client, file, NULL, &chunk, &fixture->err), 0);
    assert_true(chunk.created);
    assert_int_equal(fixture->requests, 3);
    for (unsigned i = 0; i < 3; i++) /* from the position that it had */
        assert_string_equal(fixture->bodies[i], "hello");
    (void)fclose(file);
}

static void test_pipes(void **state)
{
    static const struct step lost[] = {{.fault = SCRIPT_DROP}};
    struct fixture *fixture = *state;
    struct coffer_chunk chunk;
    int fds[2];
    FILE *file;

    for (unsigned round = 0; round < 2; round++) {
        fixture->steps = lost;
        fixture->count = round;
        fixture->requests = 0;
        assert_int_equal(pipe(fds), 0);
        assert_int_equal(write(fds[1], "hello", 5), 5);
        (void)close(fds[1]);
        file = fdopen(fds[0], "r");
        assert_int_equal(coffer_put_file(fixture->client, file, NULL, &chunk, &fixture->err),
            round == 0 ? 0 : -1);
        script_server_settle(&fixture->server);
        assert_string_equal(fixture->bodies[0], "hello");
        assert_non_null(strstr(fixture->head, "Transfer-Encoding: chunked\r\n"));
        (void)fclose(file);
    }
    assert_string_equal(fixture->err.code, "answer_lost");
}

/* Refused from its head, while the client sends. */
static bool refuse_early(void *context, struct script_request *request, struct script_reply *reply)
{
    struct fixture *fixture = context;

    (void)request;
    fixture->requests++;
    script_problem(reply, 507, "disk_full");
    return true;
}

static void test_early_refusal(void **state)
{
    struct fixture *fixture = *state;
    size_t size = 4 << 20;
    char *data = calloc(1, size);
    FILE *file = fmemopen(data, size, "r");

    fixture->server.early = refuse_early;
    assert_int_equal(coffer_put_file(fixture->client, file, NULL, NULL, &fixture->err), -1);
    assert_string_equal(fixture->err.code, "disk_full");
    assert_int_equal(fixture->requests, 1);
    (void)fclose(file);
    free(data);
}

/* A deletion whose answer was lost, and that finds nothing the second time, has been done. */
static void test_delete_repeated(void **state)
{
    static const struct step steps[] = {
        {.fault = SCRIPT_DROP}, {.status = 404, .code = "no_such_dataset"}};
    struct fixture *fixture = *state;

    fixture->steps = steps;
    fixture->count = 2;
    assert_int_equal(coffer_dataset_delete(fixture->client, "run", &fixture->err), 0);
    fixture->steps++;
    fixture->count = 1;
    fixture->requests = 0;
    assert_int_equal(coffer_dataset_delete(fixture->client, "run", &fixture->err), -1);
    assert_int_equal(fixture->err.number, ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_impatient, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pauses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_patience_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_repeated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_server, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_abandoned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_early_refusal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delete_repeated, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
