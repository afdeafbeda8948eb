/*
 * transfer.h - one HTTP exchange, driven by its caller's thread.
 *
 *     transfer_begin(&transfer, client, &request, sink, context, err);
 *     while (!transfer.done)
 *         transfer_step(&transfer);          // waits for the network, gives the body to the sink
 *     ok = transfer_result(&transfer, err) == 0;   // 2xx, and whole
 *     transfer_end(&transfer);               // at any time
 *
 * The sink gets the body of a 2xx answer; that of any other is kept for the error. It may take
 * nothing for now: then the transfer is held until transfer_resume(). No retry happens here.
 */
#pragma once

#include "client/client_parts.h"
#include "client/client_text.h"

enum { REQUEST_HEADERS_MAX = 8, SINK_FULL = -1, SINK_FAILED = -2 };

#define SIZE_UNKNOWN UINT64_MAX

/* Returns 0 when it took all, SINK_FULL (it took nothing), or SINK_FAILED with errno set: a file of
 * the caller's. */
typedef int transfer_sink(void *context, const char *data, size_t size);

struct request {
    const char *method;
    const char *path;                         /* from "/" on, escaped */
    const char *type;                         /* of the body, or NULL */
    const char *headers[REQUEST_HEADERS_MAX]; /* "Name: value" */
    const void *body;                         /* NULL: none, or from the file */
    size_t size;
    FILE *file;         /* the body, from its position to its end */
    uint64_t file_size; /* or SIZE_UNKNOWN */
    unsigned wait;      /* seconds that the server may take longer than usual */
    bool endless;       /* nothing may move for any time */
    bool once;          /* must not be done twice */
    bool told;          /* it must be known whether it was sent before; so with `once` */
};

struct transfer {
    struct coffer_client *client;
    struct connection *connection;
    const struct request *request;
    struct curl_slist *headers;
    transfer_sink *sink;
    void *context;
    struct text refusal; /* body of an answer that is not 2xx, at most REFUSAL_MAX of it */
    bool added;          /* the handle is with its multi handle */
    bool done, held;
    bool head_done; /* status and headers are known */
    bool sink_failed;
    int sink_errno;
    CURLcode code;                  /* done */
    int status;                     /* 0: none came yet */
    uint64_t moved_ms, moved_bytes; /* when something moved last, and how much has */
    char reason[CURL_ERROR_SIZE];
};

int transfer_begin(struct transfer *transfer, struct coffer_client *client,
    const struct request *request, transfer_sink *sink, void *context, struct coffer_error *err);
/* Wait until something happens. */
void transfer_step(struct transfer *transfer);
void transfer_resume(struct transfer *transfer);
/* Once it is done: 0, or -1 for a broken one and for answers that are not 2xx. */
int transfer_result(struct transfer *transfer, struct coffer_error *err);
/* The value of a header once the head is there; NULL: it has none. Valid until transfer_end(). */
const char *transfer_header(const struct transfer *transfer, const char *name);
void transfer_end(struct transfer *transfer);
