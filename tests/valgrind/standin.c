/* standin.c - stands, under Debian 12's valgrind, in the place of the system calls that it does not
 * know: pidfd_open, pidfd_send_signal, waitid(P_PIDFD) and epoll_pwait2. Preloaded by
 * tests/valgrind/demo.sh.
 *
 * A "pidfd" is an eventfd here, which a thread of its own makes readable when the child has exited.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FDS 1024

static pid_t pid_of[FDS]; /* by descriptor; written before the descriptor is given */

struct child {
    pid_t pid;
    int fd; /* a second one of the eventfd: the first may be closed at any time */
};

static void *wait_for(void *arg)
{
    struct child child = *(struct child *)arg;
    uint64_t one = 1;
    siginfo_t info;

    free(arg);
    while (syscall(SYS_waitid, P_PID, child.pid, &info, WEXITED | WNOWAIT, NULL) != 0 &&
           errno == EINTR)
        ;
    if (write(child.fd, &one, sizeof one) != sizeof one)
        abort();
    close(child.fd);
    return NULL;
}

int pidfd_open(pid_t pid, unsigned flags)
{
    struct child *child = malloc(sizeof *child);
    pthread_attr_t attr;
    pthread_t thread;
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)flags;
    if (!child || fd < 0 || fd >= FDS)
        abort();
    pid_of[fd] = pid;
    *child = (struct child){.pid = pid, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)};
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (child->fd < 0 || pthread_create(&thread, &attr, wait_for, child) != 0)
        abort();
    pthread_attr_destroy(&attr);
    return fd;
}

int pidfd_send_signal(int fd, int sig, siginfo_t *info, unsigned flags)
{
    (void)info;
    (void)flags;
    return kill(pid_of[fd], sig);
}

int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
    if (type == P_PIDFD) {
        type = P_PID;
        id = (id_t)pid_of[id];
    }
    return (int)syscall(SYS_waitid, type, id, info, options, NULL);
}

int epoll_pwait2(int epoll, struct epoll_event *events, int max, const struct timespec *t,
                 const sigset_t *mask)
{
    return epoll_pwait(epoll, events, max,
                       t ? (int)(t->tv_sec * 1000 + (t->tv_nsec + 999999) / 1000000) : -1, mask);
}
