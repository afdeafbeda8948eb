/*
 * Goal: an error is valid problem+json for every status and any detail, however small the buffer.
 * Method: read it back with jansson.
 */
#include "api/problem.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static json_t *written(const struct problem *problem)
{
    struct json_out out;
    json_error_t error;
    json_t *parsed;

    json_out_growable(&out, 1 << 16);
    problem_write(&out, problem);
    assert_true(json_out_ok(&out));
    parsed = json_loadb(
        json_out_text(&out).data, json_out_text(&out).size, JSON_REJECT_DUPLICATES, &error);
    assert_non_null(parsed);
    json_out_release(&out);
    return parsed;
}

static const char *text_of(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void test_members(void **state)
{
    struct problem problem = {.status = COFFER_DIGEST_MISMATCH,
        .detail = slice_from_text("say \"hello\"\nto \\ it"),
        .request_id = slice_from_text("r-1"),
        .members = slice_from_text("\"offset\":12,\"list\":[\"a\"]")};
    json_t *parsed = written(&problem);

    (void)state;
    assert_string_equal(text_of(parsed, "type"), "about:blank");
    assert_string_equal(text_of(parsed, "title"), status_title(COFFER_DIGEST_MISMATCH));
    assert_string_equal(text_of(parsed, "code"), "digest_mismatch");
    assert_string_equal(text_of(parsed, "detail"), "say \"hello\"\nto \\ it");
    assert_string_equal(text_of(parsed, "request_id"), "r-1");
    assert_int_equal(json_integer_value(json_object_get(parsed, "status")), 422);
    assert_int_equal(json_integer_value(json_object_get(parsed, "offset")), 12);
    assert_int_equal(json_array_size(json_object_get(parsed, "list")), 1);
    json_decref(parsed);
}

static void test_every_status(void **state)
{
    (void)state;
    for (int i = 0; i < COFFER_STATUS_COUNT; i++) {
        struct problem problem = {
            .status = (enum coffer_status)i, .detail = slice_from_text("/secret/path")};
        json_t *parsed = written(&problem);
        enum coffer_status shown = problem_public_status(problem.status);

        assert_string_equal(text_of(parsed, "code"), status_code(shown));
        assert_true(status_http(shown) >= 400);
        if (shown != problem.status) {
            assert_int_equal(shown, COFFER_INTERNAL);
            assert_null(json_object_get(parsed, "detail"));
        }
        json_decref(parsed);
    }
    assert_int_equal(problem_public_status(COFFER_IO), COFFER_INTERNAL);
    assert_int_equal(problem_public_status(COFFER_SYNC_FAILED), COFFER_SYNC_FAILED);
}

static void test_small_buffers(void **state)
{
    struct problem problem = {.status = COFFER_BAD_KEY,
        .detail = slice_from_text("\x01\x02 binary \xff detail"),
        .request_id = slice_from_text("r")};
    bool with_detail = false, without = false;

    (void)state;
    for (size_t size = 0; size < 400; size++) {
        char *buffer = malloc(size + 1);
        struct json_out out;
        json_t *parsed;
        json_error_t error;

        json_out_fixed(&out, buffer, size);
        problem_write(&out, &problem);
        if (json_out_ok(&out)) {
            parsed = json_loadb(buffer, json_out_text(&out).size, 0, &error);
            assert_non_null(parsed);
            if (json_object_get(parsed, "detail") == NULL)
                without = true;
            else
                with_detail = true;
            json_decref(parsed);
        } else {
            assert_false(without);
        }
        free(buffer);
    }
    assert_true(with_detail && without);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_every_status),
        cmocka_unit_test(test_small_buffers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
