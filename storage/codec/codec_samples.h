/*
 * codec_samples.h - kinds of content for the tests of storage/codec, from a seed.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum sample {
    SAMPLE_RANDOM,
    SAMPLE_BASE64,    /* of random bytes: no repetitions, six bits a byte */
    SAMPLE_PRINTABLE, /* of 94 values, all as often: a sixth can be saved */
    SAMPLE_TEXT,
    SAMPLE_JSON,
    SAMPLE_ZEROS,
    SAMPLE_SPARSE, /* zeros with random bytes here and there */
    SAMPLE_FLOATS,
    SAMPLE_DOUBLES, /* a slow curve: two of eight bytes say something */
    SAMPLE_BLOCKS,  /* random blocks of random sizes, each of which comes back */
    SAMPLE_WORDS,   /* random words of eight bytes out of a few */
    SAMPLE_MIXED,   /* text and random bytes by turns */
    SAMPLE_COUNT
};

static inline uint64_t sample_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15u; /* splitmix64 */
    uint64_t z = *state;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* As many of the `size` bytes as there is room for. */
static inline size_t sample_put(uint8_t *out, size_t left, const void *piece, size_t size)
{
    size_t put = size < left ? size : left;

    memcpy(out, piece, put);
    return put;
}

static inline size_t sample_random_bytes(uint8_t *out, size_t left, size_t size, uint64_t *state)
{
    size_t put = 0;

    while (put < size && put < left) {
        uint64_t word = sample_random(state);
        size_t piece = size - put < 8 ? size - put : 8;

        put += sample_put(out + put, left - put, &word, piece);
    }
    return put;
}

static inline size_t sample_text(uint8_t *out, size_t left, uint64_t *state)
{
    static const char *const words[] = {"the ", "store ", "keeps ", "every ", "chunk ", "that ",
        "was ", "acknowledged, ", "until ", "somebody ", "deletes ", "it. ", "A ", "pack ", "is "};
    const char *word = words[sample_random(state) % (sizeof(words) / sizeof(words[0]))];

    return sample_put(out, left, word, strlen(word));
}

static inline size_t sample_json(uint8_t *out, size_t left, uint64_t *state)
{
    char line[160];
    uint64_t a = sample_random(state), b = sample_random(state);
    int length = snprintf(line, sizeof(line),
        "{\"id\":%u,\"name\":\"sensor-%u\",\"value\":%u.%03u,\"unit\":\"celsius\",\"ok\":%s},\n",
        (unsigned)(a % 1000000), (unsigned)(a >> 32) % 100, (unsigned)(b % 100),
        (unsigned)(b >> 32) % 1000, (a & 1) != 0 ? "true" : "false");

    return sample_put(out, left, line, (size_t)length);
}

/* The next few bytes of a kind, at out[at]; `size` is that of the whole. */
static inline size_t sample_piece(
    enum sample kind, uint8_t *out, size_t at, size_t size, uint64_t *state)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t left = size - at;
    uint64_t word = sample_random(state);
    uint64_t few = 0x5eed5eed + word % 40;
    float single = (float)(word % 100000) / 100000.0F;
    double slow = 20.0 + (double)(word % 1000000000) / 1e9;

    switch (kind) {
    case SAMPLE_BASE64:
        return sample_put(out + at, left, &base64[word % 64], 1);
    case SAMPLE_PRINTABLE:
        word = '!' + word % 94;
        return sample_put(out + at, left, &word, 1); /* its low byte: little-endian */
    case SAMPLE_TEXT:
        return sample_text(out + at, left, state);
    case SAMPLE_JSON:
        return sample_json(out + at, left, state);
    case SAMPLE_ZEROS:
        word = 0;
        return sample_put(out + at, left, &word, sizeof(word));
    case SAMPLE_SPARSE:
        word = word % 8 == 0 ? word : 0;
        return sample_put(out + at, left, &word, sizeof(word));
    case SAMPLE_FLOATS:
        return sample_put(out + at, left, &single, sizeof(single));
    case SAMPLE_DOUBLES:
        return sample_put(out + at, left, &slow, sizeof(slow));
    case SAMPLE_BLOCKS:
        if (at > 64 && word % 4 == 0) { /* what was there before, some 8 to 135 bytes */
            size_t from = (size_t)(word >> 32) % (at - 64), length = 8 + (size_t)(word >> 8) % 128;

            return sample_put(out + at, left, out + from, length < at - from ? length : at - from);
        }
        return sample_random_bytes(out + at, left, 8 + (size_t)(word >> 8) % 128, state);
    case SAMPLE_WORDS:
        few = sample_random(&few);
        return sample_put(out + at, left, &few, sizeof(few));
    case SAMPLE_MIXED:
        if (at / 100 % 2 == 0)
            return sample_text(out + at, left, state);
        return sample_random_bytes(out + at, left, 20, state);
    case SAMPLE_RANDOM:
    case SAMPLE_COUNT:
        break;
    }
    return sample_put(out + at, left, &word, sizeof(word));
}

static inline void sample_fill(enum sample kind, uint8_t *out, size_t size, uint64_t seed)
{
    for (size_t at = 0; at < size;)
        at += sample_piece(kind, out, at, size, &seed);
}
