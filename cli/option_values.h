/*
 * option_values.h - what a text on the command line means: sizes, times, ranges, ratios.
 *
 * Errors:  false when it means nothing; *out is then undefined.
 * Threads: any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Bytes of something whose size is not known yet. */
struct byte_range {
    uint64_t first;
    uint64_t last; /* included; UINT64_MAX: to the end */
    bool suffix;   /* the last `first` bytes */
};

bool value_number(const char *text, uint64_t *out);
/* Bytes, or with B, KiB, MiB, GiB, TiB, in any case. */
bool value_size(const char *text, uint64_t *out);
/* Milliseconds: ms, s, min, h; a bare number is seconds. */
bool value_time(const char *text, uint64_t *out);
bool value_ratio(const char *text, double *out); /* 0 to 1 */
bool value_range(const char *text, struct byte_range *out);
/* One of the words of "a|b|c". */
bool value_choice(const char *text, const char *choices);

/* Of something that is `size` bytes long: *offset and *length. False: it begins behind the end. */
bool range_within(
    const struct byte_range *range, uint64_t size, uint64_t *offset, uint64_t *length);
