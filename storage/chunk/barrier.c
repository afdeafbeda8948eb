#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/invariant.h"
#include "storage/chunk/store_parts.h"

enum { FAILURES_TOLD_MAX = 10000 };

struct barrier_wait { /* for one lane */
    struct barrier *barrier;
    struct lane *lane; /* held */
    struct lane_waiter waiter;
    uint64_t first, last; /* sequence numbers whose failures are told */
};

struct barrier {
    struct store *store;
    struct waker waker;
    bool everything;
    struct barrier_wait *waits;
    size_t count;
    _Atomic size_t open; /* waits that are not over, and one for barrier_begin() itself */
    bool finished;
    struct barrier_failure *failures;
    size_t failure_count;
};

void ticket_format(
    const struct store *store, const char *channel, uint64_t seq, struct ticket *ticket)
{
    (void)snprintf(ticket->text, sizeof(ticket->text), "%s:%s:%" PRIu64, store->boot, channel, seq);
}

static bool parse_seq(const char *text, size_t size, uint64_t *seq)
{
    *seq = 0;
    if (size == 0 || size > 19)
        return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *seq = *seq * 10 + (uint64_t)(text[i] - '0');
    }
    return *seq > 0;
}

static bool is_boot(struct slice text)
{
    const char *at = text.data;

    for (size_t i = 0; i < text.size; i++)
        if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
            return false;
    return text.size == BOOT_SIZE - 1;
}

enum coffer_status ticket_parse(
    const struct store *store, struct slice text, struct slice *channel, uint64_t *seq)
{
    const char *start = text.data, *end = start + text.size, *first, *second;

    first = text.size == 0 ? NULL : memchr(start, ':', text.size);
    if (first == NULL || !is_boot(slice_of(start, (size_t)(first - start))))
        return COFFER_BAD_REQUEST;
    second = memchr(first + 1, ':', (size_t)(end - first - 1));
    if (second == NULL || second == first + 1 || second - first > LANE_NAME_SIZE ||
        !parse_seq(second + 1, (size_t)(end - second - 1), seq))
        return COFFER_BAD_REQUEST;
    *channel = slice_of(first + 1, (size_t)(second - first - 1));
    return memcmp(start, store->boot, BOOT_SIZE - 1) == 0 ? COFFER_OK : COFFER_TICKET_LOST;
}

enum coffer_status ticket_check(struct store *store, struct slice ticket)
{
    struct slice channel;
    uint64_t seq;

    return ticket_parse(store, ticket, &channel, &seq);
}

static void over(void *context)
{
    struct barrier_wait *wait = context;
    struct barrier *barrier = wait->barrier;

    if (atomic_fetch_sub(&barrier->open, 1) == 1)
        waker_wake(barrier->waker);
}

static void add_wait(struct barrier *barrier, struct lane *lane, uint64_t first, uint64_t last)
{
    struct barrier_wait *wait = &barrier->waits[barrier->count++];

    wait->barrier = barrier;
    wait->lane = lane;
    wait->first = first;
    wait->last = last;
    wait->waiter.waker = (struct waker){over, wait};
}

static void count_lane(void *context, struct lane *lane)
{
    (void)lane;
    (*(size_t *)context)++;
}

static void add_lane(void *context, struct lane *lane)
{
    struct barrier *barrier = context;
    struct lane *held = lane_set_find(barrier->store->lanes, slice_from_text(lane_name(lane)));

    if (held != NULL)
        add_wait(barrier, held, 0, lane_last_seq(held));
}

/* The waits for tickets; several of one lane stay several. */
static enum coffer_status add_tickets(
    struct barrier *barrier, const struct slice *tickets, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct slice channel;
        uint64_t seq;
        struct lane *lane;
        enum coffer_status status = ticket_parse(barrier->store, tickets[i], &channel, &seq);

        if (status == COFFER_TICKET_LOST)
            return error_set(err, status,
                "the ticket %.*s is of an earlier run of the server: send again what it stood for",
                (int)(tickets[i].size < 100 ? tickets[i].size : 100),
                (const char *)tickets[i].data);
        if (status != COFFER_OK)
            return error_set(err, status, "\"%.*s\" is not a ticket (BOOT:CHANNEL:SEQ)",
                (int)(tickets[i].size < 100 ? tickets[i].size : 100),
                (const char *)tickets[i].data);
        lane = lane_set_find(barrier->store->lanes, channel);
        if (lane != NULL) /* a forgotten lane has nothing that is not durable */
            add_wait(barrier, lane, seq, seq);
    }
    return COFFER_OK;
}

