#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"
#include "storage/base/log.h"
#include "storage/channel/lane_parts.h"

/* ---- workers ---- */

/* The next lane for this worker: one that could not get a thread, or the one it is called for. */
static struct lane *wait_for_call(struct worker *worker)
{
    struct lane_set *set = worker->set;
    uint64_t until = clock_monotonic_ns() + WORKER_PARKED_NS;
    bool in_time = true;

    if (set->unstaffed_count > 0)
        return set->unstaffed[--set->unstaffed_count];
    worker->called = false;
    worker->next = set->parked;
    set->parked = worker;
    while (!worker->called && in_time && !atomic_load(&set->draining))
        in_time = lock_wait_until(&set->lock, &worker->call, until);
    if (worker->called)
        return worker->lane;
    for (struct worker **at = &set->parked; *at != NULL; at = &(*at)->next)
        if (*at == worker) {
            *at = worker->next;
            break;
        }
    return NULL;
}

static void *worker_main(void *context)
{
    struct worker *worker = context;
    struct lane_set *set = worker->set;
    struct lane *lane = worker->lane;

    (void)pthread_setname_np(pthread_self(), "lane");
    while (lane != NULL) {
        lane_serve(lane);
        lock_take(&set->lock);
        lane->holders--;
        lane = wait_for_call(worker);
        lock_drop(&set->lock);
    }
    lock_take(&set->lock);
    worker->next = set->over;
    set->over = worker;
    set->workers--;
    pthread_cond_signal(&set->ended);
    lock_drop(&set->lock);
    return NULL;
}

static struct worker *make_worker(struct lane_set *set, struct lane *lane)
{
    struct worker *worker = calloc(1, sizeof(*worker));

    invariant(worker != NULL);
    worker->set = set;
    worker->lane = lane;
    condition_init(&worker->call);
    if (pthread_create(&worker->thread, NULL, worker_main, worker) != 0) {
        pthread_cond_destroy(&worker->call);
        free(worker);
        return NULL;
    }
    return worker;
}

static void join_all(struct worker *worker)
{
    while (worker != NULL) {
        struct worker *next = worker->next;

        pthread_join(worker->thread, NULL);
        pthread_cond_destroy(&worker->call);
        free(worker);
        worker = next;
    }
}

void lane_set_call_worker(struct lane_set *set, struct lane *lane)
{
    struct worker *over;

    lock_take(&set->lock);
    lane->holders++; /* until the worker has left it */
    over = set->over;
    set->over = NULL;
    if (set->parked != NULL) {
        struct worker *worker = set->parked;

        set->parked = worker->next;
        worker->lane = lane;
        worker->called = true;
        pthread_cond_signal(&worker->call);
    } else if (make_worker(set, lane) != NULL) {
        set->workers++;
    } else {
        log_write(LOG_ERROR, "no_thread", "channel %s waits for another's thread", lane->name);
        set->unstaffed[set->unstaffed_count++] = lane;
    }
    lock_drop(&set->lock);
    join_all(over);
}

/* ---- lanes ---- */

static struct lane *make_lane(struct lane_set *set, const char *name, unsigned number)
{
    struct lane *lane = calloc(1, sizeof(*lane));

    invariant(lane != NULL);
    lane->set = set;
    lane->number = number;
    lane->last_room_waiter = &lane->room_waiters;
    (void)snprintf(lane->name, sizeof(lane->name), "%s", name);
    lock_init(&lane->lock, LOCK_LANE);
    condition_init(&lane->work);
    return lane;
}

static void free_lane(struct lane *lane)
{
    pthread_cond_destroy(&lane->work);
    lock_release(&lane->lock);
    free(lane->failures);
    free(lane);
}

