/*
 * Every source of a setting (default, config file, environment, flag) ends in option_set() with a
 * text and the name of its place, so all are checked alike. They are applied from the weakest to
 * the strongest; only the path of the config file is looked up first.
 */
#include "server/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "storage/base/clock.h"
#include "storage/base/invariant.h"

static const struct option_row rows[] = {
#define OPTION(type, name, standard, min, max, help)                                               \
    {OPTION_##type, #name, standard, min, max, help, offsetof(struct options, name)},
#include "server/options.def"
#undef OPTION
};

enum { NAME_SIZE = 64, PLACE_SIZE = 192 };

const struct option_row *options_rows(size_t *count)
{
    *count = ARRAY_COUNT(rows);
    return rows;
}

/* ---- values ---- */

struct unit {
    const char *name;
    uint64_t factor;
};

static bool parse_with_unit(const char *text, const struct unit *units, bool bare, uint64_t *value)
{
    uint64_t number = 0;
    const char *end = text;

    for (; *end >= '0' && *end <= '9'; end++)
        if (__builtin_mul_overflow(number, 10U, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*end - '0'), &number))
            return false;
    if (end == text)
        return false;
    *value = number;
    if (*end == '\0')
        return bare || number == 0;
    while (*end == ' ')
        end++;
    for (; units->name != NULL; units++)
        if (strcasecmp(end, units->name) == 0)
            return !__builtin_mul_overflow(number, units->factor, value);
    return false;
}

bool option_parse_size(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = {{"B", 1}, {"KiB", UINT64_C(1) << 10},
        {"MiB", UINT64_C(1) << 20}, {"GiB", UINT64_C(1) << 30}, {"TiB", UINT64_C(1) << 40},
        {NULL, 0}};

    return parse_with_unit(text, units, true, bytes);
}

bool option_parse_time(const char *text, uint64_t *ns)
{
    static const struct unit units[] = {{"ns", 1}, {"us", NS_PER_US}, {"ms", NS_PER_MS},
        {"s", NS_PER_S}, {"min", UINT64_C(60) * NS_PER_S}, {"h", UINT64_C(3600) * NS_PER_S},
        {NULL, 0}};

    return parse_with_unit(text, units, false, ns);
}

/* "0.5": in millionths, of which nothing smaller is told apart. */
static bool parse_ratio(const char *text, uint64_t *value)
{
    uint64_t whole = 0, part = 0, scale = RATIO_ONE;
    bool digits = false;

    for (; *text >= '0' && *text <= '9' && whole < RATIO_ONE; text++, digits = true)
        whole = 10 * whole + (uint64_t)(*text - '0');
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, digits = true) {
            scale /= 10;
            part += scale * (uint64_t)(*text - '0');
        }
    *value = whole * RATIO_ONE + part;
    return digits && *text == '\0';
}

static const struct unit no_units[] = {{NULL, 0}};

static bool parse_amount(enum option_type type, const char *text, uint64_t *value)
{
    if (type == OPTION_SIZE)
        return option_parse_size(text, value);
    if (type == OPTION_TIME)
        return option_parse_time(text, value);
    if (type == OPTION_RATIO)
        return parse_ratio(text, value);
    return parse_with_unit(text, no_units, true, value);
}

static bool parse_flag(const char *text, bool *value)
{
    static const char *const words[] = {"no", "yes", "false", "true", "0", "1", "off", "on"};

    for (unsigned i = 0; i < ARRAY_COUNT(words); i++)
        if (strcasecmp(text, words[i]) == 0) {
            *value = i % 2 == 1;
            return true;
        }
    return false;
}

static bool parse_choice(const char *choices, const char *text, unsigned *position)
{
    size_t size = strlen(text);

    for (unsigned i = 0;; i++) {
        size_t length = strcspn(choices, "|");

        if (length == size && strncmp(choices, text, size) == 0) {
            *position = i;
            return true;
        }
        if (choices[length] == '\0')
            return false;
        choices += length + 1;
    }
}

static char *copy_text(const char *text, size_t size)
{
    char *copy = strndup(text, size);

    invariant(copy != NULL);
    return copy;
}

static void listen_clear(struct listen_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->addresses[i]);
    list->count = 0;
}

/* Adds one address, or several with commas between them. */
static enum coffer_status listen_add(
    struct listen_list *list, const char *text, const char *place, struct error *err)
{
    bool more;

    do {
        size_t length = strcspn(text, ",");

        if (length == 0)
            return error_set(err, COFFER_BAD_OPTION, "%s: an address is empty", place);
        if (list->count == LISTEN_MAX)
            return error_set(
                err, COFFER_BAD_OPTION, "%s: more than %d addresses", place, LISTEN_MAX);
        list->addresses[list->count++] = copy_text(text, length);
        text += length;
        more = *text == ',';
        text += more ? 1 : 0;
    } while (more);
    return COFFER_OK;
}

