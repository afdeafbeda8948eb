#include "tests/support/deed_book.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"

const char *const book_channel_names[BOOK_CHANNELS] = {"a", "b", "c", "d", "e"};

/* ---- names and contents ---- */

void book_set_name(unsigned set, char out[DATASET_NAME_SIZE])
{
    (void)snprintf(out, DATASET_NAME_SIZE, "set%u", set);
}

void book_transaction_name(uint32_t number, char out[STREAM_NAME_SIZE])
{
    (void)snprintf(out, STREAM_NAME_SIZE, "t%u", number);
}

void book_content(void *out, size_t size, uint64_t seed, bool lines)
{
    uint8_t *bytes = out;
    uint64_t state = seed | 1;

    content_fill(out, size, seed, seed % 2 == 0 || size > 100000 ? CONTENT_TEXT : CONTENT_RANDOM);
    if (size >= sizeof(seed) && seed % 2 == 0)
        memcpy(out, &seed, sizeof(seed)); /* no two are the same */
    for (size_t at = 0; lines; at += random_below(&state, 60) == 0 ? 20000 : 1) {
        at += (size_t)random_below(&state, 300);
        if (at >= size)
            break;
        bytes[at] = '\n';
    }
}

void book_metadata(uint64_t number, char out[64])
{
    if (number == 0)
        (void)snprintf(out, 64, "{}");
    else
        (void)snprintf(out, 64, "{\"number\":%llu}", (unsigned long long)number);
}

/* ---- memory ---- */

void book_open(struct deed_book *book)
{
    memset(book, 0, sizeof(*book));
    for (unsigned i = 0; i < BOOK_SETS; i++)
        book->sets[i].maybe_gone = true;
    book->next_transaction = 1;
    book->next_number = 1;
}

void book_gone(struct book_set *set)
{
    for (unsigned i = 0; i < BOOK_CHANNELS; i++)
        free(set->channels[i].entries);
    free(set->transactions);
    *set = (struct book_set){.maybe_gone = true};
}

void book_close(struct deed_book *book)
{
    for (unsigned i = 0; i < BOOK_SETS; i++)
        book_gone(&book->sets[i]);
}

static void *copy_of(const void *items, size_t size)
{
    void *copy = malloc(size + 1);

    invariant(copy != NULL);
    if (size > 0)
        memcpy(copy, items, size);
    return copy;
}

struct deed_book *book_copy(const struct deed_book *book)
{
    struct deed_book *copy = copy_of(book, sizeof(*book));

    for (unsigned i = 0; i < BOOK_SETS; i++) {
        struct book_set *set = &copy->sets[i];

        set->transactions =
            copy_of(set->transactions, set->transaction_count * sizeof(*set->transactions));
        for (unsigned j = 0; j < BOOK_CHANNELS; j++) {
            struct book_channel *channel = &set->channels[j];

            channel->entries =
                copy_of(channel->entries, channel->count * sizeof(*channel->entries));
            channel->capacity = channel->count;
        }
    }
    return copy;
}

void book_drop(struct deed_book *copy)
{
    book_close(copy);
    free(copy);
}

/* ---- looking ---- */

uint64_t book_tail(const struct book_channel *channel)
{
    uint64_t size = 0;

    for (size_t i = 0; i < channel->count; i++)
        size += channel->entries[i].size;
    return size;
}

struct book_transaction *book_transaction(struct book_set *set, uint32_t number)
{
    for (size_t i = 0; i < set->transaction_count; i++)
        if (set->transactions[i].number == number)
            return &set->transactions[i];
    return NULL;
}

unsigned book_open_count(const struct book_set *set)
{
    unsigned count = 0;

    for (size_t i = 0; i < set->transaction_count; i++)
        count += set->transactions[i].outcome <= BOOK_COMMITTING;
    return count;
}

/* ---- what becomes of things ---- */

static void add_entry(struct book_channel *channel, const struct deed *deed)
{
    if (channel->count == channel->capacity) {
        channel->capacity = 2 * channel->capacity + 8;
        channel->entries = realloc(channel->entries, channel->capacity * sizeof(struct book_entry));
        invariant(channel->entries != NULL);
    }
    channel->entries[channel->count++] = (struct book_entry){.seed = deed->seed,
        .size = deed->size,
        .transaction = deed->transaction,
        .lines = deed->lines};
}

