/*
 * fuzz.h - what every fuzz target gives, and what it may use.
 *
 * A target checks more than "does not crash": what was accepted is inside of its limits, and what
 * can be written again reads back the same. A broken promise ends the process (fuzz_check), which
 * libFuzzer and the replay both report with the input that did it.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One input; always 0. Called any number of times in one process, in any order of inputs. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_check(condition)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The input as a string of its own, with a NUL behind it: free() it. A NUL inside ends it early,
 * as it would for any reader of C strings. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    fuzz_check(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    return text;
}
