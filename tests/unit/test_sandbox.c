/* test_sandbox.c - what is refused to a server and a worker in their sandboxes, and what is not. */
#include "tests/unit/unit.h"

#include "schema/process.h"
#include "schema/seccomp.h"
#include "server/landlock.h"
#include "server/sandbox.h"
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <unistd.h>

static char top[64]; /* of data/, arena/ and a file outside */

/* ---- attempts: 0, or the errno of the refusal ---- */

static int outcome(long rc)
{
    return rc < 0 ? errno : 0;
}

static const char *in_top(const char *name)
{
    static char path[128];

    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

static int creates(const char *name)
{
    int fd = open(in_top(name), O_RDWR | O_CREAT, 0600);

    if (fd >= 0)
        close(fd);
    return outcome(fd);
}

static int write_inside(void)
{
    return creates("data/new");
}

static int write_outside(void)
{
    return creates("new");
}

static int truncate_outside(void)
{
    return outcome(truncate(in_top("outside"), 0));
}

static int remove_outside(void)
{
    return outcome(unlink(in_top("outside")));
}

static int read_outside(void)
{
    int fd = open(in_top("outside"), O_RDONLY);

    if (fd >= 0)
        close(fd);
    return outcome(fd);
}

static int move_out(void)
{
    char to[128];

    snprintf(to, sizeof to, "%s/arena/moved", top);
    return outcome(rename(in_top("data/inside"), to));
}

static int trace(void)
{
    return outcome(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int read_memory(void)
{
    return outcome(syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0));
}

static int start_program(void)
{
    char name[] = "true", *argv[] = {name, NULL};
    pid_t pid = fork();
    int status = 0;

    if (pid < 0)
        return errno;
    if (pid == 0) {
        execv("/bin/true", argv);
        _exit(errno);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static int start_process(void)
{
    long pid = syscall(SYS_fork);

    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

static void *idle(void *arg)
{
    return arg;
}

static int start_thread(void)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, idle, NULL);

    return rc ? rc : pthread_join(thread, NULL);
}

static int own_namespace(void)
{
    return outcome(unshare(CLONE_NEWUSER));
}

static int cloned_namespace(void)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);

    if (pid == 0)
        _exit(0);
    return outcome(pid);
}

static int hidden_flags(void)
{
    return outcome(syscall(SYS_clone3, NULL, 0));
}

static int make_socket(void)
{
    return outcome(socket(AF_INET, SOCK_STREAM, 0));
}

static int make_local_socket(void)
{
    return outcome(socket(AF_UNIX, SOCK_STREAM, 0));
}

/* Nobody listens on port 1: refused by the sandbox, or by nobody being there. */
static int connect_out(void)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return outcome(connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&at, sizeof at));
}

static int open_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

    return outcome(bind(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&at, sizeof at));
}

static int more_memory(void)
{
    return mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
                   MAP_FAILED
               ? errno
               : 0;
}

static int executable_memory(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
               ? errno
               : 0;
}

static int made_executable(void)
{
    void *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return outcome(mprotect(page, 4096, PROT_READ | PROT_EXEC));
}

static int signal_another(void)
{
    return outcome(kill(getppid(), 0));
}

static int signal_itself(void)
{
    return outcome(kill(getpid(), 0));
}

static int x32_call(void)
{
    return outcome(syscall(0x40000000 | SYS_getpid));
}

/* ---- the sandboxes ---- */

static struct sandbox_options options(bool launches, bool gpus)
{
    static char data[96], arena[96], sockets[96];

    snprintf(data, sizeof data, "%s/data", top);
    snprintf(arena, sizeof arena, "%s/arena", top);
    snprintf(sockets, sizeof sockets, "unix:%s/data/worker.sock", top);
    return (struct sandbox_options){.token_file = "",
                                    .http_path = "",
                                    .data_dir = data,
                                    .arena_dir = arena,
                                    .worker_listen = sockets,
                                    .lane = "",
                                    .launches = launches,
                                    .gpus = gpus};
}

static void enter(bool launches, bool gpus)
{
    struct sandbox_options o = options(launches, gpus);
    struct err e;

    if (sandbox_start(&o, &e) != 0)
        _exit(200);
    sandbox_serve(&o);
}

static void server_with_workers(void)
{
    enter(true, false);
}

static void server_with_gpus(void)
{
    enter(true, true);
}

static void server_alone(void)
{
    enter(false, false);
}

static void cpu_worker(void)
{
    sandbox_worker(&(struct backend){.name = "cpu", .memory_only = true}, 0);
}

static void cpu_worker_elsewhere(void)
{
    sandbox_worker(&(struct backend){.name = "cpu", .memory_only = true}, AF_INET);
}

static void gpu_worker(void)
{
    sandbox_worker(&(struct backend){.name = "gpu"}, 0);
}

