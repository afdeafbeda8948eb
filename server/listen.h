/*
 * listen.h - the sockets that connections come in by.
 *
 * Order:   listen_parse() says whether an address is one, and whether only this machine reaches it;
 *          listener_open() binds and listens; listener_close() also removes a unix socket's file.
 * Threads: one at a time.
 * Errors:  COFFER_BAD_OPTION for a text that is no address, else COFFER_IO with the reason.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "storage/base/status.h"

enum { LISTENER_NAME_SIZE = 160 };

struct listen_address {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un local;
    } at;
    socklen_t size;
    bool private; /* loopback or a unix socket: other machines cannot reach it */
};

struct listener {
    struct listen_address address; /* as bound: a port 0 is replaced */
    int fd;
    char name[LISTENER_NAME_SIZE]; /* for the log: "127.0.0.1:8420", "[::1]:8420", "unix:PATH" */
};

/* `text`: ADDR:PORT, [V6]:PORT (numeric, or "localhost"), or unix:PATH. */
MUST_USE enum coffer_status listen_parse(
    const char *text, struct listen_address *address, struct error *err);
MUST_USE enum coffer_status listener_open(
    const struct listen_address *address, struct listener *listener, struct error *err);
void listener_close(struct listener *listener);
