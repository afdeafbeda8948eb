#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "server/http_mhd.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"

enum { STREAM_BLOCK_SIZE = 256 * 1024 };

/* The body of a reply to HEAD: only its size is wanted. */
static ssize_t read_nothing(void *context, uint64_t at, char *out, size_t max)
{
    (void)context;
    (void)at;
    (void)out;
    (void)max;
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

/* The stream has failed: end the connection. libmicrohttpd does so when it looks at it the next
 * time. But no event need come for it, a suspended one is not even with epoll, and without an event
 * only the connection that has been idle longest is looked at. A timeout of its own puts this one
 * among those that are looked at every time; to resume it, which it needs not, makes that now. */
static ssize_t cut(struct http_call *call)
{
    unsigned timeout = (unsigned)(call->worker->options->timeout_ns / NS_PER_S);

    (void)MHD_set_connection_option(call->connection, MHD_CONNECTION_OPTION_TIMEOUT, timeout + 1);
    MHD_resume_connection(call->connection);
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static ssize_t read_stream(void *context, uint64_t at, char *out, size_t max)
{
    struct http_call *call = context;
    uint64_t total = call->exchange->reply.size;
    struct error err = {COFFER_OK, ""};
    enum coffer_status status;
    size_t size = 0;

    (void)at;
    do {
        status = exchange_read(call->exchange, out, max, &size, &err);
        /* Before it is parked: whoever wakes it may be the last to see it. */
        http_stream_waits(call, status == COFFER_AGAIN);
        if (status == COFFER_AGAIN && exchange_park(call->exchange))
            return 0;
    } while (status == COFFER_AGAIN);
    if (status != COFFER_OK) {
        /* A channel that is followed has no end before the server's, or the client's. */
        log_write(status == COFFER_DRAINING ? LOG_INFO : LOG_ERROR, "reply_cut", "%s: %s: %s",
            call->exchange->request_id, status_code(status), err.text);
        return cut(call);
    }
    call->streamed += size;
    if (size > 0)
        return (ssize_t)size;
    if (total != REPLY_SIZE_UNKNOWN && call->streamed < total)
        return cut(call); /* shorter than announced */
    return MHD_CONTENT_READER_END_OF_STREAM;
}

static struct MHD_Response *make_file_response(const struct reply *reply)
{
    int fd = fcntl(reply->fd, F_DUPFD_CLOEXEC, 3); /* libmicrohttpd closes it */
    struct MHD_Response *response;

    if (fd < 0) {
        struct error err;

        (void)error_errno(&err, "duplicate a descriptor");
        log_write(LOG_ERROR, "reply_cut", "%s", err.text);
        return NULL;
    }
    response = MHD_create_response_from_fd_at_offset64(reply->size, fd, reply->offset);
    if (response == NULL)
        (void)close(fd);
    return response;
}

/* libmicrohttpd only reads it, but its prototype lacks the const. */
static void *not_const(const void *data)
{
    union {
        const void *in;
        void *out;
    } same = {.in = data};

    return same.out;
}

struct MHD_Response *http_response_of_memory(
    const void *data, size_t size, enum MHD_ResponseMemoryMode mode)
{
    return MHD_create_response_from_buffer(size, not_const(data), mode);
}

static struct MHD_Response *make_response(struct http_call *call)
{
    const struct reply *reply = &call->exchange->reply;
    uint64_t size = reply->size == REPLY_SIZE_UNKNOWN ? MHD_SIZE_UNKNOWN : reply->size;

    if (size == 0)
        return http_response_of_memory("", 0, MHD_RESPMEM_PERSISTENT);
    if (call->exchange->method == METHOD_HEAD || reply->status == 304)
        return MHD_create_response_from_callback(size, 1, read_nothing, NULL, NULL);
    switch (reply->form) {
    case REPLY_FILE:
        return make_file_response(reply);
    case REPLY_STREAM:
        return MHD_create_response_from_callback(size,
            size == MHD_SIZE_UNKNOWN ? STREAM_BLOCK_SIZE : (size_t)min_u64(size, STREAM_BLOCK_SIZE),
            read_stream, call, NULL);
    case REPLY_EMPTY:
    case REPLY_MEMORY:
    default:
        return http_response_of_memory(reply->data, (size_t)size, MHD_RESPMEM_PERSISTENT);
    }
}

enum MHD_Result http_response_queue(
    struct MHD_Connection *connection, const struct reply *reply, struct MHD_Response *response)
{
    enum MHD_Result result = MHD_YES;

    if (response == NULL)
        return MHD_NO;
    for (unsigned i = 0; i < reply->header_count && result == MHD_YES; i++)
        result = MHD_add_response_header(response, reply->headers[i].name, reply->headers[i].value);
    if (result == MHD_YES)
        result = http_mhd_queue_response(connection, (unsigned)reply->status, response);
    MHD_destroy_response(response);
    return result;
}

enum MHD_Result http_reply_queue(struct http_call *call)
{
    struct exchange *exchange = call->exchange;

    if (unlikely(atomic_load_explicit(&call->worker->service->state, memory_order_relaxed) ==
                 SERVICE_DRAINING))
        exchange_reply_header(exchange, "Connection", "close");
    call->queued =
        http_response_queue(call->connection, &exchange->reply, make_response(call)) == MHD_YES;
    return call->queued ? MHD_YES : MHD_NO;
}
