#include "tests/support/http_client.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"

enum { TIMEOUT_S = 120 };

struct http_client {
    CURL *curl;
    char address[200];
};

/* One request under way. */
struct transfer {
    const struct http_request *request;
    struct http_answer *answer;
    size_t head_size;
    size_t at; /* of the request's body */
};

void http_client_global(void)
{
    invariant(curl_global_init(CURL_GLOBAL_ALL) == 0);
}

struct http_client *http_client_create(const char *address)
{
    struct http_client *client = calloc(1, sizeof(*client));

    invariant(client != NULL);
    client->curl = curl_easy_init();
    invariant(client->curl != NULL);
    (void)snprintf(client->address, sizeof(client->address), "%s", address);
    return client;
}

void http_client_destroy(struct http_client *client)
{
    if (client == NULL)
        return;
    curl_easy_cleanup(client->curl);
    free(client);
}

static char *append(char *text, size_t *used, const void *data, size_t size)
{
    text = realloc(text, *used + size + 1);
    invariant(text != NULL);
    if (size > 0)
        memcpy(text + *used, data, size);
    *used += size;
    text[*used] = '\0';
    return text;
}

static size_t on_head(char *data, size_t one, size_t size, void *context)
{
    struct transfer *transfer = context;

    (void)one;
    if (size > 12 && strncmp(data, "HTTP/1.1 100", 12) == 0)
        transfer->answer->continued = true;
    if (size > 5 && strncmp(data, "HTTP/", 5) == 0)
        transfer->head_size = 0; /* a new answer: the one before was 100 */
    transfer->answer->head = append(transfer->answer->head, &transfer->head_size, data, size);
    return size;
}

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
    struct http_answer *answer = ((struct transfer *)context)->answer;

    (void)one;
    answer->body = append(answer->body, &answer->size, data, size);
    return size;
}

static size_t on_send(char *out, size_t one, size_t max, void *context)
{
    struct transfer *transfer = context;
    size_t left = transfer->request->size - transfer->at;
    size_t size = left < one * max ? left : one * max;

    if (size > 0)
        memcpy(out, (const char *)transfer->request->body + transfer->at, size);
    transfer->at += size;
    transfer->answer->body_sent = transfer->at;
    return size;
}

/* libcurl may send a body again on a fresh connection, when the old one was closed under it. */
static int on_rewind(void *context, curl_off_t offset, int origin)
{
    ((struct transfer *)context)->at = (size_t)offset;
    return origin == SEEK_SET ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static struct curl_slist *make_headers(const struct http_request *request)
{
    struct curl_slist *list =
        curl_slist_append(NULL, request->expect ? "Expect: 100-continue" : "Expect:");

    if (request->chunked)
        list = curl_slist_append(list, "Transfer-Encoding: chunked");
    for (size_t i = 0; i < HTTP_HEADERS_MAX && request->headers[i] != NULL; i++)
        list = curl_slist_append(list, request->headers[i]);
    invariant(list != NULL);
    return list;
}

static void set_method(CURL *curl, const struct http_request *request)
{
    const char *method = request->method == NULL ? "GET" : request->method;

    if (request->body != NULL || request->chunked) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        if (!request->chunked)
            curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->size);
    } else if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
        return;
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

static void set_url(struct http_client *client, const struct http_request *request)
{
    size_t room = strlen(client->address) + strlen(request->path) + 32;
    char *url = malloc(room);

    invariant(url != NULL);
    if (strncmp(client->address, "unix:", 5) == 0) {
        curl_easy_setopt(client->curl, CURLOPT_UNIX_SOCKET_PATH, client->address + 5);
        (void)snprintf(url, room, "http://localhost%s", request->path);
    } else {
        (void)snprintf(url, room, "http://%s%s", client->address, request->path);
    }
    curl_easy_setopt(client->curl, CURLOPT_URL, url);
    free(url);
}

