/*
 * Target: the JSON config file, and the sizes and times in it (server/options.h). The input is the
 * file, and by itself a value. A file is taken, or refused with a sentence that says why.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "server/options.h"
#include "tests/fuzz/fuzz.h"

enum { VALUE_SIZE_MAX = 64 };

/* The parser takes a path: a file in memory has one in /proc. */
static void try_file(const uint8_t *data, size_t size)
{
    char path[64], program[] = "cofferd", flag[] = "--config", *none[] = {NULL};
    char *arguments[] = {program, flag, path, NULL};
    struct options options;
    enum options_action action = OPTIONS_RUN;
    struct error err = {0};
    int fd = memfd_create("config", MFD_CLOEXEC);

    fuzz_check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (options_parse(&options, 3, arguments, none, &action, &err) == COFFER_OK) {
        fuzz_check(action == OPTIONS_RUN && options.listen.count <= LISTEN_MAX);
        options_release(&options);
    } else {
        fuzz_check(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
    }
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t value;

    try_file(data, size);
    if (size <= VALUE_SIZE_MAX) {
        char *text = fuzz_text(data, size);

        (void)option_parse_size(text, &value);
        (void)option_parse_time(text, &value);
        free(text);
    }
    return 0;
}
