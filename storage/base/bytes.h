/*
 * bytes.h - fixed-order integers in byte arrays, and rounding.
 *
 * Files are little-endian (le), index keys big-endian (be) so that they sort as numbers.
 */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define LE_BE(bits)                                                                                \
    static inline void put_le##bits(void *at, uint##bits##_t value)                                \
    {                                                                                              \
        value = htole##bits(value);                                                                \
        memcpy(at, &value, sizeof(value));                                                         \
    }                                                                                              \
    static inline uint##bits##_t get_le##bits(const void *at)                                      \
    {                                                                                              \
        uint##bits##_t value;                                                                      \
        memcpy(&value, at, sizeof(value));                                                         \
        return le##bits##toh(value);                                                               \
    }                                                                                              \
    static inline void put_be##bits(void *at, uint##bits##_t value)                                \
    {                                                                                              \
        value = htobe##bits(value);                                                                \
        memcpy(at, &value, sizeof(value));                                                         \
    }                                                                                              \
    static inline uint##bits##_t get_be##bits(const void *at)                                      \
    {                                                                                              \
        uint##bits##_t value;                                                                      \
        memcpy(&value, at, sizeof(value));                                                         \
        return be##bits##toh(value);                                                               \
    }
LE_BE(16)
LE_BE(32)
LE_BE(64)
#undef LE_BE

static inline uint64_t round_up(uint64_t value, uint64_t step)
{
    return (value + step - 1) / step * step;
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
