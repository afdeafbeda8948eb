/*
 * disk_recorder.h - what a program did to the files of one folder, and what a power cut at any
 * moment of it would have left there.
 *
 * Method:  the program defines the calls that write in place of the C library's, and tells those
 *          that have succeeded to recorder_note_...(), which takes them into the record if they
 *          concern the watched folder.
 * Model:   what was written to a file before its last sync is there; of what came after, the
 *          operating system may have kept nothing, all, the beginning, or any set of the 512-byte
 *          sectors (enum cut_mode). A file's name is there for sure once its folder was synced.
 * Threads: any; the record is in the order in which the calls came back.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum cut_mode {
    CUT_DROP,   /* nothing that was not synced */
    CUT_KEEP,   /* all of it */
    CUT_PREFIX, /* the calls up to one of them, which is there in part */
    CUT_TORN,   /* any of the sectors */
    CUT_MODES
};

struct disk_mark { /* the caller's own, between the calls */
    uint32_t words[4];
};

/* Watch the regular files of `folder` from now on; there is one record in a process. */
void recorder_start(const char *folder);
void recorder_stop(void); /* and forget it all */
void recorder_note_write(int fd, const struct iovec *vectors, uint64_t offset, uint64_t written);
void recorder_note_truncate(int fd, uint64_t size);
void recorder_note_allocate(int fd, uint64_t offset, uint64_t size);
void recorder_note_sync(int fd); /* of a file or the folder */
void recorder_note_unlink(const char *path);
/* Put something of one's own into the record. */
void recorder_mark(const struct disk_mark *mark);
/* Calls and marks so far. */
size_t recorder_count(void);
/* The mark at `position`, or NULL: it is a call. */
const struct disk_mark *recorder_mark_at(size_t position);
/* Whether a file got its name a few calls before. */
bool recorder_new_file_at(size_t position);
/* Make the files in `folder`, which is empty, as a cut before call number `position` may have left
 * them; the same for the same random state. */
void recorder_build(size_t position, enum cut_mode mode, uint64_t *random, const char *folder);
