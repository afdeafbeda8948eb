/*
 * The datasets in memory. One is read from its rows when it is first asked for, and let go, least
 * recently used first, when there are many and nobody needs it.
 */
#include "storage/dataset/dataset_set.h"

#include <stdlib.h>
#include <string.h>

#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/dataset/dataset_parts.h"

enum { NEVER_NS_SHIFT = 62 };
#define NEVER_NS ((uint64_t)1 << NEVER_NS_SHIFT)
#define QUIET_LOOK_NS ((uint64_t)10 * NS_PER_MS)

/* ---- the table ---- */

/* Where `name` is or would be. With set.lock. */
static size_t place_of(const struct dataset_set *set, const char *name)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(set->items[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct dataset *find_here(const struct dataset_set *set, const char *name)
{
    size_t at = place_of(set, name);

    return at < set->count && strcmp(set->items[at]->name, name) == 0 ? set->items[at] : NULL;
}

static void take_out(struct dataset_set *set, size_t at)
{
    for (struct loading *load = set->loading; load != NULL; load = load->next)
        if (strcmp(load->name, set->items[at]->name) == 0)
            load->stale = true;
    memmove(&set->items[at], &set->items[at + 1], (set->count - at - 1) * sizeof(struct dataset *));
    set->count--;
}

/* Let the one go that was not used for the longest time; NULL: all are in use. */
static struct dataset *evict(struct dataset_set *set)
{
    size_t oldest = set->count;
    struct dataset *dataset;

    for (size_t i = 0; i < set->count; i++)
        if (atomic_load(&set->items[i]->references) == 1 &&
            (oldest == set->count || set->items[i]->used_at < set->items[oldest]->used_at))
            oldest = i;
    if (oldest == set->count)
        return NULL;
    dataset = set->items[oldest];
    take_out(set, oldest);
    return dataset;
}

static void put_in(struct dataset_set *set, struct dataset *dataset)
{
    size_t at = place_of(set, dataset->name);

    if (set->count == set->capacity) {
        set->capacity = set->capacity == 0 ? 16 : 2 * set->capacity;
        set->items = realloc(set->items, set->capacity * sizeof(struct dataset *));
        invariant(set->items != NULL);
    }
    memmove(&set->items[at + 1], &set->items[at], (set->count - at) * sizeof(struct dataset *));
    set->items[at] = dataset;
    set->count++;
}

static struct dataset *hold(struct dataset_set *set, struct dataset *dataset)
{
    if (dataset == NULL)
        return NULL;
    atomic_fetch_add(&dataset->references, 1);
    dataset->used_at = ++set->clock;
    return dataset;
}

/* `dataset`, with the set's reference, joins the others unless one of its name is there. The one
 * that is, held; drops the set's lock. */
static struct dataset *insert(struct dataset_set *set, struct dataset *dataset)
{
    enum { AT_ONCE = 2 /* so that a crowd that was in use gets smaller again */ };
    struct dataset *evicted[AT_ONCE], *there = find_here(set, dataset->name);
    unsigned count = 0;

    if (there == NULL)
        put_in(set, dataset);
    there = hold(set, there == NULL ? dataset : there); /* first: what nobody uses may go */
    while (count < AT_ONCE && set->count > set->store->options.datasets_kept) {
        evicted[count] = evict(set);
        if (evicted[count] == NULL)
            break;
        count++;
    }
    lock_drop(&set->lock);
    while (count > 0)
        dataset_free(evicted[--count]);
    return there;
}

struct dataset *dataset_set_add(struct dataset_set *set, struct slice name)
{
    struct dataset *dataset = dataset_alloc(set, name), *held;

    lock_take(&set->lock);
    held = insert(set, dataset);
    if (held == dataset)
        return dataset;
    dataset_drop(held);
    dataset_free(dataset);
    return NULL;
}

void dataset_set_forget(struct dataset *dataset)
{
    struct dataset_set *set = dataset->set;
    size_t at;
    bool found;

    lock_take(&set->lock);
    at = place_of(set, dataset->name);
    found = at < set->count && set->items[at] == dataset;
    if (found)
        take_out(set, at);
    lock_drop(&set->lock);
    if (found)
        dataset_drop(dataset); /* the set's reference */
}

/* The one in memory, or NULL: `load` is noted as under way. */
static struct dataset *find_or_note(struct dataset_set *set, struct loading *load)
{
    struct dataset *dataset;

    lock_take(&set->lock);
    dataset = hold(set, find_here(set, load->name));
    if (dataset == NULL) {
        load->next = set->loading;
        set->loading = load;
    }
    lock_drop(&set->lock);
    return dataset;
}

/* The load is over; takes the set's lock. */
static void end_load(struct dataset_set *set, const struct loading *load)
{
    struct loading **at = &set->loading;

    lock_take(&set->lock);
    while (*at != load)
        at = &(*at)->next;
    *at = load->next;
}

enum coffer_status dataset_set_find(
    struct dataset_set *set, struct slice name, struct dataset **out, struct error *err)
{
    char text[DATASET_NAME_SIZE];

    *out = NULL;
    if (!dataset_name_is_legal(name))
        return error_set(err, COFFER_BAD_NAME,
            "a dataset's name is 3 to 63 of a-z 0-9 . _ -, the first a letter or digit");
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    for (;;) {
        struct loading load = {.name = text};
        struct dataset *dataset;
        enum coffer_status status;

        *out = find_or_note(set, &load);
        if (*out != NULL)
            return COFFER_OK;
        dataset = dataset_alloc(set, name);
        status = dataset_load(dataset, err);
        end_load(set, &load);
        if (status == COFFER_OK && !load.stale) {
            *out = insert(set, dataset);
            if (*out != dataset)
                dataset_free(dataset);
            return COFFER_OK;
        }
        lock_drop(&set->lock);
        dataset_free(dataset);
        if (!load.stale) /* else what was read may be of yesterday */
            return status;
    }
}

void dataset_drop(struct dataset *dataset)
{
    if (dataset != NULL && atomic_fetch_sub(&dataset->references, 1) == 1)
        dataset_free(dataset);
}

/* ---- work on lanes ---- */

void dataset_work_begin(struct dataset *dataset)
{
    dataset->in_flight++;
    atomic_fetch_add(&dataset->references, 1); /* the caller has one */
    atomic_fetch_add(&dataset->set->in_flight, 1);
}

void dataset_work_end(struct dataset *dataset)
{
    struct dataset_set *set = dataset->set;
    struct wake_list wakes = {NULL};
    bool quiet;

    lock_take(&dataset->lock);
    quiet = --dataset->in_flight == 0;
    if (quiet)
        wake_later(&wakes, &dataset->waiters);
    lock_drop(&dataset->lock);
    wake_all(&wakes);
    if (quiet)
        dataset_drop_when_quiet(dataset);
    dataset_drop(dataset);
    lock_take(&set->lock); /* also around the count, so that the set is not gone in between */
    if (atomic_fetch_sub(&set->in_flight, 1) == 1)
        pthread_cond_broadcast(&set->quiet);
    lock_drop(&set->lock);
}

/* ---- deadlines ---- */

/* The first dataset with a name > after, held; NULL: none. */
static struct dataset *next_after(struct dataset_set *set, const char *after)
{
    struct dataset *dataset;
    size_t at;

    lock_take(&set->lock);
    at = place_of(set, after);
    if (at < set->count && strcmp(set->items[at]->name, after) == 0)
        at++;
    dataset = at < set->count ? set->items[at] : NULL;
    if (dataset != NULL)
        atomic_fetch_add(&dataset->references, 1);
    lock_drop(&set->lock);
    return dataset;
}

/* The earliest deadline of all datasets, once those that have passed were dealt with. */
static uint64_t expire_all(struct dataset_set *set)
{
    uint64_t next_ns = NEVER_NS;
    char after[DATASET_NAME_SIZE] = "";
    struct dataset *dataset;

    while ((dataset = next_after(set, after)) != NULL) {
        memcpy(after, dataset->name, sizeof(after));
        next_ns = min_u64(next_ns, transactions_expire(dataset, clock_monotonic_ns()));
        dataset_drop(dataset);
    }
    return next_ns;
}

static void abort_all(struct dataset_set *set)
{
    char after[DATASET_NAME_SIZE] = "";
    struct dataset *dataset;

    while ((dataset = next_after(set, after)) != NULL) {
        memcpy(after, dataset->name, sizeof(after));
        transactions_abort_all(dataset, "the server was stopped while it was open");
        dataset_drop(dataset);
    }
}

static void *timer(void *context)
{
    struct dataset_set *set = context;

    lock_take(&set->lock);
    while (!set->stopping) {
        if (clock_monotonic_ns() < set->next_deadline_ns) {
            (void)lock_wait_until(&set->lock, &set->timer_wake, set->next_deadline_ns);
            continue;
        }
        set->next_deadline_ns = NEVER_NS;
        lock_drop(&set->lock);
        dataset_set_alarm(set, expire_all(set));
        lock_take(&set->lock);
    }
    lock_drop(&set->lock);
    return NULL;
}

void dataset_set_alarm(struct dataset_set *set, uint64_t deadline_ns)
{
    lock_take(&set->lock);
    if (deadline_ns < set->next_deadline_ns) {
        set->next_deadline_ns = deadline_ns;
        pthread_cond_signal(&set->timer_wake);
    }
    lock_drop(&set->lock);
}

/* ---- its life ---- */

enum coffer_status dataset_set_create(
    struct store *store, struct dataset_set **out, struct error *err)
{
    struct dataset_set *set = calloc(1, sizeof(*set));

    invariant(set != NULL);
    set->store = store;
    set->next_deadline_ns = NEVER_NS;
    lock_init(&set->lock, LOCK_DATASET_SET);
    condition_init(&set->quiet);
    condition_init(&set->timer_wake);
    *out = set;
    if (pthread_create(&set->timer, NULL, timer, set) != 0)
        return error_set(err, COFFER_IO, "no thread for the deadlines of transactions");
    set->timer_runs = true;
    return drop_work_start_left(set, err);
}

static void hurry(void *context, struct lane *lane)
{
    (void)context;
    lane_hurry(lane);
}

void dataset_set_quiesce(struct dataset_set *set)
{
    if (set == NULL)
        return;
    lock_take(&set->lock);
    set->stopping = true;
    pthread_cond_broadcast(&set->timer_wake);
    lock_drop(&set->lock);
    if (set->timer_runs)
        pthread_join(set->timer, NULL);
    set->timer_runs = false;
    abort_all(set);
    lock_take(&set->lock);
    while (atomic_load(&set->in_flight) > 0) {
        lock_drop(&set->lock);
        lane_set_each(set->store->lanes, hurry, NULL);
        lock_take(&set->lock);
        if (atomic_load(&set->in_flight) > 0) /* what one operation pushes next is hurried too */
            (void)lock_wait_until(&set->lock, &set->quiet, clock_monotonic_ns() + QUIET_LOOK_NS);
    }
    lock_drop(&set->lock);
}

void dataset_set_destroy(struct dataset_set *set)
{
    if (set == NULL)
        return;
    dataset_set_quiesce(set);
    for (size_t i = 0; i < set->count; i++) {
        invariant(atomic_load(&set->items[i]->references) == 1);
        dataset_free(set->items[i]);
    }
    free(set->items);
    pthread_cond_destroy(&set->quiet);
    pthread_cond_destroy(&set->timer_wake);
    lock_release(&set->lock);
    free(set);
}
