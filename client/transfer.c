#include "client/transfer.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client/failure.h"

enum {
    REFUSAL_MAX = 64 * 1024,
    POLL_MS_MAX = 1000,
    CURL_BUFFER = 256 * 1024, /* of one read or write */
    KEEPALIVE_PROBES = 9,     /* that get no answer, the kernel's default */
};

static uint64_t monotonic_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- what libcurl calls ---- */

static size_t on_head(char *data, size_t one, size_t size, void *context)
{
    struct transfer *transfer = context;

    transfer->moved_ms = monotonic_ms();
    if (size > 5 && strncmp(data, "HTTP/", 5) == 0) {
        transfer->status = 0; /* a new head: the one before was 100 */
    } else if (size <= 2 && (data[0] == '\r' || data[0] == '\n')) {
        long status = 0;

        (void)curl_easy_getinfo(transfer->connection->easy, CURLINFO_RESPONSE_CODE, &status);
        transfer->status = (int)status;
        transfer->head_done = status >= 200;
        atomic_store_explicit(&transfer->client->reached, true, memory_order_relaxed);
    }
    return one * size;
}

static size_t on_body(char *data, size_t one, size_t size, void *context)
{
    struct transfer *transfer = context;
    size_t room;

    size *= one;
    transfer->moved_ms = monotonic_ms();
    if (transfer->status < 200 || transfer->status > 299) {
        room = REFUSAL_MAX - transfer->refusal.size;
        text_add(&transfer->refusal, data, size < room ? size : room);
        return size;
    }
    switch (transfer->sink(transfer->context, data, size)) {
    case 0:
        return size;
    case SINK_FULL:
        transfer->held = true;
        return CURL_WRITEFUNC_PAUSE;
    default:
        transfer->sink_failed = true;
        transfer->sink_errno = errno;
        return size == 0; /* anything but size fails it */
    }
}

static size_t on_send(char *out, size_t one, size_t max, void *context)
{
    struct transfer *transfer = context;
    size_t size = fread(out, one, max, transfer->request->file);

    transfer->moved_ms = monotonic_ms();
    if (size == 0 && ferror(transfer->request->file)) {
        transfer->sink_failed = true;
        transfer->sink_errno = errno;
        return CURL_READFUNC_ABORT;
    }
    return size * one;
}

/* It asks often; only what has moved counts. */
static int on_progress(
    void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct transfer *transfer = context;
    uint64_t moved = (uint64_t)down + (uint64_t)up;

    (void)down_total;
    (void)up_total;
    if (moved != transfer->moved_bytes) {
        transfer->moved_bytes = moved;
        transfer->moved_ms = monotonic_ms();
    }
    return 0;
}

/* What has not arrived must not arrive any more once nobody waits for the answer. The kernel would
 * go on sending it for minutes, and then a claim that was made again long ago would take the
 * channel from its own writer, or a deletion find what was stored after it. */
static int on_close(void *context, curl_socket_t fd)
{
    const struct linger reset = {.l_onoff = 1};
    int unsent = 0;

    (void)context;
    if (ioctl(fd, SIOCOUTQ, &unsent) == 0 && unsent > 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    return close(fd);
}

/* ---- setting it up ---- */

static bool add_header(struct transfer *transfer, const char *header)
{
    struct curl_slist *list = curl_slist_append(transfer->headers, header);

    if (list != NULL)
        transfer->headers = list;
    return list != NULL;
}

static bool set_headers(struct transfer *transfer, const struct request *request)
{
    char type[128];
    bool whole = true;

    /* A body in memory can be sent again, so that it is not worth a round trip to ask first. */
    if (request->file == NULL)
        whole = add_header(transfer, "Expect:");
    if (request->file != NULL && request->file_size == SIZE_UNKNOWN)
        whole = whole && add_header(transfer, "Transfer-Encoding: chunked");
    if (request->type != NULL) {
        (void)snprintf(type, sizeof(type), "Content-Type: %s", request->type);
        whole = whole && add_header(transfer, type);
    } else if (request->body != NULL || request->file != NULL) {
        whole = whole && add_header(transfer, "Content-Type: application/octet-stream");
    }
    for (size_t i = 0; i < REQUEST_HEADERS_MAX; i++)
        if (request->headers[i] != NULL)
            whole = whole && add_header(transfer, request->headers[i]);
    return whole;
}

static void set_body(struct transfer *transfer, CURL *easy, const struct request *request)
{
    if (request->file != NULL) {
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
        curl_easy_setopt(easy, CURLOPT_READDATA, transfer);
        if (request->file_size != SIZE_UNKNOWN)
            curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)request->file_size);
    } else if (request->body != NULL) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->size);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request->body);
    } else if (strcmp(request->method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
        return;
    } else if (strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, 0L);
        curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "");
    }
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static void set_client(struct transfer *transfer, CURL *easy)
{
    const struct coffer_client *client = transfer->client;

    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->reason);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
    /* Where silence is no failure, this finds out whether the server is still there. */
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)client->timeout);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)client->timeout / KEEPALIVE_PROBES + 1);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)client->connect_timeout);
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, (long)CURL_BUFFER);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)CURL_BUFFER);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, client->user_agent);
    if (client->socket != NULL)
        curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, client->socket);
    if (client->ca_file != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    if (client->key != NULL && strchr(client->key, ':') != NULL) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(easy, CURLOPT_USERPWD, client->key);
    } else if (client->key != NULL) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, client->key);
    }
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, transfer);
}

