/* reaper.c - the first process of a container: behind the server, for signals and for the dead. */
#include "server/reaper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Takes away whoever is dead; leaves when the server is among them. */
static void reap(pid_t server)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == server)
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
}

static void stand_behind(pid_t server, const sigset_t *all)
{
    for (;;) {
        int sig = sigwaitinfo(all, NULL);

        if (sig == SIGCHLD)
            reap(server);
        else if (sig > 0)
            kill(server, sig);
    }
}

int reaper_start(struct err *e)
{
    sigset_t all, before;
    pid_t server;

    if (getpid() != 1)
        return 0;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    server = fork();
    if (server > 0)
        stand_behind(server, &all);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return server == 0 ? 0 : err_sys(e, ERR_internal, errno, "start the server's process");
}