static enum coffer_status set_amount(const struct option_row *row, uint64_t *field,
    const char *text, const char *place, struct error *err)
{
    static const char *const what[] = {[OPTION_SIZE] = "a size (bytes, or KiB, MiB, GiB)",
        [OPTION_TIME] = "a time (ms, s, min)",
        [OPTION_NUMBER] = "a number",
        [OPTION_RATIO] = "a ratio (0.5)"};
    uint64_t min, max;

    if (!parse_amount(row->type, text, field))
        return error_set(
            err, COFFER_BAD_OPTION, "%s: \"%.60s\" is not %s", place, text, what[row->type]);
    invariant(parse_amount(row->type, row->min, &min) && parse_amount(row->type, row->max, &max));
    if (*field < min || *field > max)
        return error_set(err, COFFER_BAD_OPTION, "%s: \"%.60s\" is not between %s and %s", place,
            text, row->min, row->max);
    return COFFER_OK;
}

static enum coffer_status option_set(struct options *options, const struct option_row *row,
    const char *text, const char *place, struct error *err)
{
    void *field = (char *)options + row->field;
    char **slot = field;

    switch (row->type) {
    case OPTION_TEXT:
        if (*text == '\0' && row->standard[0] != '\0')
            return error_set(err, COFFER_BAD_OPTION, "%s: a value is needed", place);
        free(*slot);
        *slot = copy_text(text, strlen(text));
        return COFFER_OK;
    case OPTION_LISTEN:
        return listen_add(field, text, place, err);
    case OPTION_FLAG:
        if (!parse_flag(text, field))
            return error_set(
                err, COFFER_BAD_OPTION, "%s: \"%.60s\" is neither yes nor no", place, text);
        return COFFER_OK;
    case OPTION_CHOICE:
        if (!parse_choice(row->min, text, field))
            return error_set(
                err, COFFER_BAD_OPTION, "%s: \"%.60s\" is none of %s", place, text, row->min);
        return COFFER_OK;
    case OPTION_SIZE:
    case OPTION_TIME:
    case OPTION_NUMBER:
    case OPTION_RATIO:
    default:
        return set_amount(row, field, text, place, err);
    }
}

/* ---- sources ---- */

/* The row of a name in which '-' stands for '_'; NULL if there is none. */
static const struct option_row *row_of(const char *name, size_t size)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *row_name = rows[i].name;
        size_t at = 0;

        while (at < size && (name[at] == row_name[at] || (name[at] == '-' && row_name[at] == '_')))
            at++;
        if (at == size && row_name[at] == '\0')
            return &rows[i];
    }
    return NULL;
}

static void variable_name(const struct option_row *row, char name[NAME_SIZE])
{
    size_t used = (size_t)snprintf(name, NAME_SIZE, "COFFER_");

    for (const char *in = row->name; *in != '\0' && used < NAME_SIZE - 1; in++)
        name[used++] = (char)toupper((unsigned char)*in);
    name[used] = '\0';
}

static const char *variable_value(char *const *environment, const char *name)
{
    size_t size = strlen(name);

    for (; environment != NULL && *environment != NULL; environment++)
        if (strncmp(*environment, name, size) == 0 && (*environment)[size] == '=')
            return *environment + size + 1;
    return NULL;
}

static enum coffer_status apply_environment(
    struct options *options, char *const *environment, struct error *err)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        char name[NAME_SIZE];
        const char *value;
        enum coffer_status status;

        variable_name(&rows[i], name);
        value = variable_value(environment, name);
        if (value == NULL)
            continue;
        if (rows[i].type == OPTION_LISTEN)
            listen_clear(&options->listen);
        status = option_set(options, &rows[i], value, name, err);
        if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}