int transfer_begin(struct transfer *transfer, struct coffer_client *client,
    const struct request *request, transfer_sink *sink, void *context, struct coffer_error *err)
{
    struct text url = {0};
    CURL *easy;

    *transfer = (struct transfer){.client = client,
        .request = request,
        .sink = sink,
        .context = context,
        .connection = connection_take(client),
        .moved_ms = monotonic_ms()};
    text_printf(&url, "%s%s", client->url, request->path);
    if (transfer->connection == NULL || url.failed || !set_headers(transfer, request))
        goto no_memory;
    easy = transfer->connection->easy;
    set_client(transfer, easy);
    set_body(transfer, easy, request);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    /* libcurl sends a request again by itself when a connection it kept turns out to be closed. */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, request->once || request->told ? 1L : 0L);
    if (curl_easy_setopt(easy, CURLOPT_URL, url.data) != CURLE_OK ||
        curl_multi_add_handle(transfer->connection->multi, easy) != CURLM_OK)
        goto no_memory;
    transfer->added = true;
    text_release(&url);
    return 0;
no_memory:
    text_release(&url);
    transfer_end(transfer);
    return failure(err, "no_memory", "no memory for a request");
}

/* ---- driving it ---- */

static void finish(struct transfer *transfer, CURLcode code)
{
    transfer->done = true;
    transfer->code = code;
}

static uint64_t idle_limit_ms(const struct transfer *transfer)
{
    return UINT64_C(1000) * (transfer->client->timeout + transfer->request->wait);
}

/* Milliseconds to wait at most; 0: too long nothing has moved. */
static int patience_ms(const struct transfer *transfer)
{
    uint64_t idle = monotonic_ms() - transfer->moved_ms, limit = idle_limit_ms(transfer);

    if (transfer->request->endless || transfer->held)
        return POLL_MS_MAX;
    if (idle >= limit)
        return 0;
    return limit - idle < POLL_MS_MAX ? (int)(limit - idle) : POLL_MS_MAX;
}

void transfer_step(struct transfer *transfer)
{
    CURLM *multi = transfer->connection->multi;
    CURLMsg *message;
    int running, left, wait;

    if (curl_multi_perform(multi, &running) != CURLM_OK) {
        finish(transfer, CURLE_OUT_OF_MEMORY);
        return;
    }
    while ((message = curl_multi_info_read(multi, &left)) != NULL)
        if (message->msg == CURLMSG_DONE)
            finish(transfer, message->data.result);
    if (transfer->done || transfer->held)
        return;
    wait = patience_ms(transfer);
    if (wait == 0)
        finish(transfer, CURLE_OPERATION_TIMEDOUT);
    else
        (void)curl_multi_poll(multi, NULL, 0, wait, NULL);
}

void transfer_resume(struct transfer *transfer)
{
    if (!transfer->held)
        return;
    transfer->held = false;
    transfer->moved_ms = monotonic_ms();
    (void)curl_easy_pause(transfer->connection->easy, CURLPAUSE_CONT);
}

const char *transfer_header(const struct transfer *transfer, const char *name)
{
    struct curl_header *header;

    if (!transfer->head_done || curl_easy_header(transfer->connection->easy, name, 0, CURLH_HEADER,
                                    -1, &header) != CURLHE_OK)
        return NULL;
    return header->value;
}

static bool was_connected(const struct transfer *transfer)
{
    curl_off_t ready_us = 0;

    (void)curl_easy_getinfo(transfer->connection->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    return ready_us > 0;
}

static int broken(const struct transfer *transfer, struct coffer_error *err)
{
    const char *reason =
        transfer->reason[0] != '\0' ? transfer->reason : curl_easy_strerror(transfer->code);
    const char *url =
        transfer->client->socket != NULL ? transfer->client->socket : transfer->client->url;

    switch (transfer->code) {
    case CURLE_OUT_OF_MEMORY:
        return failure(err, "no_memory", "no memory for a request");
    case CURLE_URL_MALFORMAT:
        return failure(err, "bad_argument", "%s: %s", url, reason);
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_SSL_CONNECT_ERROR:
        return failure(err, "no_connection", "%s: %s", url, reason);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        (void)failure(err, "no_connection", "%s: %s", url, reason);
        if (err != NULL)
            err->again = false; /* it does not become another's certificate by itself */
        return -1;
    case CURLE_OPERATION_TIMEDOUT:
        if (!was_connected(transfer))
            return failure(err, "no_connection", "%s: %s", url, reason);
        return failure(err, "timed_out", "%s: %s", url,
            transfer->reason[0] != '\0' ? reason : "nothing moved for too long");
    default:
        return failure(err, "answer_lost", "%s: %s", url, reason);
    }
}

int transfer_result(struct transfer *transfer, struct coffer_error *err)
{
    bool whole = transfer->code == CURLE_OK && transfer->head_done;

    if (transfer->sink_failed) {
        errno = transfer->sink_errno;
        return failure_errno(err, "the body's local end");
    }
    /* A refusal that came before the request was sent whole counts, broken connection or not. */
    if (transfer->head_done && (transfer->status < 200 || transfer->status > 299))
        return failure_answer(err, transfer->status, transfer_header(transfer, "X-Request-Id"),
            transfer->refusal.data, transfer->refusal.size);
    return whole ? 0 : broken(transfer, err);
}

void transfer_end(struct transfer *transfer)
{
    if (transfer->connection != NULL) {
        if (transfer->added)
            (void)curl_multi_remove_handle(transfer->connection->multi, transfer->connection->easy);
        connection_give(transfer->client, transfer->connection, transfer->added);
    }
    curl_slist_free_all(transfer->headers);
    text_release(&transfer->refusal);
    transfer->connection = NULL;
    transfer->headers = NULL;
    transfer->added = false;
}
