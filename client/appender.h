/*
 * appender.h - appends to a channel, one after the other, each exactly once.
 *
 * An append says at which offset it belongs. Sent again, it is the same request: if an earlier try
 * got through, the server recognises it and answers with the first one's receipt. If the offset is
 * not the channel's end and it is not a repeat, somebody else has written: an error.
 *
 * Threads: one at a time.
 */
#pragma once

#include "client/call.h"

struct appender {
    struct coffer_client *client;
    char *path; /* of the channel */
    bool has_offset, has_epoch;
    uint64_t offset; /* where the next append belongs */
    uint64_t epoch;
    enum coffer_durability durability;
    const char *transaction;         /* its id, or NULL */
    char ticket[COFFER_TICKET_SIZE]; /* of the last buffered append, or empty */
};

struct appender_body { /* bytes in memory, or a file from its position to its end */
    const void *data;
    size_t size;
    FILE *file;
};

/* Find or claim the end of the channel, as `writer` says. The path is taken, also on failure. */
int appender_open(struct appender *appender, struct coffer_client *client, char *path,
    enum coffer_writer writer, uint64_t end, struct coffer_error *err);
/* `lines`: each line is a record, else all of it is one. `receipt` may be NULL. */
int appender_send(struct appender *appender, const void *data, size_t size, bool lines,
    struct coffer_receipt *receipt, struct coffer_error *err);
int appender_send_body(struct appender *appender, const struct appender_body *body, bool lines,
    struct coffer_receipt *receipt, struct coffer_error *err);
/* Wait until buffered appends are durable. */
int appender_sync(struct appender *appender, struct coffer_error *err);
void appender_release(struct appender *appender);
