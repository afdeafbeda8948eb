/*
 * client_text.h - text that grows, and what goes into paths.
 *
 * Errors: when memory runs out a text becomes `failed` and stays so; look once, at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct text {
    char *data; /* with a NUL behind it, once anything was added */
    size_t size, capacity;
    bool failed;
};

void text_add(struct text *text, const void *data, size_t size);
void text_printf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One segment of a path or one value of a query: everything but letters, digits and "-._~:" is
 * escaped. */
void text_escape(struct text *text, const char *part);
/* Room for `size` bytes in all. */
bool text_reserve(struct text *text, size_t size);
void text_release(struct text *text);
/* The text, for free(); NULL if it failed. It is empty afterwards. */
char *text_take(struct text *text);
