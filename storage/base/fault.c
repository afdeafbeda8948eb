#include "storage/base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "storage/base/invariant.h"

static struct {
    _Atomic int action; /* 0: not armed */
    _Atomic uint64_t calls, hits, nth, count;
} sites[FAULT_COUNT];

static _Atomic bool any_armed;

static const char *const site_names[FAULT_COUNT] = {
#define FAULT(name, text, what) [FAULT_##name] = (text),
#include "storage/base/fault.def"
#undef FAULT
};

const char *fault_name(enum fault_site site)
{
    return site_names[site];
}

int fault_errno(enum fault_site site)
{
    uint64_t call, nth, count;
    int action;

    if (likely(!atomic_load_explicit(&any_armed, memory_order_relaxed)))
        return 0;
    action = atomic_load(&sites[site].action);
    if (action == 0)
        return 0;
    call = atomic_fetch_add(&sites[site].calls, 1) + 1;
    nth = atomic_load(&sites[site].nth);
    count = atomic_load(&sites[site].count);
    if (call < nth || (count != 0 && call >= nth + count))
        return 0;
    atomic_fetch_add(&sites[site].hits, 1);
    if (action == FAULT_KILL) {
        (void)kill(getpid(), SIGKILL);
        for (;;)
            (void)pause();
    }
    return action;
}

void fault_arm(enum fault_site site, int action, uint64_t nth, uint64_t count)
{
    atomic_store(&sites[site].action, 0);
    atomic_store(&sites[site].calls, 0);
    atomic_store(&sites[site].hits, 0);
    atomic_store(&sites[site].nth, nth);
    atomic_store(&sites[site].count, count);
    atomic_store(&sites[site].action, action);
    atomic_store(&any_armed, true);
}

void fault_disarm_all(void)
{
    for (size_t i = 0; i < FAULT_COUNT; i++)
        atomic_store(&sites[i].action, 0);
    atomic_store(&any_armed, false);
}

uint64_t fault_hits(enum fault_site site)
{
    return atomic_load(&sites[site].hits);
}

static bool parse_action(const char *text, size_t size, int *action)
{
    static const struct {
        const char *name;
        int action;
    } actions[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM},
        {"EACCES", EACCES}, {"short", FAULT_SHORT}, {"kill", FAULT_KILL}};

    for (size_t i = 0; i < ARRAY_COUNT(actions); i++)
        if (strlen(actions[i].name) == size && memcmp(actions[i].name, text, size) == 0) {
            *action = actions[i].action;
            return true;
        }
    return false;
}

static bool parse_one(const char *text, size_t size)
{
    const char *equal = memchr(text, '=', size), *end = text + size, *at;
    uint64_t nth = 1, count = 1;
    int action;

    if (equal == NULL)
        return false;
    at = equal + 1 + strcspn(equal + 1, "@x,");
    if (!parse_action(equal + 1, (size_t)(at - equal - 1), &action))
        return false;
    if (at < end && *at == '@') {
        char *after;

        nth = strtoull(at + 1, &after, 10);
        at = after;
    }
    if (at < end && *at == 'x') {
        char *after;

        count = strtoull(at + 1, &after, 10); /* 0 for a star: all */
        if ((count == 0) != (*after == '*'))
            return false;
        at = *after == '*' ? after + 1 : after;
    }
    if (at != end || nth == 0)
        return false;
    for (size_t i = 0; i < FAULT_COUNT; i++)
        if (strlen(site_names[i]) == (size_t)(equal - text) &&
            memcmp(site_names[i], text, (size_t)(equal - text)) == 0) {
            fault_arm((enum fault_site)i, action, nth, count);
            return true;
        }
    return false;
}

enum coffer_status fault_configure(const char *text, struct error *err)
{
    while (*text != '\0') {
        size_t size = strcspn(text, ",");

        if (!parse_one(text, size))
            return error_set(err, COFFER_BAD_OPTION,
                "COFFER_FAULTS: \"%.*s\" is not SITE=ACTION[@NTH][xCOUNT]", (int)size, text);
        text += size;
        text += *text == ',';
    }
    return COFFER_OK;
}
