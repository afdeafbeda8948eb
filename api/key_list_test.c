/*
 * Goal: a body gives the same keys or the same error however it is cut into pieces. Method: each
 * text is fed whole, cut at every byte, and byte by byte; a long one is cut at random.
 */
#include "api/key_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define B_ESCAPED                                                                                  \
    "\\u0030123456789abcdef0123456789ab\\u0063def0123456789abcdef0123456789abcde\\u0066"

struct outcome {
    enum coffer_status status;
    struct error err;
    size_t count;
    struct digest keys[8];
};

static void begin(struct key_list *list, enum key_list_form form, uint64_t body_max)
{
    key_list_init(list, form, body_max, spill_create(DIGEST_SIZE, (struct spill_place){0}));
}

/* Feed text[0, cut), then the rest, in pieces of `step`. */
static void parse(
    enum key_list_form form, struct slice text, size_t cut, size_t step, struct outcome *outcome)
{
    struct key_list list;
    size_t at = 0;

    memset(outcome, 0, sizeof(*outcome));
    begin(&list, form, 1 << 20);
    while (at < text.size && outcome->status == COFFER_OK) {
        size_t size = at < cut ? cut - at : text.size - at;
        char *piece;

        if (size > step)
            size = step;
        piece = malloc(size); /* so that a sanitizer sees a step too far */
        memcpy(piece, (const char *)text.data + at, size);
        outcome->status = key_list_feed(&list, piece, size, &outcome->err);
        free(piece);
        at += size;
    }
    if (outcome->status == COFFER_OK)
        outcome->status = key_list_finish(&list, &outcome->err);
    if (outcome->status == COFFER_OK) {
        struct key_source keys = key_list_keys(&list);

        outcome->count = (size_t)keys.count;
        assert_int_equal(
            key_source_read(&keys, 0, keys.count < 8 ? (size_t)keys.count : 8, outcome->keys, NULL),
            COFFER_OK);
    }
    key_list_release(&list);
}

static void check(enum key_list_form form, const char *text, enum coffer_status expected,
    size_t count, const char *detail)
{
    struct slice body = slice_from_text(text);
    struct outcome whole, cut;

    parse(form, body, 0, SIZE_MAX, &whole);
    if (whole.status != expected)
        print_message("%s: %s\n", text, whole.err.text);
    assert_int_equal(whole.status, expected);
    assert_int_equal(whole.count, count);
    if (detail != NULL && strstr(whole.err.text, detail) == NULL)
        print_message("%s: %s\n", text, whole.err.text);
    if (detail != NULL)
        assert_non_null(strstr(whole.err.text, detail));
    for (size_t at = 1; at < body.size; at++) {
        parse(form, body, at, SIZE_MAX, &cut);
        assert_memory_equal(&cut, &whole, sizeof(whole));
    }
    parse(form, body, 0, 1, &cut);
    assert_memory_equal(&cut, &whole, sizeof(whole));
}

