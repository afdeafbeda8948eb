#include "server/http_mhd.h"

#include <fcntl.h>
#include <linux/tcp.h> /* its tcp_info is newer than that of <netinet/tcp.h> */
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/access_log.h"
#include "server/http_raw.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"

enum {
    /* Of a body whose request was refused, as much is read past so that the connection lives. */
    DROPPED_MAX = 1 << 20,
    SWEEP_MAX = 256,       /* connections looked at with one poll() */
    CONNECTION_SLACK = 64, /* above connections_max: those that are just being closed */
};

/* ---- the calls of one request ---- */

static void host_suspend(void *connection)
{
    MHD_suspend_connection(connection);
}

static void host_resume(void *connection)
{
    MHD_resume_connection(connection);
}

/* libmicrohttpd has read the request line. */
static void *on_request_line(void *context, const char *target, struct MHD_Connection *connection)
{
    struct http_worker *worker = context;
    const struct exchange_host host = {host_suspend, host_resume, connection};
    struct exchange *exchange = exchange_open(worker->service, host);
    struct http_call *call = exchange_alloc(exchange, sizeof(*call));

    call->exchange = exchange;
    call->worker = worker;
    call->connection = connection;
    call->socket =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    call->socket->request_seen = true;
    call->socket->call = call;
    call->target = target;
    if (target != NULL)
        exchange_set_target(exchange, target, worker->options->path_size_max);
    if (unlikely(access_log_wanted()))
        exchange->started_ns = clock_monotonic_ns();
    atomic_store_explicit(&worker->opened,
        atomic_load_explicit(&worker->opened, memory_order_relaxed) + 1, memory_order_relaxed);
    return call;
}

/* The rest of the body is not wanted: is it quicker to read past it than to reconnect? */
static bool body_is_small(const struct exchange *exchange)
{
    return exchange->body_size != UPLOAD_SIZE_UNKNOWN &&
           exchange->body_size - exchange->received <= DROPPED_MAX;
}

/* The reply is there and the client is still sending. */
static enum MHD_Result refuse_body(struct http_call *call)
{
    if (body_is_small(call->exchange))
        return MHD_YES;
    call->socket->linger = true;
    (void)http_raw_reply(call->socket->fd, &call->exchange->reply);
    return MHD_NO;
}

static enum MHD_Result begin(struct http_call *call, const char *method, const char *version)
{
    struct exchange *exchange = call->exchange;

    call->begun = true;
    http_head_read(call, method, version);
    exchange_start(exchange);
    if (likely(!exchange_replied(exchange)))
        return MHD_YES;
    if (exchange->bad != COFFER_OK ||
        (exchange->body_size != 0 &&
            (exchange_has(exchange, HEADER_EXPECT) || !body_is_small(exchange)))) {
        /* What follows is not to be read: not the body, or (after a head that two readers could
         * read in two ways) anything at all. */
        call->socket->linger = true;
        return http_reply_queue(call);
    }
    return MHD_YES;
}

static enum MHD_Result receive(struct http_call *call, const char *data, size_t *size)
{
    struct exchange *exchange = call->exchange;
    enum coffer_status status;
    bool replied = exchange_replied(exchange);
    size_t taken;

    do {
        status = exchange_receive(exchange, data, *size, &taken);
        data += taken;
        *size -= taken;
        if (status == COFFER_AGAIN && exchange_park(exchange))
            return MHD_YES;
    } while (status == COFFER_AGAIN);
    if (unlikely(!replied && exchange_replied(exchange)))
        return refuse_body(call);
    return MHD_YES;
}

static enum MHD_Result finish(struct http_call *call)
{
    while (exchange_finish(call->exchange) == COFFER_AGAIN)
        if (exchange_park(call->exchange))
            return MHD_YES;
    return http_reply_queue(call);
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *data, size_t *size, void **call_slot)
{
    struct http_call *call = *call_slot;

    (void)context;
    (void)connection;
    (void)url;
    if (!call->begun)
        return begin(call, method, version);
    if (*size > 0)
        return receive(call, data, size);
    return finish(call);
}

static uint64_t bytes_sent(const struct http_call *call)
{
    const struct exchange *exchange = call->exchange;

    if (exchange->method == METHOD_HEAD || exchange->reply.status == 304)
        return 0;
    return exchange->reply.form == REPLY_STREAM ? call->streamed : exchange->reply.size;
}

