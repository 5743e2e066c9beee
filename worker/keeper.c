/* keeper.c - the process behind a worker that stays: waits for signals, starts the next. */
#include "worker/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static sigset_t waited_for(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    return set;
}

/* Has the worker ended? Whoever else is dead is taken away too. */
static bool ended(pid_t worker, int *status)
{
    bool is = false;
    int how;
    pid_t pid;

    while ((pid = waitpid(-1, &how, WNOHANG)) > 0) {
        if (pid != worker)
            continue;
        *status = WIFEXITED(how) ? WEXITSTATUS(how) : 128 + WTERMSIG(how);
        is = true;
    }
    return is;
}

/* Until the worker's end. Returns its status. */
static int stand_behind(pid_t worker, bool *stop)
{
    const sigset_t set = waited_for();
    int status = 0;

    while (!ended(worker, &status)) {
        int sig = sigwaitinfo(&set, NULL);

        if (sig != SIGTERM && sig != SIGINT)
            continue;
        *stop = true;
        kill(worker, SIGTERM);
    }
    return status;
}

/* Returns false when it was told to stop meanwhile. */
static bool rest(uint32_t seconds)
{
    const struct timespec time = {.tv_sec = (time_t)seconds};
    sigset_t set = waited_for();

    sigdelset(&set, SIGCHLD);
    return sigtimedwait(&set, NULL, &time) < 0;
}

/* In the worker: as if nobody were behind it; and nobody outlives the keeper. */
static int become_worker(pid_t keeper, const sigset_t *before)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != keeper)
        _exit(128 + SIGKILL); /* it was killed before we asked */
    sigprocmask(SIG_SETMASK, before, NULL);
    return 0;
}

int keeper_start(uint32_t rest_s, int final, struct err *e)
{
    const pid_t keeper = getpid();
    sigset_t set = waited_for(), before;
    bool stop = false;

    sigprocmask(SIG_BLOCK, &set, &before);
    for (;;) {
        pid_t worker = fork();
        int status;

        if (worker == 0)
            return become_worker(keeper, &before);
        if (worker < 0) {
            err_sys(e, ERR_internal, errno, "start the worker's process");
            sigprocmask(SIG_SETMASK, &before, NULL);
            return -1;
        }
        status = stand_behind(worker, &stop);
        if (stop || status == final)
            exit(status);
        if (!rest(rest_s))
            exit(0);
    }
}
