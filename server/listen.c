#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/base/invariant.h"

enum { BACKLOG = 4096 }; /* the kernel cuts it to net.core.somaxconn */

static enum coffer_status parse_unix(
    const char *path, struct listen_address *address, struct error *err)
{
    size_t size = strlen(path);

    if (size == 0 || size >= sizeof(address->at.local.sun_path))
        return error_set(err, COFFER_BAD_OPTION,
            "--listen: the path of a unix socket has 1 to %zu characters: \"%.150s\"",
            sizeof(address->at.local.sun_path) - 1, path);
    address->at.local.sun_family = AF_UNIX;
    memcpy(address->at.local.sun_path, path, size + 1);
    address->size = (socklen_t)sizeof(address->at.local);
    address->private = true;
    return COFFER_OK;
}

static bool parse_port(const char *text, in_port_t *port)
{
    unsigned long value;
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    value = strtoul(text, &end, 10);
    *port = htons((uint16_t)value);
    return errno == 0 && *end == '\0' && value <= 65535;
}

static bool parse_host(char *host, in_port_t port, struct listen_address *address)
{
    size_t size = strlen(host);

    if (size > 2 && host[0] == '[' && host[size - 1] == ']') {
        host[size - 1] = '\0';
        address->at.v6.sin6_family = AF_INET6;
        address->at.v6.sin6_port = port;
        address->size = (socklen_t)sizeof(address->at.v6);
        if (inet_pton(AF_INET6, host + 1, &address->at.v6.sin6_addr) != 1)
            return false;
        address->private = IN6_IS_ADDR_LOOPBACK(&address->at.v6.sin6_addr);
        return true;
    }
    address->at.v4.sin_family = AF_INET;
    address->at.v4.sin_port = port;
    address->size = (socklen_t)sizeof(address->at.v4);
    if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
            &address->at.v4.sin_addr) != 1)
        return false;
    address->private = ntohl(address->at.v4.sin_addr.s_addr) >> 24 == 127;
    return true;
}

enum coffer_status listen_parse(const char *text, struct listen_address *address, struct error *err)
{
    const char *colon;
    in_port_t port;
    char host[80];

    memset(address, 0, sizeof(*address));
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, address, err);
    colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof(host) || colon == text)
        goto wrong;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    if (parse_port(colon + 1, &port) && parse_host(host, port, address))
        return COFFER_OK;
wrong:
    return error_set(err, COFFER_BAD_OPTION,
        "--listen: \"%.150s\" is neither ADDR:PORT nor [V6]:PORT nor unix:PATH", text);
}

static void set_name(struct listener *listener)
{
    const struct listen_address *address = &listener->address;
    char host[INET6_ADDRSTRLEN] = "";

    if (address->at.any.sa_family == AF_UNIX) {
        (void)snprintf(
            listener->name, sizeof(listener->name), "unix:%s", address->at.local.sun_path);
    } else if (address->at.any.sa_family == AF_INET6) {
        (void)inet_ntop(AF_INET6, &address->at.v6.sin6_addr, host, sizeof(host));
        (void)snprintf(listener->name, sizeof(listener->name), "[%s]:%u", host,
            ntohs(address->at.v6.sin6_port));
    } else {
        (void)inet_ntop(AF_INET, &address->at.v4.sin_addr, host, sizeof(host));
        (void)snprintf(
            listener->name, sizeof(listener->name), "%s:%u", host, ntohs(address->at.v4.sin_port));
    }
}

/* A socket file that nobody listens on any more is left over from a crash. */
static enum coffer_status remove_stale(const struct listen_address *address, struct error *err)
{
    const char *path = address->at.local.sun_path;
    struct stat info;
    int probe, result;

    if (lstat(path, &info) != 0)
        return COFFER_OK;
    if (!S_ISSOCK(info.st_mode))
        return error_set(err, COFFER_IO, "listen on unix:%s: a file of that name is there", path);
    probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0)
        return error_errno(err, "make a socket");
    result = connect(probe, &address->at.any, address->size) == 0 || errno == EAGAIN ? 0 : errno;
    (void)close(probe);
    if (result == 0)
        return error_set(err, COFFER_IO, "listen on unix:%s: another process does", path);
    if (result == ECONNREFUSED && unlink(path) != 0 && errno != ENOENT)
        return error_errno(err, "remove the stale socket %s", path);
    return COFFER_OK;
}

static int bind_socket(int fd, const struct listen_address *address)
{
    const int on = 1, keep_idle = 60, keep_interval = 15, keep_count = 4; /* seconds, probes */
    int result;
    mode_t mask;

    if (address->at.any.sa_family != AF_UNIX) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (address->at.any.sa_family == AF_INET6)
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        /* Inherited by accepted sockets: an answer is one write, it need not wait for more. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        /* A client that lost its network says no goodbye, and one that follows a channel is sent
         * nothing for hours: ask whether it is still there. */
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &keep_idle, sizeof(keep_idle));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &keep_interval, sizeof(keep_interval));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &keep_count, sizeof(keep_count));
        return bind(fd, &address->at.any, address->size);
    }
    mask = umask(0117); /* owner and group: 0660 from its first moment */
    result = bind(fd, &address->at.any, address->size);
    (void)umask(mask);
    return result;
}

enum coffer_status listener_open(
    const struct listen_address *address, struct listener *listener, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    socklen_t size = sizeof(listener->address.at);

    listener->address = *address;
    listener->fd = -1;
    set_name(listener);
    if (address->at.any.sa_family == AF_UNIX)
        status = remove_stale(address, err);
    if (status != COFFER_OK)
        return status;
    listener->fd = socket(address->at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener->fd < 0)
        return error_errno(err, "listen on %s", listener->name);
    if (bind_socket(listener->fd, address) != 0 || listen(listener->fd, BACKLOG) != 0) {
        status = error_errno(err, "listen on %s", listener->name);
        (void)close(listener->fd);
        listener->fd = -1;
        return status;
    }
    if (address->at.any.sa_family != AF_UNIX) {
        (void)getsockname(listener->fd, &listener->address.at.any, &size);
        set_name(listener);
    }
    return COFFER_OK;
}

void listener_close(struct listener *listener)
{
    if (listener->fd < 0)
        return;
    (void)close(listener->fd);
    listener->fd = -1;
    if (listener->address.at.any.sa_family == AF_UNIX)
        (void)unlink(listener->address.at.local.sun_path);
}
