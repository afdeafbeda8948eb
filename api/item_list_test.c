/*
 * Goal: a list has the same items in the same order however it is asked for: whole, in pages of any
 * size, as lines; whatever the size of its items. Method: a list of numbers, each item as many
 * bytes long as a function of its number says, some larger than the buffer of a reply.
 */
#include "api/item_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/item_stream.h"
#include "storage/base/invariant.h"
#include "tests/support/exchange_driver.h"

enum { ITEMS = 600, PAGE = 7 };

struct numbers {
    struct item_list list;
    bool odd_only;
    uint64_t next;
    uint64_t page[PAGE];
};

static size_t padding_of(uint64_t number)
{
    switch (number % 100) {
    case 13:
        return ITEM_STREAM_SIZE - 40 + number % 64; /* fits only just, or does not */
    case 57:
        return 3 * ITEM_STREAM_SIZE + number;
    default:
        return number % 40;
    }
}

static enum coffer_status fetch(
    void *context, size_t wanted, size_t *found, bool *last, struct error *err)
{
    struct numbers *numbers = context;

    (void)err;
    assert_true(wanted > 0 && wanted <= PAGE);
    for (*found = 0; *found < wanted && numbers->next < ITEMS; ++*found)
        numbers->page[*found] = numbers->next++;
    *last = *found < wanted;
    return COFFER_OK;
}

static bool matches(void *context, size_t at)
{
    const struct numbers *numbers = context;

    return !numbers->odd_only || numbers->page[at] % 2 == 1;
}

static void write_item(void *context, size_t at, struct json_out *out)
{
    const struct numbers *numbers = context;
    static char padding[4 * ITEM_STREAM_SIZE];

    if (padding[0] == '\0')
        memset(padding, 'x', sizeof(padding));
    json_out_object(out);
    json_out_member_u64(out, "number", numbers->page[at]);
    json_out_member_string(out, "padding", slice_of(padding, padding_of(numbers->page[at])));
    json_out_object_end(out);
}

static void write_next(void *context, size_t at, struct json_out *out)
{
    const struct numbers *numbers = context;

    json_out_number_text(out, numbers->page[at]);
}

static const struct item_source all = {
    .name = "numbers", .page = PAGE, .fetch = fetch, .write = write_item, .write_next = write_next};
static const struct item_source some = {.name = "numbers",
    .page = PAGE,
    .fetch = fetch,
    .matches = matches,
    .write = write_item,
    .write_next = write_next};

/* Ask for the list: the reply's whole body, until the next call. */
static char *ask(const char *query, bool lines, bool odd_only, size_t *size)
{
    struct service service = {.state = SERVICE_READY, .memory_max = 1 << 20};
    struct exchange *exchange = exchange_open(&service, (struct exchange_host){NULL, NULL, NULL});
    struct numbers *numbers = exchange_alloc(exchange, sizeof(*numbers));
    struct error err;
    uint64_t after = 0;
    static char body[8 << 20];

    exchange_set_target(exchange, exchange_format(exchange, "/list?%s", query), 100);
    if (lines)
        exchange_add_header(exchange, "Accept", 6, "application/x-ndjson", 20);
    assert_int_equal(item_list_start(&numbers->list, exchange, &err), COFFER_OK);
    if (query_number(numbers->list.query.after, 0, ITEMS, &after))
        numbers->next = after + 1;
    numbers->odd_only = odd_only;
    assert_int_equal(
        item_list_reply(&numbers->list, exchange, odd_only ? &some : &all, numbers, &err),
        COFFER_OK);
    assert_int_equal(exchange->reply.status, 200);
    *size = 0;
    if (exchange->reply.form == REPLY_MEMORY) {
        *size = (size_t)exchange->reply.size;
        memcpy(body, exchange->reply.data, *size);
    } else {
        size_t piece;

        do {
            assert_int_equal(exchange_read(exchange, body + *size, 10007, &piece, &err), COFFER_OK);
            *size += piece;
        } while (piece > 0);
    }
    item_list_release(&numbers->list);
    exchange_close(exchange);
    exchange_thread_end();
    return body;
}

static void assert_item(const json_t *item, uint64_t number)
{
    assert_int_equal(json_number_of(item, "number"), number);
    assert_int_equal(json_string_length(json_object_get(item, "padding")), padding_of(number));
}

static void test_lines(void **state)
{
    size_t size;
    char *body = ask("", true, false, &size);
    char *at = body;

    (void)state;
    for (uint64_t number = 0; number < ITEMS; number++) {
        char *end = memchr(at, '\n', (size_t)(body + size - at));
        json_t *item;

        assert_non_null(end);
        item = driver_parse(at, (size_t)(end - at));
        assert_item(item, number);
        json_decref(item);
        at = end + 1;
    }
    assert_ptr_equal(at, body + size);
}

/* Walk through pages of `limit`; every `step`-th number is there from `first` on. */
static void check_pages(size_t limit, bool odd_only)
{
    char query[64];
    uint64_t expected = odd_only ? 1 : 0, step = odd_only ? 2 : 1;
    bool more = true;

    (void)snprintf(query, sizeof(query), "limit=%zu", limit);
    while (more) {
        size_t size, i;
        char *body = ask(query, false, odd_only, &size);
        json_t *page = driver_parse(body, size), *list = json_object_get(page, "numbers"), *item;

        json_array_foreach(list, i, item)
        {
            assert_item(item, expected);
            expected += step;
        }
        more = json_text_of(page, "next") != NULL;
        if (more) {
            assert_int_equal(json_array_size(list), limit);
            assert_int_equal(strtoull(json_text_of(page, "next"), NULL, 10), expected - step);
            (void)snprintf(
                query, sizeof(query), "limit=%zu&after=%s", limit, json_text_of(page, "next"));
        }
        json_decref(page);
    }
    assert_int_equal(expected, ITEMS + (odd_only ? 1 : 0));
}

static void test_pages(void **state)
{
    static const size_t limits[] = {
        1, 5, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 100, ITEMS - 1, ITEMS, ITEMS + 1, LIST_LIMIT_MAX};

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(limits); i++) {
        check_pages(limits[i], false);
        check_pages(limits[i], true);
    }
}

static void test_empty(void **state)
{
    size_t size;
    char *body = ask("after=599", false, false, &size);

    (void)state;
    assert_int_equal(size, strlen("{\"numbers\":[]}\n"));
    assert_memory_equal(body, "{\"numbers\":[]}\n", size);
    body = ask("after=599", true, false, &size);
    assert_int_equal(size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_empty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
