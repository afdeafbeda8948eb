#include "api/item_list.h"

#include "api/item_stream.h"
#include "storage/base/invariant.h"

enum coffer_status item_list_start(
    struct item_list *list, struct exchange *exchange, struct error *err)
{
    *list = (struct item_list){.begun = false};
    return list_query_read(exchange, &list->query, err);
}

static void write_begin(struct item_list *list, struct json_out *out)
{
    if (!list->begun && !list->query.lines) {
        json_out_object(out);
        json_out_name(out, list->source->name);
        json_out_array(out);
    }
    list->begun = true;
}

static void write_end(const struct item_list *list, struct json_out *out, bool more)
{
    json_out_array_end(out);
    if (more) {
        json_out_name(out, "next");
        json_out_raw(out, json_out_text(&list->next));
    }
    json_out_object_end(out);
    json_out_line(out);
}

/* Whether there is an item at the cursor, when it has gone past those that are not asked for. */
static enum coffer_status look(struct item_list *list, bool *more, struct error *err)
{
    const struct item_source *source = list->source;

    for (;; list->at++) {
        while (list->at == list->found && !list->last_page) {
            /* One more than the limit allows tells whether there is a next page. */
            size_t wanted = list->left < source->page && source->matches == NULL
                                ? (size_t)list->left + 1
                                : source->page;
            enum coffer_status status =
                source->fetch(list->context, wanted, &list->found, &list->last_page, err);

            list->at = 0;
            if (status != COFFER_OK)
                return status;
        }
        *more = list->at < list->found;
        if (!*more || source->matches == NULL || source->matches(list->context, list->at))
            return COFFER_OK;
    }
}

static void write_item(const struct item_list *list, struct json_out *out)
{
    list->source->write(list->context, list->at, out);
    if (list->query.lines)
        json_out_line(out);
}

static void pass(struct item_list *list)
{
    if (--list->left == 0) { /* before the page is replaced */
        json_out_fixed(&list->next, list->next_text, sizeof(list->next_text));
        list->source->write_next(list->context, list->at, &list->next);
        invariant(json_out_ok(&list->next));
    }
    list->at++;
}

/* The item at the cursor does not even fit into an empty buffer. */
static enum coffer_status make_large(struct item_list *list, bool comma, struct error *err)
{
    json_out_growable(&list->large, ITEM_LARGE_MAX);
    list->large.comma = comma;
    list->large_sent = 0;
    write_item(list, &list->large);
    if (json_out_ok(&list->large))
        return COFFER_OK;
    return error_set(err, COFFER_OVERLOADED, "no memory for an item of the list; try again later");
}

/* As much of it as fits. False: there is more. */
static bool send_large(struct item_list *list, struct json_out *out)
{
    struct slice text = json_out_text(&list->large);
    size_t sent = list->large_sent;

    list->large_sent +=
        json_out_some(out, slice_of((const char *)text.data + sent, text.size - sent));
    if (list->large_sent < text.size)
        return false;
    out->comma = list->large.comma;
    json_out_release(&list->large);
    pass(list);
    return true;
}

static enum coffer_status fill(void *context, struct json_out *out, bool *done, struct error *err)
{
    struct item_list *list = context;

    write_begin(list, out);
    for (;;) {
        struct json_out_mark mark;
        enum coffer_status status;
        bool item, more;

        if (json_out_text(&list->large).size > 0 && !send_large(list, out))
            return COFFER_OK;
        mark = json_out_mark(out);
        status = look(list, &more, err);
        if (status != COFFER_OK)
            return status;
        item = more && list->left > 0;
        if (item)
            write_item(list, out);
        else if (!list->query.lines)
            write_end(list, out, more);
        if (!json_out_ok(out)) {
            json_out_rewind(out, mark);
            if (mark.used > 0)
                return COFFER_OK;
            status = make_large(list, mark.comma, err);
            if (status != COFFER_OK)
                return status;
        } else if (item) {
            pass(list);
        } else {
            *done = true;
            return COFFER_OK;
        }
    }
}

enum coffer_status item_list_reply(struct item_list *list, struct exchange *exchange,
    const struct item_source *source, void *context, struct error *err)
{
    list->source = source;
    list->context = context;
    list->left = list->query.lines && !list->query.has_limit ? UINT64_MAX : list->query.limit;
    return item_stream_reply(
        exchange, list->query.lines ? "application/x-ndjson" : "application/json", fill, list, err);
}

void item_list_release(struct item_list *list)
{
    json_out_release(&list->large);
}