static struct {
    const char *name;
    void (*enter)(void);
    int (*attempt)(void);
    int want;
} cases[] = {
#define CASE(sandbox, attempt, want)                   \
    {                                                  \
#sandbox ": " #attempt, sandbox, attempt, want \
    }
    CASE(server_with_workers, write_inside, 0),
    CASE(server_with_workers, write_outside, EACCES),
    CASE(server_with_workers, truncate_outside, EACCES),
    CASE(server_with_workers, remove_outside, EACCES),
    CASE(server_with_workers, move_out, EXDEV),
    CASE(server_with_workers, read_outside, 0),
    CASE(server_with_workers, start_program, 0),
    CASE(server_with_workers, start_thread, 0),
    CASE(server_with_workers, trace, EPERM),
    CASE(server_with_workers, read_memory, EPERM),
    CASE(server_with_workers, own_namespace, EPERM),
    CASE(server_with_workers, cloned_namespace, EPERM),
    CASE(server_with_workers, hidden_flags, ENOSYS),
    CASE(server_with_workers, x32_call, EPERM),
    CASE(server_with_workers, connect_out, EACCES),
    CASE(server_with_workers, open_port, EACCES),
    CASE(server_with_gpus, write_outside, 0),
    CASE(server_with_gpus, connect_out, ECONNREFUSED),
    CASE(server_with_gpus, trace, EPERM),
    CASE(server_alone, write_inside, 0),
    CASE(server_alone, write_outside, EACCES),
    CASE(server_alone, read_outside, EACCES),
    CASE(server_alone, start_thread, 0),
    CASE(server_alone, more_memory, 0),
    CASE(server_alone, signal_itself, 0),
    CASE(server_alone, start_program, EPERM),
    CASE(server_alone, start_process, EPERM),
    CASE(server_alone, make_socket, EPERM),
    CASE(server_alone, executable_memory, EPERM),
    CASE(server_alone, made_executable, EPERM),
    CASE(server_alone, signal_another, EPERM),
    CASE(server_alone, trace, EPERM),
    CASE(cpu_worker, more_memory, 0),
    CASE(cpu_worker, signal_itself, 0),
    CASE(cpu_worker, read_outside, EPERM),
    CASE(cpu_worker, write_inside, EPERM),
    CASE(cpu_worker, start_program, EPERM),
    CASE(cpu_worker, start_thread, EPERM),
    CASE(cpu_worker, make_socket, EPERM),
    CASE(cpu_worker, executable_memory, EPERM),
    CASE(cpu_worker, made_executable, EPERM),
    CASE(cpu_worker, signal_another, EPERM),
    CASE(cpu_worker, trace, EPERM),
    CASE(cpu_worker_elsewhere, make_socket, 0),
    CASE(cpu_worker_elsewhere, make_local_socket, EPERM),
    CASE(cpu_worker_elsewhere, open_port, EPERM),
    CASE(cpu_worker_elsewhere, read_outside, EPERM),
    CASE(cpu_worker_elsewhere, write_inside, EPERM),
    CASE(cpu_worker_elsewhere, remove_outside, EPERM),
    CASE(cpu_worker_elsewhere, start_program, EPERM),
    CASE(cpu_worker_elsewhere, start_thread, EPERM),
    CASE(cpu_worker_elsewhere, executable_memory, EPERM),
    CASE(cpu_worker_elsewhere, signal_another, EPERM),
    CASE(gpu_worker, read_outside, 0),
    CASE(gpu_worker, make_socket, 0),
    CASE(gpu_worker, start_thread, 0),
    CASE(gpu_worker, trace, EPERM),
    CASE(gpu_worker, own_namespace, EPERM),
#undef CASE
};

/* In a process of its own, since no sandbox is left. */
static int try_one(void (*enter_it)(void), int (*attempt)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        close(STDERR_FILENO);
        process_seal();
        enter_it();
        _exit(attempt());
    }
    assert_true(pid > 0 && waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void each_sandbox_refuses_what_it_says_and_no_more(void **state)
{
    struct landlock_rules none = {.reads = false};
    struct err e;
    pid_t pid = fork();
    int status, bad = 0;

    (void)state;
    if (pid == 0) {
        process_seal();
        _exit(landlock_confine(&none, &e) >= 6 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    if (PROCESS_SANITIZED || status != 0) {
        print_message("NOTE no sandboxes: %s\n",
                      PROCESS_SANITIZED ? "a sanitizer" : "this kernel has no Landlock 6");
        return;
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int got = try_one(cases[i].enter, cases[i].attempt);

        if (got != cases[i].want) {
            print_error("%s: %d (%s), should be %d\n", cases[i].name, got, strerror(got),
                        cases[i].want);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

static void nothing(void)
{
}

static int sealed(void)
{
    struct rlimit core;
    int fd = creat(in_top("data/mine"), 0666);
    struct stat s;

    if (fd < 0 || fstat(fd, &s) != 0 || (s.st_mode & 0777) != 0600)
        return 1;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 2;
    if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
        return 3;
    return getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0 ? 0 : 4;
}

static void a_sealed_process_has_no_way_up_no_dump_and_no_file_for_others(void **state)
{
    (void)state;
    assert_int_equal(try_one(nothing, sealed), 0);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(top, "/tmp/tutti-sandbox-XXXXXX");
    if (!mkdtemp(top) || mkdir(in_top("data"), 0700) != 0 || mkdir(in_top("arena"), 0700) != 0)
        return -1;
    return creates("outside") || creates("data/inside") ? -1 : 0;
}

static int tear_down(void **state)
{
    static const char *const files[] = {"outside",  "new",       "data/inside",
                                        "data/new", "data/mine", "arena/moved"};

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        unlink(in_top(files[i]));
    rmdir(in_top("data"));
    rmdir(in_top("arena"));
    return rmdir(top);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sealed_process_has_no_way_up_no_dump_and_no_file_for_others),
        cmocka_unit_test(each_sandbox_refuses_what_it_says_and_no_more),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