static void test_json(void **state)
{
    (void)state;
    check(KEY_LIST_JSON, "{\"keys\":[]}", COFFER_OK, 0, NULL);
    check(KEY_LIST_JSON, "{\"keys\":[\"" A "\"]}", COFFER_OK, 1, NULL);
    check(KEY_LIST_JSON, " \r\n{ \"keys\" :\t[ \"" A "\" , \"" B "\",\"" A "\" ] } \n", COFFER_OK,
        3, NULL);
    check(KEY_LIST_JSON, "{\"\\u006beys\":[\"" B_ESCAPED "\"]}", COFFER_OK, 1, NULL);

    check(KEY_LIST_JSON, "", COFFER_BAD_JSON, 0, "byte 0 ");
    check(KEY_LIST_JSON, "{}", COFFER_BAD_JSON, 0, "missing");
    check(KEY_LIST_JSON, "[]", COFFER_BAD_JSON, 0, "byte 1 ");
    check(KEY_LIST_JSON, "{\"keys\":[\"" A "\"]", COFFER_BAD_JSON, 0, "too early");
    check(KEY_LIST_JSON, "{\"keys\":[\"" A "\",]}", COFFER_BAD_JSON, 0, "byte 77 ");
    check(KEY_LIST_JSON, "{\"keys\":[,\"" A "\"]}", COFFER_BAD_JSON, 0, "byte 10 ");
    check(KEY_LIST_JSON, "{\"keys\":[\"" A "\" \"" B "\"]}", COFFER_BAD_JSON, 0, NULL);
    check(KEY_LIST_JSON, "{\"keys\":[\"" A "\"],}", COFFER_BAD_JSON, 0, NULL);
    check(KEY_LIST_JSON, "{\"keys\":[]}x", COFFER_BAD_JSON, 0, "behind the end");
    check(KEY_LIST_JSON, "{\"keys\":[]}{", COFFER_BAD_JSON, 0, "behind the end");
    check(KEY_LIST_JSON, "{\"keys\":[],\"keys\":[]}", COFFER_BAD_JSON, 0, "twice");
    check(KEY_LIST_JSON, "{\"keys\":null}", COFFER_BAD_JSON, 0, "not a list");
    check(KEY_LIST_JSON, "{\"keys\":[1]}", COFFER_BAD_JSON, 0, "in quotes");
    check(KEY_LIST_JSON, "{\"keys\":[[]]}", COFFER_BAD_JSON, 0, "in quotes");
    check(KEY_LIST_JSON, "{keys:[]}", COFFER_BAD_JSON, 0, "name of a field");
    check(KEY_LIST_JSON, "{\"keys\"[]}", COFFER_BAD_JSON, 0, "colon");
    check(KEY_LIST_JSON, "{\"keys\":[\"a\nb\"]}", COFFER_BAD_JSON, 0, "control");
    check(KEY_LIST_JSON, "{\"keys\":[\"\\x\"]}", COFFER_BAD_JSON, 0, "escape");
    check(KEY_LIST_JSON, "{\"keys\":[\"\\u00g0\"]}", COFFER_BAD_JSON, 0, "four");

    check(KEY_LIST_JSON, "{\"key\":[]}", COFFER_UNKNOWN_FIELD, 0, "\"key\"");
    check(KEY_LIST_JSON, "{\"\":[]}", COFFER_UNKNOWN_FIELD, 0, "\"\"");
    check(KEY_LIST_JSON, "{\"keys\":[],\"limit\":3}", COFFER_UNKNOWN_FIELD, 0, "\"limit\"");
    check(KEY_LIST_JSON, "{\"keys\\u0000\":[]}", COFFER_UNKNOWN_FIELD, 0, NULL);

    check(KEY_LIST_JSON, "{\"keys\":[\"\"]}", COFFER_BAD_KEY, 0, "key number 1, at byte 10 ");
    check(KEY_LIST_JSON, "{\"keys\":[\"" A "\",\"abc\"]}", COFFER_BAD_KEY, 0,
        "key number 2, at byte 77 ");
    check(KEY_LIST_JSON, "{\"keys\":[\"" A "a\"]}", COFFER_BAD_KEY, 0, NULL);
    check(KEY_LIST_JSON, "{\"keys\":[\"" A A A "\"]}", COFFER_BAD_KEY, 0, "...");
    check(KEY_LIST_JSON,
        "{\"keys\":[\"AAAAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaa\"]}",
        COFFER_BAD_KEY, 0, "AAAAaa");
    check(KEY_LIST_JSON, "{\"keys\":[\"sha1:0\\ud83d\"]}", COFFER_BAD_KEY, 0, NULL);
}

