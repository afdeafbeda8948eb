/*
 * dataset_deeds.h - doing the deeds of deed_book.h to a store, and making them up.
 *
 * Threads: deed_do() any, on sets of their own.
 */
#pragma once

#include "tests/support/deed_book.h"

/* Do it, and wait for the answer. */
struct deed_answer deed_do(struct store *store, const struct deed *deed);
/* A deed that must be possible for the set as the book knows it. At most `large` appends in a
 * hundred are larger than a block. */
struct deed deed_make(struct deed_book *book, unsigned set, unsigned large, uint64_t *random);
const char *deed_name(const struct deed *deed);
