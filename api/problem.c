#include "api/problem.h"

#include <string.h>

#include "storage/base/log.h"

enum { PROBLEM_SIZE_MAX = 64 << 10 };
static const char media_type[] = "application/problem+json";

enum coffer_status problem_public_status(enum coffer_status status)
{
    switch (status) {
    case COFFER_OK:
    case COFFER_AGAIN: /* a bug of ours, if it comes here */
    case COFFER_IO:
    case COFFER_LOCKED:
    case COFFER_FORMAT_UNKNOWN:
    case COFFER_BAD_OPTION:
        return COFFER_INTERNAL;
    default:
        return status;
    }
}

static void write_object(
    struct json_out *out, const struct problem *problem, enum coffer_status status, bool detail)
{
    json_out_object(out);
    json_out_member_text(out, "type", "about:blank");
    json_out_member_text(out, "title", status_title(status));
    json_out_member_u64(out, "status", (uint64_t)status_http(status));
    json_out_member_text(out, "code", status_code(status));
    if (detail && problem->detail.size > 0)
        json_out_member_string(out, "detail", problem->detail);
    if (problem->request_id.size > 0)
        json_out_member_string(out, "request_id", problem->request_id);
    if (problem->members.size > 0)
        json_out_raw(out, problem->members); /* the comma before it is the one between members */
    json_out_object_end(out);
}

void problem_write(struct json_out *out, const struct problem *problem)
{
    enum coffer_status status = problem_public_status(problem->status);
    struct json_out_mark mark = json_out_mark(out);
    bool shown = status == problem->status;

    if (!json_out_ok(out))
        return;
    write_object(out, problem, status, shown);
    if (json_out_ok(out) || !shown || problem->detail.size == 0)
        return;
    json_out_rewind(out, mark);
    write_object(out, problem, status, false);
}

void problem_reply(struct exchange *exchange, enum coffer_status status, const struct error *err)
{
    problem_reply_members(exchange, status, err, slice_of(NULL, 0));
}

void problem_reply_members(struct exchange *exchange, enum coffer_status status,
    const struct error *err, struct slice members)
{
    struct problem problem = {.status = status,
        .request_id = slice_from_text(exchange->request_id == NULL ? "" : exchange->request_id),
        .members = members};
    enum coffer_status shown = problem_public_status(status);
    struct json_out out;
    char *text;

    if (err != NULL && err->status == status && err->text[0] != '\0')
        problem.detail = slice_from_text(err->text);
    if (status_http(shown) == 500)
        log_write(LOG_ERROR, "request_failed", "%s: %s: %.*s", exchange->request_id,
            status_code(status), (int)problem.detail.size,
            problem.detail.size == 0 ? "" : (const char *)problem.detail.data);
    json_out_growable(&out, PROBLEM_SIZE_MAX + members.size);
    problem_write(&out, &problem);
    if (!json_out_ok(&out)) { /* members too many, or no memory: the code still gets through */
        json_out_reset(&out);
        problem.members = slice_of(NULL, 0);
        problem_write(&out, &problem);
    }
    text = exchange_alloc_text(exchange, json_out_text(&out).size + 1);
    memcpy(text, json_out_text(&out).data, json_out_text(&out).size);
    text[json_out_text(&out).size] = '\n';
    exchange_reply(exchange, status_http(shown));
    exchange_reply_header(exchange, "Content-Type", media_type);
    if (status == COFFER_METHOD_NOT_ALLOWED && exchange->allow != NULL)
        exchange_reply_header(exchange, "Allow", exchange->allow);
    if (status_http(shown) == 503)
        exchange_reply_header(exchange, "Retry-After", "1");
    exchange_reply_memory(exchange, text, json_out_text(&out).size + 1);
    json_out_release(&out);
}