static void add_transaction(struct book_set *set, const struct deed *deed)
{
    if (book_transaction(set, deed->transaction) != NULL)
        return; /* asked again */
    set->transactions =
        realloc(set->transactions, (set->transaction_count + 1) * sizeof(struct book_transaction));
    invariant(set->transactions != NULL);
    set->transactions[set->transaction_count++] =
        (struct book_transaction){.number = deed->transaction, .mask = deed->mask};
    if (deed->mask == 0)
        set->whole = deed->transaction;
    for (unsigned i = 0; i < BOOK_CHANNELS; i++)
        if (deed->mask & 1u << i)
            set->channels[i].transaction = deed->transaction;
}

/* Everything of the channel up to entry `count` is there for good. */
static void make_durable(struct book_channel *channel, size_t count)
{
    for (size_t i = 0; i < count; i++)
        channel->entries[i].durable = true;
}

void book_release(struct book_set *set, uint32_t number)
{
    for (unsigned i = 0; i < BOOK_CHANNELS; i++)
        if (set->channels[i].transaction == number)
            set->channels[i].transaction = 0;
    if (set->whole == number)
        set->whole = 0;
}

static void end_committed(struct book_set *set, struct book_transaction *transaction)
{
    transaction->outcome = BOOK_COMMITTED;
    for (unsigned i = 0; i < BOOK_CHANNELS; i++) {
        struct book_channel *channel = &set->channels[i];

        for (size_t j = 0; j < channel->count; j++)
            if (channel->entries[j].transaction == transaction->number)
                make_durable(channel, j + 1);
    }
    book_release(set, transaction->number);
}

void book_abort(struct book_set *set, struct book_transaction *transaction)
{
    transaction->outcome = BOOK_ABORTED;
    for (unsigned i = 0; i < BOOK_CHANNELS; i++) {
        struct book_channel *channel = &set->channels[i];
        size_t kept = 0;

        for (size_t j = 0; j < channel->count; j++)
            if (channel->entries[j].transaction != transaction->number)
                channel->entries[kept++] = channel->entries[j];
        channel->count = kept;
    }
    book_release(set, transaction->number);
}

static void abort_number(struct book_set *set, uint32_t number)
{
    struct book_transaction *transaction = number == 0 ? NULL : book_transaction(set, number);

    if (transaction != NULL)
        book_abort(set, transaction);
}

static void abort_open(struct book_set *set)
{
    for (size_t i = 0; i < set->transaction_count; i++)
        if (set->transactions[i].outcome <= BOOK_COMMITTING)
            book_abort(set, &set->transactions[i]);
}

/* ---- beginning ---- */

static void begin_sync(struct book_set *set)
{
    for (unsigned i = 0; i < BOOK_CHANNELS; i++)
        for (size_t j = 0; j < set->channels[i].count; j++) {
            struct book_entry *entry = &set->channels[i].entries[j];

            entry->counted = entry->accepted && entry->transaction == 0;
        }
}

static void begin_change(struct book_set *set, const struct deed *deed)
{
    set->changing = true;
    set->next_state = deed->kind == DEED_CLOSE    ? DATASET_CLOSING
                      : deed->kind == DEED_CLOSED ? DATASET_CLOSED
                                                  : set->state;
    set->next_metadata = deed->kind == DEED_METADATA ? deed->seed : set->metadata;
    set->next_package = deed->kind == DEED_PACKAGE ? deed->seed : set->package;
}

void book_begin(struct deed_book *book, const struct deed *deed)
{
    struct book_set *set = &book->sets[deed->set];
    struct book_channel *channel = &set->channels[deed->channel];

    switch ((enum deed_kind)deed->kind) {
    case DEED_CREATE:
        set->maybe_there = true;
        break;
    case DEED_APPEND:
    case DEED_STAGE:
        add_entry(channel, deed);
        break;
    case DEED_SYNC:
        begin_sync(set);
        break;
    case DEED_OPEN:
        add_transaction(set, deed);
        break;
    case DEED_COMMIT:
        book_transaction(set, deed->transaction)->outcome = BOOK_COMMITTING;
        break;
    case DEED_CLAIM:
        channel->claiming = true;
        break;
    case DEED_METADATA:
    case DEED_CLOSE:
    case DEED_CLOSED:
    case DEED_PACKAGE:
        begin_change(set, deed);
        break;
    case DEED_DELETE:
        set->maybe_gone = true;
        break;
    case DEED_ABORT:
    case DEED_COMPRESS: /* no byte and no version is another afterwards */
    case DEED_KINDS:
        break;
    }
}

