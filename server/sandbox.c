/* sandbox.c - the server's places and calls: two tables. */
#include "server/sandbox.h"
#include "server/landlock.h"
#include "server/private_dir.h"
#include "schema/log.h"
#include "schema/process.h"
#include "schema/seccomp.h"

#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define N(rules) (sizeof(rules) / sizeof(rules)[0])

/* ---- files ---- */

/* "/a" of "/a/b". */
static const char *directory_of(const char *path, char *dir, size_t size)
{
    char *slash;

    if ((size_t)snprintf(dir, size, "%s", path) >= size)
        return NULL;
    slash = strrchr(dir, '/');
    if (!slash)
        return ".";
    slash[slash == dir] = '\0';
    return dir;
}

/* Where the socket for workers is made, and removed at the end. */
static const char *socket_dir(const char *address, char *dir, size_t size)
{
    return strncmp(address, "unix:", 5) == 0 ? directory_of(address + 5, dir, size) : NULL;
}

static void confine_files(const struct sandbox_options *o)
{
    char dir[PATH_MAX], http_dir[PATH_MAX], token_dir[PATH_MAX], lane_dir[PATH_MAX];
    const char *sockets = socket_dir(o->worker_listen, dir, sizeof dir);
    const char *http = o->http_path[0] ? directory_of(o->http_path, http_dir, sizeof http_dir)
                                       : NULL;
    const char *lanes = o->lane[0] ? directory_of(o->lane, lane_dir, sizeof lane_dir) : NULL;
    const char *tokens = o->token_file[0] ? directory_of(o->token_file, token_dir, sizeof token_dir)
                                          : NULL;
    const struct landlock_place places[] = {
        {o->data_dir, LANDLOCK_WRITES},
        {o->arena_dir, LANDLOCK_WRITES},
        {sockets ? sockets : o->data_dir, LANDLOCK_WRITES},
        {http ? http : o->data_dir, LANDLOCK_WRITES},
        {lanes ? lanes : o->data_dir, LANDLOCK_WRITES},
        {tokens ? tokens : o->data_dir,
         LANDLOCK_READS}, /* whoever edits the file renames another */
        {"/dev/null", LANDLOCK_WRITES},
        {"/dev/urandom", LANDLOCK_READS},        /* SQLite's */
        {"/proc", LANDLOCK_READS},               /* workers of before, this boot's id */
        {"/sys/devices/system", LANDLOCK_READS}, /* how many cores there are */
        {"/usr", LANDLOCK_READS},                /* libraries that libraries load */
        {"/lib", LANDLOCK_READS},
    };
    struct landlock_rules rules = {.places = places,
                                   .n = N(places),
                                   .reads = !o->launches,
                                   .binds = o->worker_tcp || o->workers_dial,
                                   .connects = o->workers_dial};
    struct err e;
    int version = landlock_confine(&rules, &e);

    if (version < 0)
        log_warn("sandbox: files are not limited: %s", e.detail);
    else
        log_info("sandbox: files in the data and arena directories alone are %s (Landlock %d)",
                 o->launches ? "written" : "opened", version);
}

/* ---- calls ---- */

#define IF_EQUAL(name, at, bits, is)                                                          \
    {                                                                                         \
        .call = SYS_##name, .when = SECCOMP_EQUAL, .arg = (at), .mask = (bits), .value = (is) \
    }

/* Of memory, threads and time, of open descriptors, of files that Landlock limits, and of workers:
 * it adopts and kills them. No program, no process, no new socket, no executable memory. */
