/*
 * Goal: a table of fields takes exactly what it says out of an object, and what is refused is
 * explained. Method: small objects, good and bad, against one table with a field of each kind.
 */
#include "api/json_in.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"

struct taken {
    struct slice text;
    unsigned word;
    bool flag;
    uint64_t count, ns;
    json_t *list, *object;
};

static enum coffer_status take(json_t *object, struct taken *taken, struct error *err)
{
    static const char *const words[] = {"red", "green", NULL};
    const struct json_field fields[] = {JSON_TEXT("text", &taken->text),
        JSON_WORD("word", &taken->word, words), JSON_BOOL("flag", &taken->flag),
        JSON_COUNT("count", &taken->count, 2, 19),
        JSON_SECONDS("seconds", &taken->ns, NS_PER_MS, 10 * (uint64_t)NS_PER_S),
        JSON_LIST("list", &taken->list), JSON_OBJECT("object", &taken->object)};

    *taken = (struct taken){.word = 7, .count = 7, .ns = 7};
    return json_in_read(object, "the body", fields, ARRAY_COUNT(fields), err);
}

static void test_all(void **state)
{
    json_error_t where;
    json_t *object =
        json_loads("{\"text\":\"a\",\"word\":\"green\",\"flag\":true,\"count\":19,\"seconds\":0.5,"
                   "\"list\":[1],\"object\":{}}",
            0, &where);
    struct taken taken;
    struct error err;

    (void)state;
    assert_non_null(object);
    assert_int_equal(take(object, &taken, &err), COFFER_OK);
    assert_true(slice_equal(taken.text, slice_of("a", 1)));
    assert_int_equal(taken.word, 1);
    assert_true(taken.flag);
    assert_int_equal(taken.count, 19);
    assert_int_equal(taken.ns, NS_PER_S / 2);
    assert_int_equal(json_array_size(taken.list), 1);
    assert_non_null(taken.object);
    json_decref(object);
}

static void test_nothing(void **state)
{
    json_t *object = json_object();
    struct taken taken;
    struct error err;

    (void)state;
    assert_int_equal(take(object, &taken, &err), COFFER_OK);
    assert_null(taken.text.data);
    assert_int_equal(taken.word, 7);
    assert_int_equal(taken.count, 7);
    assert_int_equal(taken.ns, 7);
    assert_null(taken.list);
    assert_int_equal(json_in_read(object, "the body", NULL, 0, &err), COFFER_OK);
    json_decref(object);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text;
        enum coffer_status status;
        const char *said; /* is in the error's text */
    } cases[] = {
        {"{\"tekst\":\"a\"}", COFFER_UNKNOWN_FIELD, "\"tekst\""},
        {"{\"tekst\":\"a\"}", COFFER_UNKNOWN_FIELD, "text, word, flag, count"},
        {"{\"text\":1}", COFFER_BAD_JSON, "\"text\" of the body is a text, not a number"},
        {"{\"text\":null}", COFFER_BAD_JSON, "not null"},
        {"{\"word\":\"blue\"}", COFFER_BAD_REQUEST, "red, green"},
        {"{\"word\":false}", COFFER_BAD_JSON, "not true or false"},
        {"{\"flag\":0}", COFFER_BAD_JSON, "\"flag\""},
        {"{\"count\":1}", COFFER_BAD_REQUEST, "from 2 to 19"},
        {"{\"count\":20}", COFFER_BAD_REQUEST, "from 2 to 19"},
        {"{\"count\":-1}", COFFER_BAD_REQUEST, "from 2 to 19"},
        {"{\"count\":2.0}", COFFER_BAD_REQUEST, "whole number"},
        {"{\"count\":\"2\"}", COFFER_BAD_JSON, "a number, not a text"},
        {"{\"seconds\":0}", COFFER_BAD_REQUEST, "from 0.001 to 10"},
        {"{\"seconds\":-5}", COFFER_BAD_REQUEST, "from 0.001 to 10"},
        {"{\"seconds\":10.5}", COFFER_BAD_REQUEST, "from 0.001 to 10"},
        {"{\"seconds\":1e300}", COFFER_BAD_REQUEST, "from 0.001 to 10"},
        {"{\"seconds\":\"1s\"}", COFFER_BAD_JSON, "number of seconds"},
        {"{\"list\":{}}", COFFER_BAD_JSON, "a list, not an object"},
        {"{\"object\":[]}", COFFER_BAD_JSON, "an object, not a list"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        json_error_t where;
        json_t *object = json_loads(cases[i].text, 0, &where);
        struct taken taken;
        struct error err = {COFFER_OK, ""};

        assert_non_null(object);
        if (take(object, &taken, &err) != cases[i].status ||
            strstr(err.text, cases[i].said) == NULL)
            fail_msg("%s: %s, %s", cases[i].text, status_code(err.status), err.text);
        json_decref(object);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
