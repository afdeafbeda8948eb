/*
 * bench_bare_mhd: the least that a libmicrohttpd server can do, as the ceiling for cofferd, which
 * uses the same library in the same threading mode.
 *
 *   GET /SIZE/anything   SIZE bytes from memory
 *   PUT, POST            reads the body, drops it, answers 201
 *
 * Listens on a free port of 127.0.0.1 and says so: "bare_mhd: ready 127.0.0.1:PORT".
 *
 * Threads: libmicrohttpd's pool, one a processor; they share only the read-only body.
 */
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    BODY_SIZE_MAX = 16 << 20,
    CONNECTION_MEMORY = 64 << 10, /* as cofferd takes unless told otherwise */
    LISTEN_BACKLOG = 1024,
    IDLE_TIMEOUT_S = 60,
};

static uint8_t *body;

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, size_t size)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, body, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result;

    if (response == NULL)
        return MHD_NO;
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* The first call of each request only marks it: an answer queued there closes the connection. */
static enum MHD_Result request_handle(void *context, struct MHD_Connection *connection,
    const char *url, const char *method, const char *version, const char *upload,
    size_t *upload_size, void **request)
{
    static int seen;
    size_t size;

    (void)context;
    (void)version;
    (void)upload;
    if (*request == NULL) {
        *request = &seen;
        return MHD_YES;
    }
    if (*upload_size != 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    if (strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0)
        return reply(connection, MHD_HTTP_CREATED, 0);
    size = strtoul(url + 1, NULL, 10);
    if (size == 0 || size > BODY_SIZE_MAX)
        return reply(connection, MHD_HTTP_NOT_FOUND, 0);
    return reply(connection, MHD_HTTP_OK, size);
}

int main(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    struct sockaddr_in address = {.sin_family = AF_INET};
    const union MHD_DaemonInfo *info;
    struct MHD_Daemon *daemon;
    sigset_t stop;
    int number;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    pthread_sigmask(SIG_BLOCK, &stop, NULL); /* before the pool, which inherits it */

    body = malloc(BODY_SIZE_MAX);
    if (body == NULL) {
        perror("bare_mhd");
        return 3;
    }
    memset(body, 'x', BODY_SIZE_MAX);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_TURBO, 0, NULL, NULL,
        request_handle, NULL, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_THREAD_POOL_SIZE,
        (unsigned)(processors > 1 ? processors : 2), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_LISTEN_BACKLOG_SIZE, (unsigned)LISTEN_BACKLOG, MHD_OPTION_END);
    if (daemon == NULL) {
        perror("bare_mhd: cannot start");
        free(body);
        return 3;
    }
    info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    fprintf(stderr, "bare_mhd: ready 127.0.0.1:%u\n", (unsigned)info->port);
    sigwait(&stop, &number);
    MHD_stop_daemon(daemon);
    free(body);
    return 0;
}
