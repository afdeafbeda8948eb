/*
 * http_mhd.h - what the files http_mhd*.c share: one request of libmicrohttpd and its exchange.
 *
 * The facts about libmicrohttpd 0.9.75 that shape this code:
 * - It calls the access handler once with the headers, then with each piece of the body, then once
 *   more at the end. A reply from the first call closes the connection; from a call with a piece of
 *   the body it is impossible. So a refusal is either kept until the body was read and dropped, or
 *   written to the socket by us and the connection closed (http_raw.h).
 * - It reads past NUL bytes, folded lines and spaces before a colon. But all the header lines lie
 *   one behind the other in its buffer, so what it has swallowed shows as a gap (http_mhd_head.c).
 * - A first line without a space is answered by closing; the 400 comes from our side.
 * - What it refuses by itself it would answer with HTML: http_mhd_hooks.c puts a problem in its
 *   place. After such an answer to a Content-Length or cookies it forgets that it has answered, and
 *   answers again; after one to the arguments of a query it forgets the answer.
 * - A stream that fails leaves its connection where, as a rule, only the timeout finds it: cut() in
 *   http_mhd_reply.c.
 * - After a suspension the handler is called again with what it did not take.
 */
#pragma once

#include <microhttpd.h>

#include "server/http_worker.h"

/* Headers that libmicrohttpd is not to see; nothing else is ever of this kind here. */
#define HTTP_HIDDEN_KIND MHD_POSTDATA_KIND
#define HTTP_HEADER_KINDS ((enum MHD_ValueKind)(MHD_HEADER_KIND | HTTP_HIDDEN_KIND))
enum { HTTP_CONTENT_LENGTH_SIZE = sizeof("content-length") - 1 };

struct http_call {
    struct exchange *exchange;
    struct http_worker *worker;
    struct MHD_Connection *connection;
    struct http_connection *socket;
    const char *target; /* in libmicrohttpd's buffer: valid until the first call returns */
    bool begun;         /* the first call was there */
    bool queued;        /* libmicrohttpd has the reply */
    bool waits;         /* socket.waiting is set */
    bool refused;       /* by libmicrohttpd, and that is logged */
    uint64_t streamed;  /* bytes of a stream so far */
};

/* http_mhd.c: the reply's stream has nothing to send for now, or goes on. */
void http_stream_waits(struct http_call *call, bool waits);
/* http_mhd_head.c: give the head to the exchange, and check it. */
void http_head_read(struct http_call *call, const char *method, const char *version);
/* http_mhd_reply.c: give the exchange's reply to libmicrohttpd. */
enum MHD_Result http_reply_queue(struct http_call *call);
/* The same for any reply and a response with its body (taken; NULL: there was no memory). */
enum MHD_Result http_response_queue(
    struct MHD_Connection *connection, const struct reply *reply, struct MHD_Response *response);
struct MHD_Response *http_response_of_memory(
    const void *data, size_t size, enum MHD_ResponseMemoryMode mode);

/* http_mhd_hooks.c: libmicrohttpd's calls of its own functions. Before the first worker starts. */
MUST_USE enum coffer_status http_mhd_hook(struct error *err);
/* libmicrohttpd's MHD_queue_response(). */
enum MHD_Result http_mhd_queue_response(
    struct MHD_Connection *connection, unsigned status, struct MHD_Response *response);
/* The first line was none: answer on the socket, which is about to be closed. */
void http_refuse_raw(struct http_connection *socket);