void http_send(
    struct http_client *client, const struct http_request *request, struct http_answer *answer)
{
    struct transfer transfer = {.request = request, .answer = answer};
    struct curl_slist *headers = make_headers(request);
    CURL *curl = client->curl;
    long status = 0, connects = 0;

    memset(answer, 0, sizeof(*answer));
    answer->body = calloc(1, 1);
    answer->head = calloc(1, 1);
    invariant(answer->body != NULL && answer->head != NULL);
    curl_easy_reset(curl); /* keeps the connection */
    set_url(client, request);
    set_method(curl, request);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_EXPECT_100_TIMEOUT_MS, (long)TIMEOUT_S * 1000);
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, request->close ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, request->close ? 1L : 0L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_send);
    curl_easy_setopt(curl, CURLOPT_READDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, on_rewind);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &transfer);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, answer->error);
    if (curl_easy_perform(curl) == CURLE_OK)
        answer->error[0] = '\0';
    else if (answer->error[0] == '\0')
        (void)snprintf(answer->error, sizeof(answer->error), "failed");
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(curl, CURLINFO_NUM_CONNECTS, &connects);
    answer->status = (int)status;
    answer->connected = connects > 0;
    curl_slist_free_all(headers);
}

const char *http_header(struct http_answer *answer, const char *name)
{
    size_t size = strlen(name);

    for (const char *line = answer->head; *line != '\0';) {
        const char *end = line + strcspn(line, "\r\n");

        if (strncasecmp(line, name, size) == 0 && line[size] == ':') {
            const char *value = line + size + 1;

            value += strspn(value, " \t");
            invariant((size_t)(end - value) < sizeof(answer->value));
            memcpy(answer->value, value, (size_t)(end - value));
            answer->value[end - value] = '\0';
            return answer->value;
        }
        line = end + strspn(end, "\r\n");
    }
    return NULL;
}

void http_answer_release(struct http_answer *answer)
{
    free(answer->head);
    free(answer->body);
    memset(answer, 0, sizeof(*answer));
}

/* ---- raw sockets ---- */

int raw_connect(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct sockaddr_in peer = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    invariant(colon != NULL && fd >= 0);
    peer.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (const struct sockaddr *)&peer, sizeof(peer)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

void raw_close(int fd)
{
    (void)close(fd);
}

bool raw_send(int fd, const void *data, size_t size)
{
    const char *at = data;

    while (size > 0) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        size -= (size_t)sent;
    }
    return true;
}

bool raw_send_text(int fd, const char *text)
{
    return raw_send(fd, text, strlen(text));
}

static int status_of(const char *text)
{
    unsigned status = 0;

    return sscanf(text, "HTTP/1.1 %3u", &status) == 1 ? (int)status : RAW_CLOSED;
}

static int raw_read(int fd, unsigned seconds, char *text, size_t size, bool only_head)
{
    uint64_t until = clock_monotonic_ns() + (uint64_t)seconds * NS_PER_S;
    char own[4096], dropped[4096];
    size_t used = 0;

    if (text == NULL) {
        text = own;
        size = sizeof(own);
    }
    text[0] = '\0';
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        uint64_t now = clock_monotonic_ns();
        bool room = used + 1 < size;
        ssize_t got;

        if (now >= until)
            return RAW_HANG;
        if (poll(&wait, 1, (int)((until - now) / NS_PER_MS) + 1) <= 0)
            continue;
        got = room ? recv(fd, text + used, size - used - 1, 0)
                   : recv(fd, dropped, sizeof(dropped), 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return status_of(text); /* closed or reset */
        if (room) {
            used += (size_t)got;
            text[used] = '\0';
        }
        if (only_head && strstr(text, "\r\n\r\n") != NULL)
            return status_of(text);
    }
}

int raw_read_end(int fd, unsigned seconds, char *text, size_t size)
{
    return raw_read(fd, seconds, text, size, false);
}

int raw_read_head(int fd, unsigned seconds, char *text, size_t size)
{
    return raw_read(fd, seconds, text, size, true);
}
