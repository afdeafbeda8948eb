#include "cli/progress.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "storage/base/clock.h"

enum { BAR_WIDTH = 24, LINE_SIZE = 256, WHAT_SIZE = 48, COLUMNS_LEAST = 40, COLUMNS_USUAL = 80 };
#define DRAW_INTERVAL_NS (UINT64_C(100) * NS_PER_MS)

static struct {
    bool active; /* a terminal, and started */
    bool drawn;  /* (lock) there is something to take away */
    char what[WHAT_SIZE];
    enum progress_unit unit;
    uint64_t started_ns;
    atomic_uint_fast64_t done, total, next_ns;
    pthread_mutex_t lock;
} bar = {.lock = PTHREAD_MUTEX_INITIALIZER};

const char *human_bytes(uint64_t bytes, char out[HUMAN_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    unsigned unit = 0;

    for (; value >= 1024 && unit < 6; unit++)
        value /= 1024;
    if (unit == 0)
        (void)snprintf(out, HUMAN_SIZE, "%" PRIu64 " B", bytes);
    else
        (void)snprintf(out, HUMAN_SIZE, "%.*f %s",
            value < 10    ? 2
            : value < 100 ? 1
                          : 0,
            value, units[unit]);
    return out;
}

static size_t amount(char *out, size_t size, uint64_t value)
{
    char human[HUMAN_SIZE];
    int length = bar.unit == PROGRESS_BYTES ? snprintf(out, size, "%s", human_bytes(value, human))
                                            : snprintf(out, size, "%" PRIu64, value);

    return (size_t)length;
}

static size_t terminal_columns(void)
{
    struct winsize window = {.ws_col = 0};

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0)
        return COLUMNS_USUAL;
    return window.ws_col < COLUMNS_LEAST ? COLUMNS_LEAST : window.ws_col;
}

/* "put photo.jpg  [=====>      ]  42%  1.2 MiB of 2.9 MiB  3.1 MiB/s  eta 4s", as far as it fits.
 */
static void draw(uint64_t now_ns)
{
    uint64_t done = atomic_load(&bar.done), total = atomic_load(&bar.total);
    double seconds = (double)(now_ns - bar.started_ns) / NS_PER_S;
    double rate = seconds > 0 ? (double)done / seconds : 0;
    size_t columns = terminal_columns(), at;
    char line[LINE_SIZE];

    at = (size_t)snprintf(line, sizeof(line), "%s  ", bar.what);
    if (total > 0) {
        double part = done < total ? (double)done / (double)total : 1;
        int filled = (int)(part * BAR_WIDTH);

        line[at++] = '[';
        for (int i = 0; i < BAR_WIDTH; i++)
            line[at++] = i < filled ? '=' : i == filled ? '>' : ' ';
        at += (size_t)snprintf(line + at, sizeof(line) - at, "] %3d%%  ", (int)(part * 100));
    }
    at += amount(line + at, sizeof(line) - at, done);
    if (total > 0) {
        at += (size_t)snprintf(line + at, sizeof(line) - at, " of ");
        at += amount(line + at, sizeof(line) - at, total);
    }
    if (rate >= 1) {
        at += (size_t)snprintf(line + at, sizeof(line) - at, "  ");
        at += amount(line + at, sizeof(line) - at, (uint64_t)rate);
        at += (size_t)snprintf(line + at, sizeof(line) - at, "/s");
        if (total > done)
            at += (size_t)snprintf(
                line + at, sizeof(line) - at, "  eta %.0fs", (double)(total - done) / rate);
    }
    if (at >= columns)
        at = columns - 1;
    (void)fprintf(stderr, "\r%.*s\033[K", (int)at, line);
    bar.drawn = true;
}

static void draw_if_due(void)
{
    uint64_t now_ns = clock_monotonic_ns(), due = atomic_load(&bar.next_ns);

    if (now_ns < due ||
        !atomic_compare_exchange_strong(&bar.next_ns, &due, now_ns + DRAW_INTERVAL_NS))
        return;
    pthread_mutex_lock(&bar.lock);
    if (bar.active)
        draw(now_ns);
    pthread_mutex_unlock(&bar.lock);
}

void progress_start(const char *what, uint64_t total, enum progress_unit unit)
{
    if (isatty(STDERR_FILENO) != 1)
        return;
    (void)snprintf(bar.what, sizeof(bar.what), "%s", what);
    bar.unit = unit;
    bar.started_ns = clock_monotonic_ns();
    atomic_store(&bar.done, 0);
    atomic_store(&bar.total, total);
    atomic_store(&bar.next_ns, bar.started_ns + DRAW_INTERVAL_NS); /* nothing for what is short */
    bar.active = true;
}

void progress_add(uint64_t more)
{
    if (!bar.active)
        return;
    atomic_fetch_add(&bar.done, more);
    draw_if_due();
}

void progress_set(uint64_t done, uint64_t total)
{
    if (!bar.active)
        return;
    atomic_store(&bar.done, done);
    atomic_store(&bar.total, total);
    draw_if_due();
}

void progress_hide(void)
{
    pthread_mutex_lock(&bar.lock);
    if (bar.drawn)
        (void)fputs("\r\033[K", stderr);
    bar.drawn = false;
    pthread_mutex_unlock(&bar.lock);
}

void progress_end(void)
{
    progress_hide();
    bar.active = false;
}