/* ---- answers ---- */

static void end_append(
    struct book_channel *channel, const struct deed *deed, const struct deed_answer *answer)
{
    struct book_entry *entry = &channel->entries[channel->count - 1];

    invariant(entry->seed == deed->seed && entry->size == deed->size);
    if (answer->status != COFFER_OK) {
        channel->count--;
        return;
    }
    entry->accepted = true;
    entry->version = answer->version;
    if (deed->kind == DEED_APPEND && !answer->buffered)
        make_durable(channel, channel->count);
}

static void end_sync(struct book_set *set)
{
    for (unsigned i = 0; i < BOOK_CHANNELS; i++) {
        struct book_channel *channel = &set->channels[i];

        for (size_t j = 0; j < channel->count; j++)
            if (channel->entries[j].counted)
                make_durable(channel, j + 1);
    }
}

static void end_claim(struct book_set *set, struct book_channel *channel, bool good)
{
    channel->claiming = false;
    if (!good)
        return;
    channel->epoch++;
    abort_number(set, channel->transaction);
    abort_number(set, set->whole);
    make_durable(channel, channel->count); /* its place is behind them */
}

static void end_change(struct book_set *set, const struct deed *deed, bool good)
{
    set->changing = false;
    if (!good)
        return;
    if (deed->kind == DEED_CLOSE)
        abort_open(set);
    set->state = set->next_state;
    set->metadata = set->next_metadata;
    set->package = set->next_package;
}

static void end_transaction(
    struct book_set *set, const struct deed *deed, const struct deed_answer *answer)
{
    struct book_transaction *transaction = book_transaction(set, deed->transaction);
    bool good = answer->status == COFFER_OK;

    if (deed->kind == DEED_OPEN && good) {
        transaction->answered = true;
    } else if (deed->kind == DEED_COMMIT && good) {
        transaction->version = answer->version;
        end_committed(set, transaction);
    } else {
        book_abort(set, transaction);
    }
}

void book_end(struct deed_book *book, const struct deed *deed, const struct deed_answer *answer)
{
    struct book_set *set = &book->sets[deed->set];
    struct book_channel *channel = &set->channels[deed->channel];
    bool good = answer->status == COFFER_OK;

    book->answers++;
    switch ((enum deed_kind)deed->kind) {
    case DEED_CREATE:
        set->maybe_gone = set->maybe_gone && !good;
        set->maybe_there = good;
        break;
    case DEED_APPEND:
    case DEED_STAGE:
        end_append(channel, deed, answer);
        break;
    case DEED_SYNC:
        if (good)
            end_sync(set);
        break;
    case DEED_OPEN:
    case DEED_COMMIT:
    case DEED_ABORT:
        end_transaction(set, deed, answer);
        break;
    case DEED_CLAIM:
        end_claim(set, channel, good);
        break;
    case DEED_METADATA:
    case DEED_CLOSE:
    case DEED_CLOSED:
    case DEED_PACKAGE:
        end_change(set, deed, good);
        break;
    case DEED_DELETE:
        set->maybe_gone = good;
        if (good)
            book_gone(set);
        break;
    case DEED_COMPRESS:
    case DEED_KINDS:
        break;
    }
}

/* ---- a store through restarts ---- */

static uint64_t live_bytes(struct store *store)
{
    struct store_status status;

    store_status(store, &status);
    assert_int_equal(status.damaged_records, 0);
    return status.live_bytes;
}

void book_check_thrice(struct deed_book *book, struct store_fixture *fixture, const char *where)
{
    struct digest pictures[3];
    uint64_t live[3];

    for (int pass = 0; pass < 3; pass++) {
        char text[160];

        (void)snprintf(text, sizeof(text), "%s, pass %d", where, pass);
        if (pass == 2)
            fixture_remove_index(fixture);
        fixture_open(fixture);
        book_check(book, fixture->store, BOOK_RESTARTED, text, &pictures[pass]);
        if (pass > 0 && !digest_equal(&pictures[pass], &pictures[0]))
            fail_msg("%s: another state than before", text);
        live[pass] = live_bytes(fixture->store);
        if (pass < 2)
            fixture_close(fixture);
    }
    assert_int_equal(live[2], live[1]); /* the first may have been giving space back */
}
