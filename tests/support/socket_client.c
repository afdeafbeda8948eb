#include "tests/support/socket_client.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { WAIT_MS = 20000 };

int socket_open(const struct listener *listener)
{
    int fd = socket(listener->address.at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &listener->address.at.any, listener->address.size), 0);
    return fd;
}

bool socket_send(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        data += sent;
        size -= (size_t)sent;
    }
    return true;
}

void socket_send_text(int fd, const char *text)
{
    assert_true(socket_send(fd, text, strlen(text)));
}

static unsigned count_replies(const char *text, size_t size)
{
    unsigned count = 0;

    while (size > 0) {
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strstr(text, "Content-Length: ");
        size_t total;

        if (end == NULL)
            break;
        total = (size_t)(end + 4 - text);
        if (length != NULL && length < end)
            total += strtoul(length + 16, NULL, 10);
        if (total > size)
            break;
        text += total;
        size -= total;
        count++;
    }
    return count;
}

void socket_read(int fd, unsigned replies, struct socket_reply *reply)
{
    reply->size = 0;
    reply->closed = reply->reset = false;
    reply->text[0] = '\0';
    while (replies == 0 || count_replies(reply->text, reply->size) < replies) {
        struct pollfd polled = {.fd = fd, .events = POLLIN};
        ssize_t got;

        assert_int_equal(poll(&polled, 1, WAIT_MS), 1);
        got = recv(fd, reply->text + reply->size, SOCKET_REPLY_MAX - 1 - reply->size, 0);
        reply->closed = got <= 0;
        reply->reset = got < 0;
        if (got <= 0)
            break;
        reply->size += (size_t)got;
        reply->text[reply->size] = '\0';
    }
    reply->status =
        strncmp(reply->text, "HTTP/1.1 ", 9) == 0 ? (int)strtol(reply->text + 9, NULL, 10) : 0;
}
