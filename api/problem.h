/*
 * problem.h - the body of every error: RFC 9457 application/problem+json.
 *
 *     {"type":"about:blank","title":"...","status":409,"code":"...","detail":"...",
 *      "request_id":"...", MEMBERS}
 *
 * Errors that only stop an operation inside the process (COFFER_IO and the like) are shown as
 * `internal`: their detail may name files of the server, so it goes to the log and not to the
 * client.
 *
 * Threads: any.
 */
#pragma once

#include "api/exchange.h"
#include "api/json_out.h"

struct problem {
    enum coffer_status status;
    struct slice detail;     /* a sentence for a person, any bytes; empty: none */
    struct slice request_id; /* empty: none */
    struct slice members; /* more of them, as JSON without the braces: "\"offset\":12"; or empty */
};

/* The status as clients see it: COFFER_INTERNAL for those that are ours alone. */
enum coffer_status problem_public_status(enum coffer_status status);

/* Write the object. A detail that does not fit into a fixed buffer is left out before anything
 * else is; check json_out_ok(). */
void problem_write(struct json_out *out, const struct problem *problem);

/* Answer the exchange with a problem. `err` may be NULL. Adds Allow to a 405, Retry-After to a
 * 503, and logs what is not shown to the client. */
void problem_reply(struct exchange *exchange, enum coffer_status status, const struct error *err);
/* The same with more members (borrowed for the call). */
void problem_reply_members(struct exchange *exchange, enum coffer_status status,
    const struct error *err, struct slice members);
