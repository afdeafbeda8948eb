/*
 * Target: header blocks of a tar (cli/tar_block.h). Input: a block. What is read as a file can be
 * made again, and is read as the same.
 */
#include "cli/tar_block.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t block[TAR_BLOCK_SIZE] = {0}, made[TAR_BLOCK_SIZE];
    char name[TAR_NAME_SIZE], again[TAR_NAME_SIZE];
    uint64_t length, length_again;

    memcpy(block, data, size < TAR_BLOCK_SIZE ? size : TAR_BLOCK_SIZE);
    if (tar_block_read(block, name, &length) != TAR_FILE)
        return 0;
    fuzz_check(strlen(name) < TAR_NAME_SIZE);
    tar_block_make(name, length, made);
    fuzz_check(tar_block_read(made, again, &length_again) == TAR_FILE);
    fuzz_check(strcmp(name, again) == 0 && length == length_again);
    return 0;
}
