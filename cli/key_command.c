/*
 * coffer key new, ls, rm.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/key_file.h"
#include "cli/text_table.h"
#include "storage/base/digest.h"

enum { SECRET_BYTES = 32, ID_MAX = 63 };

static const char RIGHTS[] = "read|append|write|admin";

/* NULL: none was named, and that was said. */
static const char *file_name(const struct cli *cli)
{
    const char *name = option_text(&cli->line, "file");

    if (name == NULL)
        name = getenv("COFFER_KEYS_FILE"); /* NOLINT(concurrency-mt-unsafe): one thread */
    if (name != NULL && name[0] != '\0')
        return name;
    (void)cli_say(CLI_WRONG, "%s needs --file FILE, or COFFER_KEYS_FILE", cli->line.command->name);
    return NULL;
}

static bool id_is_valid(const char *id)
{
    size_t size = strlen(id);

    for (size_t i = 0; i < size; i++)
        if (!isascii(id[i]) ||
            (!isalnum((unsigned char)id[i]) && (i == 0 || strchr("._-", id[i]) == NULL)))
            return false;
    return size > 0 && size <= ID_MAX;
}

/* "read,append" as a list; NULL: *code, and it was said. */
static json_t *parse_rights(const char *text, int *code)
{
    json_t *rights = json_array();
    char word[16];

    for (;;) {
        size_t size = strcspn(text, ",");

        (void)snprintf(word, sizeof(word), "%.*s", (int)(size < 15 ? size : 15), text);
        if (!value_choice(word, RIGHTS)) {
            json_decref(rights);
            *code = cli_say(CLI_WRONG,
                "--rights: \"%.*s\" is none of read, append, write, admin; several with commas",
                (int)size, text);
            return NULL;
        }
        (void)json_array_append_new(rights, json_string(word));
        if (text[size] == '\0')
            return rights;
        text += size + 1;
    }
}

static json_t *make_key(const struct command_line *line, const char *secret, int *code)
{
    const struct option_value *prefixes = option_value(line, "prefix");
    const char *id = option_text(line, "id"), *text = option_text(line, "rights");
    json_t *rights, *key, *list;

    if (id == NULL || text == NULL) {
        *code = cli_say(CLI_WRONG, "key new needs --id ID and --rights RIGHTS");
        return NULL;
    }
    if (!id_is_valid(id)) {
        *code = cli_say(CLI_WRONG,
            "--id: \"%.80s\" is not 1 to %d letters, digits and . _ -, a letter or digit first", id,
            ID_MAX);
        return NULL;
    }
    rights = parse_rights(text, code);
    if (rights == NULL)
        return NULL;
    list = json_array();
    for (size_t i = 0; i < prefixes->count; i++)
        (void)json_array_append_new(list, json_text(prefixes->list[i]));
    key = json_pack(
        "{s:s, s:s, s:o, s:o}", "id", id, "secret", secret, "rights", rights, "prefixes", list);
    if (key == NULL)
        *code = cli_no_memory();
    return key;
}

static int print_key(const struct cli *cli, const char *id, const char *secret)
{
    if (cli->json)
        return cli_print_json(json_pack("{s:s, s:s}", "id", id, "secret", secret));
    (void)printf("%s:%s\n", id, secret);
    return CLI_DONE;
}

int key_new_command(struct cli *cli)
{
    const char *name = file_name(cli), *id = option_text(&cli->line, "id");
    uint8_t random[SECRET_BYTES];
    char secret[2 * SECRET_BYTES + 1];
    struct key_file file;
    int code = CLI_DONE;
    json_t *key;

    if (name == NULL)
        return CLI_WRONG;
    random_bytes(random, sizeof(random));
    hex_encode(random, sizeof(random), secret);
    key = make_key(&cli->line, secret, &code);
    if (key == NULL)
        return code;
    code = key_file_open(&file, name, 1);
    if (code != CLI_DONE) {
        json_decref(key);
        return code;
    }
    if (key_file_find(&file, id) < json_array_size(file.keys)) {
        json_decref(key);
        code = cli_say(CLI_NO, "%s: has a key %s already", name, id);
    } else if (json_array_append_new(file.keys, key) != 0) {
        code = cli_no_memory();
    } else {
        code = key_file_write(&file);
    }
    if (code == CLI_DONE)
        code = print_key(cli, id, secret);
    key_file_close(&file);
    return code;
}

/* "read,append" */
static void join(const json_t *list, char *out, size_t size)
{
    const json_t *item;
    size_t i, at = 0;

    out[0] = '\0';
    json_array_foreach(list, i, item)
    {
        if (at < size)
            at += (size_t)snprintf(out + at, size - at, "%s%s", i > 0 ? "," : "",
                json_is_string(item) ? json_string_value(item) : "?");
    }
}

int key_ls_command(struct cli *cli)
{
    const char *name = file_name(cli);
    struct text_table *table = NULL;
    struct key_file file;
    json_t *key;
    size_t i;
    int code;

    if (name == NULL)
        return CLI_WRONG;
    code = key_file_open(&file, name, 0);
    if (code != CLI_DONE)
        return code;
    if (!cli->json)
        table = table_create("<ID <RIGHTS <PREFIXES");
    json_array_foreach(file.keys, i, key)
    {
        char rights[128], prefixes[512];

        (void)json_object_del(key, "secret");
        join(json_object_get(key, "rights"), rights, sizeof(rights));
        join(json_object_get(key, "prefixes"), prefixes, sizeof(prefixes));
        if (cli->json)
            code = cli_worse(code, cli_print_json(json_incref(key)));
        else
            table_row(table, json_member(key, "id"), rights, prefixes);
    }
    if (!cli->json)
        code = table_print(table);
    key_file_close(&file);
    return code;
}

int key_rm_command(struct cli *cli)
{
    const char *name = file_name(cli);
    struct key_file file;
    int code, missing = CLI_DONE;
    bool changed = false;

    if (name == NULL)
        return CLI_WRONG;
    code = key_file_open(&file, name, 0);
    if (code != CLI_DONE)
        return code;
    for (size_t i = 0; i < cli->line.count; i++) {
        const char *id = cli->line.arguments[i];

        if (json_array_remove(file.keys, key_file_find(&file, id)) == 0)
            changed = true;
        else
            missing = cli_say(CLI_NO, "%s: has no key %s", name, id);
    }
    if (changed)
        code = key_file_write(&file);
    key_file_close(&file);
    return cli_worse(code, missing);
}
