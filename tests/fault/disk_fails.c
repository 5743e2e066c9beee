/* disk_fails.c - between the server and libc: the n-th write to the database's log, or the n-th
 * fsync of it, goes wrong.
 *
 * TUTTI_TEST_DISK is KIND:N: torn (half is written, and the power fails), full (ENOSPC), fsync
 * (EIO). Everything else passes.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int writes, syncs;

static bool is_log(int fd)
{
    char name[32], path[4096];
    ssize_t n;

    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    n = readlink(name, path, sizeof path);
    return n > 12 && memcmp(path + n - 12, "tutti.db-wal", 12) == 0;
}

/* Is this passage the one of the kind that goes wrong? */
static bool is_due(const char *kind, int passage)
{
    const char *text = getenv("TUTTI_TEST_DISK");
    size_t len = strlen(kind);

    return text && strncmp(text, kind, len) == 0 && text[len] == ':' &&
           atoi(text + len + 1) == passage;
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t at)
{
    if (is_log(fd)) {
        int passage = ++writes;

        if (is_due("torn", passage)) {
            syscall(SYS_pwrite64, fd, bytes, n / 2, at);
            kill(getpid(), SIGKILL);
        }
        if (is_due("full", passage)) {
            errno = ENOSPC;
            return -1;
        }
    }
    return syscall(SYS_pwrite64, fd, bytes, n, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at)
{
    return pwrite64(fd, bytes, n, at);
}

int fdatasync(int fd)
{
    if (is_log(fd) && is_due("fsync", ++syncs)) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fdatasync(fd);
}