static size_t place_of(const struct lane_set *set, const char *name)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(set->lanes[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct lane_set *set, struct lane *lane)
{
    size_t at = place_of(set, lane->name);

    memmove(&set->lanes[at + 1], &set->lanes[at], (set->count - at) * sizeof(struct lane *));
    set->lanes[at] = lane;
    set->count++;
    set->numbers[lane->number] = true;
}

static bool is_default(const struct lane_set *set, const struct lane *lane)
{
    for (unsigned i = 0; i < set->settings.default_lanes; i++)
        if (set->defaults[i] == lane)
            return true;
    return false;
}

/* Forget the lane that was unused for longest and has nothing to tell. */
static bool forget_one(struct lane_set *set)
{
    struct lane *oldest = NULL;
    size_t at;

    for (size_t i = 0; i < set->count; i++) {
        struct lane *lane = set->lanes[i];
        bool idle;

        if (lane->holders > 0 || is_default(set, lane))
            continue;
        lock_take(&lane->lock);
        idle = lane->first == NULL && !lane->staffed && lane->failure_count == 0;
        lock_drop(&lane->lock);
        if (idle && (oldest == NULL || lane->used_at < oldest->used_at))
            oldest = lane;
    }
    if (oldest == NULL)
        return false;
    at = place_of(set, oldest->name);
    set->numbers[oldest->number] = false;
    set->count--;
    memmove(&set->lanes[at], &set->lanes[at + 1], (set->count - at) * sizeof(struct lane *));
    free_lane(oldest);
    return true;
}

/* Channel names: [A-Za-z0-9][A-Za-z0-9._-]{0,62} */
static bool name_is_legal(struct slice name)
{
    const unsigned char *at = name.data;

    if (name.size == 0 || name.size >= LANE_NAME_SIZE)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        bool plain = (at[i] >= 'a' && at[i] <= 'z') || (at[i] >= 'A' && at[i] <= 'Z') ||
                     (at[i] >= '0' && at[i] <= '9');

        if (!plain && (i == 0 || (at[i] != '.' && at[i] != '_' && at[i] != '-')))
            return false;
    }
    return true;
}

static unsigned free_number(const struct lane_set *set)
{
    unsigned number = 0;

    while (number < set->settings.lanes_max && set->numbers[number])
        number++;
    return number;
}

/* With the set's lock; NULL: all names are in use. */
static struct lane *get_named(struct lane_set *set, const char *name)
{
    size_t at = place_of(set, name);
    unsigned number;
    struct lane *lane;

    if (at < set->count && strcmp(set->lanes[at]->name, name) == 0)
        return set->lanes[at];
    number = free_number(set);
    if (number == set->settings.lanes_max) {
        if (!forget_one(set))
            return NULL;
        number = free_number(set);
    }
    lane = make_lane(set, name, number);
    insert(set, lane);
    return lane;
}

struct lane *lane_set_default(struct lane_set *set, uint64_t bytes)
{
    unsigned lanes = set->settings.default_lanes;

    if (bytes < LARGE_OPERATION)
        lanes = (lanes + 1) / 2;
    /* Default lanes are never forgotten: nobody needs to hold them. */
    return set->defaults[atomic_fetch_add_explicit(&set->turn, 1, memory_order_relaxed) % lanes];
}

struct lane *lane_set_steady(struct lane_set *set, unsigned number)
{
    return set->defaults[number % set->settings.default_lanes];
}

enum coffer_status lane_set_get(
    struct lane_set *set, struct slice name, struct lane **out, struct error *err)
{
    char text[LANE_NAME_SIZE];
    struct lane *lane;

    if (name.size == 0) {
        *out = lane_set_default(set, 0);
        return COFFER_OK;
    }
    if (!name_is_legal(name))
        return error_set(err, COFFER_BAD_NAME,
            "a channel's name is 1 to 63 of A-Z a-z 0-9 . _ -, the first a letter or digit");
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    lock_take(&set->lock);
    lane = get_named(set, text);
    if (lane != NULL) {
        lane->holders++;
        lane->used_at = ++set->clock;
    }
    lock_drop(&set->lock);
    if (lane == NULL)
        return error_set(err, COFFER_OVERLOADED,
            "all %u channels are in use; use one of them, or raise channels_max",
            set->settings.lanes_max);
    *out = lane;
    return COFFER_OK;
}

struct lane *lane_set_find(struct lane_set *set, struct slice name)
{
    struct lane *lane = NULL;
    char text[LANE_NAME_SIZE];
    size_t at;

    if (!name_is_legal(name))
        return NULL;
    memcpy(text, name.data, name.size);
    text[name.size] = '\0';
    lock_take(&set->lock);
    at = place_of(set, text);
    if (at < set->count && strcmp(set->lanes[at]->name, text) == 0) {
        lane = set->lanes[at];
        lane->holders++;
    }
    lock_drop(&set->lock);
    return lane;
}

void lane_put(struct lane *lane)
{
    if (lane == NULL || is_default(lane->set, lane))
        return;
    lock_take(&lane->set->lock);
    lane->holders--;
    lock_drop(&lane->set->lock);
}

enum coffer_status lane_set_create(struct engine *engine, const struct lane_settings *settings,
    struct lane_set **out, struct error *err)
{
    struct lane_set *set = calloc(1, sizeof(*set));