static int serving_alone(struct err *e)
{
    const uint32_t self = (uint32_t)getpid();
    /* clang-format off */
    const struct seccomp_rule rules[] = {
        SECCOMP_CALL(read), SECCOMP_CALL(readv), SECCOMP_CALL(write), SECCOMP_CALL(writev), SECCOMP_CALL(pread64), SECCOMP_CALL(pwrite64), SECCOMP_CALL(lseek), SECCOMP_CALL(close), SECCOMP_CALL(openat), SECCOMP_CALL(newfstatat), SECCOMP_CALL(fstat), SECCOMP_CALL(stat), SECCOMP_CALL(lstat), SECCOMP_CALL(access), SECCOMP_CALL(faccessat2), SECCOMP_CALL(readlink), SECCOMP_CALL(unlink),
        SECCOMP_CALL(memfd_create), SECCOMP_CALL(ftruncate), SECCOMP_CALL(fallocate), SECCOMP_CALL(fsync), SECCOMP_CALL(fdatasync), SECCOMP_CALL(msync), SECCOMP_CALL(dup3), SECCOMP_CALL(fcntl), SECCOMP_CALL(flock), SECCOMP_CALL(fchmod), SECCOMP_CALL(fchown), SECCOMP_CALL(fstatfs), SECCOMP_CALL(statfs), SECCOMP_CALL(getdents64),
        SECCOMP_CALL(epoll_create1), SECCOMP_CALL(epoll_ctl), SECCOMP_CALL(epoll_wait), SECCOMP_CALL(epoll_pwait), SECCOMP_CALL(epoll_pwait2), SECCOMP_CALL(eventfd2), SECCOMP_CALL(poll), SECCOMP_CALL(ppoll),
        SECCOMP_CALL(accept4), SECCOMP_CALL(recvmsg), SECCOMP_CALL(recvfrom), SECCOMP_CALL(sendmsg), SECCOMP_CALL(sendto), SECCOMP_CALL(sendfile), SECCOMP_CALL(shutdown), SECCOMP_CALL(setsockopt), SECCOMP_CALL(getsockopt), SECCOMP_CALL(getsockname), SECCOMP_CALL(getpeername),
        SECCOMP_CALL(futex), SECCOMP_CALL(sched_yield), SECCOMP_CALL(sched_getaffinity), SECCOMP_CALL(set_robust_list), SECCOMP_CALL(rseq), SECCOMP_CALL(exit), SECCOMP_CALL(exit_group),
        SECCOMP_CALL(rt_sigaction), SECCOMP_CALL(rt_sigprocmask), SECCOMP_CALL(rt_sigreturn), SECCOMP_CALL(rt_sigtimedwait), SECCOMP_CALL(restart_syscall),
        SECCOMP_CALL(nanosleep), SECCOMP_CALL(clock_nanosleep), SECCOMP_CALL(clock_gettime), SECCOMP_CALL(gettimeofday), SECCOMP_CALL(getrandom),
        SECCOMP_CALL(getpid), SECCOMP_CALL(gettid), SECCOMP_CALL(getuid), SECCOMP_CALL(geteuid), SECCOMP_CALL(getegid), SECCOMP_CALL(getrusage), SECCOMP_CALL(sysinfo), SECCOMP_CALL(uname),
        SECCOMP_CALL(brk), SECCOMP_CALL(munmap), SECCOMP_CALL(mremap), SECCOMP_CALL(madvise),
        SECCOMP_CALL(pidfd_open), SECCOMP_CALL(pidfd_send_signal), SECCOMP_CALL(waitid),
        IF_EQUAL(mmap, 2, PROT_EXEC, 0), IF_EQUAL(mprotect, 2, PROT_EXEC, 0),
        IF_EQUAL(clone, 0, CLONE_THREAD, CLONE_THREAD),
        IF_EQUAL(prctl, 0, UINT32_MAX, PR_SET_NAME),
        IF_EQUAL(prlimit64, 2, UINT32_MAX, 0), /* reads a limit */
        IF_EQUAL(kill, 0, UINT32_MAX, self), IF_EQUAL(tgkill, 0, UINT32_MAX, self),
    };
    /* clang-format on */

    return seccomp_allow(rules, N(rules), e);
}

void sandbox_serve(const struct sandbox_options *o)
{
    struct err e;

    if (PROCESS_SANITIZED || o->launches)
        return;
    if (serving_alone(&e) != 0)
        log_warn("sandbox: system calls are not limited: %s", e.detail);
    else
        log_info("sandbox: no system calls but those of serving");
}

int sandbox_start(const struct sandbox_options *o, struct err *e)
{
    struct err why;

    if (private_dir_make(o->data_dir, ERR_store, e) != 0 ||
        private_dir_make(o->arena_dir, ERR_arena, e) != 0)
        return -1;
    if (PROCESS_SANITIZED) {
        log_info("sandbox: none, this build has a sanitizer");
        return 0;
    }
    if (!o->gpus)
        confine_files(o);
    if (seccomp_deny(NULL, 0, &why) != 0)
        log_warn("sandbox: system calls are not limited: %s", why.detail);
    return 0;
}
