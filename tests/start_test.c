/*
 * Goal: cofferd starts when it can and says in one clear line why not when it cannot, touches no
 * folder that is not its own, and a stop loses nothing. Method: the real binary, its exit code, its
 * standard error, and the folder before and after.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/http_check.h"
#include "tests/support/server_fixture.h"

enum { EXIT_USAGE = 2, NOBODY = 65534 };

static struct server server;

static int setup(void **state)
{
    (void)state;
    server_init(&server, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return server_end(&server, 0);
}

/* It must end with `code`, after one line that has `text`. */
static void check_refuses(int code, const char *text)
{
    int result = server_run(&server);
    char *log = server_log_copy(&server);

    if (result != code || strstr(log, text) == NULL || server_log_lines(&server) != 1) {
        print_error("exit code %d, not %d; \"%s\" is to be in the one line of:\n%s", result, code,
            text, log);
        free(log);
        fail();
    }
    free(log);
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[600];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A store with one chunk in it. */
static void make_store(struct sample *sample)
{
    struct http_client *client;

    sample_init(sample, 3000, 1);
    server_start(&server);
    client = http_client_create(server.address);
    check_put(client, sample, NULL, 201);
    http_client_destroy(client);
    assert_int_equal(server_stop(&server), 0);
}

static void check_still_there(const struct sample *sample)
{
    struct http_client *client;

    server_start(&server);
    client = http_client_create(server.address);
    check_get(client, sample);
    http_client_destroy(client);
    assert_int_equal(server_stop(&server), 0);
}

/* ---- the folder ---- */

static void test_second_server(void **state)
{
    struct server second;
    struct http_client *client;
    struct sample sample;
    char *log;

    (void)state;
    sample_init(&sample, 100, 1);
    server_start(&server);
    server_init(&second, NULL);
    (void)snprintf(second.data_dir, sizeof(second.data_dir), "%s", server.data_dir);
    assert_int_equal(server_run(&second), EXIT_USAGE);
    log = server_log_copy(&second);
    assert_non_null(strstr(log, "another server has"));
    assert_non_null(strstr(log, server.data_dir));
    assert_int_equal(server_log_lines(&second), 1);
    free(log);
    assert_int_equal(server_end(&second, 0), 0);
    client = http_client_create(server.address); /* the first one did not notice */
    check_put(client, &sample, NULL, 201);
    http_client_destroy(client);
    sample_release(&sample);
}

static void test_newer_format(void **state)
{
    struct sample sample;
    uint64_t before;
    char path[300], marker[300], newer[400];
    FILE *file;
    size_t size;

    (void)state;
    make_store(&sample);
    (void)snprintf(path, sizeof(path), "%s/STORE", server.data_dir);
    file = fopen(path, "r");
    assert_non_null(file);
    size = fread(marker, 1, sizeof(marker) - 1, file);
    marker[size] = '\0';
    (void)fclose(file);
    (void)snprintf(newer, sizeof(newer), "coffer store, format 99\n%s", strchr(marker, '\n') + 1);
    write_file(server.data_dir, "STORE", newer);
    before = folder_fingerprint(server.data_dir);
    check_refuses(EXIT_USAGE, "format 99");
    assert_true(folder_fingerprint(server.data_dir) == before);
    write_file(server.data_dir, "STORE", "something else\n");
    before = folder_fingerprint(server.data_dir);
    check_refuses(EXIT_USAGE, "STORE");
    assert_true(folder_fingerprint(server.data_dir) == before);
    write_file(server.data_dir, "STORE", "");
    check_refuses(EXIT_USAGE, "STORE");
    write_file(server.data_dir, "STORE", marker);
    check_still_there(&sample);
    sample_release(&sample);
}

static void test_not_a_store(void **state)
{
    uint64_t before;
    char path[300];

    (void)state;
    assert_int_equal(mkdir(server.data_dir, 0755), 0);
    write_file(server.data_dir, "letters.txt", "dear sir\n");
    before = folder_fingerprint(server.data_dir);
    check_refuses(EXIT_USAGE, "letters.txt");
    assert_true(folder_fingerprint(server.data_dir) == before);
    (void)snprintf(path, sizeof(path), "%s/letters.txt", server.data_dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(server.data_dir), 0);
    write_file(server.folder, "data", "a file\n"); /* the folder itself is none */
    assert_int_not_equal(server_run(&server), 0);
    assert_int_equal(server_log_lines(&server), 1);
}

static void test_folder_is_made(void **state)
{
    (void)state;
    (void)snprintf(server.data_dir, sizeof(server.data_dir), "%s/new/deep/store", server.folder);
    server_start(&server);
    assert_int_equal(server_stop(&server), 0);
    assert_int_equal(access(server.data_dir, F_OK), 0);
}

static void test_unreadable_folder(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip(); /* needs a second user */
    assert_int_equal(chmod(server.folder, 0755), 0);
    assert_int_equal(mkdir(server.data_dir, 0700), 0);
    server.uid = NOBODY;
    assert_int_not_equal(server_run(&server), 0);
    assert_int_equal(server_log_lines(&server), 1);
    assert_true(server_log_has(&server, "ermission denied"));
    assert_true(server_log_has(&server, server.data_dir));
    assert_int_equal(chmod(server.data_dir, 0555), 0); /* may look, may not write */
    assert_int_not_equal(server_run(&server), 0);
    assert_int_equal(server_log_lines(&server), 1);
    assert_true(server_log_has(&server, "ermission denied"));
    assert_int_equal(chown(server.data_dir, NOBODY, NOBODY), 0);
    assert_int_equal(chmod(server.data_dir, 0700), 0);
    server_start(&server);
    assert_int_equal(server_stop(&server), 0);
}

/* ---- options ---- */

static void test_bad_options(void **state)
{
    static const struct {
        const char *name, *value, *text;
    } cases[] = {
        {"--no-such-option", "1", "--no-such-option"},
        {"--pack-size", "huge", "--pack-size"},
        {"--pack-size", "1KiB", "--pack-size"},
        {"--pack-size", "-1", "--pack-size"},
        {"--pack-size", "10 MB", "--pack-size"},
        {"--pack-size", "99999999999999999999999", "--pack-size"},
        {"--pack-size", "", "--pack-size"},
        {"--segment-size", "1", "--segment-size"},
        {"--segment-size", "1GiB", "--segment-size"}, /* with --pack-size 64MiB below */
        {"--buffer-size", "1TiB", "--buffer-size"},
        {"--buffer-size", "1GiB", "--buffer-size"}, /* over the memory limit */
        {"--memory-limit", "1", "--memory-limit"},
        {"--flush-interval", "soon", "--flush-interval"},
        {"--flush-interval", "0", "--flush-interval"},
        {"--sync-delay", "1h", "--sync-delay"},
        {"--durability", "eventually", "--durability"},
        {"--compression", "gzip", "--compression"},
        {"--compression-level", "77", "--compression-level"},
        {"--engine", "rados", "--engine"},
        {"--log-format", "xml", "--log-format"},
        {"--log-level", "loud", "--log-level"},
        {"--timeout", "0s", "--timeout"},
        {"--header-size-max", "4MiB", "--header-size-max"},
        {"--config", "/no/such/file", "/no/such/file"},
        {"--data-dir", "", "--data-dir"},
        {"--listen", "nowhere", "nowhere"},
        {"--listen", "127.0.0.1:99999", "99999"},
        {"--listen", "example.org:80", "example.org"},
        {"--listen", "", "--listen"},
        {"--pack-size", NULL, "--pack-size"}, /* no value */
        {"stray", NULL, "stray"},
        {"-x", NULL, "-x"},
        {"--", NULL, "--"},
    };

    (void)state;
    server.args[0] = "--pack-size";
    server.args[1] = "64MiB";
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        server.args[2] = cases[i].name;
        server.args[3] = cases[i].value;
        check_refuses(EXIT_USAGE, cases[i].text);
        assert_int_equal(access(server.data_dir, F_OK), -1); /* nothing was made */
    }
}

