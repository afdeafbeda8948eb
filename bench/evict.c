/*
 * bench_evict PATH...: ask the kernel to forget the pages of every file under the paths, for cold
 * reads where /proc/sys/vm/drop_caches may not be written. Weaker than that: names and inodes stay
 * cached, and so do pages that a process has mapped.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_evict(const char *path, const struct stat *stat, int type, struct FTW *where)
{
    int fd, result;

    (void)stat;
    (void)where;
    if (type != FTW_F)
        return 0;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? 0 : -1; /* gone meanwhile */
    /* Only clean pages can be dropped. */
    result = fdatasync(fd);
    if (result == 0)
        result = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return result == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: bench_evict PATH...\n", stderr);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        if (nftw(argv[i], file_evict, 64, FTW_PHYS) != 0) {
            fprintf(stderr, "bench_evict: %s: %s\n", argv[i], strerror(errno));
            return 3;
        }
    }
    return 0;
}
