/* slow_epoll.c - between the server and libc: the main thread takes its time to take a descriptor
 * out of an epoll set, so that others meet what is half done.
 */
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LATE_US 20000

int epoll_ctl(int set, int op, int fd, struct epoll_event *event)
{
    if (op == EPOLL_CTL_DEL && gettid() == getpid())
        usleep(LATE_US);
    return (int)syscall(SYS_epoll_ctl, set, op, fd, event);
}
