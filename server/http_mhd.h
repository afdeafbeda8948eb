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
 * - After a suspension the handler is called again with what it did not take.
 */
#pragma once

#include <microhttpd.h>

#include "server/http_worker.h"

struct http_call {
    struct exchange *exchange;
    struct http_worker *worker;
    struct MHD_Connection *connection;
    struct http_connection *socket;
    const char *target; /* in libmicrohttpd's buffer: valid until the first call returns */
    bool begun;         /* the first call was there */
    bool queued;        /* libmicrohttpd has the reply */
    uint64_t streamed;  /* bytes of a stream so far */
};

/* http_mhd_head.c: give the head to the exchange, and check it. */
void http_head_read(struct http_call *call, const char *method, const char *version);
/* http_mhd_reply.c: give the exchange's reply to libmicrohttpd. */
enum MHD_Result http_reply_queue(struct http_call *call);
