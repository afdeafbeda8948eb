/*
 * Start: addresses, listeners, HTTP (everything but health is answered 503 so far), store, jobs,
 * ready. Stop:  no more connections, requests under way, HTTP threads, bulk threads, jobs, store.
 */
#include "server/lifecycle.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "api/bulk.h"
#include "api/close_job.h"
#include "server/host_guard.h"
#include "server/http_server.h"
#include "server/listen.h"
#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/datasets.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, DESCRIPTORS_SPARE = 1024 };

struct server {
    const struct options *options;
    struct service service;
    struct listener listeners[LISTEN_MAX];
    size_t listener_count;
    struct host_guard guard;
    struct http_server *http;
    struct close_jobs *close_jobs;
};

/* ---- signals ---- */

static void stop_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
}

void signals_block(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigset_t set;

    (void)sigaction(SIGPIPE, &ignore, NULL);
    stop_signals(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static const char *signal_name(int number)
{
    return number == SIGTERM ? "SIGTERM" : "SIGINT";
}

static void wait_for_stop(void)
{
    sigset_t set;
    int number = 0;

    stop_signals(&set);
    while (sigwait(&set, &number) != 0)
        ;
    log_write(LOG_INFO, "stopping", "%s: finishing what is under way", signal_name(number));
}

/* While stopping, more signals change nothing: what was accepted is to be synced first. */
static void *tell_stopping(void *context)
{
    sigset_t set;
    int number = 0;

    (void)context;
    stop_signals(&set);
    for (;;)
        if (sigwait(&set, &number) == 0)
            log_write(LOG_INFO, "stopping", "%s: already stopping", signal_name(number));
    return NULL;
}

static void tell_stopping_start(void)
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, tell_stopping, NULL) == 0)
        (void)pthread_detach(thread);
}

/* ---- start ---- */

/* All addresses are looked at before the first is bound. */
static enum coffer_status open_listeners(struct server *server, struct error *err)
{
    const struct options *options = server->options;
    struct listen_address addresses[LISTEN_MAX];
    bool public = false;

    for (size_t i = 0; i < options->listen.count; i++) {
        enum coffer_status status = listen_parse(options->listen.addresses[i], &addresses[i], err);

        if (status != COFFER_OK)
            return status;
        if (addresses[i].private)
            continue;
        public = true;
        if (!options->allow_anonymous)
            return error_set(err, COFFER_BAD_OPTION,
                "--listen %s: other machines can reach this address, and without keys everybody "
                "may do everything: listen on 127.0.0.1, or say --allow-anonymous",
                options->listen.addresses[i]);
    }
    for (size_t i = 0; i < options->listen.count; i++) {
        enum coffer_status status =
            listener_open(&addresses[i], &server->listeners[server->listener_count], err);

        if (status != COFFER_OK)
            return status;
        server->listener_count++;
    }
    host_guard_init(&server->guard, !public, server->listeners, server->listener_count);
    return COFFER_OK;
}

static void close_listeners(struct server *server)
{
    while (server->listener_count > 0)
        listener_close(&server->listeners[--server->listener_count]);
}

/* Each connection is a descriptor, each open pack another. */
static void raise_descriptor_limit(uint64_t connections)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < connections + DESCRIPTORS_SPARE)
        log_write(LOG_WARN, "few_descriptors",
            "the process may open %llu files: too few for --connections-max %" PRIu64,
            (unsigned long long)limit.rlim_cur, connections);
}

static enum coffer_status start_http(struct server *server, struct error *err)
{
    const struct options *options = server->options;
    const struct http_options http = {
        .threads = (unsigned)options->http_threads,
        .connections_max = (unsigned)options->connections_max,
        .connection_memory = options->connection_memory,
        .header_size_max = options->header_size_max,
        .path_size_max = options->path_size_max,
        .timeout_ns = options->timeout,
    };
    struct service *service = &server->service;

    service->version = COFFER_VERSION;
    service->durability = options->durability == 0 ? DURABILITY_SYNCED : DURABILITY_BUFFERED;
    service->collect_max = options->json_size_max;
    service->memory_max = options->request_memory;
    service->started_ns = clock_wall_ns();
    service->bulk = bulk_pool_create(
        options->bulk_threads == 0 ? BULK_THREADS_DEFAULT : (unsigned)options->bulk_threads,
        BULK_IDLE_DEFAULT_NS);
    atomic_store(&service->state, SERVICE_RECOVERING);
    return http_server_start(&http, service, &server->guard, server->listeners,
        server->listener_count, &server->http, err);
}

static void log_ready(const struct server *server)
{
    char text[1024] = "";
    size_t used = 0;

    for (size_t i = 0; i < server->listener_count && used < sizeof(text); i++)
        used += (size_t)snprintf(
            text + used, sizeof(text) - used, "%s%s", i == 0 ? "" : " ", server->listeners[i].name);
    log_write(LOG_INFO, "ready", "listening on %s", text);
}

static enum coffer_status start(struct server *server, struct error *err)
{
    struct store_options store;
    enum coffer_status status = open_listeners(server, err);

    if (status != COFFER_OK)
        return status;
    raise_descriptor_limit(server->options->connections_max);
    status = start_http(server, err);
    if (status != COFFER_OK)
        return status;
    options_for_store(server->options, &store);
    status = store_open(&store, &server->service.store, err);
    if (status != COFFER_OK)
        return status;
    server->close_jobs = close_jobs_create(server->service.store, server->options->notify_delay);
    atomic_store_explicit(&server->service.state, SERVICE_READY, memory_order_release);
    log_ready(server);
    return COFFER_OK;
}

/* ---- stop ---- */

static int stop(struct server *server, int code)
{
    struct error err = {COFFER_OK, ""};
    uint64_t cut = 0;

    atomic_store_explicit(&server->service.state, SERVICE_DRAINING, memory_order_release);
    if (server->service.store != NULL) { /* what follows a channel or a job might never end */
        store_datasets_drain(server->service.store);
        store_jobs_drain(server->service.store);
    }
    if (server->http != NULL) {
        http_server_stop_accepting(server->http);
        close_listeners(server);
        cut = http_server_drain(server->http, server->options->drain_timeout);
        http_server_destroy(server->http);
    }
    close_listeners(server);
    if (cut > 0)
        log_write(LOG_WARN, "requests_cut",
            "%" PRIu64 " requests were cut off after --drain-timeout", cut);
    bulk_pool_destroy(server->service.bulk);
    if (server->service.store != NULL && store_close(server->service.store, &err) != COFFER_OK) {
        log_write(LOG_ERROR, "stop_failed", "%s: %s", status_code(err.status), err.text);
        code = EXIT_FAILED;
    }
    close_jobs_destroy(server->close_jobs);
    return code;
}

static int start_failed(const struct error *err)
{
    log_write(LOG_ERROR, "start_failed", "%s", err->text);
    switch (err->status) {
    case COFFER_BAD_OPTION:
    case COFFER_LOCKED:
    case COFFER_FORMAT_UNKNOWN:
        return EXIT_USAGE;
    default:
        return EXIT_FAILED;
    }
}

int lifecycle_run(const struct options *options)
{
    struct server server = {.options = options};
    struct error err = {COFFER_OK, ""};
    enum coffer_status status = start(&server, &err);
    int code;

    if (status != COFFER_OK) {
        err.status = status;
        return stop(&server, start_failed(&err));
    }
    wait_for_stop();
    tell_stopping_start();
    code = stop(&server, EXIT_OK);
    log_write(LOG_INFO, "stopped",
        code == EXIT_OK ? "everything accepted is on stable storage"
                        : "something could not be synced");
    return code;
}
