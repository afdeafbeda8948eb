/*
 * list_printer.h - a paged list of the server's as a table, or as a line of JSON an item.
 */
#pragma once

#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/text_table.h"

typedef void add_item(struct text_table *table, const json_t *item);

/* Of `columns` (text_table.h), each row by `add`. The path is freed; NULL: that was said. Returns
 * an exit code. */
int list_print(struct cli *cli, char *path, const char *columns, add_item *add);
/* The number as a cell, in `out`. */
const char *number_cell(char out[HUMAN_SIZE], uint64_t value);