static void test_bad_environment_and_config(void **state)
{
    static const char *const variables[] = {"COFFER_PACK_SIZE=x", "COFFER_LISTEN=,",
        "COFFER_DURABILITY=", "COFFER_CONFIG=/no/such/file", "COFFER_FAULTS=nonsense"};
    static const struct {
        const char *config, *text;
    } cases[] = {
        {"", "config"},
        {"{", "config"},
        {"[]", "config"},
        {"{\"pack_size\":\"x\"}", "pack_size"},
        {"{\"pack_size\":{}}", "pack_size"},
        {"{\"pack_sise\":\"64MiB\"}", "pack_sise"},
        {"{\"pack_size\":\"64MiB\",\"pack_size\":\"65MiB\"}", "pack_size"},
        {"{\"config\":\"x\"}", "config"},
        {"{\"listen\":[]}", "listen"},
        {"{\"listen\":[7]}", "listen"},
    };
    char path[300];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(variables); i++) {
        char name[40];

        server.env[0] = variables[i];
        (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(variables[i], "="), variables[i]);
        check_refuses(EXIT_USAGE, strcmp(name, "COFFER_CONFIG") == 0 ? "/no/such/file" : name);
    }
    server.env[0] = NULL;
    (void)snprintf(path, sizeof(path), "%s/config.json", server.folder);
    server.args[0] = "--config";
    server.args[1] = path;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        write_file(server.folder, "config.json", cases[i].config);
        check_refuses(EXIT_USAGE, cases[i].text);
    }
}

