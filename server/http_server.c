/*
 * The acceptor thread takes connections from all listeners and gives each to the worker that has
 * the fewest: every worker is a daemon of libmicrohttpd without a listen socket. So the number of
 * connections is bounded without refusing any (those above it wait in the kernel), and stopping to
 * accept is only this thread's affair.
 */
#include "server/http_server.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "server/http_linger.h"
#include "server/http_worker.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"

enum {
    LISTENERS_MAX = 32,
    ACCEPTS_PER_TURN = 64,
    ACCEPT_RETRY_MS = 100, /* out of descriptors: when to look again */
    SWEEP_MS = 250,        /* how often connections are looked at whose client may have closed */
    DRAIN_POLL_MS = 20,
};

struct http_server {
    struct http_options options;
    const struct listener *listeners;
    size_t listener_count;
    struct http_worker *workers;
    unsigned worker_count;
    struct http_linger linger;
    pthread_t acceptor;
    int wake_fd;         /* eventfd: look at the fields below, and at the lingering sockets */
    _Atomic bool full;   /* the acceptor waits for a connection to end */
    _Atomic bool accept; /* false: no more */
    _Atomic bool stopped_accepting; /* the acceptor has seen that */
    _Atomic bool stop;
};

static void wake_acceptor(struct http_server *server)
{
    const uint64_t one = 1;

    (void)!write(server->wake_fd, &one, sizeof(one));
}

static void on_closed(void *context)
{
    struct http_server *server = context;

    if (atomic_load_explicit(&server->full, memory_order_acquire))
        wake_acceptor(server);
}

static void on_linger(void *context, int fd)
{
    struct http_server *server = context;

    http_linger_add(&server->linger, fd);
    wake_acceptor(server);
}

static uint64_t connections(const struct http_server *server)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < server->worker_count; i++)
        count += atomic_load_explicit(&server->workers[i].connections, memory_order_acquire);
    return count;
}

static uint64_t active(const struct http_server *server)
{
    uint64_t count = 0;

    for (unsigned i = 0; i < server->worker_count; i++)
        count += http_worker_active(&server->workers[i]);
    return count;
}

static struct http_worker *least_loaded(struct http_server *server)
{
    struct http_worker *best = &server->workers[0];

    for (unsigned i = 1; i < server->worker_count; i++)
        if (atomic_load_explicit(&server->workers[i].connections, memory_order_relaxed) <
            atomic_load_explicit(&best->connections, memory_order_relaxed))
            best = &server->workers[i];
    return best;
}

/* False: out of descriptors or memory; try again a little later. */
static bool accept_some(struct http_server *server, int listen_fd)
{
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct listen_address peer = {.size = sizeof(peer.at)};
        int fd;

        if (connections(server) >= server->options.connections_max)
            return true;
        fd = accept4(listen_fd, &peer.at.any, &peer.size, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            http_worker_add(least_loaded(server), fd, &peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            struct error err;

            (void)error_errno(&err, "accept a connection");
            log_write(LOG_WARN, "accept_failed", "%s", err.text);
            return false;
        }
        if (errno != ECONNABORTED && errno != EINTR)
            return true;
    }
    return true;
}

/* Whether there is room; if not, the next connection that ends wakes the acceptor. */
static bool has_room(struct http_server *server)
{
    if (connections(server) < server->options.connections_max)
        return true;
    atomic_store_explicit(&server->full, true, memory_order_seq_cst);
    if (connections(server) >= server->options.connections_max)
        return false;
    atomic_store_explicit(&server->full, false, memory_order_relaxed);
    return true;
}

/* Lowers *timeout_ms to when it is due next. */
static void sweep_if_due(struct http_server *server, uint64_t *due_ns, int *timeout_ms)
{
    uint64_t now;

    if (connections(server) == 0)
        return;
    now = clock_monotonic_ns();
    if (now >= *due_ns) {
        for (unsigned i = 0; i < server->worker_count; i++)
            http_worker_sweep(&server->workers[i]);
        *due_ns = now + (uint64_t)SWEEP_MS * NS_PER_MS;
    }
    if (*timeout_ms < 0 || *timeout_ms > SWEEP_MS)
        *timeout_ms = SWEEP_MS;
}