    invariant(set != NULL);
    if (settings->default_lanes == 0 || settings->default_lanes > settings->lanes_max) {
        free(set);
        return error_set(err, COFFER_BAD_OPTION, "default_channels must be 1 to channels_max");
    }
    set->engine = engine;
    set->settings = *settings;
    lock_init(&set->lock, LOCK_LANE_SET);
    condition_init(&set->ended);
    set->lanes = calloc(settings->lanes_max + 1, sizeof(struct lane *));
    set->numbers = calloc(settings->lanes_max, sizeof(bool));
    set->defaults = calloc(settings->default_lanes, sizeof(struct lane *));
    set->unstaffed = calloc(settings->lanes_max, sizeof(struct lane *));
    invariant(set->unstaffed != NULL && set->lanes != NULL && set->numbers != NULL &&
              set->defaults != NULL);
    for (unsigned i = 0; i < settings->default_lanes; i++) {
        char name[LANE_NAME_SIZE];

        (void)snprintf(name, sizeof(name), "default-%u", i);
        set->defaults[i] = make_lane(set, name, i);
        insert(set, set->defaults[i]);
    }
    *out = set;
    return COFFER_OK;
}

bool lane_set_destroy(struct lane_set *set)
{
    bool good = true;

    if (set == NULL)
        return true;
    atomic_store(&set->draining, true);
    for (size_t i = 0; i < set->count; i++)
        lane_hurry(set->lanes[i]);
    lock_take(&set->lock);
    for (size_t i = 0; i < set->count; i++) {
        lock_take(&set->lanes[i]->lock);
        pthread_cond_signal(&set->lanes[i]->work);
        lock_drop(&set->lanes[i]->lock);
    }
    for (struct worker *worker = set->parked; worker != NULL; worker = worker->next)
        pthread_cond_signal(&worker->call);
    while (set->workers > 0)
        lock_wait(&set->lock, &set->ended);
    lock_drop(&set->lock);
    join_all(set->over);
    for (size_t i = 0; i < set->count; i++) {
        for (size_t j = 0; j < set->lanes[i]->failure_count; j++)
            good = good && set->lanes[i]->failures[j].told;
        good = good && set->lanes[i]->first == NULL;
        free_lane(set->lanes[i]);
    }
    pthread_cond_destroy(&set->ended);
    lock_release(&set->lock);
    free(set->lanes);
    free(set->numbers);
    free(set->defaults);
    free(set->unstaffed);
    free(set);
    return good;
}

/* ---- looking ---- */

static void fill_info(struct lane *lane, struct lane_info *info)
{
    lock_take(&lane->lock);
    memcpy(info->name, lane->name, sizeof(info->name));
    info->state = lane->flushing_count > 0 ? "flushing"
                  : lane->queued_count > 0 ? "buffering"
                                           : "idle";
    info->buffered_bytes = lane->queued_bytes + lane->flushing_bytes;
    info->buffered_records = lane->queued_count + lane->flushing_count;
    info->flushed_bytes = lane->flushed_bytes;
    info->flushed_records = lane->flushed_records;
    info->syncs = lane->syncs;
    info->last_sync_ns = lane->last_sync_ns;
    lock_drop(&lane->lock);
}

size_t lane_set_list(struct lane_set *set, const char *after, struct lane_info *infos, size_t count)
{
    size_t found = 0;

    lock_take(&set->lock);
    for (size_t i = 0; i < set->count && found < count; i++)
        if (after == NULL || strcmp(set->lanes[i]->name, after) > 0)
            fill_info(set->lanes[i], &infos[found++]);
    lock_drop(&set->lock);
    return found;
}

void lane_set_each(
    struct lane_set *set, void (*visit)(void *context, struct lane *lane), void *context)
{
    struct lane **held;
    size_t count;

    lock_take(&set->lock);
    count = set->count;
    held = calloc(count + 1, sizeof(struct lane *));
    invariant(held != NULL);
    for (size_t i = 0; i < count; i++) {
        held[i] = set->lanes[i];
        held[i]->holders++;
    }
    lock_drop(&set->lock);
    for (size_t i = 0; i < count; i++)
        visit(context, held[i]);
    lock_take(&set->lock);
    for (size_t i = 0; i < count; i++)
        held[i]->holders--;
    lock_drop(&set->lock);
    free(held);
}

static void let_go(void *context, struct lane *lane)
{
    struct engine *engine = context;

    lock_take(&lane->lock);
    /* Nobody is in the engine with its number, and with the lock held nobody gets there. */
    if (lane->first == NULL && lane->flushing_count == 0)
        engine->ops->lane_idle(engine, lane->number);
    lock_drop(&lane->lock);
}

void lane_set_let_go(struct lane_set *set)
{
    lane_set_each(set, let_go, set->engine);
}
