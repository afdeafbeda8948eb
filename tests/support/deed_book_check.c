/*
 * Comparing a store with a book: first what each channel shows, then whether versions, records
 * and transactions tell the same of it. What is shown goes into the picture as it is read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "storage/base/invariant.h"
#include "tests/support/dataset_fixture.h"
#include "tests/support/deed_book.h"

enum { PLACES_AT_ONCE = 500, LOOK_BACK = 12, LOOK_EVERY = 9 };

struct look {
    struct deed_book *book;
    struct book_set *set;
    unsigned number; /* of the set */
    struct store *store;
    struct dataset *dataset;
    struct dataset_info info;
    enum book_look how;
    const char *where;
    struct sha256 *sha;
    size_t visible[BOOK_CHANNELS]; /* entries */
    struct stream_info streams[BOOK_CHANNELS];
    bool exists[BOOK_CHANNELS];
    struct version { /* of the log, in order */
        uint64_t number;
        uint32_t transaction;
        uint64_t ends[BOOK_CHANNELS], starts[BOOK_CHANNELS];
    } * versions;
    size_t version_count, version_capacity;
    size_t at[BOOK_CHANNELS]; /* entries that the versions so far have */
};

#define BAD(look, format, ...)                                                                     \
    fail_msg("%s: set%u: " format, (look)->where, (look)->number, ##__VA_ARGS__)

static void paint(struct look *look, const void *data, size_t size)
{
    if (look->sha != NULL && size > 0)
        sha256_update(look->sha, data, size);
}

static void paint_number(struct look *look, uint64_t number)
{
    paint(look, &number, sizeof(number));
}

/* ---- the dataset itself ---- */

static uint8_t *read_package(struct look *look, size_t *size)
{
    struct stream_reader *reader;
    struct gate gate;
    struct error error;
    uint8_t *bytes;
    size_t at = 0, part = 1;

    gate_init(&gate);
    if (dataset_package_open(look->dataset, gate_waker(&gate), &reader, &error) != COFFER_OK)
        BAD(look, "the package: %s", error.text);
    *size = (size_t)stream_size(reader);
    bytes = malloc(*size + 1);
    invariant(bytes != NULL);
    while (part > 0) {
        enum coffer_status status = stream_read(reader, bytes + at, *size + 1 - at, &part, &error);

        if (status == COFFER_AGAIN) {
            gate_wait(&gate);
            part = 1;
        } else if (status != COFFER_OK) {
            BAD(look, "the package: %s", error.text);
        } else {
            at += part;
        }
    }
    assert_int_equal(at, *size);
    stream_close(reader);
    gate_release(&gate);
    return bytes;
}

/* The number whose package is there: `wanted` or `next`; 0: none is. */
static uint64_t package_number(struct look *look, uint64_t wanted, uint64_t next)
{
    const uint64_t numbers[] = {wanted, next};
    uint64_t number = 0;
    uint8_t *bytes, *content;
    size_t size;

    if (!look->info.packaged)
        return 0;
    bytes = read_package(look, &size);
    content = malloc(BOOK_PACKAGE_SIZE);
    invariant(content != NULL);
    for (size_t i = 0; i < ARRAY_COUNT(numbers) && number == 0; i++) {
        book_content(content, BOOK_PACKAGE_SIZE, numbers[i], false);
        if (size == BOOK_PACKAGE_SIZE && memcmp(bytes, content, size) == 0)
            number = numbers[i];
    }
    if (number == 0)
        BAD(look, "the package has other bytes");
    free(bytes);
    free(content);
    return number;
}

/* Its own row is what it was, or what it was to become: all of it. */
static void check_own(struct look *look)
{
    struct book_set *set = look->set;
    uint64_t package =
        package_number(look, set->package, set->changing ? set->next_package : set->package);
    size_t size;
    char *metadata = dataset_metadata(look->dataset, &size), next[64];

    book_metadata(set->next_metadata, next);
    if (set->changing && look->info.state == set->next_state && package == set->next_package &&
        strcmp(metadata, next) == 0) {
        set->state = set->next_state;
        set->metadata = set->next_metadata;
        set->package = set->next_package;
    }
    set->changing = false;
    book_metadata(set->metadata, next);
    if (look->info.state != set->state || package != set->package || strcmp(metadata, next) != 0)
        BAD(look, "it is %s, metadata %s, package %llu; not %s, %s, %llu",
            dataset_state_name(look->info.state), metadata, (unsigned long long)package,
            dataset_state_name(set->state), next, (unsigned long long)set->package);
    paint(look, metadata, size);
    free(metadata);
    paint(look, look->info.id, sizeof(look->info.id));
    paint_number(look, package);
    paint_number(look, look->info.state);
    paint_number(look, look->info.version);
    paint_number(look, look->info.created_ns);
    paint_number(look, look->info.tag);
}

/* ---- channels ---- */

static void count_visible(struct look *look, unsigned c)
{
    struct book_channel *channel = &look->set->channels[c];
    uint64_t size = look->exists[c] ? look->streams[c].size : 0, sum = 0;
    size_t visible = 0;

    while (visible < channel->count && sum < size)
        sum += channel->entries[visible++].size;
    if (sum != size)
        BAD(look, "channel %s has %llu bytes: half an entry, or what was never sent",
            book_channel_names[c], (unsigned long long)size);
    for (size_t i = 0; i < channel->count; i++) {
        look->book->certain += channel->entries[i].durable;
        if (i >= visible && channel->entries[i].durable)
            BAD(look, "channel %s has lost entry %zu of %zu, which was acknowledged",
                book_channel_names[c], i, channel->count);
    }
    look->visible[c] = visible;
}

static void check_epoch(struct look *look, unsigned c)
{
    struct book_channel *channel = &look->set->channels[c];
    uint64_t epoch = look->exists[c] ? look->streams[c].epoch : 0;

    if (epoch != channel->epoch && !(channel->claiming && epoch == channel->epoch + 1))
        BAD(look, "channel %s has epoch %llu, not %llu", book_channel_names[c],
            (unsigned long long)epoch, (unsigned long long)channel->epoch);
    if (look->exists[c] && look->visible[c] == 0 && epoch == 0)
        BAD(look, "channel %s was made by nothing", book_channel_names[c]);
    channel->epoch = epoch;
}

/* The places of the records of one entry, which starts at `offset`; how many. */
static size_t places_of(const struct book_entry *entry, const uint8_t *bytes, uint64_t offset,
    uint64_t record, struct record_place *places)
{
    size_t count = 0;

    for (size_t at = 0; at < entry->size;) {
        const uint8_t *feed = entry->lines ? memchr(bytes + at, '\n', entry->size - at) : NULL;
        size_t end = feed == NULL ? entry->size : (size_t)(feed - bytes) + 1;

        places[count] = (struct record_place){record + count, offset + at, end - at};
        count++;
        at = end;
    }
    return count;
}

static void check_records(
    struct look *look, unsigned c, const struct record_place *places, size_t count)
{
    struct record_place got[PLACES_AT_ONCE];
    struct error error;
    size_t found = 0;

    if (look->streams[c].records != count)
        BAD(look, "channel %s has %llu records, not %zu", book_channel_names[c],
            (unsigned long long)look->streams[c].records, count);
    for (size_t at = 0; at <= count; at += found) {
        if (stream_records(look->dataset, slice_from_text(book_channel_names[c]), 0, at, got,
                PLACES_AT_ONCE, &found, &error) != COFFER_OK)
            BAD(look, "records of channel %s: %s", book_channel_names[c], error.text);
        if (found > count - at || (found == 0 && at < count) ||
            (found > 0 && memcmp(got, places + at, found * sizeof(*places)) != 0))
            BAD(look, "channel %s has other records from %zu on", book_channel_names[c], at);
        if (found == 0)
            break;
    }
}

static void check_content_of(struct look *look, unsigned c)
{
    const struct book_channel *channel = &look->set->channels[c];
    size_t size = (size_t)look->streams[c].size, got_size, at = 0, records = 0;
    uint8_t *wanted = malloc(size + 1), *got;
    struct record_place *places = malloc((size + 1) * sizeof(*places));
    struct error error;

    invariant(wanted != NULL && places != NULL);
    for (size_t i = 0; i < look->visible[c]; i++) {
        const struct book_entry *entry = &channel->entries[i];

        book_content(wanted + at, entry->size, entry->seed, entry->lines);
        records += places_of(entry, wanted + at, at, records, places + records);
        at += entry->size;
    }
    if (ds_read(look->dataset, book_channel_names[c], 0, &got, &got_size, &error) != COFFER_OK)
        BAD(look, "channel %s: %s", book_channel_names[c], error.text);
    if (got_size != size || (size > 0 && memcmp(got, wanted, size) != 0))
        BAD(look, "channel %s has other bytes", book_channel_names[c]);
    check_records(look, c, places, records);
    paint(look, got, size);
    paint_number(look, records);
    paint_number(look, look->streams[c].epoch);
    free(got);
    free(wanted);
    free(places);
}

static unsigned channel_of(struct look *look, const char *name)
{
    for (unsigned c = 0; c < BOOK_CHANNELS; c++)
        if (strcmp(book_channel_names[c], name) == 0)
            return c;
    BAD(look, "there is a channel %s", name);
    return 0;
}

static void check_channels(struct look *look)
{
    struct stream_info *streams;
    size_t count;

    dataset_snapshot(look->dataset, &look->info, &streams, &count);
    for (size_t i = 0; i < count; i++) {
        unsigned c = channel_of(look, streams[i].name);

        look->exists[c] = true;
        look->streams[c] = streams[i];
    }
    free(streams);
    for (unsigned c = 0; c < BOOK_CHANNELS; c++) {
        count_visible(look, c);
        check_epoch(look, c);
        if (look->exists[c])
            check_content_of(look, c);
    }
}

/* ---- versions ---- */

static bool take_version(void *context, const struct version_info *info)
{
    struct look *look = context;
    struct version *version;

    if (look->version_count == look->version_capacity) {
        look->version_capacity = 2 * look->version_capacity + 64;
        look->versions = realloc(look->versions, look->version_capacity * sizeof(*version));
        invariant(look->versions != NULL);
    }
    version = &look->versions[look->version_count++];
    *version = (struct version){.number = info->version};
    if (info->transaction != NULL)
        version->transaction = (uint32_t)strtoul(info->transaction + 1, NULL, 10);
    paint_number(look, info->version);
    paint_number(look, info->time_ns);
    paint_number(look, version->transaction);
    for (size_t i = 0; i < info->part_count; i++) {
        unsigned c = channel_of(look, info->parts[i].name);

        version->starts[c] = info->parts[i].offset;
        version->ends[c] = info->parts[i].offset + info->parts[i].length;
        paint_number(look, info->parts[i].offset);
        paint_number(look, info->parts[i].length);
        paint_number(look, info->parts[i].records);
    }
    return true;
}

/* The entries that the version adds to the channel: they follow those of earlier versions. */
static void follow_version(
    struct look *look, const struct version *version, unsigned c, uint64_t *position)
{
    struct book_channel *channel = &look->set->channels[c];

    if (version->starts[c] != *position)
        BAD(look, "version %llu begins at %llu of channel %s, which ended at %llu",
            (unsigned long long)version->number, (unsigned long long)version->starts[c],
            book_channel_names[c], (unsigned long long)*position);
    while (*position < version->ends[c]) {
        struct book_entry *entry = &channel->entries[look->at[c]];

        if (look->at[c] == look->visible[c])
            BAD(look, "version %llu has more than channel %s", (unsigned long long)version->number,
                book_channel_names[c]);
        if (entry->transaction != version->transaction ||
            (entry->version != 0 && entry->version != version->number))
            BAD(look, "entry %zu of channel %s is of version %llu, was of %llu", look->at[c],
                book_channel_names[c], (unsigned long long)version->number,
                (unsigned long long)entry->version);
        entry->version = version->number;
        *position += entry->size;
        look->at[c]++;
    }
    if (*position != version->ends[c])
        BAD(look, "version %llu ends within an entry of channel %s",
            (unsigned long long)version->number, book_channel_names[c]);
}

/* How long the channel was. */
static void check_as_of(struct look *look, uint64_t version, unsigned c, uint64_t size)
{
    struct stream_reader *reader = NULL;
    struct gate gate;
    struct error error;
    enum coffer_status status;

    gate_init(&gate);
    status = stream_open(look->dataset, slice_from_text(book_channel_names[c]), version,
        gate_waker(&gate), &reader, &error);
    if (status != (size == 0 ? COFFER_NO_SUCH_CHANNEL : COFFER_OK))
        BAD(look, "channel %s as of version %llu: %s", book_channel_names[c],
            (unsigned long long)version, status_code(status));
    if (reader != NULL && stream_size(reader) != size)
        BAD(look, "channel %s as of version %llu has %llu bytes, not %llu", book_channel_names[c],
            (unsigned long long)version, (unsigned long long)stream_size(reader),
            (unsigned long long)size);
    stream_close(reader);
    gate_release(&gate);
}

static void take_versions(struct look *look)
{
    struct error error;
    bool more = true;

    while (more) {
        uint64_t after =
            look->version_count == 0 ? 0 : look->versions[look->version_count - 1].number;

        if (dataset_versions(look->dataset, after, take_version, look, &more, &error) != COFFER_OK)
            BAD(look, "versions: %s", error.text);
    }
}

static void check_versions(struct look *look)
{
    uint64_t positions[BOOK_CHANNELS] = {0};

    take_versions(look);
    for (size_t i = 0; i < look->version_count; i++) {
        const struct version *version = &look->versions[i];
        bool looked = i + LOOK_BACK >= look->version_count || i % LOOK_EVERY == 0;

        if (version->number <= (i == 0 ? 0 : look->versions[i - 1].number))
            BAD(look, "version %llu is not above the one before it",
                (unsigned long long)version->number);
        for (unsigned c = 0; c < BOOK_CHANNELS; c++) {
            uint64_t before = positions[c];

            if (version->ends[c] > version->starts[c])
                follow_version(look, version, c, &positions[c]);
            if (looked && i > 0)
                check_as_of(look, look->versions[i - 1].number, c, before);
            if (looked)
                check_as_of(look, version->number, c, positions[c]);
        }
    }
    for (unsigned c = 0; c < BOOK_CHANNELS; c++)
        if (look->at[c] != look->visible[c])
            BAD(look, "the versions have %zu of %zu entries of channel %s", look->at[c],
                look->visible[c], book_channel_names[c]);
    if (look->version_count > 0 &&
        look->info.version != look->versions[look->version_count - 1].number)
        BAD(look, "it is at version %llu, which the log has not",
            (unsigned long long)look->info.version);
}

/* ---- transactions ---- */

/* How many of the transaction's entries there are, and how many are visible. */
static void count_entries(
    const struct look *look, uint32_t number, size_t *entries, size_t *visible)
{
    *entries = *visible = 0;
    for (unsigned c = 0; c < BOOK_CHANNELS; c++)
        for (size_t i = 0; i < look->set->channels[c].count; i++)
            if (look->set->channels[c].entries[i].transaction == number) {
                ++*entries;
                *visible += i < look->visible[c];
            }
}

static bool is_shown(const struct look *look, const struct book_transaction *transaction)
{
    for (size_t i = 0; i < look->version_count; i++)
        if (look->versions[i].transaction == transaction->number)
            return transaction->version == 0 || look->versions[i].number == transaction->version;
    return false;
}

static void check_transaction(struct look *look, struct book_transaction *transaction)
{
    char name[STREAM_NAME_SIZE];
    struct transaction_info info = {.state = TRANSACTION_ABORTED};
    struct error error;
    enum coffer_status status;
    size_t entries, visible;
    bool open = transaction->outcome == BOOK_OPEN && look->how != BOOK_RESTARTED, committed;

    book_transaction_name(transaction->number, name);
    count_entries(look, transaction->number, &entries, &visible);
    if (visible != 0 && visible != entries)
        BAD(look, "transaction %s is there by half: %zu of %zu", name, visible, entries);
    status = transaction_find(look->dataset, slice_from_text(name), &info, &error);
    if (status != COFFER_OK &&
        (status != COFFER_NO_SUCH_TRANSACTION || transaction->answered || visible > 0))
        BAD(look, "transaction %s: %s", name, error.text);
    committed = status == COFFER_OK && info.state == TRANSACTION_COMMITTED;
    if (open && look->how == BOOK_SETTLED && info.state == TRANSACTION_ABORTED) {
        book_abort(look->set, transaction); /* for what it was to follow was lost */
        open = false;
    }
    if (open ? info.state != TRANSACTION_OPEN
             : (status == COFFER_OK && info.state == TRANSACTION_OPEN))
        BAD(look, "transaction %s is %s", name, transaction_state_name(info.state));
    if (committed != is_shown(look, transaction) || (entries > 0 && committed != (visible > 0)))
        BAD(look, "transaction %s is %s, %zu of %zu of it are visible, and the log has it%s", name,
            transaction_state_name(info.state), visible, entries,
            is_shown(look, transaction) ? "" : " not");
    if (transaction->outcome == BOOK_COMMITTED
            ? !committed
            : committed && transaction->outcome != BOOK_COMMITTING)
        BAD(look, "transaction %s is %s", name, transaction_state_name(info.state));
    paint_number(look, info.state);
    paint_number(look, info.version);
    paint(look, info.reason, strlen(info.reason));
    if (open)
        return;
    transaction->outcome = committed ? BOOK_COMMITTED : BOOK_ABORTED;
    if (look->how == BOOK_RESTARTED) /* before, the row of its abort may be on its way */
        transaction->answered = status == COFFER_OK;
    transaction->version = info.version;
}

/* ---- taking over ---- */

/* What is not there now never will be, but for what open transactions have staged. */
static void take_over(struct look *look)
{
    struct book_set *set = look->set;

    for (unsigned c = 0; c < BOOK_CHANNELS; c++) {
        struct book_channel *channel = &set->channels[c];
        size_t kept = look->visible[c];

        channel->claiming = false;
        for (size_t i = 0; i < kept; i++)
            channel->entries[i].durable = channel->entries[i].accepted = true;
        for (size_t i = kept; i < channel->count && look->how == BOOK_SETTLED; i++)
            if (channel->entries[i].transaction != 0)
                channel->entries[kept++] = channel->entries[i];
        channel->count = kept;
    }
    for (size_t i = 0; i < set->transaction_count && look->how == BOOK_RESTARTED; i++)
        book_release(set, set->transactions[i].number);
}

/* Who did not hear that his last append was stored sends it again: it is there once. */
static void check_repeats(struct look *look)
{
    for (unsigned c = 0; c < BOOK_CHANNELS; c++) {
        const struct book_channel *channel = &look->set->channels[c];
        const struct book_entry *last;
        struct append_call call = {.has_offset = true};
        struct append_result result;
        struct error error = {0};
        uint8_t *bytes;

        if (channel->count == 0 || look->set->state != DATASET_OPEN)
            continue;
        last = &channel->entries[channel->count - 1];
        call.lines = last->lines;
        call.offset = book_tail(channel) - last->size;
        bytes = malloc(last->size);
        invariant(bytes != NULL);
        book_content(bytes, last->size, last->seed, last->lines);
        if (ds_append(look->dataset, book_channel_names[c], bytes, last->size, &call, &result,
                &error) != COFFER_OK ||
            !result.repeated || result.version != last->version)
            BAD(look, "the last append of channel %s is not known again: %s", book_channel_names[c],
                error.text);
        free(bytes);
    }
}

static void check_set(struct look *look)
{
    struct book_set *set = look->set;
    char name[DATASET_NAME_SIZE];
    bool found;

    book_set_name(look->number, name);
    found = ds_exists(look->store, name);
    if (found ? !set->maybe_there : !set->maybe_gone)
        BAD(look, "it is %s", found ? "back" : "lost");
    paint_number(look, found);
    if (!found) {
        book_gone(set);
        return;
    }
    set->maybe_there = true;
    set->maybe_gone = false;
    look->dataset = ds_hold(look->store, name);
    check_channels(look);
    check_own(look);
    check_versions(look);
    for (size_t i = 0; i < set->transaction_count; i++)
        check_transaction(look, &set->transactions[i]);
    if (look->how != BOOK_LIVE)
        take_over(look);
    if (look->how == BOOK_RESTARTED)
        check_repeats(look);
    dataset_drop(look->dataset);
    free(look->versions);
}

void book_check(struct deed_book *book, struct store *store, enum book_look how, const char *where,
    struct digest *picture)
{
    struct sha256 sha;

    sha256_init(&sha);
    for (unsigned i = 0; i < BOOK_SETS; i++) {
        struct look look = {.book = book,
            .set = &book->sets[i],
            .number = i,
            .store = store,
            .how = how,
            .where = where,
            .sha = &sha};

        check_set(&look);
    }
    if (picture != NULL)
        sha256_final(&sha, picture);
    sha256_release(&sha);
}