/* Which of them is used shows in /v1/status. */
static uint64_t max_space_in_use(void)
{
    struct http_client *client;
    uint64_t value;

    server_start(&server);
    client = http_client_create(server.address);
    value = status_number(client, "max_space");
    http_client_destroy(client);
    assert_int_equal(server_stop(&server), 0);
    return value;
}

static void test_precedence(void **state)
{
    char path[300], variable[340], text[400];

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/config.json", server.folder);
    (void)snprintf(text, sizeof(text),
        "{\"max_space\":\"1GiB\",\"listen\":[\"127.0.0.1:0\"],\"allow_anonymous\":false,"
        "\"compression_level\":3,\"data_dir\":\"%s/data\"}",
        server.folder);
    write_file(server.folder, "config.json", text);
    server.no_data_dir = true;
    server.listen = NULL;
    server.args[0] = "--config";
    server.args[1] = path;
    assert_true(max_space_in_use() == 1ull << 30);
    assert_int_equal(access(server.data_dir, F_OK), 0);
    server.env[0] = "COFFER_MAX_SPACE=2GiB";
    assert_true(max_space_in_use() == 2ull << 30);
    server.args[2] = "--max-space=3GiB";
    assert_true(max_space_in_use() == 3ull << 30);
    (void)snprintf(variable, sizeof(variable), "COFFER_CONFIG=%s", path);
    server.env[0] = variable;
    server.args[0] = NULL;
    assert_true(max_space_in_use() == 1ull << 30);
}

/* ---- addresses ---- */

static void test_port_in_use(void **state)
{
    struct server second;

    (void)state;
    server_start(&server);
    server_init(&second, NULL);
    second.listen = server.address;
    assert_int_not_equal(server_run(&second), 0);
    assert_int_equal(server_log_lines(&second), 1);
    assert_true(server_log_has(&second, server.address));
    assert_true(server_log_has(&second, "ddress already in use"));
    assert_int_equal(access(second.data_dir, F_OK), -1);
    assert_int_equal(server_end(&second, 0), 0);
}

static void test_unix_socket(void **state)
{
    struct http_client *client;
    struct sample sample;
    struct stat info;
    char listen[300];

    (void)state;
    (void)snprintf(listen, sizeof(listen), "unix:%s/socket", server.folder);
    server.listen = listen;
    sample_init(&sample, 200000, 5);
    for (int round = 0; round < 2; round++) { /* the second finds the socket of a crash */
        server_start(&server);
        assert_string_equal(server.address, listen);
        assert_int_equal(stat(listen + 5, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0660);
        client = http_client_create(server.address);
        check_put(client, &sample, NULL, round == 0 ? 201 : 200);
        check_get(client, &sample);
        http_client_destroy(client);
        if (round == 0)
            server_kill(&server);
    }
    assert_int_equal(server_stop(&server), 0);
    assert_int_equal(stat(listen + 5, &info), -1);
    sample_release(&sample);
}

static void test_several_addresses(void **state)
{
    char listen[300], first[200];
    struct http_client *client;

    (void)state;
    (void)snprintf(listen, sizeof(listen), "unix:%s/socket", server.folder);
    server.args[0] = "--listen";
    server.args[1] = listen;
    server_start(&server);
    (void)snprintf(first, sizeof(first), "%s", server.address);
    client = http_client_create(first);
    CHECK_STATUS(client, 200, .path = "/healthz");
    http_client_destroy(client);
    client = http_client_create(listen);
    CHECK_STATUS(client, 200, .path = "/healthz");
    http_client_destroy(client);
}

static void test_public_address(void **state)
{
    static const char *const addresses[] = {"0.0.0.0:0", "[::]:0", "10.0.0.1:0"};
    struct http_client *client;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(addresses); i++) {
        server.listen = addresses[i];
        check_refuses(EXIT_USAGE, "--allow-anonymous");
    }
    assert_int_equal(access(server.data_dir, F_OK), -1);
    server.listen = "0.0.0.0:0";
    server.args[0] = "--allow-anonymous";
    server_start(&server);
    (void)memcpy(server.address, "127.0.0", 7);
    memmove(
        server.address + 9, strchr(server.address, ':'), strlen(strchr(server.address, ':')) + 1);
    (void)memcpy(server.address + 7, ".1", 2);
    client = http_client_create(server.address);
    CHECK_STATUS(client, 200, .path = "/v1/status", .headers = {"Host: coffer.example.org"});
    http_client_destroy(client);
}

