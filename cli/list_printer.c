#include "cli/list_printer.h"

#include <inttypes.h>
#include <stdlib.h>

struct row_printer {
    const struct cli *cli;
    struct text_table *table;
    add_item *add;
    int code;
};

static int take_item(void *context, const char *text)
{
    struct row_printer *printer = context;
    json_t *item;

    if (printer->cli->json) {
        (void)puts(text);
        return ferror(stdout); /* nobody reads it any more */
    }
    item = json_loads(text, 0, NULL);
    if (item == NULL) {
        printer->code = cli_no_memory();
        return 1;
    }
    printer->add(printer->table, item);
    json_decref(item);
    return 0;
}

int list_print(struct cli *cli, char *path, const char *columns, add_item *add)
{
    struct row_printer printer = {.cli = cli, .add = add, .code = CLI_BROKEN};
    struct coffer_client *client = path == NULL ? NULL : cli_client(cli, &printer.code);
    struct coffer_error err;

    if (client != NULL && !cli->json)
        printer.table = table_create(columns);
    if (client != NULL && coffer_pages(client, path, take_item, &printer, &err) < 0) {
        printer.code = cli_failed(&err, NULL);
        table_discard(printer.table);
    } else if (client != NULL && !cli->json) {
        printer.code = cli_worse(printer.code, table_print(printer.table));
    }
    free(path);
    return printer.code;
}

const char *number_cell(char out[HUMAN_SIZE], uint64_t value)
{
    (void)snprintf(out, HUMAN_SIZE, "%" PRIu64, value);
    return out;
}
