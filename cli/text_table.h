/*
 * text_table.h - rows in columns as wide as their widest cell, on standard output.
 *
 *     struct text_table *table = table_create("<NAME >SIZE");   // < left, > right
 *     table_row(table, "a", "12");
 *     code = table_print(table);                                // and it is gone
 *
 * Memory: all rows are kept until they are printed, so it is for lists that people read.
 */
#pragma once

struct text_table;

/* NULL when memory runs out, which the other calls then report in the end. */
struct text_table *table_create(const char *columns);
/* As many texts as there are columns. */
void table_row(struct text_table *table, ...);
int table_print(struct text_table *table); /* an exit code */
void table_discard(struct text_table *table);
