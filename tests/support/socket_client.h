/*
 * socket_client.h - a raw client: sends any bytes to a listener and reads replies. It fails the
 * running test (cmocka) when the server does not answer in time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "server/listen.h"

enum { SOCKET_REPLY_MAX = 64 * 1024 };

struct socket_reply {
    char text[SOCKET_REPLY_MAX]; /* with a NUL after it */
    size_t size;
    bool closed, reset;
    int status; /* of the first reply; 0: there is none */
};

int socket_open(const struct listener *listener);
/* False: the server closed or reset. */
bool socket_send(int fd, const char *data, size_t size);
void socket_send_text(int fd, const char *text);
/* Read until the end (`replies` 0), or until so many whole replies with Content-Length are there.
 */
void socket_read(int fd, unsigned replies, struct socket_reply *reply);
