/*
 * tar_block.h - the header blocks of a tar (ustar, sizes of any length as GNU tar writes them): as
 * much of it as it takes to talk to a coffer server, which sends and takes files only.
 */
#pragma once

#include <stdint.h>

enum { TAR_BLOCK_SIZE = 512, TAR_NAME_SIZE = 101 }; /* a name, with a NUL */

enum tar_block_kind {
    TAR_FILE,
    TAR_OTHER, /* an entry that is no file: skip its bytes */
    TAR_END,   /* a block of zeros */
    TAR_BAD,   /* not a header */
};

/* The name is cut at what fits. */
void tar_block_make(const char *name, uint64_t size, uint8_t block[TAR_BLOCK_SIZE]);
/* *size is that of the bytes that follow, which are filled up to a whole block. */
enum tar_block_kind tar_block_read(
    const uint8_t block[TAR_BLOCK_SIZE], char name[TAR_NAME_SIZE], uint64_t *size);
/* Zeros behind `size` bytes, up to a whole block. */
uint64_t tar_padding(uint64_t size);
