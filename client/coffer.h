/*
 * coffer.h - libcoffer: the chunks, datasets, channels and transactions of a coffer server, in C.
 *
 *     struct coffer_error err;
 *     struct coffer_client *client = coffer_open("http://127.0.0.1:8420", NULL, &err);
 *     FILE *words = coffer_channel_open(client, "run-7", "words", "a", NULL, &err);
 *
 *     fprintf(words, "%s\n", word);                // as often as you like: sent as few large
 * appends if (coffer_channel_close(words, &err) != 0)  // each byte is durable exactly once, or:
 *         fprintf(stderr, "%s: %s\n", err.code, err.detail);
 *     coffer_close(client);
 *
 * What each request means is in the server's contract (api/README.md, docs/errors.md); this library
 * adds the retries. A request that got no answer is sent again, with growing pauses, for `patience`
 * seconds: all requests here can be repeated without being done twice, but for those that say so.
 *
 * Errors:  functions return 0 or -1 (or NULL), set errno, and fill the last argument, which may be
 *          NULL. See struct coffer_error.
 * Threads: one client serves any number of threads, each at most one connection at a time (and one
 * a stream that is being read). A FILE * is used as stdio allows; a transaction by one thread at a
 * time. Memory:  what is given is borrowed for the call. Texts that are returned are for free().
 * Close streams and transactions before their client.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* ---- errors ---- */

/*
 * `code` is one of docs/errors.md, or of this library:
 *
 *     no_connection   the server cannot be reached (ECONNREFUSED)
 *     answer_lost     the connection broke before the answer was whole (ECONNRESET)
 *     timed_out       nothing moved for `timeout` seconds (ETIMEDOUT)
 *     bad_answer      an answer that is not coffer's (EPROTO)
 *     bad_argument    the call cannot mean anything (EINVAL)
 *     no_memory       (ENOMEM)
 *     local_file      a file of the caller's cannot be read or written (its errno)
 *     stale_stream    a stream whose transaction was left without commit or abort (ECANCELED)
 *
 * The server's codes as errno: offset_mismatch ESTALE, fenced EPERM, channel_busy EBUSY,
 * dataset_closed EROFS, transaction_aborted ECANCELED, no_such_* ENOENT, disk_full ENOSPC, ...
 * (client_codes.def has them all).
 */
struct coffer_error {
    int number;          /* of errno */
    int status;          /* of HTTP; 0: there was no answer */
    char code[32];       /* stable, for programs */
    char detail[320];    /* a sentence, for people */
    char request_id[64]; /* stands in the server's log; may be empty */
    bool again;          /* the same call may succeed later */
    uint64_t offset;     /* offset_mismatch: where the channel's end is */
};

/* ---- the client ---- */

struct coffer_client;

struct coffer_options {       /* zero is the default of each */
    const char *key;          /* "ID:SECRET", or "SECRET" alone */
    const char *ca_file;      /* https: who is believed; default: what the system believes */
    const char *user_agent;   /* default "libcoffer/VERSION" */
    unsigned connect_timeout; /* seconds for a new connection; default 10 */
    unsigned timeout;         /* seconds in which nothing moves; default 60 */
    unsigned patience;        /* seconds for which a request is sent again; default 60 */
    bool no_retry;            /* none at all */
    bool impatient;           /* none before the server has answered once: who mistyped its URL
                                 wants to know at once */
};

/* `url`: http://HOST:PORT, https://..., unix:PATH of a socket; NULL: http://127.0.0.1:8420. Nothing
 * is sent yet. */
struct coffer_client *coffer_open(
    const char *url, const struct coffer_options *options, struct coffer_error *err);
void coffer_close(struct coffer_client *client); /* NULL is a no-op */
const char *coffer_version(void);

/* Any request with a JSON body (NULL: none) and a text answer (`answer` may be NULL): what the
 * calls below do not cover. Sent again like all others: for requests that may be repeated. `path`
 * begins with "/" and is sent as it is. */
int coffer_call(struct coffer_client *client, const char *method, const char *path,
    const char *body, char **answer, struct coffer_error *err);
/* Every item of a paged list, in order, as JSON text. `path` may have a query. A visitor ends it by
 * returning something else than 0, which coffer_pages() then returns. */
typedef int coffer_visit(void *context, const char *item);
int coffer_pages(struct coffer_client *client, const char *path, coffer_visit *visit, void *context,
    struct coffer_error *err);

/* The body of the answer to a GET, as a file to be read once, and not resumed when it is cut. */
FILE *coffer_body_open(struct coffer_client *client, const char *path, struct coffer_error *err);
/* From a stream of this library that is read: what is there now, at least one byte; 0: its end; -1:
 * err is filled. Not to be mixed with stdio's reading of the same stream. */
