#include "cli/text_table.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "storage/base/invariant.h"

enum { COLUMNS_MAX = 12 };

struct text_table {
    size_t columns;
    bool right[COLUMNS_MAX];
    size_t width[COLUMNS_MAX];
    char **cells; /* of all rows, the titles first */
    size_t count, capacity;
    bool failed;
};

static void add_cell(struct text_table *table, size_t column, const char *text, size_t size)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
        char **grown = realloc(table->cells, capacity * sizeof(*grown));

        if (grown == NULL) {
            table->failed = true;
            return;
        }
        table->cells = grown;
        table->capacity = capacity;
    }
    table->cells[table->count] = strndup(text, size);
    table->failed = table->failed || table->cells[table->count] == NULL;
    table->count++;
    if (size > table->width[column])
        table->width[column] = size;
}

struct text_table *table_create(const char *columns)
{
    struct text_table *table = calloc(1, sizeof(*table));

    while (table != NULL && *columns != '\0') {
        size_t size = strcspn(columns + 1, " ");

        invariant(table->columns < COLUMNS_MAX);
        table->right[table->columns] = *columns == '>';
        add_cell(table, table->columns, columns + 1, size);
        table->columns++;
        columns += 1 + size;
        columns += *columns == ' ' ? 1 : 0;
    }
    return table;
}

void table_row(struct text_table *table, ...)
{
    va_list texts;

    if (table == NULL)
        return;
    va_start(texts, table);
    for (size_t i = 0; i < table->columns; i++) {
        const char *text = va_arg(texts, const char *);

        add_cell(table, i, text, strlen(text));
    }
    va_end(texts);
}

void table_discard(struct text_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}

int table_print(struct text_table *table)
{
    bool failed = table == NULL || table->failed;
    int blanks = 0; /* that are only printed when something follows */

    for (size_t i = 0; !failed && i < table->count; i++) {
        size_t column = i % table->columns;
        int size = (int)strlen(table->cells[i]), fill = (int)table->width[column] - size;

        blanks += table->right[column] ? fill : 0;
        if (size > 0) {
            (void)printf("%*s%s", blanks, "", table->cells[i]);
            blanks = 0;
        }
        blanks += 2 + (table->right[column] ? 0 : fill);
        if (column + 1 == table->columns) {
            (void)putchar('\n');
            blanks = 0;
        }
    }
    table_discard(table);
    return failed ? cli_no_memory() : CLI_DONE;
}
