#include "tests/support/dataset_deeds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/dataset_fixture.h"

enum {
    SMALL_MAX = 3000,
    MIDDLE_MAX = 200000,
    BLOCK = 1 << 20,
    LARGE_MORE = 1500000,
    OPEN_MAX = 2,
    TTL_MS = 3600 * 1000,
};

/* ---- doing ---- */

static enum coffer_status do_append(
    struct dataset *dataset, const struct deed *deed, struct deed_answer *answer)
{
    char transaction[STREAM_NAME_SIZE];
    struct append_call call = {.has_offset = deed->has_offset,
        .offset = deed->offset,
        .lines = deed->lines,
        .buffered = deed->buffered,
        .size_unknown = deed->seed % 3 == 0};
    struct append_result result = {0};
    uint8_t *bytes = malloc(deed->size);
    enum coffer_status status;

    invariant(bytes != NULL);
    book_content(bytes, deed->size, deed->seed, deed->lines);
    if (deed->kind == DEED_STAGE) {
        book_transaction_name(deed->transaction, transaction);
        call.transaction = transaction;
    }
    status = ds_append(
        dataset, book_channel_names[deed->channel], bytes, deed->size, &call, &result, NULL);
    free(bytes);
    answer->version = result.version;
    answer->buffered = result.buffered;
    answer->repeated = result.repeated;
    return status;
}

static enum coffer_status do_open(struct dataset *dataset, const struct deed *deed)
{
    const char *channels[BOOK_CHANNELS + 1] = {NULL};
    char name[STREAM_NAME_SIZE];
    size_t count = 0;

    for (unsigned c = 0; c < BOOK_CHANNELS; c++)
        if (deed->mask & 1u << c)
            channels[count++] = book_channel_names[c];
    book_transaction_name(deed->transaction, name);
    return tx_open(
        dataset, name, deed->mask == 0 ? NULL : channels, TTL_MS, false, false, NULL, NULL);
}

static enum coffer_status do_package(struct dataset *dataset, const struct deed *deed)
{
    uint8_t *bytes = malloc(BOOK_PACKAGE_SIZE);
    struct package_writer *writer = NULL;
    enum coffer_status status;

    invariant(bytes != NULL);
    book_content(bytes, BOOK_PACKAGE_SIZE, deed->seed, false);
    status = package_begin(dataset, ARCHIVE_TAR, &writer, NULL);
    if (status == COFFER_OK)
        status = package_write(writer, bytes, BOOK_PACKAGE_SIZE, NULL);
    if (status == COFFER_OK)
        status = package_finish(writer, NULL);
    package_close(writer);
    free(bytes);
    return status;
}

static enum coffer_status do_transaction(
    struct dataset *dataset, const struct deed *deed, struct deed_answer *answer)
{
    char name[STREAM_NAME_SIZE];
    struct transaction_info info = {.version = 0};
    enum coffer_status status;

    if (deed->kind == DEED_OPEN)
        return do_open(dataset, deed);
    book_transaction_name(deed->transaction, name);
    status = deed->kind == DEED_COMMIT ? tx_commit(dataset, name, 0, &info, NULL)
                                       : tx_abort(dataset, name, NULL, NULL, NULL);
    answer->version = info.version;
    return status;
}

static enum coffer_status do_own(struct dataset *dataset, const struct deed *deed)
{
    uint64_t epoch, offset, saved;
    char metadata[64];

    switch ((enum deed_kind)deed->kind) {
    case DEED_CLAIM:
        return ds_claim(dataset, book_channel_names[deed->channel], &epoch, &offset, NULL);
    case DEED_METADATA:
        book_metadata(deed->seed, metadata);
        return ds_set_metadata(dataset, 0, NULL, metadata, NULL);
    case DEED_CLOSE:
        return ds_close_begin(dataset, NULL);
    case DEED_CLOSED:
        return ds_closed(dataset, NULL);
    case DEED_COMPRESS:
        return dataset_compress(dataset, 9, &saved, NULL, NULL, NULL);
    case DEED_PACKAGE:
        return do_package(dataset, deed);
    case DEED_DELETE:
        return ds_delete(dataset, NULL);
    default:
        invariant(false);
    }
    return COFFER_INTERNAL;
}

struct deed_answer deed_do(struct store *store, const struct deed *deed)
{
    struct deed_answer answer = {0};
    struct dataset *dataset = NULL;
    char name[DATASET_NAME_SIZE];
    enum coffer_status status;

    book_set_name(deed->set, name);
    if (deed->kind == DEED_CREATE)
        status = ds_create(store, name, NULL, NULL, NULL, NULL);
    else if (deed->kind == DEED_SYNC)
        status = store_sync(store, NULL, 0, NULL, NULL);
    else if ((status = dataset_hold(store, slice_from_text(name), &dataset, NULL)) != COFFER_OK)
        dataset = NULL;
    else if (deed->kind == DEED_APPEND || deed->kind == DEED_STAGE)
        status = do_append(dataset, deed, &answer);
    else if (deed->kind == DEED_OPEN || deed->kind == DEED_COMMIT || deed->kind == DEED_ABORT)
        status = do_transaction(dataset, deed, &answer);
    else
        status = do_own(dataset, deed);
    dataset_drop(dataset);
    answer.status = (int)status;
    return answer;
}

