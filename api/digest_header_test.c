/*
 * Goal: a digest header gives its sha-256 or an error, never a wrong digest. Method: forms of RFC
 * 8941 and 9530, broken forms, and what digest_header_format() writes read back.
 */
#include "api/digest_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* SHA-256 of `{"hello": "world"}` and a line feed, the example of RFC 9530. */
#define EXAMPLE "RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg="

static enum coffer_status parse(const char *text, struct digest *digest, bool *found)
{
    size_t size = strlen(text);
    char *copy = malloc(size + 1); /* without the NUL in reach of a sanitizer */
    enum coffer_status status;

    memcpy(copy, text, size + 1);
    copy = realloc(copy, size == 0 ? 1 : size);
    status = digest_header_parse(slice_of(copy, size), digest, found, NULL);
    free(copy);
    return status;
}

static void test_good(void **state)
{
    static const char *const headers[] = {
        "sha-256=:" EXAMPLE ":",
        "  sha-256=:" EXAMPLE ":  ",
        "sha-512=:AAAA:,\t sha-256=:" EXAMPLE ":",
        "md5=:AA==:, x, y;a=1;b, z=?1, n=-12.5, s=\"a,\\\"b\", t=tok/en:x, l=(1 \"b\" :AA==:;q);w, "
        "sha-256=:" EXAMPLE ":;foo=bar",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg:",
        "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:, sha-256=:" EXAMPLE ":",
    };
    struct digest expected, digest;
    bool found;

    (void)state;
    sha256_once("{\"hello\": \"world\"}\n", 19, &expected);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        assert_int_equal(parse(headers[i], &digest, &found), COFFER_OK);
        assert_true(found);
        assert_true(digest_equal(&digest, &expected));
    }
}

static void test_without_sha256(void **state)
{
    static const char *const headers[] = {
        "", "sha-512=:AAAA:", "md5=:AA==:, unixsum=3", "sha-2=:" EXAMPLE ":", "a=()", "*x"};
    struct digest digest;
    bool found = true;

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        assert_int_equal(parse(headers[i], &digest, &found), COFFER_OK);
        assert_false(found);
    }
    assert_int_equal(digest_header_parse(slice_of(NULL, 0), &digest, &found, NULL), COFFER_OK);
    assert_false(found);
}

static void test_bad(void **state)
{
    static const char *const headers[] = {"sha-256",
        "sha-256=", "sha-256=:", "sha-256=::", "sha-256=" EXAMPLE, "sha-256=:" EXAMPLE,
        "sha-256=:" EXAMPLE "::", "sha-256=:" EXAMPLE ": x", "sha-256=:" EXAMPLE ":,",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP_lF5HF9bvEF8FabDg=:", "sha-256=:AAAA:",
        "sha-256=\"" EXAMPLE "\"", "sha-256=(:" EXAMPLE ":)",
        "SHA-256=:AAAA:", "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8Fab=g=:",
        "sha-256=:=K/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabD==:", "=:AAAA:", "a b", "a=?2", "a=\"x",
        "a=\"\\x\"", "a=(1", "a=(1,2)", "a=1.", "a=1.1234", "a=1234567890123456", "a;", ",a",
        "sha-256 =:" EXAMPLE ":", "\t", "a=\x01", "a=-"};
    struct digest digest;
    bool found;

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        enum coffer_status status = parse(headers[i], &digest, &found);

        if (status != COFFER_BAD_DIGEST_HEADER)
            print_message("taken: %s\n", headers[i]);
        assert_int_equal(status, COFFER_BAD_DIGEST_HEADER);
    }
}

static void test_round_trip(void **state)
{
    struct digest digest, back;
    char text[DIGEST_HEADER_SIZE + 1];
    bool found;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        random_bytes(&digest, sizeof(digest));
        digest_header_format(&digest, text);
        assert_int_equal(strlen(text), DIGEST_HEADER_SIZE);
        assert_int_equal(parse(text, &back, &found), COFFER_OK);
        assert_true(found && digest_equal(&digest, &back));
    }
}

static void test_any_bytes(void **state)
{
    static const char alphabet[] = "sha-256=:\"(); ,.?01=\\aA/\x80";
    struct digest digest;
    bool found;

    (void)state;
    srandom(5);
    for (int round = 0; round < 200000; round++) {
        char bytes[24];
        size_t size = (size_t)random() % (sizeof(bytes) - 1);

        for (size_t i = 0; i < size; i++)
            bytes[i] = alphabet[(size_t)random() % sizeof(alphabet)];
        bytes[size] = '\0';
        if (parse(bytes, &digest, &found) == COFFER_OK)
            assert_false(found); /* too short for one */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_without_sha256),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_any_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