static void test_foreign_pages(void **state)
{
    static const char *const foreign[] = {"Host: example.org", "Host: example.org:80",
        "Host: 8.8.8.8", "Host: localhost.example.org", "Host: 127.0.0.1.example.org",
        "Origin: http://example.org", "Origin: null", "Origin: https://localhost.example.org",
        "Origin: file://", "Host: localhost:80:80"};
    static const char *const own[] = {"Host: localhost", "Host: LOCALHOST:1", "Host: 127.0.0.1",
        "Host: 127.1.2.3:99", "Host: [::1]:80", "Origin: http://localhost:3000",
        "Origin: https://127.0.0.1"};
    struct http_client *client;

    (void)state;
    server_start(&server);
    client = http_client_create(server.address);
    for (size_t i = 0; i < ARRAY_COUNT(foreign); i++) {
        CHECK_PROBLEM(client, 403, "forbidden", .path = "/v1/status", .headers = {foreign[i]});
        CHECK_PROBLEM(client, 403, "forbidden", .method = "POST", .path = "/v1/chunks", .body = "x",
            .size = 1, .headers = {foreign[i]});
    }
    assert_int_equal(status_number(client, "chunks"), 0);
    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        CHECK_STATUS(client, 200, .path = "/v1/status", .headers = {own[i]});
    http_client_destroy(client);
}

/* ---- stopping ---- */

static void test_stop_keeps_buffered(void **state)
{
    struct sample samples[50];
    struct http_client *client;

    (void)state;
    server.args[0] = "--flush-interval";
    server.args[1] = "1h";
    for (int signal = 0; signal < 2; signal++) {
        server_start(&server);
        client = http_client_create(server.address);
        for (size_t i = 0; i < ARRAY_COUNT(samples); i++) {
            sample_init(&samples[i], 1000 + i, 1000 * (unsigned)signal + i);
            check_put(client, &samples[i], "buffered", 202);
        }
        http_client_destroy(client);
        assert_int_equal(kill(server.pid, signal == 0 ? SIGTERM : SIGINT), 0);
        assert_int_equal(server_wait(&server), 0);
        assert_true(server_log_has(&server, "stopped"));
        server_start(&server);
        client = http_client_create(server.address);
        for (size_t i = 0; i < ARRAY_COUNT(samples); i++) {
            struct http_answer answer;

            CHECK_SEND(client, 200, &answer, .path = samples[i].path);
            check_header(&answer, "Coffer-State", "durable");
            check_body(&answer, samples[i].content, samples[i].size);
            http_answer_release(&answer);
            sample_release(&samples[i]);
        }
        http_client_destroy(client);
        assert_int_equal(server_stop(&server), 0);
    }
}

/* An idle connection and half a request do not hold up a stop. */
static void test_stop_with_open_connections(void **state)
{
    int idle, half;

    (void)state;
    server.args[0] = "--drain-timeout";
    server.args[1] = "100ms";
    server_start(&server);
    idle = raw_connect(server.address);
    half = raw_connect(server.address);
    assert_true(raw_send_text(idle, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    assert_int_equal(raw_read_head(idle, 60, NULL, 0), 200);
    assert_true(
        raw_send_text(half, "PUT /v1/chunks/"
                            "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
                            " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
                            "Expect: 100-continue\r\n\r\n"));
    assert_int_equal(raw_read_head(half, 60, NULL, 0), 100);
    assert_int_equal(server_stop(&server), 0);
    raw_close(idle);
    raw_close(half);
}

#define START_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        START_TEST(test_second_server),
        START_TEST(test_newer_format),
        START_TEST(test_not_a_store),
        START_TEST(test_folder_is_made),
        START_TEST(test_unreadable_folder),
        START_TEST(test_bad_options),
        START_TEST(test_bad_environment_and_config),
        START_TEST(test_precedence),
        START_TEST(test_port_in_use),
        START_TEST(test_unix_socket),
        START_TEST(test_several_addresses),
        START_TEST(test_public_address),
        START_TEST(test_foreign_pages),
        START_TEST(test_stop_keeps_buffered),
        START_TEST(test_stop_with_open_connections),
    };

    http_client_global();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
