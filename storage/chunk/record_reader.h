/*
 * record_reader.h - the content of one stored record (a chunk or a segment), verified, decoded,
 * and without a wait for a cold disk in the calling thread.
 *
 * Algorithm: a payload of up to RECORD_SMALL_MAX bytes is read whole and its checksum compared at
 *          every read. A larger one is read through once after the start of the process, piece by
 *          piece, and its checksum compared; from then on its bytes are taken from the page cache
 *          as they are, or, if compressed, frame by frame, each with its own checksum.
 * Threads: one at a time; the waker is called from the cold reader's threads.
 * Memory:  a piece and a frame (under 1 MiB), or the small payload and its raw form.
 */
#pragma once

#include "storage/base/waker.h"
#include "storage/chunk/store_parts.h"

enum {
    RECORD_SMALL_MAX = 64 * 1024,
    RECORD_PIECE_SIZE = 256 * 1024,
    RECORD_COPY_MAX = 1024 * 1024,
};

struct record_reader;

/* `row` is not segmented. `key` names what is read, for reports of damage. `pinned`: its payload,
 * if the caller has it pinned until record_close(); else NULL. */
MUST_USE enum coffer_status record_open(struct store *store, const struct engine_row *row,
    const struct engine_source *pinned, const struct digest *key, struct waker waker,
    struct record_reader **out, struct error *err);
void record_close(struct record_reader *reader);

/* The whole stored payload has its checksum. COFFER_AGAIN, COFFER_DATA_CORRUPT, COFFER_IO. */
MUST_USE enum coffer_status record_verify(struct record_reader *reader, struct error *err);

/* The whole content (or with `stored` the payload as stored) in memory, until close; *data NULL:
 * too large for that, use record_file() or record_read(). */
MUST_USE enum coffer_status record_whole(
    struct record_reader *reader, bool stored, const void **data, struct error *err);
/* The same for a part of something larger that is stored as it is read, if there is memory for a
 * copy of it: one write of a whole body is a third faster than libmicrohttpd's sendfile in pieces.
 * *data NULL: too large, or no memory now. */
MUST_USE enum coffer_status record_copy(struct record_reader *reader, bool stored, uint64_t offset,
    uint64_t size, const void **data, struct error *err);
/* Content bytes [offset, offset + size) (or of the payload) as a part of a file, verified and,
 * as far as can be told, cached; *fd -1: compressed, use record_read(). */
MUST_USE enum coffer_status record_file(struct record_reader *reader, bool stored, uint64_t offset,
    uint64_t size, int *fd, uint64_t *file_offset, struct error *err);
/* Some content bytes from `offset` on, at most max; *size > 0 while offset < the content's size. */
MUST_USE enum coffer_status record_read(struct record_reader *reader, uint64_t offset, void *out,
    size_t max, size_t *size, struct error *err);
/* The same from what is in memory or in the page cache: *size 0 rather than COFFER_AGAIN. */
MUST_USE enum coffer_status record_read_cached(struct record_reader *reader, uint64_t offset,
    void *out, size_t max, size_t *size, struct error *err);
