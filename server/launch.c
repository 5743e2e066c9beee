/* launch.c - posix_spawn, pidfd, waitid: a child is started, signalled and reaped as itself. */
#include "server/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

/* Standard input from nowhere; standard output joins standard error, since the server's is read by
 * programs; nothing else is inherited. */
static int set_files(posix_spawn_file_actions_t *files)
{
    int rc = posix_spawn_file_actions_addopen(files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(files, STDERR_FILENO, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(files, STDERR_FILENO + 1);
    return rc;
}

/* A group of its own: Ctrl-C in a terminal reaches the server alone, which stops its workers in
 * order. */
static int set_signals(posix_spawnattr_t *attr)
{
    sigset_t all, none;
    int rc;

    sigfillset(&all);
    sigemptyset(&none);
    rc = posix_spawnattr_setsigdefault(attr, &all);
    if (rc == 0)
        rc = posix_spawnattr_setsigmask(attr, &none);
    if (rc == 0)
        rc = posix_spawnattr_setpgroup(attr, 0);
    if (rc == 0)
        rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                                POSIX_SPAWN_SETPGROUP);
    return rc;
}

static int spawn(pid_t *pid, const char *const argv[])
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    union {
        const char *const *in;
        char *const *out; /* posix_spawn changes none of them */
    } args = {.in = argv};
    int rc = posix_spawn_file_actions_init(&files);

    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attr);
    if (rc == 0) {
        rc = set_files(&files);
        if (rc == 0)
            rc = set_signals(&attr);
        if (rc == 0)
            rc = posix_spawn(pid, argv[0], &files, &attr, args.out, environ);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&files);
    return rc;
}

int launch_start(struct launched *out, const char *const argv[], struct err *e)
{
    pid_t pid;
    int pidfd, rc = spawn(&pid, argv);

    if (rc != 0)
        return err_sys(e, ERR_internal, rc, "start %s", argv[0]);
    pidfd = pidfd_open(pid, 0); /* not reaped yet, so the number is still its own */
    if (pidfd < 0) {
        err_sys(e, ERR_internal, errno, "hold process %d", (int)pid);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return -1;
    }
    *out = (struct launched){.pid = pid, .pidfd = pidfd};
    return 0;
}

int launch_find_worker(char *path, uint32_t size, struct err *e)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    char *slash;

    if (n < 0)
        return err_sys(e, ERR_internal, errno, "find this program's directory");
    path[n] = '\0';
    slash = strrchr(path, '/');
    if ((size_t)(slash - path) + sizeof "/tutti-worker" > size)
        return err_set(e, ERR_internal, "this program's directory has too long a name");
    strcpy(slash, "/tutti-worker");
    if (access(path, X_OK) != 0)
        return err_sys(e, ERR_internal, errno, "%s has to be beside this program", path);
    return 0;
}

/* Its standard output in a pipe; the rest as ours. */
static pid_t ask(const char *path, int out)
{
    posix_spawn_file_actions_t files;
    char name[] = "tutti-worker", option[] = "--print-gpus";
    char *argv[] = {name, option, NULL};
    pid_t pid = 0;

    if (posix_spawn_file_actions_init(&files) != 0)
        return 0;
    if (posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO) != 0 ||
        posix_spawn(&pid, path, &files, NULL, argv, environ) != 0)
        pid = 0;
    posix_spawn_file_actions_destroy(&files);
    return pid;
}

uint32_t launch_gpus(void)
{
    char path[PATH_MAX], text[16] = "";
    struct err e;
    int ends[2];
    pid_t pid;

    if (launch_find_worker(path, sizeof path, &e) != 0 || pipe2(ends, O_CLOEXEC) != 0)
        return 0;
    pid = ask(path, ends[1]);
    close(ends[1]);
    if (pid && read(ends[0], text, sizeof text - 1) < 0)
        text[0] = '\0';
    close(ends[0]);
    while (pid && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return (uint32_t)strtoul(text, NULL, 10);
}

int launch_adopt(struct launched *out, pid_t pid, struct err *e)
{
    int pidfd = pid > 0 ? pidfd_open(pid, 0) : (errno = ESRCH, -1);

    if (pidfd < 0)
        return err_sys(e, ERR_link, errno, "hold process %d", (int)pid);
    *out = (struct launched){.pid = pid, .pidfd = pidfd};
    return 0;
}

static void describe(const siginfo_t *info, char *how, uint32_t how_size)
{
    if (info->si_code == CLD_EXITED)
        snprintf(how, how_size, "exit %d", info->si_status);
    else
        snprintf(how, how_size, "signal %d (%s)", info->si_status, strsignal(info->si_status));
}

bool launch_reaped(struct launched *l, char *how, uint32_t how_size)
{
    struct pollfd p = {.fd = l->pidfd, .events = POLLIN};
    siginfo_t info = {0};

    if (poll(&p, 1, 0) != 1)
        return false;
    if (waitid(P_PIDFD, (id_t)l->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0)
        describe(&info, how, how_size);
    else
        snprintf(how, how_size, "its own exit"); /* another's child: the kernel tells us no more */
    close(l->pidfd);
    *l = (struct launched){.pidfd = -1};
    return true;
}

void launch_kill(const struct launched *l, int sig)
{
    if (l->pidfd >= 0)
        pidfd_send_signal(l->pidfd, sig, NULL, 0);
}
