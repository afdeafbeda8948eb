/*
 * deed_child.h - a process that does deeds to a store until it is killed, and whose words outlive
 * it: it writes into a pipe what it is about to do and what it was answered.
 *
 * Use:     main() gives its arguments to deed_child_main() first: the program starts itself.
 * Threads: the child has one for each set.
 */
#pragma once

#include "tests/support/dataset_deeds.h"

enum { DEEDS_MAX = 400 };

struct deed_script {
    struct deed deeds[DEEDS_MAX];
    size_t count;
    size_t arm_at; /* the faults are armed before this one */
};
void deed_script_add(struct deed_script *script, struct deed deed);

/* Options of a store for children and for who looks at what they leave: several lanes, small packs.
 */
void deed_child_options(struct store_options *options, const char *dir);
/* False: this process is not a child. Else *code is what main() is to return. */
bool deed_child_main(int argc, char **argv, int *code);

enum deed_child_work {
    CHILD_DOES,  /* opens the store and does the script; `faults` are armed in it */
    CHILD_OPENS, /* only opens it, with `faults` armed before */
};
/* Run one on the store of `fixture`, which is not open here, and kill it after `kill_after` answers
 * (0: never). Each deed is told twice, before it and with its answer. False: it came to its end;
 * the test fails if that was not good. */
bool deed_child_run(const struct store_fixture *fixture, const struct deed_script *script,
    const char *faults, enum deed_child_work work, unsigned kill_after,
    void (*told)(void *context, uint32_t index, const struct deed_answer *answer /* or NULL */),
    void *context);