ssize_t coffer_stream_read(FILE *stream, void *data, size_t size, struct coffer_error *err);
/* Where such a stream ends, if that is known; else UINT64_MAX. */
uint64_t coffer_stream_size(FILE *stream);

/* ---- chunks ---- */

enum { COFFER_KEY_SIZE = 72, COFFER_TICKET_SIZE = 96 }; /* with a NUL */

enum coffer_durability {
    COFFER_DURABILITY_DEFAULT, /* what the server does by default */
    COFFER_SYNCED,             /* answered when it is on stable storage */
    COFFER_BUFFERED,           /* answered when the server has it; see coffer_sync() */
};

struct coffer_chunk {
    char key[COFFER_KEY_SIZE];
    uint64_t size;
    uint64_t stored_size;            /* coffer_head, _stat, _list: bytes on disk */
    char state[16];                  /* "durable", "flushing", "buffered" */
    char ticket[COFFER_TICKET_SIZE]; /* coffer_put: of a buffered write; else empty */
    bool created;                    /* coffer_put: it was not there before */
    bool found;                      /* coffer_stat */
};

struct coffer_put_options {
    const char *key; /* its SHA-256 in hex, if it is known: checked by the server */
    enum coffer_durability durability;
    const char *lane; /* the write-behind channel; NULL: the server picks one */
};

/* Store bytes. `options`, `chunk` and `err` may be NULL. */
int coffer_put(struct coffer_client *client, const void *data, size_t size,
    const struct coffer_put_options *options, struct coffer_chunk *chunk, struct coffer_error *err);
/* Store a file from its position to its end, whatever its size. A pipe can be sent only once: what
 * breaks then is an error. */
int coffer_put_file(struct coffer_client *client, FILE *file,
    const struct coffer_put_options *options, struct coffer_chunk *chunk, struct coffer_error *err);

/* Read up to `size` bytes from `offset` on into memory; *got is less only at the chunk's end. */
int coffer_get(struct coffer_client *client, const char *key, uint64_t offset, void *data,
    size_t size, size_t *got, struct coffer_error *err);
/* Write `size` bytes (UINT64_MAX: all) from `offset` on to a file. A cut connection is resumed. */
int coffer_get_file(struct coffer_client *client, const char *key, uint64_t offset, uint64_t size,
    FILE *file, struct coffer_error *err);
/* Read it as a file: fread, fseek, and so on. Also for coffer_stream_error(). */
FILE *coffer_chunk_open(struct coffer_client *client, const char *key, struct coffer_error *err);

/* What there is to know of a chunk; `chunk` may be NULL: is it there? */
int coffer_head(struct coffer_client *client, const char *key, struct coffer_chunk *chunk,
    struct coffer_error *err);
/* The same for many: chunks[i] tells of keys[i], and whether it was found. */
int coffer_stat(struct coffer_client *client, const char *const *keys, size_t count,
    struct coffer_chunk *chunks, struct coffer_error *err);
/* Delete all or none of them; *deleted (may be NULL) tells how many there were. */
int coffer_delete(struct coffer_client *client, const char *const *keys, size_t count,
    size_t *deleted, struct coffer_error *err);
/* Every chunk whose key begins with `prefix` (NULL: all), in key order. */
typedef int coffer_visit_chunk(void *context, const struct coffer_chunk *chunk);
int coffer_list(struct coffer_client *client, const char *prefix, coffer_visit_chunk *visit,
    void *context, struct coffer_error *err);

/* Many chunks as one tar, to be read to its end: an entry a chunk, named by its key. A read fails
 * when the connection is cut: it cannot be resumed. */
enum coffer_extract_flags { COFFER_REQUEST_ORDER = 1, COFFER_SKIP_MISSING = 2 };
FILE *coffer_extract_open(struct coffer_client *client, const char *const *keys, size_t count,
    unsigned flags, struct coffer_error *err);

struct coffer_entry { /* of a tar that was inserted */
    const char *name;
    struct coffer_chunk chunk;
    int status; /* not 0: this entry was not stored, and why: */
    const char *code, *detail;
};
typedef int coffer_visit_entry(void *context, const struct coffer_entry *entry);
/* Store every file of a tar, read from its position to its end. `visit` (may be NULL) is told of
 * each entry when all of it was sent. */
int coffer_insert(struct coffer_client *client, FILE *tar, enum coffer_durability durability,
    coffer_visit_entry *visit, void *context, struct coffer_error *err);

/* Wait until the writes of these tickets (none: all so far) are durable. `ticket_lost`: the server
 * has started again since, send what they stood for again. */
