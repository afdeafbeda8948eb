#include "cli/tar_block.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* POSIX.1-1988, "ustar Interchange Format" */
enum {
    NAME_LENGTH = 100,
    MODE_AT = 100,
    UID_AT = 108,
    GID_AT = 116,
    SIZE_AT = 124,
    MTIME_AT = 136,
    CHECKSUM_AT = 148,
    TYPE_AT = 156,
    MAGIC_AT = 257,
    CHECKSUM_LENGTH = 8,
    SIZE_LENGTH = 12,
};
#define OCTAL_SIZE_MAX ((UINT64_C(1) << 33) - 1)

/* Of all bytes, those of the checksum counting as blanks. */
static unsigned checksum(const uint8_t *block)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < TAR_BLOCK_SIZE; i++)
        sum += i >= CHECKSUM_AT && i < CHECKSUM_AT + CHECKSUM_LENGTH ? ' ' : block[i];
    return sum;
}

static void put_octal(uint8_t *at, int digits, uint64_t value)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%0*llo", digits, (unsigned long long)value);
    memcpy(at, text, (size_t)digits);
}

void tar_block_make(const char *name, uint64_t size, uint8_t block[TAR_BLOCK_SIZE])
{
    memset(block, 0, TAR_BLOCK_SIZE);
    memcpy(block, name, strnlen(name, NAME_LENGTH));
    put_octal(block + MODE_AT, 7, 0644);
    put_octal(block + UID_AT, 7, 0);
    put_octal(block + GID_AT, 7, 0);
    put_octal(block + MTIME_AT, 11, 0);
    if (size <= OCTAL_SIZE_MAX) {
        put_octal(block + SIZE_AT, SIZE_LENGTH - 1, size);
    } else { /* base 256, big-endian, marked by the first bit */
        block[SIZE_AT] = 0x80;
        for (int i = 0; i < 8; i++)
            block[SIZE_AT + SIZE_LENGTH - 1 - i] = (uint8_t)(size >> 8 * i);
    }
    block[TYPE_AT] = '0';
    memcpy(block + MAGIC_AT, "ustar\00000", 8);
    put_octal(block + CHECKSUM_AT, 6, checksum(block));
    block[CHECKSUM_AT + 7] = ' ';
}

/* Octal digits, blanks before and a blank or NUL behind them. */
static bool get_octal(const uint8_t *at, unsigned length, uint64_t *out)
{
    unsigned i = 0;

    while (i < length && at[i] == ' ')
        i++;
    for (*out = 0; i < length && at[i] >= '0' && at[i] <= '7'; i++)
        *out = *out << 3 | (uint64_t)(at[i] - '0');
    return i == length || at[i] == ' ' || at[i] == '\0';
}

static bool get_size(const uint8_t *at, uint64_t *out)
{
    if (at[0] != 0x80)
        return get_octal(at, SIZE_LENGTH, out);
    for (unsigned i = 1; i < SIZE_LENGTH - 8; i++)
        if (at[i] != 0)
            return false;
    *out = 0;
    for (unsigned i = SIZE_LENGTH - 8; i < SIZE_LENGTH; i++)
        *out = *out << 8 | at[i];
    return *out <= INT64_MAX;
}

enum tar_block_kind tar_block_read(
    const uint8_t block[TAR_BLOCK_SIZE], char name[TAR_NAME_SIZE], uint64_t *size)
{
    static const uint8_t zeros[TAR_BLOCK_SIZE];
    uint64_t sum;

    *size = 0;
    name[0] = '\0';
    if (memcmp(block, zeros, TAR_BLOCK_SIZE) == 0)
        return TAR_END;
    if (!get_octal(block + CHECKSUM_AT, CHECKSUM_LENGTH, &sum) || sum != checksum(block) ||
        memcmp(block + MAGIC_AT, "ustar", 5) != 0 || !get_size(block + SIZE_AT, size))
        return TAR_BAD;
    memcpy(name, block, NAME_LENGTH);
    name[NAME_LENGTH] = '\0';
    return block[TYPE_AT] == '0' || block[TYPE_AT] == '\0' ? TAR_FILE : TAR_OTHER;
}

uint64_t tar_padding(uint64_t size)
{
    return (TAR_BLOCK_SIZE - size % TAR_BLOCK_SIZE) % TAR_BLOCK_SIZE;
}