static void on_completed(void *context, struct MHD_Connection *connection, void **call_slot,
    enum MHD_RequestTerminationCode code)
{
    struct http_worker *worker = context;
    struct http_call *call = *call_slot;

    (void)connection;
    if (call == NULL)
        return;
    *call_slot = NULL;
    call->socket->call = NULL;
    if (exchange_replied(call->exchange) && !call->refused)
        access_log(call->exchange, bytes_sent(call),
            call->queued && code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
    http_stream_waits(call, false);
    exchange_close(call->exchange); /* and with it the call */
    atomic_store_explicit(&worker->closed,
        atomic_load_explicit(&worker->closed, memory_order_relaxed) + 1, memory_order_release);
}

/* ---- connections ---- */

static void connection_opened(
    struct http_worker *worker, struct MHD_Connection *connection, struct http_connection **slot)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    const union MHD_ConnectionInfo *address =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    /* Lines of its own: each request writes to it, and neighbours may be other workers'. */
    struct http_connection *socket = aligned_alloc(64, round_up(sizeof(*socket), 64));

    invariant(socket != NULL && info != NULL);
    memset(socket, 0, sizeof(*socket));
    socket->worker = worker;
    socket->fd = info->connect_fd;
    socket->local = address != NULL && address->client_addr != NULL &&
                    address->client_addr->sa_family == AF_UNIX;
    pthread_mutex_lock(&worker->lock);
    socket->next = worker->first;
    if (worker->first != NULL)
        worker->first->previous = socket;
    worker->first = socket;
    pthread_mutex_unlock(&worker->lock);
    *slot = socket;
}

/* Bytes that nobody will read: closing would reset the connection under the last answer. */
static bool has_unread(int fd)
{
    int unread = 0;

    return ioctl(fd, FIONREAD, &unread) == 0 && unread > 0;
}

/* The first line was none, and libmicrohttpd closes without a word: something came in, nothing
 * went out, and there never was a request. */
static bool first_line_was_garbage(const struct http_connection *socket)
{
    struct tcp_info info;
    socklen_t size = sizeof(info);
    uint64_t end; /* the kernel counts the client's FIN as a byte received */
    char next;

    if (socket->request_seen || socket->local ||
        getsockopt(socket->fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(uint64_t))
        return false;
    end = recv(socket->fd, &next, 1, MSG_PEEK | MSG_DONTWAIT) == 0 ? 1 : 0;
    return info.tcpi_bytes_received > end && info.tcpi_data_segs_out == 0;
}

static void connection_closed(struct http_worker *worker, struct http_connection *socket)
{
    bool linger = socket->linger || has_unread(socket->fd);
    int copy;

    if (first_line_was_garbage(socket)) {
        http_refuse_raw(socket);
        linger = true;
    }
    if (linger) {
        (void)shutdown(socket->fd, SHUT_WR);
        copy = fcntl(socket->fd, F_DUPFD_CLOEXEC, 3);
        if (copy >= 0)
            worker->events.linger(worker->events.context, copy);
    }
    pthread_mutex_lock(&worker->lock);
    if (socket->next != NULL)
        socket->next->previous = socket->previous;
    if (socket->previous != NULL)
        socket->previous->next = socket->next;
    else
        worker->first = socket->next;
    pthread_mutex_unlock(&worker->lock);
    free(socket);
    atomic_fetch_sub_explicit(&worker->connections, 1, memory_order_release);
    worker->events.closed(worker->events.context);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **slot,
    enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        struct http_connection *socket = NULL;

        connection_opened(context, connection, &socket);
        *slot = socket;
        return;
    }
    connection_closed(context, *slot);
    *slot = NULL;
}

/* ---- the worker ---- */