int coffer_sync(struct coffer_client *client, const char *const *tickets, size_t count,
    struct coffer_error *err);

/* ---- datasets ---- */

/* `settings`: the JSON of PUT /v1/datasets/{ds}; NULL: all defaults. There already with the same
 * settings is fine; *created (may be NULL) tells which. */
int coffer_dataset_create(struct coffer_client *client, const char *dataset, const char *settings,
    bool *created, struct coffer_error *err);
/* Its state as JSON text; NULL on failure. */
char *coffer_dataset_show(
    struct coffer_client *client, const char *dataset, struct coffer_error *err);
int coffer_dataset_delete(
    struct coffer_client *client, const char *dataset, struct coffer_error *err);
/* No more appends. *job (may be NULL) gets the JSON of the job that runs the close actions, or NULL
 * when the dataset was closed already. */
int coffer_dataset_close(
    struct coffer_client *client, const char *dataset, char **job, struct coffer_error *err);

struct coffer_channel_info {
    uint64_t size, records, epoch;
};
/* What is committed of a channel; all 0 when nothing was written to it yet. */
int coffer_channel_info(struct coffer_client *client, const char *dataset, const char *channel,
    struct coffer_channel_info *info, struct coffer_error *err);

struct coffer_receipt {
    uint64_t offset, length; /* bytes of the channel */
    uint64_t record;         /* number of the first record */
    uint64_t version;        /* 0: in a transaction, or buffered */
};

struct coffer_append_options { /* zero is the default of each */
    bool per_line;             /* each line is a record; else all of it is one */
    bool has_offset;           /* only if the channel ends there, and then exactly once */
    uint64_t offset;
    uint64_t epoch;          /* not 0: only if nobody has claimed the channel since */
    const char *transaction; /* its id */
    enum coffer_durability durability;
};

/* One append, of any size, whole or not there, without a stream's care: one without an offset that
 * gets no answer fails with `answer_lost`, and may be there. `options` and `receipt` may be NULL.
 */
int coffer_append(struct coffer_client *client, const char *dataset, const char *channel,
    const void *data, size_t size, const struct coffer_append_options *options,
    struct coffer_receipt *receipt, struct coffer_error *err);
/* The same from a file's position to its end. What breaks while a pipe is sent is an error. */
int coffer_append_file(struct coffer_client *client, const char *dataset, const char *channel,
    FILE *file, const struct coffer_append_options *options, struct coffer_receipt *receipt,
    struct coffer_error *err);

/* ---- channels, as streams ---- */

struct coffer_transaction;

enum coffer_writer {
    /* This stream owns the channel from now on: another writer's next append fails with `fenced`.
     * Each byte arrives exactly once. */
    COFFER_OWNER,
    /* Begins at the channel's end without claiming it. Exactly once, as long as nobody else
     * appends; when somebody does, the next append of one of them fails with `offset_mismatch`. */
    COFFER_GUEST,
    /* One of several writers that append in any order. An append is whole or not there, but one
     * whose answer is lost fails and may be there: `answer_lost`. */
    COFFER_SHARED,
};

struct coffer_channel_options { /* zero is the default of each */
    /* Writing: */
    enum coffer_writer writer;
    bool per_line;      /* each line is a record; else what each append carries is one */
    size_t buffer_size; /* bytes of an append, 64 KiB at least; default 1 MiB */
    bool pipeline;      /* send a full buffer in the background while the next is filled */
    enum coffer_durability durability;
    struct coffer_transaction *transaction; /* joined; the writer is then at most a guest */
    /* Reading: */
    uint64_t version; /* as it was then; 0: as it is now */
    bool follow;      /* at the end, wait for more until the dataset is closed */
    uint64_t offset;  /* begin there */
};

/*
 * Open a channel as a stream: mode "r", or "a" to append. A channel that is not there is made by
 * its first append, and cannot be opened for reading.
 *
 * WRITING. Whatever is written is gathered in a buffer. When the buffer is full, and at fflush()
 * and fclose(), it goes to the server as one append, which carries the offset at which it belongs
 * and the epoch of its writer. If the answer is lost the same append is sent again, and the server
 * knows it by its offset: it is there once, however often it was sent, also when the server was
 * killed and started again in between.
 *   - fflush() returns 0 when all complete lines (per_line) or all bytes are durable (or buffered,
 * if asked so). With `pipeline` only coffer_channel_flush() promises that: fflush() of a buffer
 *     that is full to the last byte does not wait.
 *   - per_line: an append ends with a line. An unfinished line waits for its end; fclose() and a
 *     commit send it as it is.
 *   - fclose() flushes, and with COFFER_BUFFERED waits until all is durable. It fails if anything
 * that was ever written to the stream is not.
 *   - After a failure nothing is sent any more, so that there is never a hole; every call then
 *     fails. Close the stream, and open it again to go on.
 *   - ftell() is the channel's offset at which the next byte will be.
 *   - A program that was killed begins again with coffer_channel_open(): the claim ends whatever an
 *     earlier writer has under way, and what it finds is final. ftell() then tells how many bytes
 *     are there, coffer_channel_info() how many records: go on with the one that comes next.
 *
 * READING. A channel is read as it was at open(), or followed; fseek() works unless it is followed.
 * The server sends ahead as far as buffers allow. A cut connection is resumed at the byte it broke.
 */