static void test_lines(void **state)
{
    (void)state;
    check(KEY_LIST_LINES, "", COFFER_OK, 0, NULL);
    check(KEY_LIST_LINES, "\n\n", COFFER_OK, 0, NULL);
    check(KEY_LIST_LINES, A "\n" B "\n", COFFER_OK, 2, NULL);
    check(KEY_LIST_LINES, A "\r\n\r\n" B "\r\n" A, COFFER_OK, 3, NULL);
    check(KEY_LIST_LINES, A "\n" A "a\n", COFFER_BAD_KEY, 0, "key number 2, at byte 66 ");
    check(KEY_LIST_LINES, A A A "\n", COFFER_BAD_KEY, 0, "...");
    check(KEY_LIST_LINES, A "\n " B "\n", COFFER_BAD_KEY, 0, NULL);
    check(KEY_LIST_LINES, "{\"keys\":[]}", COFFER_BAD_KEY, 0, NULL);
}

/* The values themselves, and that escapes mean what they say. */
static void test_values(void **state)
{
    struct outcome plain, escaped, lines;
    struct digest expected;

    (void)state;
    assert_true(digest_from_hex(slice_from_text(B), &expected));
    parse(KEY_LIST_JSON, slice_from_text("{\"keys\":[\"" A "\",\"" B "\"]}"), 0, 7, &plain);
    assert_true(digest_equal(&plain.keys[1], &expected));
    parse(KEY_LIST_JSON, slice_from_text("{\"keys\":[\"" B_ESCAPED "\"]}"), 0, 5, &escaped);
    assert_true(digest_equal(&escaped.keys[0], &expected));
    parse(KEY_LIST_LINES, slice_from_text(A "\n" B), 0, 9, &lines);
    assert_true(digest_equal(&lines.keys[1], &expected));
}

static void test_many_in_random_pieces(void **state)
{
    enum { COUNT = 100000 };
    char *text = malloc(20 + (size_t)COUNT * 68);
    struct digest *keys = malloc(COUNT * sizeof(*keys)), *got = malloc(COUNT * sizeof(*got));
    size_t size = (size_t)sprintf(text, "{\"keys\":[");
    struct key_list list;

    (void)state;
    random_bytes(keys, COUNT * sizeof(*keys));
    for (size_t i = 0; i < COUNT; i++) {
        text[size++] = '"';
        digest_to_hex(&keys[i], text + size);
        size += DIGEST_HEX_SIZE;
        text[size++] = '"';
        text[size++] = ',';
    }
    text[size - 1] = ']';
    text[size++] = '}';
    srandom(17);
    begin(&list, KEY_LIST_JSON, 64 << 20);
    for (size_t at = 0; at < size;) {
        size_t piece = (size_t)random() % 3000 + 1;

        if (piece > size - at)
            piece = size - at;
        assert_int_equal(key_list_feed(&list, text + at, piece, NULL), COFFER_OK);
        at += piece;
    }
    assert_int_equal(key_list_finish(&list, NULL), COFFER_OK);
    assert_int_equal(key_list_keys(&list).count, COUNT);
    assert_int_equal(spill_read(list.keys, 0, COUNT, got, NULL), COFFER_OK);
    assert_memory_equal(got, keys, COUNT * sizeof(*keys));
    key_list_release(&list);
    free(got);
    free(keys);
    free(text);
}

static void test_limit(void **state)
{
    struct key_list list;

    (void)state;
    begin(&list, KEY_LIST_JSON, 11);
    assert_int_equal(key_list_feed(&list, "{\"keys\":[]}", 11, NULL), COFFER_OK);
    assert_int_equal(key_list_finish(&list, NULL), COFFER_OK);
    key_list_release(&list);
    begin(&list, KEY_LIST_JSON, 11);
    assert_int_equal(key_list_feed(&list, "{\"keys\":[]} ", 12, NULL), COFFER_CONTENT_TOO_LARGE);
    assert_int_not_equal(key_list_finish(&list, NULL), COFFER_OK);
    key_list_release(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_many_in_random_pieces),
        cmocka_unit_test(test_limit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