static bool value_text(const json_t *value, char text[32], const char **out)
{
    *out = text;
    if (json_is_string(value)) {
        *out = json_string_value(value);
        return strlen(*out) == json_string_length(value);
    }
    if (json_is_boolean(value))
        *out = json_is_true(value) ? "yes" : "no";
    else if (json_is_integer(value))
        (void)snprintf(text, 32, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(text, 32, "%.6f", json_real_value(value));
    else
        return false;
    return true;
}

static enum coffer_status apply_json(struct options *options, const struct option_row *row,
    json_t *value, const char *place, struct error *err)
{
    char number[32];
    const char *text;

    if (row->type == OPTION_LISTEN) {
        listen_clear(&options->listen);
        if (json_is_array(value)) {
            size_t index;
            json_t *each;

            if (json_array_size(value) == 0)
                return error_set(err, COFFER_BAD_OPTION, "%s: the list is empty", place);
            json_array_foreach(value, index, each)
            {
                enum coffer_status status =
                    json_is_string(each)
                        ? listen_add(&options->listen, json_string_value(each), place, err)
                        : error_set(err, COFFER_BAD_OPTION, "%s: not a list of texts", place);

                if (status != COFFER_OK)
                    return status;
            }
            return COFFER_OK;
        }
    }
    if (!value_text(value, number, &text))
        return error_set(
            err, COFFER_BAD_OPTION, "%s: neither a text nor a number nor a boolean", place);
    return option_set(options, row, text, place, err);
}

static enum coffer_status apply_config(struct options *options, const char *path, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    json_error_t json_error;
    json_t *root, *value;
    const char *key;

    root = json_load_file(path, JSON_REJECT_DUPLICATES, &json_error);
    if (root == NULL && json_error.line < 1)
        return error_set(err, COFFER_BAD_OPTION, "config file: %.250s", json_error.text);
    if (root == NULL)
        return error_set(err, COFFER_BAD_OPTION, "config file %.150s, line %d: %.120s", path,
            json_error.line, json_error.text);
    if (!json_is_object(root))
        status = error_set(
            err, COFFER_BAD_OPTION, "config file %.150s: it must be one JSON object", path);
    json_object_foreach(root, key, value)
    {
        const struct option_row *row = row_of(key, strlen(key));
        char place[PLACE_SIZE];

        (void)snprintf(place, sizeof(place), "config file %.100s, \"%.60s\"", path, key);
        if (row == NULL || strcmp(row->name, "config") == 0)
            status = error_set(err, COFFER_BAD_OPTION, "%s: there is no such setting", place);
        else
            status = apply_json(options, row, value, place, err);
        if (status != COFFER_OK)
            break;
    }
    json_decref(root);
    return status;
}

/* One flag of the command line. *at moves past its value if that is an argument of its own. */
static enum coffer_status parse_flag_argument(int argc, char *const *argv, int *at,
    const struct option_row **row, const char **value, struct error *err)
{
    const char *flag = argv[*at];
    const char *equals = strchr(flag, '=');
    size_t size = equals == NULL ? strlen(flag) : (size_t)(equals - flag);

    if (strncmp(flag, "--", 2) != 0 || size < 3)
        return error_set(err, COFFER_BAD_OPTION,
            "\"%.100s\" is not an option: options are --NAME VALUE (see --help)", flag);
    *row = row_of(flag + 2, size - 2);
    if (*row == NULL)
        return error_set(err, COFFER_BAD_OPTION, "there is no option %.*s (see --help)",
            (int)(size < 100 ? size : 100), flag);
    if (equals != NULL)
        *value = equals + 1;
    else if ((*row)->type == OPTION_FLAG)
        *value = "yes";
    else if (*at + 1 < argc)
        *value = argv[++*at];
    else
        return error_set(err, COFFER_BAD_OPTION, "%.100s: a value is needed", flag);
    return COFFER_OK;
}

static enum coffer_status apply_flags(
    struct options *options, int argc, char *const *argv, bool only_config, struct error *err)
{
    bool listening = false;

    for (int at = 1; at < argc; at++) {
        const struct option_row *row = NULL;
        const char *flag = argv[at];
        const char *value = NULL;
        char place[PLACE_SIZE];
        enum coffer_status status = parse_flag_argument(argc, argv, &at, &row, &value, err);

        if (status != COFFER_OK || row == NULL || value == NULL)
            return status;
        if (only_config && strcmp(row->name, "config") != 0)
            continue;
        if (row->type == OPTION_LISTEN && !listening) {
            listen_clear(&options->listen);
            listening = true;
        }
        (void)snprintf(place, sizeof(place), "%.*s", (int)strcspn(flag, "="), flag);
        status = option_set(options, row, value, place, err);
        if (status != COFFER_OK)
            return status;
    }
    return COFFER_OK;
}

/* ---- all together ---- */

static enum coffer_status check_together(const struct options *options, struct error *err)
{
    if (options->header_size_max > options->connection_memory / 2)
        return error_set(err, COFFER_BAD_OPTION,
            "--header-size-max: at most half of --connection-memory (%" PRIu64 " bytes)",
            options->connection_memory);
    if (options->path_size_max > options->header_size_max)
        return error_set(err, COFFER_BAD_OPTION, "--path-size-max: at most --header-size-max");
    if (options->buffer_size > options->memory_limit)
        return error_set(err, COFFER_BAD_OPTION, "--buffer-size: at most --memory-limit");
    if (options->segment_size > options->pack_size)
        return error_set(err, COFFER_BAD_OPTION, "--segment-size: at most --pack-size");
    return COFFER_OK;
}

static enum coffer_status apply_all(struct options *options, int argc, char *const *argv,
    char *const *environment, struct error *err)
{
    enum coffer_status status = COFFER_OK;
    const char *config;

    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        status = option_set(options, &rows[i], rows[i].standard, rows[i].name, err);
        invariant(status == COFFER_OK);
    }
    config = variable_value(environment, "COFFER_CONFIG");
    if (config != NULL)
        status = option_set(options, row_of("config", 6), config, "COFFER_CONFIG", err);
    if (status == COFFER_OK)
        status = apply_flags(options, argc, argv, true, err);
    if (status == COFFER_OK && options->config[0] != '\0')
        status = apply_config(options, options->config, err);
    if (status == COFFER_OK)
        status = apply_environment(options, environment, err);
    if (status == COFFER_OK)
        status = apply_flags(options, argc, argv, false, err);
    if (status == COFFER_OK)
        status = check_together(options, err);
    return status;
}

