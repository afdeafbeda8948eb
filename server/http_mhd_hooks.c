/*
 * What libmicrohttpd refuses by itself, it answers with a page of its own, through its exported
 * functions: and a function of that name in the program takes the place of the library's, also for
 * calls from inside of it, as with malloc(). Two are taken:
 *
 * MHD_queue_response  called by libmicrohttpd itself means that it refuses the request. The page is
 *     dropped and a problem queued in its place. Our own replies go past it, to the library's.
 * MHD_set_connection_value_n  gets each header, trailer, cookie and argument of the query. All but
 *     headers are nothing to us, and storing them may exhaust the connection's memory, in places
 *     where 0.9.75 then sends its answer twice (cookies) or hangs (arguments). For the same reason
 *     it must not find what it would refuse in that state: a cookie to take apart, and a
 *     Content-Length that is no number. They are stored as HTTP_HIDDEN_KIND, which only
 *     http_mhd_head.c asks for, and in order, so that no gap shows there.
 *
 * Were a libmicrohttpd built so that its calls do not come here (-Bsymbolic), it would answer as it
 * always did; http_refusal_test.c tells.
 */
#include <dlfcn.h>
#include <string.h>
#include <strings.h>

#include "api/exchange_head.h"
#include "api/problem.h"
#include "server/access_log.h"
#include "server/http_mhd.h"
#include "server/http_raw.h"
#include "storage/base/invariant.h"

/* ---- the library's own ---- */

typedef enum MHD_Result queue_response(struct MHD_Connection *, unsigned, struct MHD_Response *);
typedef enum MHD_Result set_value(
    struct MHD_Connection *, enum MHD_ValueKind, const char *, size_t, const char *, size_t);

/* Written once, before the first worker starts. */
static queue_response *library_queue_response;
static set_value *library_set_value;

/* False: the name is not ours in this program, or nobody else has it. */
static bool find_library(const char *name, void *function, size_t size)
{
    void *ours = dlsym(RTLD_DEFAULT, name);
    void *theirs = dlsym(RTLD_NEXT, name);

    if (theirs == NULL || theirs == ours)
        return false;
    memcpy(function, &theirs, size); /* ISO C has no cast from void * to a function */
    return true;
}

enum coffer_status http_mhd_hook(struct error *err)
{
    if (library_queue_response != NULL)
        return COFFER_OK;
    if (!find_library("MHD_set_connection_value_n", &library_set_value, sizeof(set_value *)) ||
        !find_library("MHD_queue_response", &library_queue_response, sizeof(queue_response *)))
        return error_set(err, COFFER_IO, "libmicrohttpd is not linked as a shared library");
    return COFFER_OK;
}

enum MHD_Result http_mhd_queue_response(
    struct MHD_Connection *connection, unsigned status, struct MHD_Response *response)
{
    return library_queue_response(connection, status, response);
}

/* ---- refusals ---- */

/* What the refusal is about: libmicrohttpd tells its HTTP status, and `call` how far it had got. */
static enum coffer_status explain(
    const struct http_call *call, unsigned http_status, struct error *err)
{
    bool body = call != NULL && call->begun;

    switch (http_status) {
    case 413:
        return error_set(err, COFFER_CONTENT_TOO_LARGE,
            "a chunk of the body says that it has more bytes than any body");
    case 414:
        return error_set(err, COFFER_URI_TOO_LONG,
            "the request line is longer than a connection's buffer (connection_memory)");
    case 431:
        return error_set(err, COFFER_HEADERS_TOO_LARGE,
            "the %s do not fit into a connection's buffer (connection_memory)",
            body ? "trailers behind the body" : "headers");
    case 505:
        return error_set(err, COFFER_HTTP_VERSION_NOT_SUPPORTED, "send the request as HTTP/1.1");
    case 500:
        /* Its buffer is full and nothing was taken from it: that is a chunk whose first line has
         * no end. What can be taken is taken, or the connection suspended. */
        if (body && call->exchange->body_size == UPLOAD_SIZE_UNKNOWN)
            break;
        return error_set(err, COFFER_INTERNAL, "libmicrohttpd had to give up");
    default:
        break;
    }
    return error_set(err, COFFER_BAD_REQUEST, "%s",
        body           ? "the body is not in well-formed chunks, or a trailer has no colon"
        : call != NULL ? "a header line has no colon"
                       : "the first line is no request line: METHOD PATH HTTP/1.1");
}

/* For what is no request yet. It never waits. */
static struct exchange *open_exchange(struct http_connection *socket)
{
    return exchange_open(socket->worker->service, (struct exchange_host){NULL, NULL, NULL});
}

/* An answer that the exchange has already, kept until the body was read, is the better one. */
static bool has_answer(const struct exchange *exchange)
{
    return exchange->reply.status >= 400 && exchange->reply.form == REPLY_MEMORY;
}

static enum MHD_Result refuse(
    struct http_connection *socket, struct MHD_Connection *connection, unsigned http_status)
{
    struct http_call *call = socket->call;
    struct exchange *exchange = call != NULL ? call->exchange : open_exchange(socket);
    const struct reply *reply = &exchange->reply;
    enum MHD_Result result;
    struct error err;

    socket->linger = true;
    if (!has_answer(exchange))
        problem_reply(exchange, explain(call, http_status, &err), &err);
    result = http_response_queue(connection, reply,
        http_response_of_memory(reply->data, (size_t)reply->size, MHD_RESPMEM_MUST_COPY));
    /* Now: libmicrohttpd may build its answer where the headers of the request are. */
    access_log(exchange, reply->size, result == MHD_YES);
    if (call == NULL)
        exchange_close(exchange);
    else
        call->refused = true;
    return result;
}

void http_refuse_raw(struct http_connection *socket)
{
    struct exchange *exchange = open_exchange(socket);
    struct error err;
    bool sent;

    problem_reply(exchange, explain(NULL, 400, &err), &err);
    sent = http_raw_reply(socket->fd, &exchange->reply);
    access_log(exchange, exchange->reply.size, sent);
    exchange_close(exchange);
}

/* ---- in the place of libmicrohttpd's ---- */

enum MHD_Result MHD_queue_response(
    struct MHD_Connection *connection, unsigned http_status, struct MHD_Response *response)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

    (void)response; /* the caller's */
    return refuse(info->socket_context, connection, http_status);
}

/* Out of line, so that the way of all other headers is short. */
static __attribute__((noinline)) bool is_hidden(
    const char *name, size_t name_size, const char *value, size_t size)
{
    uint64_t length;

    if (name_size == 6)
        return strncasecmp(name, "cookie", 6) == 0;
    return name_size == HTTP_CONTENT_LENGTH_SIZE &&
           strncasecmp(name, "content-length", HTTP_CONTENT_LENGTH_SIZE) == 0 &&
           exchange_length(slice_of(value, size), &length) != COFFER_OK;
}

enum MHD_Result MHD_set_connection_value_n(struct MHD_Connection *connection,
    enum MHD_ValueKind kind, const char *name, size_t name_size, const char *value, size_t size)
{
    if (kind != MHD_HEADER_KIND)
        return MHD_YES;
    if (unlikely((name_size == 6 || name_size == HTTP_CONTENT_LENGTH_SIZE) &&
                 is_hidden(name, name_size, value, size)))
        kind = HTTP_HIDDEN_KIND;
    return library_set_value(connection, kind, name, name_size, value, size);
}
