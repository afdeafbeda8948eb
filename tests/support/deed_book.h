/*
 * deed_book.h - what a client knows about datasets that it uses: what it has asked for, what was
 * answered, and so what must be there, what may be, and what may not. It is kept outside of the
 * store, so that it outlives every crash of it.
 *
 * Use:     book_begin() before a deed is done, book_end() with its answer. After a crash, or at any
 *          other time, book_check() compares a store and takes over what it shows.
 * Rules:   a channel is a sequence of entries, of which a beginning is visible, and what was
 *          answered is in that. A deed without an answer was done or not, never by half: an append,
 *          a transaction in all of its channels, a change of a dataset's own row.
 * Model:   a channel has one writer at a time, a dataset one change of its own at a time. A set is
 *          a place for one dataset, which can be deleted and made anew.
 * Threads: a book belongs to one.
 */
#pragma once

#include "storage/datasets.h"
#include "tests/support/store_fixture.h"

enum { BOOK_SETS = 3, BOOK_CHANNELS = 5, BOOK_ALL_CHANNELS = (1 << BOOK_CHANNELS) - 1 };

enum deed_kind {
    DEED_CREATE,
    DEED_APPEND,
    DEED_SYNC, /* what was buffered in the set's channels is to be durable */
    DEED_OPEN, /* a transaction over the channels of `mask`; 0: the whole dataset */
    DEED_STAGE,
    DEED_COMMIT,
    DEED_ABORT,
    DEED_CLAIM,
    DEED_METADATA,
    DEED_CLOSE,
    DEED_CLOSED,
    DEED_COMPRESS,
    DEED_PACKAGE,
    DEED_DELETE,
    DEED_KINDS
};

struct deed {
    uint8_t kind; /* enum deed_kind */
    uint8_t set, channel;
    bool buffered, lines, has_offset;
    uint32_t mask, transaction, size;
    uint64_t seed; /* of an append's content; METADATA, PACKAGE: a number that it says */
    uint64_t offset;
};

struct deed_answer {
    int status;       /* enum coffer_status */
    uint64_t version; /* of an append or commit */
    bool buffered, repeated;
};

struct book_entry {
    uint64_t seed, version; /* version 0: it was not told */
    uint32_t size, transaction;
    bool lines, durable;
    bool accepted, counted; /* it was answered; before the sync that is under way */
};

struct book_channel {
    struct book_entry *entries;
    size_t count, capacity;
    uint64_t epoch;
    bool claiming;
    uint32_t transaction; /* the open one that has it, or 0 */
};

enum book_outcome { BOOK_OPEN, BOOK_COMMITTING, BOOK_COMMITTED, BOOK_ABORTED };
struct book_transaction {
    uint32_t number, mask;
    enum book_outcome outcome;
    bool answered; /* its opening */
    uint64_t version;
};

struct book_set {
    bool maybe_there, maybe_gone;
    enum dataset_state state, next_state;
    uint64_t metadata, next_metadata, package, next_package; /* 0: none */
    bool changing;                                           /* to the next ones */
    struct book_channel channels[BOOK_CHANNELS];
    struct book_transaction *transactions;
    size_t transaction_count;
    uint32_t whole; /* the open transaction over all of it, or 0 */
};

struct deed_book {
    struct book_set sets[BOOK_SETS];
    uint32_t next_transaction;
    uint64_t next_number;      /* for seeds and the like */
    uint64_t answers, certain; /* deeds answered; entries looked at that had to be there */
};

void book_open(struct deed_book *book);
void book_close(struct deed_book *book);
struct deed_book *book_copy(const struct deed_book *book); /* for book_drop() */
void book_drop(struct deed_book *copy);

void book_begin(struct deed_book *book, const struct deed *deed);
void book_end(struct deed_book *book, const struct deed *deed, const struct deed_answer *answer);
/* There is no dataset in its place. */
void book_gone(struct book_set *set);
/* Where the channel ends, with all that was accepted. */
uint64_t book_tail(const struct book_channel *channel);
/* NULL: there is none. */
struct book_transaction *book_transaction(struct book_set *set, uint32_t number);
/* It was aborted: its entries will never be there. */
void book_abort(struct book_set *set, struct book_transaction *transaction);
/* It has its channels no more. */
void book_release(struct book_set *set, uint32_t transaction);
/* How many transactions of the set are open. */
unsigned book_open_count(const struct book_set *set);

/* Names and contents. */
void book_set_name(unsigned set, char out[DATASET_NAME_SIZE]);
void book_transaction_name(uint32_t number, char out[STREAM_NAME_SIZE]);
extern const char *const book_channel_names[BOOK_CHANNELS];
void book_content(void *out, size_t size, uint64_t seed, bool lines);
void book_metadata(uint64_t number, char out[64]);
enum { BOOK_PACKAGE_SIZE = 70000 };

enum book_look {
    BOOK_LIVE,      /* it goes on */
    BOOK_SETTLED,   /* nothing is buffered or under way: what is not there was lost, and that told
                     */
    BOOK_RESTARTED, /* what was open has ended, and what is not there now never will be */
};
/* Compare a store with what is known of it; the test fails, with `where`, if it is not so. *picture
 * (or NULL) stands for all that can be seen of the datasets: it is the same while nothing is done.
 */
void book_check(struct deed_book *book, struct store *store, enum book_look how, const char *where,
    struct digest *picture);
/* Open the store of the fixture as it was left, once more, and without its index, and check it each
 * time: all that is seen, and the bytes in use, are the same. It is left open. */
void book_check_thrice(struct deed_book *book, struct store_fixture *fixture, const char *where);