static void *acceptor_main(void *context)
{
    struct http_server *server = context;
    struct pollfd polled[1 + LISTENERS_MAX + LINGER_MAX];
    uint64_t sweep_due_ns = 0;
    bool resting = false;

    while (!atomic_load_explicit(&server->stop, memory_order_acquire)) {
        bool open = atomic_load_explicit(&server->accept, memory_order_acquire) && !resting &&
                    has_room(server);
        size_t listening = open ? server->listener_count : 0;
        int timeout = resting ? ACCEPT_RETRY_MS : -1;
        size_t lingering;
        uint64_t count;

        if (!atomic_load_explicit(&server->accept, memory_order_relaxed))
            atomic_store_explicit(&server->stopped_accepting, true, memory_order_release);
        polled[0] = (struct pollfd){.fd = server->wake_fd, .events = POLLIN};
        for (size_t i = 0; i < listening; i++)
            polled[1 + i] = (struct pollfd){.fd = server->listeners[i].fd, .events = POLLIN};
        sweep_if_due(server, &sweep_due_ns, &timeout);
        lingering = http_linger_poll(&server->linger, polled + 1 + listening, &timeout);
        if (poll(polled, (nfds_t)(1 + listening + lingering), timeout) < 0)
            continue;
        atomic_store_explicit(&server->full, false, memory_order_relaxed);
        resting = false;
        if (polled[0].revents != 0)
            (void)!read(server->wake_fd, &count, sizeof(count));
        http_linger_read(&server->linger, polled + 1 + listening, lingering);
        for (size_t i = 0; i < listening; i++)
            if (polled[1 + i].revents != 0 && !accept_some(server, server->listeners[i].fd))
                resting = true;
    }
    return NULL;
}

static unsigned processors(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    return (unsigned)CPU_COUNT(&set);
}

static enum coffer_status start_workers(struct http_server *server, struct service *service,
    const struct host_guard *guard, struct error *err)
{
    unsigned wanted = server->options.threads > 0 ? server->options.threads : processors();

    server->workers = calloc(wanted, sizeof(*server->workers));
    invariant(server->workers != NULL);
    for (; server->worker_count < wanted; server->worker_count++) {
        struct http_worker *worker = &server->workers[server->worker_count];
        enum coffer_status status;

        worker->options = &server->options;
        worker->guard = guard;
        worker->service = service;
        worker->events = (struct http_events){on_closed, on_linger, server};
        status = http_worker_start(worker, err);
        if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}

enum coffer_status http_server_start(const struct http_options *options, struct service *service,
    const struct host_guard *guard, const struct listener *listeners, size_t listener_count,
    struct http_server **out, struct error *err)
{
    struct http_server *server = calloc(1, sizeof(*server));
    enum coffer_status status;

    invariant(server != NULL && listener_count <= LISTENERS_MAX);
    server->options = *options;
    server->listeners = listeners;
    server->listener_count = listener_count;
    atomic_store(&server->accept, true);
    http_linger_init(&server->linger);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    status = server->wake_fd < 0 ? error_errno(err, "make an eventfd")
                                 : start_workers(server, service, guard, err);
    if (status == COFFER_OK) {
        errno = pthread_create(&server->acceptor, NULL, acceptor_main, server);
        if (errno == 0) {
            *out = server;
            return COFFER_OK;
        }
        status = error_errno(err, "start the accepting thread");
    }
    atomic_store(&server->stop, true);
    while (server->worker_count > 0)
        http_worker_stop(&server->workers[--server->worker_count]);
    if (server->wake_fd >= 0)
        (void)close(server->wake_fd);
    http_linger_release(&server->linger);
    free(server->workers);
    free(server);
    return status;
}

static void pause_ms(unsigned ms)
{
    const struct timespec time = clock_timespec((uint64_t)ms * NS_PER_MS);

    (void)nanosleep(&time, NULL);
}

void http_server_stop_accepting(struct http_server *server)
{
    atomic_store_explicit(&server->accept, false, memory_order_release);
    wake_acceptor(server);
    while (!atomic_load_explicit(&server->stopped_accepting, memory_order_acquire))
        pause_ms(1);
}

uint64_t http_server_drain(struct http_server *server, uint64_t timeout_ns)
{
    uint64_t until = clock_monotonic_ns() + timeout_ns;
    uint64_t cut;
    unsigned left;

    while (active(server) > 0 && clock_monotonic_ns() < until)
        pause_ms(DRAIN_POLL_MS);
    cut = active(server);
    /* Idle connections, and clients that do not come to an end. What waits for the store stays
     * with libmicrohttpd until the store has woken it. */
    do {
        left = 0;
        for (unsigned i = 0; i < server->worker_count; i++)
            left += http_worker_cut(&server->workers[i]);
        if (left > 0)
            pause_ms(DRAIN_POLL_MS);
    } while (left > 0);
    return cut;
}

void http_server_destroy(struct http_server *server)
{
    if (server == NULL)
        return;
    atomic_store_explicit(&server->stop, true, memory_order_release);
    wake_acceptor(server);
    (void)pthread_join(server->acceptor, NULL);
    for (unsigned i = 0; i < server->worker_count; i++)
        http_worker_stop(&server->workers[i]);
    http_linger_release(&server->linger);
    (void)close(server->wake_fd);
    free(server->workers);
    free(server);
}
