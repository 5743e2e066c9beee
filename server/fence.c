/* fence.c - a shared flock per worker process, and the pids to kill when it does not go away. */
#include "server/fence.h"
#include "schema/clock.h"
#include "schema/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_US 7000000 /* for orphans to be gone, in all: more than LIMIT_TCP_SILENT_MS */
#define STEP_NS 5000000
#define LINE_BYTES                                                                \
    48 /* of workers.pids: "RANK PID START", padded, so that a rank has its place \
        */

static struct {
    char path[PATH_MAX];
    int file; /* without a lock: to look at those of others */
    int pids; /* workers.pids */
} fence = {.file = -1, .pids = -1};

/* When a process started, in clock ticks since boot: with the pid it names one process for good.
 * 0 when there is none. Source: proc(5), field 22 of stat, counted after the ')' of the name. */
static unsigned long long start_time(pid_t pid)
{
    char path[64], text[1024], *at;
    unsigned long long start = 0;
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    at = strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (!at || sscanf(at, " %llu", &start) != 1)
        return 0;
    return start;
}

/* By comm, which everybody may read: /proc/PID/exe is closed to us, since a worker lets nobody look
 * into it. */
static bool is_worker(pid_t pid)
{
    char path[64], name[32] = "";
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, name, sizeof name - 1);
    close(fd);
    return n > 0 && strcmp(name, "tutti-worker\n") == 0;
}

/* The descriptor is taken before the checks, so that a pid that is reused between them is not hit.
 */
static bool kill_recorded(pid_t pid, unsigned long long start)
{
    int fd = pidfd_open(pid, 0);
    bool same = fd >= 0 && start_time(pid) == start && is_worker(pid);

    if (same)
        pidfd_send_signal(fd, SIGKILL, NULL, 0);
    if (fd >= 0)
        close(fd);
    return same;
}

/* Kills every recorded worker that is still there; their pids into names. Returns how many. */
static unsigned kill_all_recorded(char *names, size_t size)
{
    char line[LINE_BYTES + 1];
    unsigned killed = 0;
    size_t len = 0;

    names[0] = '\0';
    for (off_t at = 0; pread(fence.pids, line, LINE_BYTES, at) == LINE_BYTES; at += LINE_BYTES) {
        unsigned long long start;
        unsigned rank;
        int pid;

        line[LINE_BYTES] = '\0';
        if (sscanf(line, "%u %d %llu", &rank, &pid, &start) != 3 || !kill_recorded(pid, start))
            continue;
        killed++;
        if (len < size)
            len += (size_t)snprintf(names + len, size - len, " %d", pid);
    }
    return killed;
}

/* Returns 0 when nobody but us holds the fence, 1 when somebody does. */
static int try_alone(int fd, struct err *e)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK || errno == EINTR)
        return 1;
    return err_sys(e, ERR_link, errno, "lock %s", fence.path);
}

static int wait_alone(int fd, struct err *e)
{
    uint64_t deadline = clock_us() + PATIENCE_US;
    char names[300];
    int rc;

    while ((rc = try_alone(fd, e)) == 1) {
        unsigned killed = kill_all_recorded(names, sizeof names);

        if (clock_us() > deadline)
            return err_set(e, ERR_link,
                           "workers of an earlier server still hold the arena (%s); end them: "
                           "kill -9%s",
                           fence.path, killed ? names : " PID, as `fuser` on that file says");
        nanosleep(&(struct timespec){.tv_nsec = STEP_NS}, NULL);
    }
    return rc;
}

int fence_open(const char *data_dir, struct err *e)
{
    char pids[PATH_MAX];
    int fd, rc = -1;

    if (snprintf(fence.path, sizeof fence.path, "%s/fence", data_dir) >= (int)sizeof fence.path ||
        snprintf(pids, sizeof pids, "%s/workers.pids", data_dir) >= (int)sizeof pids)
        return err_set(e, ERR_link, "the data directory's name is too long");
    fd = open(fence.path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, ERR_link, errno, "open %s", fence.path);
    fence.file = open(fence.path, O_RDWR | O_CLOEXEC);
    if (fence.file < 0) {
        err_sys(e, ERR_link, errno, "open %s", fence.path);
        goto out;
    }
    fence.pids = open(pids, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fence.pids < 0) {
        err_sys(e, ERR_link, errno, "open %s", pids);
        goto out;
    }
    if (wait_alone(fd, e) != 0)
        goto out;
    if (ftruncate(fence.pids, 0) != 0) {
        err_sys(e, ERR_link, errno, "empty %s", pids);
        goto out;
    }
    rc = 0;
out:
    close(fd); /* and the lock with it: from here workers may share it */
    if (rc != 0)
        fence_close();
    return rc;
}

void fence_close(void)
{
    if (fence.file >= 0)
        close(fence.file);
    if (fence.pids >= 0)
        close(fence.pids);
    fence.file = fence.pids = -1;
}

const char *fence_path(void)
{
    return fence.path;
}

bool fence_held(uint64_t epoch, pid_t *pid)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)epoch, .l_len = 1};

    *pid = 0;
    if (fcntl(fence.file, F_GETLK, &lock) != 0)
        return true;
    if (lock.l_type == F_UNLCK)
        return false;
    *pid = lock.l_pid > 0 ? lock.l_pid : 0;
    return true;
}

int fence_pass(int *fd, struct err *e)
{
    int fresh = open(fence.path, O_RDWR | O_CLOEXEC);

    if (fresh < 0)
        return err_sys(e, ERR_link, errno, "open %s", fence.path);
    if (flock(fresh, LOCK_SH | LOCK_NB) != 0) {
        err_sys(e, ERR_link, errno, "lock %s", fence.path);
        close(fresh);
        return -1;
    }
    *fd = fresh;
    return 0;
}

int fence_record(uint32_t rank, pid_t pid, struct err *e)
{
    char line[LINE_BYTES + 1];
    int n = snprintf(line, sizeof line, "%u %d %llu", rank, (int)pid, start_time(pid));

    memset(line + n, ' ', (size_t)(LINE_BYTES - n));
    line[LINE_BYTES - 1] = '\n';
    if (pwrite(fence.pids, line, LINE_BYTES, (off_t)rank * LINE_BYTES) != LINE_BYTES)
        return err_sys(e, ERR_link, errno, "write down worker %d", (int)pid);
    return 0;
}
