#include "client/client_text.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPACITY_MIN = 256 };

bool text_reserve(struct text *text, size_t size)
{
    size_t capacity = text->capacity == 0 ? CAPACITY_MIN : text->capacity;
    char *data;

    if (text->failed)
        return false;
    if (text->data != NULL && size < text->capacity)
        return true;
    while (capacity <= size && capacity <= SIZE_MAX / 2)
        capacity *= 2;
    data = capacity > size ? realloc(text->data, capacity) : NULL;
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void text_add(struct text *text, const void *data, size_t size)
{
    if (!text_reserve(text, text->size + size))
        return;
    if (size > 0)
        memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = '\0';
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list list;
    char *piece;
    int size;

    va_start(list, format);
    size = vasprintf(&piece, format, list);
    va_end(list);
    if (size < 0) {
        text->failed = true;
        return;
    }
    text_add(text, piece, (size_t)size);
    free(piece);
}

void text_escape(struct text *text, const char *part)
{
    for (const char *at = part; *at != '\0'; at++) {
        if (isalnum((unsigned char)*at) || strchr("-._~:", *at) != NULL)
            text_add(text, at, 1);
        else
            text_printf(text, "%%%02X", (unsigned)(unsigned char)*at);
    }
}

void text_release(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

char *text_take(struct text *text)
{
    char *data;

    text_add(text, "", 0);
    data = text->failed ? NULL : text->data;
    if (text->failed)
        free(text->data);
    *text = (struct text){0};
    return data;
}