static void on_log(void *context, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void on_log(void *context, const char *format, va_list args)
{
    char text[512];
    int length;

    (void)context;
    if (!log_enabled(LOG_DEBUG))
        return;
    length = vsnprintf(text, sizeof(text), format, args);
    if (length > 0 && (size_t)length < sizeof(text) && text[length - 1] == '\n')
        text[length - 1] = '\0';
    log_write(LOG_DEBUG, "http", "%s", text);
}

/* Targets are taken as sent (exchange_set_target()). */
static size_t keep_escapes(void *context, struct MHD_Connection *connection, char *text)
{
    (void)context;
    (void)connection;
    return strlen(text);
}

enum coffer_status http_worker_start(struct http_worker *worker, struct error *err)
{
    const struct http_options *options = worker->options;
    uint64_t timeout = options->timeout_ns / NS_PER_S;
    enum coffer_status status = http_mhd_hook(err);

    if (status != COFFER_OK)
        return status;
    pthread_mutex_init(&worker->lock, NULL);
    worker->daemon =
        MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET |
                             MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO | MHD_USE_ERROR_LOG,
            0, NULL, NULL, on_request, worker, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
            MHD_OPTION_URI_LOG_CALLBACK, on_request_line, worker, MHD_OPTION_UNESCAPE_CALLBACK,
            keep_escapes, NULL, MHD_OPTION_NOTIFY_COMPLETED, on_completed, worker,
            MHD_OPTION_NOTIFY_CONNECTION, on_connection, worker, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
            (size_t)options->connection_memory, MHD_OPTION_CONNECTION_LIMIT,
            options->connections_max + CONNECTION_SLACK, MHD_OPTION_CONNECTION_TIMEOUT,
            (unsigned)timeout, MHD_OPTION_END);
    if (worker->daemon == NULL) {
        pthread_mutex_destroy(&worker->lock);
        return error_set(err, COFFER_IO, "libmicrohttpd does not start a worker thread");
    }
    return COFFER_OK;
}

void http_worker_add(struct http_worker *worker, int fd, const struct listen_address *peer)
{
    atomic_fetch_add_explicit(&worker->connections, 1, memory_order_relaxed);
    if (MHD_add_connection(worker->daemon, fd, &peer->at.any, peer->size) != MHD_YES) {
        atomic_fetch_sub_explicit(&worker->connections, 1, memory_order_relaxed);
        log_write(LOG_WARN, "connection_refused", "no memory for another connection");
    }
}

unsigned http_worker_cut(struct http_worker *worker)
{
    unsigned count = 0;

    pthread_mutex_lock(&worker->lock);
    for (struct http_connection *each = worker->first; each != NULL; each = each->next) {
        (void)shutdown(each->fd, SHUT_RDWR);
        count++;
    }
    pthread_mutex_unlock(&worker->lock);
    return count;
}

static void sweep(struct http_connection *const *connections, struct pollfd *polled, nfds_t count)
{
    if (poll(polled, count, 0) <= 0)
        return;
    for (nfds_t i = 0; i < count; i++) {
        if ((polled[i].revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0)
            continue;
        if (connections[i]->waiting != NULL)
            exchange_cancel(connections[i]->waiting);
        /* It changes nothing, the other side has ended already, but it makes a new event. */
        if (!has_unread(connections[i]->fd))
            (void)shutdown(connections[i]->fd, SHUT_RD);
    }
}

void http_worker_sweep(struct http_worker *worker)
{
    struct http_connection *connections[SWEEP_MAX];
    struct pollfd polled[SWEEP_MAX];
    nfds_t count = 0;

    /* While it is held, no descriptor is closed and no exchange that waits. */
    pthread_mutex_lock(&worker->lock);
    for (struct http_connection *each = worker->first; each != NULL; each = each->next) {
        connections[count] = each;
        polled[count++] = (struct pollfd){.fd = each->fd, .events = POLLRDHUP};
        if (count == SWEEP_MAX) {
            sweep(connections, polled, count);
            count = 0;
        }
    }
    sweep(connections, polled, count);
    pthread_mutex_unlock(&worker->lock);
}

void http_stream_waits(struct http_call *call, bool waits)
{
    if (call->waits == waits)
        return;
    call->waits = waits;
    pthread_mutex_lock(&call->worker->lock);
    call->socket->waiting = waits ? call->exchange : NULL;
    pthread_mutex_unlock(&call->worker->lock);
}

uint64_t http_worker_active(const struct http_worker *worker)
{
    uint64_t closed = atomic_load_explicit(&worker->closed, memory_order_acquire);

    return atomic_load_explicit(&worker->opened, memory_order_relaxed) - closed;
}

void http_worker_stop(struct http_worker *worker)
{
    MHD_stop_daemon(worker->daemon);
    pthread_mutex_destroy(&worker->lock);
}