FILE *coffer_channel_open(struct coffer_client *client, const char *dataset, const char *channel,
    const char *mode, const struct coffer_channel_options *options, struct coffer_error *err);
/* fclose() with the reason when it fails. */
int coffer_channel_close(FILE *stream, struct coffer_error *err);
/* Returns when all that was written is durable (or buffered, if asked so), but for an unfinished
 * line (per_line). */
int coffer_channel_flush(FILE *stream, struct coffer_error *err);
/* Why a stream of this library failed, of any kind. -1: it did, and err is filled; 0: it did not.
 */
int coffer_stream_error(FILE *stream, struct coffer_error *err);

/* Append exactly these bytes, of any size, as one record, after what was written before; returns
 * when it is as durable as the stream asks. `receipt` may be NULL. */
int coffer_channel_append(FILE *stream, const void *data, size_t size,
    struct coffer_receipt *receipt, struct coffer_error *err);

/* ---- transactions ---- */

struct coffer_transaction_options { /* zero is the default of each */
    const char *id;              /* chosen by the caller, so that several can name it; NULL: made */
    const char *const *channels; /* who takes part; none: the whole dataset */
    size_t channel_count;
    unsigned ttl;           /* seconds without an append, then it is aborted; default 60 */
    bool barrier;           /* a commit waits until every channel is ready */
    bool commit_when_ready; /* the last channel that is ready commits */
};

struct coffer_commit {
    bool committed;
    uint64_t version;
};

/*
 * Appends of several streams that become visible together, or not at all:
 *
 *     transaction = coffer_transaction_begin(client, "run-7", NULL, &err);
 *     coffer_channel_join(tracks, transaction, &err);
 *     coffer_channel_join(hits, transaction, &err);
 *     fprintf(tracks, ...); fprintf(hits, ...);
 *     if (coffer_transaction_commit(transaction, 0, NULL, &err) != 0)
 *         coffer_transaction_abort(transaction, &err);
 *     coffer_transaction_free(transaction);
 *
 * Open the streams first: to claim a channel aborts a transaction that it takes part in. With the
 * same `id`, several programs work on one transaction: whoever comes first begins it.
 *   `transaction_committed`: that id is done already (a writer that starts again can skip it).
 *   `transaction_aborted`: it failed; take another id and write it all again.
 */
struct coffer_transaction *coffer_transaction_begin(struct coffer_client *client,
    const char *dataset, const struct coffer_transaction_options *options,
    struct coffer_error *err);
const char *coffer_transaction_id(const struct coffer_transaction *transaction);
/* What is written to the stream from now on belongs to the transaction, until its commit or abort.
 * What was written before is flushed first. */
int coffer_channel_join(
    FILE *stream, struct coffer_transaction *transaction, struct coffer_error *err);
/* This stream is done: it is flushed, and the server told. With `commit_when_ready` the last of
 * them commits; `commit` (may be NULL) tells whether this was it. */
int coffer_transaction_ready(struct coffer_transaction *transaction, FILE *stream,
    struct coffer_commit *commit, struct coffer_error *err);
/* Flush the joined streams and commit. With `barrier` or `commit_when_ready`, wait up to `wait`
 * seconds (300 at most) for the other channels: else `transaction_not_ready`, to be asked again. 0:
 * committed, and durable in every channel; the streams have left it and go on. Asked again it
 * answers the same. */
int coffer_transaction_commit(struct coffer_transaction *transaction, unsigned wait,
    struct coffer_commit *commit, struct coffer_error *err);
/* Nothing of it ever was. The joined streams leave it, forget what was written since they joined,
 * and can be used again, also if it was the transaction's end that made them fail. */
int coffer_transaction_abort(struct coffer_transaction *transaction, struct coffer_error *err);
/* Release the memory. One that was neither committed nor aborted lives on at the server until its
 * ttl; streams that are still joined fail from now on. NULL is a no-op. */
void coffer_transaction_free(struct coffer_transaction *transaction);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
