#include "tests/support/script_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/base/invariant.h"

enum { PIECE = 64 * 1024 };

struct connection_of {
    struct script_server *server;
    unsigned slot;
    int fd;
    char *data; /* what came and was not used */
    size_t size, capacity;
};

/* ---- reading ---- */

static bool read_more(struct connection_of *connection)
{
    ssize_t got;

    if (connection->capacity - connection->size < PIECE) {
        connection->capacity = connection->capacity * 2 + PIECE;
        connection->data = realloc(connection->data, connection->capacity);
        invariant(connection->data != NULL);
    }
    do
        got = recv(connection->fd, connection->data + connection->size, PIECE, 0);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return false;
    connection->size += (size_t)got;
    return true;
}

static void use(struct connection_of *connection, size_t size)
{
    connection->size -= size;
    memmove(connection->data, connection->data + size, connection->size);
}

const char *script_header(struct script_request *request, const char *name)
{
    size_t size = strlen(name);

    for (const char *line = request->head; line != NULL && *line != '\0';) {
        const char *next = strstr(line, "\r\n");

        if (strncasecmp(line, name, size) == 0 && line[size] == ':' && next != NULL) {
            const char *value = line + size + 1 + strspn(line + size + 1, " ");

            (void)snprintf(
                request->value, sizeof(request->value), "%.*s", (int)(next - value), value);
            return request->value;
        }
        line = next == NULL ? NULL : next + 2;
    }
    return NULL;
}

static bool read_head(struct connection_of *connection, struct script_request *request)
{
    const char *end;
    size_t size;

    while ((end = connection->size == 0
                      ? NULL
                      : memmem(connection->data, connection->size, "\r\n\r\n", 4)) == NULL)
        if (!read_more(connection))
            return false;
    size = (size_t)(end + 4 - connection->data);
    invariant(size < sizeof(request->head));
    memcpy(request->head, connection->data, size);
    request->head[size] = '\0';
    invariant(sscanf(request->head, "%15s %1023s", request->method, request->path) == 2);
    use(connection, size);
    return true;
}

static bool read_exactly(
    struct connection_of *connection, struct script_request *request, size_t size)
{
    while (connection->size < size)
        if (!read_more(connection))
            return false;
    request->body = realloc(request->body, request->size + size + 1);
    invariant(request->body != NULL);
    memcpy(request->body + request->size, connection->data, size);
    request->size += size;
    request->body[request->size] = '\0';
    use(connection, size);
    return true;
}

static bool read_chunked(struct connection_of *connection, struct script_request *request)
{
    for (;;) {
        const char *end;
        size_t size;

        while ((end = memmem(connection->data, connection->size, "\r\n", 2)) == NULL)
            if (!read_more(connection))
                return false;
        size = strtoul(connection->data, NULL, 16);
        use(connection, (size_t)(end + 2 - connection->data));
        if (!read_exactly(connection, request, size + 2)) /* with the line end behind it */
            return false;
        request->size -= 2;
        request->body[request->size] = '\0';
        if (size == 0)
            return true;
    }
}

static bool read_body(struct connection_of *connection, struct script_request *request)
{
    const char *value = script_header(request, "Transfer-Encoding");

    if (value != NULL)
        return (connection->size > 0 || read_more(connection)) && read_chunked(connection, request);
    value = script_header(request, "Content-Length");
    return read_exactly(connection, request, value == NULL ? 0 : strtoul(value, NULL, 10));
}

/* ---- answering ---- */

static bool send_all(int fd, const void *data, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(fd, (const char *)data + done, size - done, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        done += (size_t)sent;
    }
    return true;
}

static void reset(int fd)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
}

static bool send_body(int fd, const struct script_reply *reply)
{
    char size[32];

    if (!reply->chunked)
        return send_all(fd, reply->body, reply->size);
    (void)snprintf(size, sizeof(size), "%zx\r\n", reply->size);
    return (reply->size == 0 ||
               (send_all(fd, size, strlen(size)) && send_all(fd, reply->body, reply->size) &&
                   send_all(fd, "\r\n", 2))) &&
           send_all(fd, "0\r\n\r\n", 5);
}