enum coffer_status barrier_begin(struct store *store, const struct slice *tickets, size_t count,
    struct waker waker, struct barrier **out, struct error *err)
{
    struct barrier *barrier = calloc(1, sizeof(*barrier));
    enum coffer_status status = COFFER_OK;
    size_t waits = count;

    invariant(barrier != NULL);
    barrier->store = store;
    barrier->waker = waker;
    barrier->everything = count == 0;
    if (barrier->everything) {
        lane_set_each(store->lanes, count_lane, &waits);
        waits += store->options.channels_max; /* lanes may be made between the two visits */
    }
    barrier->waits = calloc(waits + 1, sizeof(struct barrier_wait));
    invariant(barrier->waits != NULL);
    if (barrier->everything)
        lane_set_each(store->lanes, add_lane, barrier);
    else
        status = add_tickets(barrier, tickets, count, err);
    if (status != COFFER_OK) {
        barrier_close(barrier);
        return status;
    }
    *out = barrier;
    return COFFER_OK;
}

static enum coffer_status start(struct barrier *barrier)
{
    atomic_store(&barrier->open, barrier->count + 1);
    for (size_t i = 0; i < barrier->count; i++) {
        struct barrier_wait *wait = &barrier->waits[i];

        if (lane_wait_durable(wait->lane, wait->last, &wait->waiter))
            atomic_fetch_sub(&barrier->open, 1);
    }
    barrier->finished = true; /* the next call comes when all are over */
    return atomic_fetch_sub(&barrier->open, 1) == 1 ? COFFER_OK : COFFER_AGAIN;
}

static void collect_failures(struct barrier *barrier)
{
    struct lane_failure found[64];

    barrier->failures = calloc(FAILURES_TOLD_MAX, sizeof(struct barrier_failure));
    invariant(barrier->failures != NULL);
    for (size_t i = 0; i < barrier->count; i++) {
        struct barrier_wait *wait = &barrier->waits[i];
        uint64_t first = wait->first;
        size_t count;

        do {
            size_t room = FAILURES_TOLD_MAX - barrier->failure_count;

            /* Who asks for everything is told of a failure once; who has its ticket, always. */
            count = lane_failures(
                wait->lane, first, wait->last, barrier->everything, found, room < 64 ? room : 64);
            for (size_t j = 0; j < count; j++) {
                struct barrier_failure *failure = &barrier->failures[barrier->failure_count++];

                ticket_format(
                    barrier->store, lane_name(wait->lane), found[j].seq, &failure->ticket);
                failure->key = found[j].key;
                first = found[j].seq + 1;
            }
        } while (count == 64 && barrier->failure_count < FAILURES_TOLD_MAX);
    }
}

enum coffer_status barrier_finish(struct barrier *barrier, const struct barrier_failure **failures,
    size_t *count, struct error *err)
{
    *failures = NULL;
    *count = 0;
    if (!barrier->finished && start(barrier) == COFFER_AGAIN)
        return COFFER_AGAIN;
    if (barrier->failures == NULL)
        collect_failures(barrier);
    *failures = barrier->failures;
    *count = barrier->failure_count;
    if (barrier->failure_count > 0)
        return error_set(err, COFFER_SYNC_FAILED,
            "%zu accepted writes could not be made durable and are gone: send them again",
            barrier->failure_count);
    return COFFER_OK;
}

void barrier_close(struct barrier *barrier)
{
    if (barrier == NULL)
        return;
    for (size_t i = 0; i < barrier->count; i++)
        lane_put(barrier->waits[i].lane);
    free(barrier->waits);
    free(barrier->failures);
    free(barrier);
}
