/*
 * Goal: addresses are read as documented and told apart by who can reach them; sockets of unix get
 * their mode, replace stale files and nothing else.
 */
#include "server/listen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        int family;
        bool private;
    } legal[] = {{"127.0.0.1:8420", AF_INET, true}, {"127.9.9.9:0", AF_INET, true},
        {"localhost:1", AF_INET, true}, {"0.0.0.0:80", AF_INET, false},
        {"192.168.1.1:65535", AF_INET, false}, {"[::1]:80", AF_INET6, true},
        {"[::]:80", AF_INET6, false}, {"[fe80::1]:1", AF_INET6, false},
        {"unix:/run/coffer", AF_UNIX, true}, {"unix:relative", AF_UNIX, true}};
    static const char *const wrong[] = {"", "8420", ":8420", "127.0.0.1",
        "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:8x",
        "127.0.0.1:99999999999999999999", "example.org:80", "::1:80", "[::1]", "[::1:80", "[]:80",
        "[127.0.0.1]:80", "unix:", "1.2.3:80", "127.0.0.1 :80"};
    struct listen_address address;
    char lengthy[300] = "unix:";
    struct error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(legal); i++) {
        assert_int_equal(listen_parse(legal[i].text, &address, &err), COFFER_OK);
        assert_int_equal(address.at.any.sa_family, legal[i].family);
        assert_int_equal(address.private, legal[i].private);
    }
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        if (listen_parse(wrong[i], &address, &err) != COFFER_BAD_OPTION)
            fail_msg("\"%s\" was taken", wrong[i]);
    memset(lengthy + 5, 'a', sizeof(lengthy) - 6);
    assert_int_equal(listen_parse(lengthy, &address, &err), COFFER_BAD_OPTION);
}

static void open_text(const char *text, struct listener *listener, enum coffer_status expected)
{
    struct listen_address address;
    struct error err;

    assert_int_equal(listen_parse(text, &address, &err), COFFER_OK);
    assert_int_equal(listener_open(&address, listener, &err), expected);
    if (expected != COFFER_OK)
        assert_non_null(strstr(err.text, "listen on "));
}

static void test_free_port(void **state)
{
    static const char *const texts[] = {"127.0.0.1:0", "[::1]:0"};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        struct listener listener, other;
        struct listen_address address;
        const char *port;

        assert_int_equal(listen_parse(texts[i], &address, NULL), COFFER_OK);
        if (listener_open(&address, &listener, NULL) != COFFER_OK) {
            assert_int_equal(address.at.any.sa_family, AF_INET6); /* a machine may be without it */
            continue;
        }
        port = strrchr(listener.name, ':');
        assert_non_null(port);
        assert_true(atoi(port + 1) > 0);
        assert_memory_equal(listener.name, texts[i], (size_t)(port - listener.name));
        open_text(listener.name, &other, COFFER_IO); /* taken */
        assert_int_equal(other.fd, -1);
        listener_close(&listener);
        listener_close(&listener); /* again: nothing */
        listener_close(&other);
    }
}

static void test_unix_socket(void **state)
{
    char folder[] = "/tmp/coffer-listen-XXXXXX", path[64], text[96];
    struct listener listener, other;
    struct stat info;
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/s", folder);
    (void)snprintf(text, sizeof(text), "unix:%s", path);
    open_text(text, &listener, COFFER_OK);
    assert_string_equal(listener.name, text);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0660);
    open_text(text, &other, COFFER_IO); /* somebody listens there */
    assert_int_equal(stat(path, &info), 0);
    (void)close(listener.fd); /* as a crash leaves it */
    open_text(text, &listener, COFFER_OK);
    listener_close(&listener);
    assert_int_equal(stat(path, &info), -1);
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fclose(file);
    open_text(text, &other, COFFER_IO); /* a file of somebody else stays */
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_free_port),
        cmocka_unit_test(test_unix_socket),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