/* False: the connection is over. */
static bool send_reply(int fd, const struct script_request *request, struct script_reply *reply)
{
    char head[2048], length[64];

    (void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", reply->size);
    (void)snprintf(head, sizeof(head), "HTTP/1.1 %d Status\r\n%s%s%s\r\n", reply->status,
        reply->chunked ? "Transfer-Encoding: chunked\r\n" : length, reply->headers,
        reply->fault == SCRIPT_CLOSE ? "Connection: close\r\n" : "");
    switch (reply->fault) {
    case SCRIPT_DROP:
        return false;
    case SCRIPT_RESET:
        reset(fd);
        return false;
    case SCRIPT_SILENT: {
        char piece[256];

        while (recv(fd, piece, sizeof(piece), 0) > 0)
            ;
        return false;
    }
    case SCRIPT_CUT:
        invariant(reply->cut_at <= reply->size);
        (void)(send_all(fd, head, strlen(head)) && send_all(fd, reply->body, reply->cut_at));
        (void)shutdown(fd, SHUT_WR); /* what was sent arrives; the rest never does */
        return false;
    case SCRIPT_NONE:
    case SCRIPT_CLOSE:
        break;
    }
    return send_all(fd, head, strlen(head)) &&
           (strcmp(request->method, "HEAD") == 0 || send_body(fd, reply)) &&
           reply->fault == SCRIPT_NONE;
}

void script_text(struct script_reply *reply, int status, const char *text)
{
    reply->status = status;
    reply->to_free = strdup(text);
    invariant(reply->to_free != NULL);
    reply->body = reply->to_free;
    reply->size = strlen(text);
}

void script_problem(struct script_reply *reply, int status, const char *code)
{
    char text[256];

    (void)snprintf(text, sizeof(text),
        "{\"type\":\"about:blank\",\"title\":\"t\",\"status\":%d,\"code\":\"%s\",\"detail\":\"d\"}",
        status, code);
    script_text(reply, status, text);
    (void)snprintf(reply->headers, sizeof(reply->headers), "X-Request-Id: r-1\r\n");
}

/* ---- connections ---- */

/* False: the connection is over. */
static bool serve_one(struct connection_of *connection)
{
    struct script_server *server = connection->server;
    struct script_request request = {0};
    struct script_reply reply = {.status = 200};
    bool alive = read_head(connection, &request), early = false;

    if (alive) {
        pthread_mutex_lock(&server->lock);
        request.number = server->requests++;
        early = server->early != NULL && server->early(server->context, &request, &reply);
        pthread_mutex_unlock(&server->lock);
    }
    if (alive && !early) {
        const char *expect = script_header(&request, "Expect");

        if (expect != NULL)
            alive = send_all(connection->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25);
        alive = alive && read_body(connection, &request);
        if (alive && !server->parallel)
            pthread_mutex_lock(&server->lock);
        if (alive)
            server->handler(server->context, &request, &reply);
        if (alive && !server->parallel)
            pthread_mutex_unlock(&server->lock);
    }
    if (alive)
        alive = send_reply(connection->fd, &request, &reply) && !early;
    free(reply.to_free);
    free(request.body);
    return alive;
}

static void *serve(void *context)
{
    struct connection_of *connection = context;

    while (serve_one(connection))
        ;
    pthread_mutex_lock(&connection->server->lock);
    (void)close(connection->fd);
    connection->server->fds[connection->slot] = -1;
    pthread_mutex_unlock(&connection->server->lock);
    free(connection->data);
    free(connection);
    return NULL;
}

static void *accept_connections(void *context)
{
    struct script_server *server = context;
    const int at_once = 1;
    int fd;

    while ((fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct connection_of *connection = calloc(1, sizeof(*connection));

        invariant(connection != NULL && server->count < SCRIPT_CONNECTIONS_MAX);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
        pthread_mutex_lock(&server->lock);
        *connection = (struct connection_of){.server = server, .slot = server->count, .fd = fd};
        server->fds[server->count] = fd;
        invariant(pthread_create(&server->threads[server->count], NULL, serve, connection) == 0);
        server->count++;
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

static void start(
    struct script_server *server, script_handler *handler, void *context, bool parallel)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    *server = (struct script_server){.handler = handler, .context = context, .parallel = parallel};
    pthread_mutex_init(&server->lock, NULL);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    invariant(server->listener >= 0);
    invariant(bind(server->listener, (const struct sockaddr *)&address, size) == 0);
    invariant(listen(server->listener, 64) == 0);
    invariant(getsockname(server->listener, (struct sockaddr *)&address, &size) == 0);
    (void)snprintf(
        server->url, sizeof(server->url), "http://127.0.0.1:%u", ntohs(address.sin_port));
    invariant(pthread_create(&server->thread, NULL, accept_connections, server) == 0);
}

void script_server_start(struct script_server *server, script_handler *handler, void *context)
{
    start(server, handler, context, false);
}

void script_server_start_parallel(
    struct script_server *server, script_handler *handler, void *context)
{
    start(server, handler, context, true);
}

void script_server_settle(struct script_server *server)
{
    pthread_mutex_lock(&server->lock);
    pthread_mutex_unlock(&server->lock);
}

void script_server_stop(struct script_server *server)
{
    (void)shutdown(server->listener, SHUT_RDWR); /* ends accept4() */
    (void)pthread_join(server->thread, NULL);
    (void)close(server->listener);
    pthread_mutex_lock(&server->lock);
    for (unsigned i = 0; i < server->count; i++)
        if (server->fds[i] >= 0)
            (void)shutdown(server->fds[i], SHUT_RDWR);
    pthread_mutex_unlock(&server->lock);
    for (unsigned i = 0; i < server->count; i++)
        (void)pthread_join(server->threads[i], NULL);
    pthread_mutex_destroy(&server->lock);
}
