#include "client/failure.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>

enum { NO, AGAIN };

static const struct code {
    const char *code;
    int number;
    int repeat;
} codes[] = {
#define CODE(code, number, repeat) {code, number, repeat},
#include "client/client_codes.def"
#undef CODE
};

static const struct code *find_code(const char *code)
{
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (strcmp(codes[i].code, code) == 0)
            return &codes[i];
    return NULL;
}

static bool status_is_passing(int status)
{
    return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
           status == 504;
}

static int status_number(int status)
{
    switch (status) {
    case 401:
    case 403:
        return EACCES;
    case 404:
        return ENOENT;
    case 413:
        return EFBIG;
    case 507:
        return ENOSPC;
    default:
        if (status_is_passing(status))
            return EAGAIN;
        return status >= 400 && status < 500 ? EINVAL : EPROTO;
    }
}

int failure(struct coffer_error *err, const char *code, const char *format, ...)
{
    const struct code *found = find_code(code);
    va_list list;

    if (err != NULL) {
        *err = (struct coffer_error){.number = found->number, .again = found->repeat == AGAIN};
        (void)snprintf(err->code, sizeof(err->code), "%s", code);
        va_start(list, format);
        (void)vsnprintf(err->detail, sizeof(err->detail), format, list);
        va_end(list);
    }
    errno = found->number;
    return -1;
}

int failure_errno(struct coffer_error *err, const char *doing)
{
    int number = errno;
    char reason[128];

    if (err != NULL) {
        *err = (struct coffer_error){.number = number};
        (void)snprintf(err->code, sizeof(err->code), "local_file");
        (void)snprintf(err->detail, sizeof(err->detail), "%s: %s", doing,
            strerror_r(number, reason, sizeof(reason)));
    }
    errno = number;
    return -1;
}

/* Codes that a caller can try again, though not at once. */
static bool again_later(const char *code)
{
    return strcmp(code, "channel_busy") == 0 || strcmp(code, "job_conflict") == 0 ||
           strcmp(code, "transaction_not_ready") == 0;
}

static void copy_member(char *out, size_t size, const json_t *problem, const char *name)
{
    const char *text = json_string_value(json_object_get(problem, name));

    if (text != NULL)
        (void)snprintf(out, size, "%s", text);
}

int failure_answer(
    struct coffer_error *err, int status, const char *request_id, const char *body, size_t size)
{
    json_t *problem = json_loadb(body == NULL ? "" : body, size, 0, NULL);
    const struct code *found;
    struct coffer_error made = {.status = status};

    (void)snprintf(
        made.request_id, sizeof(made.request_id), "%s", request_id == NULL ? "" : request_id);
    copy_member(made.code, sizeof(made.code), problem, "code");
    copy_member(made.detail, sizeof(made.detail), problem, "detail");
    if (made.detail[0] == '\0')
        copy_member(made.detail, sizeof(made.detail), problem, "title");
    made.offset = (uint64_t)json_integer_value(json_object_get(problem, "offset"));
    if (made.code[0] == '\0') {
        (void)snprintf(made.code, sizeof(made.code), "bad_answer");
        (void)snprintf(made.detail, sizeof(made.detail),
            "the answer has status %d and is not one of coffer", status);
        made.number = status_number(status);
        made.again = status_is_passing(status);
    } else {
        found = find_code(made.code);
        made.number = found != NULL ? found->number : status_number(status);
        made.again = found != NULL ? found->repeat == AGAIN || again_later(made.code)
                                   : status_is_passing(status);
    }
    json_decref(problem);
    return failure_copy(err, &made);
}

int failure_copy(struct coffer_error *err, const struct coffer_error *from)
{
    if (err != NULL && err != from)
        *err = *from;
    errno = from->number;
    return -1;
}

bool failure_is_passing(const struct coffer_error *err)
{
    return err->again && !again_later(err->code);
}

bool failure_is_doubtful(const struct coffer_error *err)
{
    if (err->status == 0)
        return strcmp(err->code, "answer_lost") == 0 || strcmp(err->code, "timed_out") == 0;
    /* 503: refused before anything was done. A 5xx may come after the deed, from a proxy too. */
    return err->status >= 500 && err->status != 503 && err->status != 507;
}
