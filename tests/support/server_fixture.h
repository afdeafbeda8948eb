/*
 * server_fixture.h - a real cofferd as a process of its own, with its data in a temporary folder.
 *
 *     struct server server;
 *     server_init(&server, (const char *const[]){"--flush-interval", "1h", NULL});
 *     server_start(&server);                    // listening on server.address
 *     ...
 *     return server_end(&server, failed);       // stopped, looked at, removed
 *
 * The binary is $COFFERD. It listens on port 0 of loopback, the address is read from its `ready`
 * line, and what it writes to standard error is kept: server_end() shows it when something failed.
 * Of the caller's COFFER_* variables only COFFER_IO_METHOD is handed on.
 *
 * Threads: one struct server belongs to one thread; server_log_has() may come from any.
 * Errors:  what must not fail and does ends the process, with the server's output.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { SERVER_ARGS_MAX = 32, SERVER_DEADLINE_S = 120 };

struct server {
    char folder[200];                  /* from mkdtemp; removed by server_end() */
    char data_dir[240];                /* folder + "/data" unless set otherwise before the start */
    char address[128];                 /* HOST:PORT of the first address, or unix:PATH */
    const char *args[SERVER_ARGS_MAX]; /* beside --data-dir and --listen; NULL at the end */
    const char *env[8];                /* "NAME=VALUE"; NULL at the end */
    const char *listen;                /* "127.0.0.1:0" unless set otherwise */
    bool no_data_dir;                  /* do not say --data-dir: args or env do */
    pid_t pid;                         /* 0: not running */
    uid_t uid;                         /* not 0: run as this user */

    pthread_t reader; /* copies standard error to log */
    bool reading;
    pthread_mutex_t lock;
    pthread_cond_t grown;
    char *log; /* (lock) of all runs */
    size_t log_size, run_start;
    bool log_ended; /* (lock) the process closed it */
};

/* A temporary folder and settings; starts nothing. `args` may be NULL. */
void server_init(struct server *server, const char *const *args);
/* Returns when it is ready. */
void server_start(struct server *server);
/* The same without waiting for `ready`. */
void server_spawn(struct server *server);
/* Wait for `ready` and take the address from it. False: it ended before. */
bool server_read_address(struct server *server);
/* Wait for its end; its exit code, or 128 + signal. */
int server_wait(struct server *server);
/* Start one that is expected not to come up: its exit code; -1 if it did. */
int server_run(struct server *server);
/* SIGTERM; its exit code. */
int server_stop(struct server *server);
/* SIGKILL, and wait. */
void server_kill(struct server *server);
/* Wait until this run's standard error has `text`. False: it ended, or the deadline passed. */
bool server_wait_log(struct server *server, const char *text);
/* Whether this run's standard error has `text`, and how many lines it has. */
bool server_log_has(struct server *server, const char *text);
unsigned server_log_lines(struct server *server);
/* A copy of this run's standard error; the caller frees it. */
char *server_log_copy(struct server *server);
/* Stop it if it runs, show its output if `failed` or it did not end well, remove the folder.
 * The exit code for main(). */
int server_end(struct server *server, int failed);

/* Remove a folder and all in it. */
void folder_remove(const char *path);
/* Hash of names and contents of all files under `path`: has anything changed? */
uint64_t folder_fingerprint(const char *path);
