#include "cli/key_input.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "storage/base/digest.h"

static const char *const standard_input[] = {"-"};

bool key_is_valid(const char *text)
{
    struct digest digest;

    return digest_from_hex(slice_from_text(text), &digest);
}

void key_source_init(struct key_source *source, const char *const *arguments, size_t count)
{
    *source = (struct key_source){
        .arguments = count > 0 ? arguments : standard_input, .count = count > 0 ? count : 1};
}

void key_source_release(struct key_source *source)
{
    free(source->line);
}

void key_batch_release(struct key_batch *batch)
{
    free(batch->keys);
    *batch = (struct key_batch){0};
}

/* The first word of the next line that has one, or NULL: the end, or *code. */
static const char *next_line(struct key_source *source, int *code)
{
    while (getline(&source->line, &source->room, stdin) > 0) {
        char *word = source->line + strspn(source->line, " \t\r\n");

        source->line_number++;
        word[strcspn(word, " \t\r\n")] = '\0';
        if (*word == '\\') /* add-files: a name with a line feed follows */
            word++;
        if (*word != '\0')
            return word;
    }
    if (ferror(stdin))
        *code = cli_errno("standard input");
    source->input = false;
    return NULL;
}

static const char *next_text(struct key_source *source, int *code)
{
    const char *text = NULL;

    while (text == NULL && *code == CLI_DONE) {
        if (source->input) {
            text = next_line(source, code);
        } else if (source->at == source->count) {
            return NULL;
        } else {
            text = source->arguments[source->at++];
            source->input = strcmp(text, "-") == 0;
            if (source->input)
                text = NULL;
        }
    }
    return text;
}

int key_source_next(struct key_source *source, struct key_batch *batch)
{
    int code = CLI_DONE;
    const char *text;

    *batch = (struct key_batch){.keys = malloc(KEYS_EACH * sizeof(*batch->keys))};
    if (batch->keys == NULL)
        return cli_no_memory();
    while (batch->count < KEYS_EACH && (text = next_text(source, &code)) != NULL) {
        if (!key_is_valid(text)) {
            code =
                source->input
                    ? cli_say(CLI_WRONG, "standard input, line %zu: \"%.80s\" is no key",
                          source->line_number, text)
                    : cli_say(CLI_WRONG,
                          "\"%.80s\" is no key, which is 64 lower-case hexadecimal digits", text);
            break;
        }
        (void)snprintf(batch->keys[batch->count++], KEY_SIZE, "%s", text);
    }
    if (code != CLI_DONE)
        key_batch_release(batch);
    return code;
}
