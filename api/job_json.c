#include "api/job_json.h"

#include "api/list_query.h"
#include "api/problem.h"
#include "storage/base/invariant.h"

enum { JOB_TEXT_MAX = 2 * JOB_RESULT_MAX };

void failure_members_write(struct json_out *out, enum coffer_status status, const char *text)
{
    enum coffer_status shown = problem_public_status(status);

    json_out_member_text(out, "code", status_code(shown));
    json_out_member_text(out, "detail", shown == status ? text : status_title(shown));
}

static void write_progress(struct json_out *out, const struct job_info *info)
{
    json_out_name(out, "progress");
    json_out_object(out);
    json_out_member_text(out, "stage", info->stage);
    json_out_member_u64(out, "done", info->done);
    if (info->total > 0)
        json_out_member_u64(out, "total", info->total);
    json_out_member_text(out, "unit", info->unit);
    if (info->rate > 0)
        json_out_member_u64(out, "rate", info->rate);
    if (info->rate > 0 && info->total > 0)
        json_out_member_u64(out, "eta", info->eta_s);
    json_out_object_end(out);
}

void job_write(struct json_out *out, const struct job_info *info)
{
    json_out_object(out);
    json_out_name(out, "id");
    json_out_number_text(out, info->id);
    json_out_member_text(out, "kind", job_kind_name(info->kind));
    json_out_member_text(out, "state", job_state_name(info->state));
    json_out_member_text(out, "subject", info->subject);
    if (info->cancelling)
        json_out_member_bool(out, "cancelling", true);
    json_out_member_time(out, "created", info->created_ns);
    json_out_member_time(out, "started", info->started_ns);
    json_out_member_time(out, "ended", info->ended_ns);
    if (info->stage != NULL)
        write_progress(out, info);
    if (info->result != NULL) {
        json_out_name(out, "result");
        json_out_raw(out, slice_from_text(info->result));
    }
    if (info->state == JOB_FAILED) {
        json_out_name(out, "error");
        json_out_object(out);
        failure_members_write(out, info->status, info->text);
        json_out_object_end(out);
    }
    json_out_object_end(out);
}

enum coffer_status job_reply(
    struct exchange *exchange, uint64_t id, int http_status, struct error *err)
{
    struct job_info info;
    struct json_out out;
    struct slice text;
    enum coffer_status status = job_find(exchange->service->store, id, &info, err);

    if (status != COFFER_OK)
        return status;
    json_out_growable(&out, JOB_TEXT_MAX);
    job_write(&out, &info);
    json_out_line(&out);
    job_info_release(&info);
    invariant(json_out_ok(&out));
    text = json_out_text(&out);
    exchange_reply(exchange, http_status);
    exchange_reply_header(exchange, "Content-Type", "application/json");
    exchange_reply_header(exchange, "Cache-Control", "no-store");
    if (http_status == 202)
        exchange_reply_header(exchange, "Location",
            exchange_format(exchange, "/v1/jobs/%llu", (unsigned long long)id));
    exchange_reply_memory(exchange, exchange_copy(exchange, text), text.size);
    json_out_release(&out);
    return COFFER_OK;
}

enum coffer_status job_id_of(const struct exchange *exchange, uint64_t *id, struct error *err)
{
    struct slice name = exchange->params[0];
    int shown = (int)(name.size < 80 ? name.size : 80);

    if (query_number(name, 1, UINT64_MAX, id))
        return COFFER_OK;
    return error_set(err, COFFER_NO_SUCH_JOB, "the id of a job is a number, not \"%.*s\"", shown,
        (const char *)name.data);
}
