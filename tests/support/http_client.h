/*
 * http_client.h - requests over one keep-alive connection, with libcurl; and raw sockets for what
 * libcurl would never send.
 *
 *     struct http_client *client = http_client_create(server.address);
 *     struct http_answer answer;
 *     http_send(client, &(struct http_request){.path = "/v1/status"}, &answer);
 *     ...
 *     http_answer_release(&answer);
 *
 * Threads: one client for each thread; http_client_global() first, from main().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEADERS_MAX = 12 };

struct http_client;

struct http_request {
    const char *method; /* NULL: GET */
    const char *path;
    const char *headers[HTTP_HEADERS_MAX]; /* "Name: value"; "Name;" for an empty one */
    const void *body;                      /* NULL: none */
    size_t size;
    bool chunked; /* Transfer-Encoding: chunked, in place of Content-Length */
    bool expect;  /* Expect: 100-continue */
    bool close;   /* a connection of its own */
};

struct http_answer {
    int status; /* 0: none came */
    char *head; /* all header lines */
    char *body; /* with a NUL after it */
    size_t size;
    bool continued;   /* 100 Continue came first */
    size_t body_sent; /* bytes of the request's body */
    bool connected;   /* a new connection was made for it */
    char error[256];  /* when it failed, also in mid-body; else empty */
    char value[1024]; /* of http_header() */
};

void http_client_global(void);
/* `address`: HOST:PORT or unix:PATH. */
struct http_client *http_client_create(const char *address);
void http_client_destroy(struct http_client *client); /* NULL is a no-op */
/* Never fails itself: a request without an answer has status 0. */
void http_send(
    struct http_client *client, const struct http_request *request, struct http_answer *answer);
/* The value of a header, valid until the next call for this answer; NULL: it is not there. */
const char *http_header(struct http_answer *answer, const char *name);
void http_answer_release(struct http_answer *answer);

/* ---- raw sockets ---- */

/* A connected socket, or -1. */
int raw_connect(const char *address);
void raw_close(int fd);
/* False: the other side does not take it (any more). */
bool raw_send(int fd, const void *data, size_t size);
bool raw_send_text(int fd, const char *text);
enum { RAW_HANG = -1, RAW_CLOSED = 0 };
/* Read to the end of the connection, for at most `seconds`. The status of the first answer,
 * RAW_CLOSED if the connection ended without one, RAW_HANG if it did not end. `text` (may be NULL)
 * gets what came. */
int raw_read_end(int fd, unsigned seconds, char *text, size_t size);
/* The same up to the end of the first head. */
int raw_read_head(int fd, unsigned seconds, char *text, size_t size);
