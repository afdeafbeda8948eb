/*
 * hook_server.h - a small HTTP server on a free port of loopback, for what calls others: it takes
 * POSTs one after the other, keeps their bodies and answers as it was told to.
 *
 *     struct hook_server hook;
 *     hook_start(&hook, (const int[]){503, 200, 0});   // then 200 for all that follow
 *     ... something that posts to hook.url ...
 *     hook_wait(&hook, 2);
 *     hook_stop(&hook);
 *
 * Threads: one struct belongs to one thread; inside there is a thread that serves.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

enum {
    HOOK_ANSWERS_MAX = 16,
    HOOK_HOLD = -1,   /* no answer, until the client is gone */
    HOOK_MOVED = 302, /* to a file: URL */
    HOOK_RETRY = 307, /* to the same URL */
};

struct hook_server {
    char url[64];
    int fd;
    int answers[HOOK_ANSWERS_MAX];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned count;                 /* (lock) requests so far */
    char *bodies[HOOK_ANSWERS_MAX]; /* (lock) of the first ones */
    int connection;                 /* (lock) that is being served; -1: none */
    bool stopping;                  /* (lock) */
};

/* `answers` ends with 0; the last one is given again to all that come later. */
void hook_start(struct hook_server *hook, const int *answers);
/* Until so many requests have come. */
void hook_wait(struct hook_server *hook, unsigned count);
unsigned hook_count(struct hook_server *hook);
/* The body of a request that has come, from 0; good until hook_stop(). */
const char *hook_body(struct hook_server *hook, unsigned number);
void hook_stop(struct hook_server *hook);
