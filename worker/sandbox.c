/* sandbox.c - the system calls of a worker that serves. */
#include "worker/sandbox.h"
#include "schema/log.h"
#include "schema/process.h"
#include "schema/seccomp.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define N(rules) (sizeof(rules) / sizeof(rules)[0])
#define OF_A_HOST 8 /* the first rules */
#define NOT_EXECUTABLE .when = SECCOMP_EQUAL, .arg = 2, .mask = PROT_EXEC, .value = 0

/* What the frame loop, the heartbeat, the kernels, a log line and an exit need; and, on a host of
 * its own (family), what the data channel does: connect again, and take pages for its arena. */
static int memory_only(int family, struct err *e)
{
    const uint32_t self = (uint32_t)getpid();
    const struct seccomp_rule rules[] = {
        SECCOMP_CALL(connect),
        SECCOMP_CALL(setsockopt),
        SECCOMP_CALL(shutdown),
        SECCOMP_CALL(fallocate),
        SECCOMP_CALL(ftruncate), /* of an arena that nobody else has */
        SECCOMP_CALL(flock),
        SECCOMP_CALL(fcntl), /* whether others hold their locks; a socket that does not block */
        {.call = SYS_socket, .when = SECCOMP_EQUAL, .mask = UINT32_MAX, .value = (uint32_t)family},
        SECCOMP_CALL(recvmsg),
        SECCOMP_CALL(recvfrom),
        SECCOMP_CALL(sendmsg),
        SECCOMP_CALL(sendto),
        SECCOMP_CALL(read),
        SECCOMP_CALL(write),
        SECCOMP_CALL(writev),
        SECCOMP_CALL(close),
        SECCOMP_CALL(poll),
        SECCOMP_CALL(getsockopt), /* how long a server over TCP has been silent */
        SECCOMP_CALL(ppoll),
        SECCOMP_CALL(futex),
        SECCOMP_CALL(set_robust_list), /* a thread begins */
        SECCOMP_CALL(rseq),
        SECCOMP_CALL(sched_yield),
        SECCOMP_CALL(nanosleep),
        SECCOMP_CALL(clock_nanosleep),
        SECCOMP_CALL(clock_gettime),
        SECCOMP_CALL(gettimeofday),
        SECCOMP_CALL(getrandom),
        SECCOMP_CALL(getpid),
        SECCOMP_CALL(gettid),
        SECCOMP_CALL(brk),
        SECCOMP_CALL(munmap),
        SECCOMP_CALL(mremap),
        SECCOMP_CALL(madvise),
        {.call = SYS_mmap, NOT_EXECUTABLE},
        {.call = SYS_mprotect, NOT_EXECUTABLE},
        SECCOMP_CALL(rt_sigaction),
        SECCOMP_CALL(rt_sigprocmask),
        SECCOMP_CALL(rt_sigreturn),
        SECCOMP_CALL(restart_syscall),
        SECCOMP_CALL(exit),
        SECCOMP_CALL(exit_group),
        {.call = SYS_kill, .when = SECCOMP_EQUAL, .mask = UINT32_MAX, .value = self},
        {.call = SYS_tgkill, .when = SECCOMP_EQUAL, .mask = UINT32_MAX, .value = self},
    };

    return family ? seccomp_allow(rules, N(rules), e)
                  : seccomp_allow(rules + OF_A_HOST, N(rules) - OF_A_HOST, e);
}

void sandbox_worker(const struct backend *backend, int family)
{
    struct err e;

    if (PROCESS_SANITIZED)
        log_info("sandbox: none, this build has a sanitizer");
    else if ((backend->memory_only ? memory_only(family, &e) : seccomp_deny(NULL, 0, &e)) != 0)
        log_warn("sandbox: system calls are not limited: %s", e.detail);
    else
        log_debug("sandbox: %s",
                  backend->memory_only ? "memory and the link alone" : "no call that none needs");
}
