#include "tests/support/remote_lines.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/base/invariant.h"
#include "tests/support/seed_content.h"

enum { PADDING_MAX = 64 };

size_t remote_line(char out[REMOTE_LINE_MAX], const char *channel, uint64_t seed, uint64_t number)
{
    uint64_t state = seed * 1000000007 + number, check;
    char padding[PADDING_MAX];
    int padded, size;

    for (const char *at = channel; *at != '\0'; at++)
        state = state * 31 + (unsigned char)*at;
    check = seed_next(&state);
    padded = (int)(check % PADDING_MAX);
    for (int i = 0; i < padded; i++)
        padding[i] = (char)('a' + (seed_next(&state) & 15));
    size = snprintf(out, REMOTE_LINE_MAX, "%s %" PRIu64 " %016" PRIx64 " %.*s\n", channel, number,
        check, padded, padding);
    invariant(size > 0 && size < REMOTE_LINE_MAX);
    return (size_t)size;
}
