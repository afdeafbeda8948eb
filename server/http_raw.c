#include "server/http_raw.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

enum { RAW_SIZE_MAX = 32 * 1024 };

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {{400, "Bad Request"}, {403, "Forbidden"}, {404, "Not Found"},
        {405, "Method Not Allowed"}, {409, "Conflict"}, {412, "Precondition Failed"},
        {413, "Content Too Large"}, {414, "URI Too Long"}, {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"}, {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"}, {503, "Service Unavailable"},
        {507, "Insufficient Storage"}};

    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Error";
}

static bool append(char *text, size_t *used, const char *format, ...) PRINTF_LIKE(3, 4);

static bool append(char *text, size_t *used, const char *format, ...)
{
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text + *used, RAW_SIZE_MAX - *used, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= RAW_SIZE_MAX - *used)
        return false;
    *used += (size_t)length;
    return true;
}

bool http_raw_reply(int fd, const struct reply *reply)
{
    char text[RAW_SIZE_MAX];
    size_t used = 0;
    bool fits = (reply->form == REPLY_EMPTY || reply->form == REPLY_MEMORY) &&
                append(text, &used, "HTTP/1.1 %d %s\r\n", reply->status, reason_of(reply->status));

    for (unsigned i = 0; fits && i < reply->header_count; i++)
        fits = append(text, &used, "%s: %s\r\n", reply->headers[i].name, reply->headers[i].value);
    fits = fits && append(text, &used, "Connection: close\r\nContent-Length: %llu\r\n\r\n",
                       (unsigned long long)reply->size);
    if (!fits || reply->size > RAW_SIZE_MAX - used)
        return false;
    if (reply->size > 0)
        memcpy(text + used, reply->data, (size_t)reply->size);
    used += (size_t)reply->size;
    return send(fd, text, used, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)used;
}
