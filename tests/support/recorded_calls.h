/*
 * recorded_calls.h - the calls that change files, in place of the C library's: they do the same and
 * tell disk_recorder.h of it. For the one source file of a test program, which gets them by
 * including this.
 */
#pragma once

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/support/disk_recorder.h"

ssize_t pwritev(int fd, const struct iovec *vectors, int count, off_t offset)
{
    ssize_t written = syscall(SYS_pwritev, fd, vectors, (long)count, (long)offset, 0L);

    if (written > 0)
        recorder_note_write(fd, vectors, (uint64_t)offset, (uint64_t)written);
    return written;
}

int ftruncate(int fd, off_t size)
{
    int result = (int)syscall(SYS_ftruncate, fd, (long)size);

    if (result == 0)
        recorder_note_truncate(fd, (uint64_t)size);
    return result;
}

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    int result = (int)syscall(SYS_fallocate, fd, (long)mode, (long)offset, (long)size);

    if (result == 0)
        recorder_note_allocate(fd, (uint64_t)offset, (uint64_t)size);
    return result;
}

int fdatasync(int fd)
{
    int result = (int)syscall(SYS_fdatasync, fd);

    if (result == 0)
        recorder_note_sync(fd);
    return result;
}

int fsync(int fd)
{
    int result = (int)syscall(SYS_fsync, fd);

    if (result == 0)
        recorder_note_sync(fd);
    return result;
}

int unlink(const char *path)
{
    int result = (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);

    if (result == 0)
        recorder_note_unlink(path);
    return result;
}

int unlinkat(int folder, const char *path, int flags)
{
    int result = (int)syscall(SYS_unlinkat, folder, path, flags);

    if (result == 0)
        recorder_note_unlink(path);
    return result;
}