const char *deed_name(const struct deed *deed)
{
    static const char *const names[DEED_KINDS] = {"create", "append", "sync", "open", "stage",
        "commit", "abort", "claim", "metadata", "close", "closed", "compress", "package", "delete"};

    return names[deed->kind];
}

/* ---- making them up ---- */

static uint32_t size_of(unsigned large, uint64_t *random)
{
    unsigned dice = (unsigned)random_below(random, 100);

    if (dice < large)
        return BLOCK + 1 + (uint32_t)random_below(random, LARGE_MORE);
    return 1 + (uint32_t)random_below(random, dice < large + 5 ? MIDDLE_MAX : SMALL_MAX);
}

static void fill_append(struct deed_book *book, struct deed *deed, unsigned large, uint64_t *random)
{
    const struct book_channel *channel = &book->sets[deed->set].channels[deed->channel];

    deed->size = size_of(large, random);
    deed->seed = 2 * book->next_number++ + random_below(random, 2);
    deed->lines = random_below(random, 3) == 0;
    deed->has_offset = random_below(random, 3) != 0;
    deed->offset = book_tail(channel);
}

/* A channel that nobody has; false: there is none. */
static bool free_channel(const struct book_set *set, struct deed *deed, uint64_t *random)
{
    unsigned start = (unsigned)random_below(random, BOOK_CHANNELS);

    for (unsigned i = 0; i < BOOK_CHANNELS && set->whole == 0; i++) {
        unsigned c = (start + i) % BOOK_CHANNELS;

        if (set->channels[c].transaction == 0) {
            deed->channel = (uint8_t)c;
            return true;
        }
    }
    return false;
}

static void make_open(struct deed_book *book, struct deed *deed, uint64_t *random)
{
    const struct book_set *set = &book->sets[deed->set];

    deed->kind = DEED_OPEN;
    deed->transaction = book->next_transaction++;
    if (book_open_count(set) == 0 && random_below(random, 3) == 0)
        return; /* all of it */
    for (unsigned c = 0; c < BOOK_CHANNELS; c++)
        if (set->channels[c].transaction == 0 && random_below(random, 2) == 0)
            deed->mask |= 1u << c;
    if (deed->mask == 0)
        deed->mask = 1u << deed->channel;
}

/* The set has an open transaction: something is done with it. */
static void make_step(struct deed_book *book, struct deed *deed, unsigned large, uint64_t *random)
{
    struct book_set *set = &book->sets[deed->set];
    const struct book_transaction *transaction = NULL;
    unsigned dice = (unsigned)random_below(random, 10);

    while (transaction == NULL || transaction->outcome != BOOK_OPEN)
        transaction = &set->transactions[random_below(random, set->transaction_count)];
    deed->transaction = transaction->number;
    deed->kind = dice < 7 ? DEED_STAGE : dice < 9 ? DEED_COMMIT : DEED_ABORT;
    if (deed->kind != DEED_STAGE)
        return;
    do
        deed->channel = (uint8_t)random_below(random, BOOK_CHANNELS);
    while (transaction->mask != 0 && (transaction->mask & 1u << deed->channel) == 0);
    fill_append(book, deed, large, random);
}

static struct deed of_closed(struct deed_book *book, struct deed deed, uint64_t *random)
{
    const struct book_set *set = &book->sets[deed.set];
    unsigned dice = (unsigned)random_below(random, 4);

    deed.kind = dice == 0                       ? DEED_COMPRESS
                : dice < 3                      ? DEED_PACKAGE
                : set->state == DATASET_CLOSING ? DEED_CLOSED
                                                : DEED_DELETE;
    deed.seed = 2 * book->next_number++;
    return deed;
}

struct deed deed_make(struct deed_book *book, unsigned number, unsigned large, uint64_t *random)
{
    struct book_set *set = &book->sets[number];
    struct deed deed = {.set = (uint8_t)number, .seed = 2 * book->next_number++};
    unsigned dice = (unsigned)random_below(random, 100), open = book_open_count(set);

    if (!set->maybe_there) {
        deed.kind = DEED_CREATE;
    } else if (set->state != DATASET_OPEN) {
        return of_closed(book, deed, random);
    } else if (dice < 2) {
        deed.kind = dice == 0 ? DEED_CLOSE : DEED_DELETE;
    } else if (dice < 6) {
        deed.kind = DEED_METADATA;
    } else if (dice < 10) {
        deed.kind = DEED_CLAIM;
        deed.channel = (uint8_t)random_below(random, BOOK_CHANNELS);
    } else if (dice < 14) {
        deed.kind = DEED_SYNC;
    } else if (open > 0 && (dice < 55 || !free_channel(set, &deed, random))) {
        make_step(book, &deed, large, random);
    } else if (dice < 65 && open < OPEN_MAX && free_channel(set, &deed, random)) {
        make_open(book, &deed, random);
    } else {
        (void)free_channel(set, &deed, random);
        deed.kind = DEED_APPEND;
        deed.buffered = random_below(random, 2) == 0;
        fill_append(book, &deed, large, random);
    }
    return deed;
}
