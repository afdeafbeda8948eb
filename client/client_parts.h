/*
 * client_parts.h - what a client is made of, for the files of this folder and their tests.
 *
 * A connection is an easy handle in a multi handle of its own, which keeps its sockets between
 * requests. Whoever needs one takes the one that was used last, or makes one; so there are as many
 * as there are threads in a call and streams being read, and no call waits for another's.
 */
#pragma once

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "client/coffer.h"

enum {
    IDLE_CONNECTIONS_MAX = 64,
    CONNECT_TIMEOUT_S = 10,
    TIMEOUT_S = 60,
    PATIENCE_S = 60,
};

struct connection {
    CURL *easy;
    CURLM *multi;
    struct connection *next;
};

/* The clock of retries, which tests replace. */
struct client_clock {
    void *context;
    uint64_t (*now_ms)(void *context);
    void (*pause_ms)(void *context, uint64_t ms);
};

struct coffer_client {
    char *url;    /* scheme://host:port, without a slash at the end */
    char *socket; /* of a unix: address, or NULL */
    char *key, *ca_file, *user_agent;
    unsigned connect_timeout, timeout; /* s */
    uint64_t patience_ms;              /* 0: no retry */
    bool impatient;                    /* ... until the server has answered once */
    atomic_bool reached;               /* it has */
    struct client_clock clock;

    pthread_mutex_t lock;
    struct connection *idle; /* (lock) the last one used first */
    unsigned idle_count;     /* (lock) */
    uint64_t random;         /* (lock) state of the jitter */
};

/* NULL when memory runs out. */
struct connection *connection_take(struct coffer_client *client);
/* `reusable`: its last transfer came to its end. */
void connection_give(struct coffer_client *client, struct connection *connection, bool reusable);
/* A number below `limit` (> 0). */
uint64_t client_random(struct coffer_client *client, uint64_t limit);