/* A wrong value may have any bytes in it; the message stays one line. */
static void one_line(struct error *err)
{
    if (err == NULL)
        return;
    for (char *at = err->text; *at != '\0'; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
}

enum coffer_status options_parse(struct options *options, int argc, char *const *argv,
    char *const *environment, enum options_action *action, struct error *err)
{
    enum coffer_status status;

    memset(options, 0, sizeof(*options));
    *action = OPTIONS_RUN;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            *action = OPTIONS_HELP;
        else if (strcmp(argv[i], "--version") == 0)
            *action = OPTIONS_VERSION;
        if (*action != OPTIONS_RUN)
            return COFFER_OK;
    }
    status = apply_all(options, argc, argv, environment, err);
    if (status != COFFER_OK) {
        options_release(options);
        one_line(err);
    }
    return status;
}

void options_release(struct options *options)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        void *field = (char *)options + rows[i].field;

        if (rows[i].type == OPTION_TEXT)
            free(*(char **)field);
        else if (rows[i].type == OPTION_LISTEN)
            listen_clear(field);
    }
    memset(options, 0, sizeof(*options));
}

void options_for_store(const struct options *options, struct store_options *store)
{
    store_options_default(store);
    store->engine = options->engine == 0 ? ENGINE_LOCAL : ENGINE_MEMORY;
    store->data_dir = options->data_dir;
    store->buffer_size = options->buffer_size;
    store->memory_limit = options->memory_limit;
    store->sync_delay_ns = options->sync_delay;
    store->flush_interval_ns = options->flush_interval;
    store->pack_size = options->pack_size;
    store->segment_size = options->segment_size;
    store->compression = options->compression == 0 ? CODEC_NONE : CODEC_ZSTD;
    store->compression_level = (int)options->compression_level;
    store->compression_min_size = options->compression_min_size;
    store->max_space = options->max_space;
    store->reserve_space = options->reserve_space;
    store->default_channels = (unsigned)options->default_channels;
    store->channels_max = (unsigned)options->channels_max;
    store->index_cache_size = options->index_cache_size;
    store->io_method = (enum io_method)options->io_method;
    store->repack_dead_ratio = (double)options->repack_dead_ratio / RATIO_ONE;
    store->repack_rate = options->repack_rate;
    store->repack_interval_ns = options->repack_interval;
}

void options_help(FILE *out)
{
    static const char *const values[] = {[OPTION_TEXT] = "TEXT",
        [OPTION_LISTEN] = "ADDRESS",
        [OPTION_FLAG] = "",
        [OPTION_SIZE] = "SIZE",
        [OPTION_TIME] = "TIME",
        [OPTION_NUMBER] = "N",
        [OPTION_RATIO] = "0..1"};

    (void)fprintf(out,
        "cofferd - an object store that names what it keeps by its SHA-256\n\n"
        "usage: cofferd [OPTIONS]\n\n"
        "Every option is also a variable (COFFER_DATA_DIR) and a key of the JSON config file\n"
        "(data_dir); a flag goes before a variable, a variable before the file.\n\n");
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const struct option_row *row = &rows[i];
        char left[96];
        int used = snprintf(left, sizeof(left), "  --%s %s", row->name,
            row->type == OPTION_CHOICE ? row->min : values[row->type]);

        for (int at = 4; at < used && left[at] != ' '; at++)
            if (left[at] == '_')
                left[at] = '-';
        (void)fprintf(out, "%s\n        %s%s%s%s\n", left, row->help,
            row->standard[0] == '\0' ? "" : " (default ", row->standard,
            row->standard[0] == '\0' ? "" : ")");
    }
    (void)fprintf(out, "  --help, --version\n");
}

const char *options_version(void)
{
    return COFFER_VERSION;
}
