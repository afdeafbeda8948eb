#include "tests/support/hook_server.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storage/base/invariant.h"

enum { REQUEST_MAX = 256 << 10 };

/* The whole request, with a NUL after it; false: it did not come whole. */
static bool read_request(int fd, char *text, const char **body)
{
    size_t used = 0, wanted = REQUEST_MAX;

    *body = NULL;
    while (used < wanted) {
        ssize_t size = read(fd, text + used, REQUEST_MAX - used);

        if (size <= 0)
            return false;
        used += (size_t)size;
        text[used] = '\0';
        if (*body == NULL && (*body = strstr(text, "\r\n\r\n")) != NULL) {
            const char *length = strcasestr(text, "\r\nContent-Length:");

            *body += 4;
            wanted = (size_t)(*body - text);
            if (length != NULL)
                wanted += strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
            invariant(wanted <= REQUEST_MAX);
        }
    }
    return true;
}

/* Note it, and give what it is to be answered with. */
static int note_request(struct hook_server *hook, const char *body)
{
    unsigned number;
    int answer = 200;

    pthread_mutex_lock(&hook->lock);
    number = hook->count++;
    if (number < HOOK_ANSWERS_MAX)
        hook->bodies[number] = strdup(body);
    for (unsigned i = 0; i <= number && i < HOOK_ANSWERS_MAX && hook->answers[i] != 0; i++)
        answer = hook->answers[i];
    pthread_cond_broadcast(&hook->changed);
    pthread_mutex_unlock(&hook->lock);
    return answer;
}

static void serve(struct hook_server *hook, int fd)
{
    char *text = malloc(REQUEST_MAX + 1), reply[256];
    const char *body, *location = "";
    int answer, length;

    invariant(text != NULL);
    if (read_request(fd, text, &body)) {
        answer = note_request(hook, body);
        if (answer == HOOK_HOLD) {
            while (read(fd, text, REQUEST_MAX) > 0)
                ;
        } else {
            if (answer == HOOK_MOVED)
                location = "Location: file:///etc/hostname\r\n";
            if (answer == HOOK_RETRY)
                location = "Location: /\r\n";
            length = snprintf(reply, sizeof(reply),
                "HTTP/1.1 %d Answer\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n", answer,
                location);
            (void)!write(fd, reply, (size_t)length);
        }
    }
    free(text);
}

static void *serve_all(void *argument)
{
    struct hook_server *hook = argument;

    for (;;) {
        int fd = accept4(hook->fd, NULL, NULL, SOCK_CLOEXEC);
        bool stop;

        pthread_mutex_lock(&hook->lock);
        hook->connection = fd;
        stop = hook->stopping;
        pthread_mutex_unlock(&hook->lock);
        if (fd >= 0 && !stop)
            serve(hook, fd);
        pthread_mutex_lock(&hook->lock);
        hook->connection = -1;
        pthread_mutex_unlock(&hook->lock);
        if (fd >= 0)
            (void)close(fd);
        if (fd < 0 || stop)
            return NULL;
    }
}

void hook_start(struct hook_server *hook, const int *answers)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(at);

    memset(hook, 0, sizeof(*hook));
    for (unsigned i = 0; answers[i] != 0; i++) {
        invariant(i < HOOK_ANSWERS_MAX);
        hook->answers[i] = answers[i];
    }
    pthread_mutex_init(&hook->lock, NULL);
    pthread_cond_init(&hook->changed, NULL);
    hook->connection = -1;
    hook->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    invariant(hook->fd >= 0);
    invariant(bind(hook->fd, (struct sockaddr *)&at, size) == 0);
    invariant(getsockname(hook->fd, (struct sockaddr *)&at, &size) == 0);
    invariant(listen(hook->fd, 16) == 0);
    (void)snprintf(hook->url, sizeof(hook->url), "http://127.0.0.1:%u/hook", ntohs(at.sin_port));
    invariant(pthread_create(&hook->thread, NULL, serve_all, hook) == 0);
}

void hook_wait(struct hook_server *hook, unsigned count)
{
    pthread_mutex_lock(&hook->lock);
    while (hook->count < count)
        pthread_cond_wait(&hook->changed, &hook->lock);
    pthread_mutex_unlock(&hook->lock);
}

unsigned hook_count(struct hook_server *hook)
{
    unsigned count;

    pthread_mutex_lock(&hook->lock);
    count = hook->count;
    pthread_mutex_unlock(&hook->lock);
    return count;
}

const char *hook_body(struct hook_server *hook, unsigned number)
{
    const char *body;

    pthread_mutex_lock(&hook->lock);
    invariant(number < HOOK_ANSWERS_MAX && number < hook->count);
    body = hook->bodies[number];
    pthread_mutex_unlock(&hook->lock);
    return body;
}

void hook_stop(struct hook_server *hook)
{
    pthread_mutex_lock(&hook->lock);
    hook->stopping = true;
    if (hook->connection >= 0)
        (void)shutdown(hook->connection, SHUT_RDWR);
    pthread_mutex_unlock(&hook->lock);
    (void)shutdown(hook->fd, SHUT_RDWR); /* accept() returns */
    pthread_join(hook->thread, NULL);
    (void)close(hook->fd);
    for (unsigned i = 0; i < HOOK_ANSWERS_MAX; i++)
        free(hook->bodies[i]);
    pthread_cond_destroy(&hook->changed);
    pthread_mutex_destroy(&hook->lock);
}
