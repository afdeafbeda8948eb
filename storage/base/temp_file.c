#include "storage/base/temp_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_unnamed(const char *folder)
{
    char name[TEMP_FOLDER_SIZE + 32];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
        return fd;
    (void)snprintf(name, sizeof(name), "%s/coffer-XXXXXX", folder);
    fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        (void)unlink(name);
    return fd;
}

enum coffer_status temp_file_open(const char *folder, int *fd, struct error *err)
{
    const char *temporary = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe): nobody sets any

    if (temporary == NULL || temporary[0] == '\0')
        temporary = "/tmp";
    *fd = -1;
    if (folder != NULL && folder[0] != '\0') {
        (void)mkdir(folder, 0700);
        *fd = open_unnamed(folder);
    }
    if (*fd < 0)
        *fd = open_unnamed(temporary);
    if (*fd < 0)
        return error_errno(err, "make a temporary file in %s", temporary);
    return COFFER_OK;
}
