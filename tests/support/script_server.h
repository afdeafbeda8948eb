/*
 * script_server.h - an HTTP server that misbehaves on demand, for tests of clients.
 *
 *     script_server_start(&server, handler, context);       // server.url
 *     ...
 *     script_server_stop(&server);
 *
 * The handler is called for each request, once it is here whole, by one thread at a time; it fills
 * the reply, and says what is to go wrong. Connections are kept alive, each has a thread.
 *
 * Errors: what must not fail and does ends the process.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { SCRIPT_CONNECTIONS_MAX = 512, SCRIPT_HEAD_MAX = 16 * 1024 };

struct script_request {
    char method[16], path[1024];
    char head[SCRIPT_HEAD_MAX]; /* all header lines */
    char *body;                 /* with a NUL behind it */
    size_t size;
    unsigned number; /* of all requests, from 0 */
    char value[512]; /* of script_header() */
};

enum script_fault {
    SCRIPT_NONE,
    SCRIPT_DROP,   /* close the connection without an answer */
    SCRIPT_RESET,  /* reset it without an answer */
    SCRIPT_CUT,    /* head and the first `cut_at` bytes of the body, then a reset */
    SCRIPT_SILENT, /* nothing, until the client goes away */
    SCRIPT_CLOSE,  /* answer, and close */
};

struct script_reply {
    int status;         /* 200 */
    char headers[1024]; /* "Name: value\r\n"... */
    const void *body;   /* borrowed; for HEAD it is not sent */
    size_t size;
    void *to_free; /* after it was sent; may be NULL */
    bool chunked;  /* no Content-Length */
    enum script_fault fault;
    size_t cut_at;
};

typedef void script_handler(
    void *context, struct script_request *request, struct script_reply *reply);

struct script_server {
    script_handler *handler;
    /* Optional: called when only the head is here. True: the reply goes out without the body being
     * read; with SCRIPT_RESET the connection breaks while the client sends. */
    bool (*early)(void *context, struct script_request *request, struct script_reply *reply);
    void *context;
    bool parallel;
    char url[64];
    int listener;
    pthread_t thread;
    pthread_mutex_t lock;
    unsigned requests;               /* (lock) */
    unsigned count;                  /* (lock) connections so far */
    int fds[SCRIPT_CONNECTIONS_MAX]; /* (lock) -1: closed */
    pthread_t threads[SCRIPT_CONNECTIONS_MAX];
};

void script_server_start(struct script_server *server, script_handler *handler, void *context);
void script_server_start_parallel(
    struct script_server *server, script_handler *handler, void *context);
void script_server_stop(struct script_server *server);
/* What the handler has done so far is seen by this thread from now on: an answer says so by itself,
 * a connection that broke does not. */
void script_server_settle(struct script_server *server);
/* The value of a request's header, or NULL; valid until the next call for this request. */
const char *script_header(struct script_request *request, const char *name);
/* A reply with a text body, and with a JSON one. */
void script_text(struct script_reply *reply, int status, const char *text);
void script_problem(struct script_reply *reply, int status, const char *code);
