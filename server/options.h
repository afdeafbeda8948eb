/*
 * options.h - the settings of cofferd: from flags, COFFER_* variables and the JSON config file,
 * in that order of precedence, by the table options.def.
 *
 * Memory:  struct options owns its texts; options_release() frees them.
 * Errors:  one sentence in err that names the place ("--buffer-size", "COFFER_BUFFER_SIZE", the
 *          file and its key) and what is wrong there; COFFER_BAD_OPTION.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "storage/base/status.h"
#include "storage/store.h"

enum { LISTEN_MAX = 32 };

struct listen_list {
    char *addresses[LISTEN_MAX]; /* as written; parsed by listen.h */
    size_t count;
};

typedef char *option_text;
typedef struct listen_list option_listen;
typedef bool option_flag;
typedef uint64_t option_size; /* bytes */
typedef uint64_t option_time; /* nanoseconds */
typedef uint64_t option_number;
typedef uint64_t option_ratio;  /* millionths */
typedef unsigned option_choice; /* position among the choices */

enum { RATIO_ONE = 1000000 };

#define OPTION_TYPE_TEXT option_text
#define OPTION_TYPE_LISTEN option_listen
#define OPTION_TYPE_FLAG option_flag
#define OPTION_TYPE_SIZE option_size
#define OPTION_TYPE_TIME option_time
#define OPTION_TYPE_NUMBER option_number
#define OPTION_TYPE_RATIO option_ratio
#define OPTION_TYPE_CHOICE option_choice

struct options {
#define OPTION(type, name, standard, min, max, help) OPTION_TYPE_##type name;
#include "server/options.def"
#undef OPTION
};

enum options_action { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_VERSION };

/* `environment` is a NULL-terminated list of NAME=VALUE. With OPTIONS_HELP and OPTIONS_VERSION
 * nothing else was looked at. */
MUST_USE enum coffer_status options_parse(struct options *options, int argc, char *const *argv,
    char *const *environment, enum options_action *action, struct error *err);
void options_release(struct options *options);

/* What the store is to be opened with; borrows texts of `options`. */
void options_for_store(const struct options *options, struct store_options *store);
void options_help(FILE *out);
const char *options_version(void); /* of coffer: "0.1.0" */

/* ---- the rows, for tests and docs ---- */

enum option_type {
    OPTION_TEXT,
    OPTION_LISTEN,
    OPTION_FLAG,
    OPTION_SIZE,
    OPTION_TIME,
    OPTION_NUMBER,
    OPTION_RATIO,
    OPTION_CHOICE,
};

struct option_row {
    enum option_type type;
    const char *name; /* with '_' */
    const char *standard, *min /* or choices */, *max, *help;
    size_t field; /* offset in struct options */
};

const struct option_row *options_rows(size_t *count);
/* Parse a number with its unit. `text` is all of it. */
bool option_parse_size(const char *text, uint64_t *bytes);
bool option_parse_time(const char *text, uint64_t *ns);
