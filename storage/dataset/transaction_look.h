/*
 * transaction_look.h - transactions as they are, in memory or in their rows; for the other files of
 * transactions only.
 */
#pragma once

#include "storage/dataset/dataset_parts.h"

struct parts { /* items are the caller's to free */
    struct version_part *items;
    size_t count;
};

/* With the lock. */
void transaction_fill_info(const struct transaction *transaction, struct transaction_info *info);
/* What a version added. */
enum coffer_status parts_of_version(
    struct dataset *dataset, uint64_t version, struct parts *parts, struct error *err);
/* The names of its channels; `missing`: of those that are not ready. With the lock. */
void parts_of_members(const struct transaction *transaction, bool missing, struct parts *parts);
