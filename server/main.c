/* cofferd: wiring only. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/lifecycle.h"
#include "server/options.h"
#include "storage/base/fault.h"
#include "storage/base/log.h"

/* For tests of what the operating system may do to us; see fault.h. */
static bool arm_faults(struct error *err)
{
    const char *faults =
        getenv("COFFER_FAULTS"); /* NOLINT(concurrency-mt-unsafe): no threads yet */

    return faults == NULL || fault_configure(faults, err) == COFFER_OK;
}

/* What is as large as the index's write buffers goes back to the system when it is freed. glibc's
 * own threshold rises with what is freed, until all of it stays in the heap. */
enum { MAPPED_FROM = 4 << 20 };

int main(int argc, char **argv)
{
    struct options options;
    struct error err;
    enum options_action action;
    int code;

    signals_block();
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): no threads yet */
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
    if (!arm_faults(&err) ||
        options_parse(&options, argc, argv, environ, &action, &err) != COFFER_OK) {
        (void)fprintf(stderr, "cofferd: %s\n", err.text);
        return 2;
    }
    if (action == OPTIONS_HELP) {
        options_help(stdout);
        return 0;
    }
    if (action == OPTIONS_VERSION) {
        (void)printf("cofferd %s\n", options_version());
        return 0;
    }
    log_configure((enum log_level)options.log_level, options.log_format == 1);
    code = lifecycle_run(&options);
    options_release(&options);
    return code;
}
