#include "storage/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE_MAX = 4096 };

static _Atomic int log_level_now = LOG_INFO;
static bool log_as_json;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(enum log_level level, bool json)
{
    atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
    log_as_json = json;
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

/* Bytes of the UTF-8 character that begins at `in`; 0: there is none (RFC 3629). */
static size_t utf8_size(const unsigned char *in)
{
    size_t size = in[0] < 0x80 ? 1 : in[0] < 0xc2 ? 0 : in[0] < 0xe0 ? 2 : in[0] < 0xf0 ? 3 : 4;

    if (in[0] > 0xf4 || (in[0] == 0xe0 && in[1] < 0xa0) || (in[0] == 0xed && in[1] > 0x9f) ||
        (in[0] == 0xf0 && in[1] < 0x90) || (in[0] == 0xf4 && in[1] > 0x8f))
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((in[i] & 0xc0) != 0x80) /* also at the end of the text */
            return 0;
    return size;
}

/* JSON string content of `text`: control characters and what is no UTF-8 are escaped. */
static size_t escape_json(const char *text, char *out, size_t size)
{
    size_t used = 0, taken;

    for (const unsigned char *in = (const unsigned char *)text; *in != '\0'; in += taken) {
        char piece[8];
        int length;

        taken = utf8_size(in);
        if (*in == '"' || *in == '\\')
            length = snprintf(piece, sizeof(piece), "\\%c", *in);
        else if (*in < 0x20)
            length = snprintf(piece, sizeof(piece), "\\u%04x", *in);
        else if (taken == 0)
            length = snprintf(piece, sizeof(piece), "\\ufffd");
        else
            length = snprintf(piece, sizeof(piece), "%.*s", (int)taken, (const char *)in);
        if (length < 0 || used + (size_t)length + 1 > size)
            break;
        memcpy(out + used, piece, (size_t)length);
        used += (size_t)length;
        taken = taken == 0 ? 1 : taken;
    }
    out[used] = '\0';
    return used;
}

static void clean_text(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20)
            *text = ' '; /* a line stays a line, whatever a client sent */
}

void log_write(enum log_level level, const char *event, const char *format, ...)
{
    char text[LINE_SIZE_MAX / 2], line[LINE_SIZE_MAX], stamp[40];
    struct timespec now;
    struct tm utc;
    va_list args;
    int length;

    if (!log_enabled(level))
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    length = (int)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(
        stamp + length, sizeof(stamp) - (size_t)length, ".%03ldZ", now.tv_nsec / 1000000);
    if (log_as_json) {
        char escaped[LINE_SIZE_MAX - 200];

        (void)escape_json(text, escaped, sizeof(escaped));
        length = snprintf(line, sizeof(line),
            "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\",\"message\":\"%s\"}\n", stamp,
            level_names[level], event, escaped);
    } else {
        clean_text(text);
        length = snprintf(
            line, sizeof(line), "%s %-5s %s: %s\n", stamp, level_names[level], event, text);
    }
    if (length >= (int)sizeof(line)) {
        length = (int)sizeof(line) - 1;
        line[length - 1] = '\n';
    }
    if (length > 0)
        (void)!write(STDERR_FILENO, line, (size_t)length);
}
