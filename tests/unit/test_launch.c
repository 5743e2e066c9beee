/* test_launch.c - a worker process is started clean, and its exit is told as it was. */
#include "tests/unit/unit.h"

#include "server/launch.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct launched start(const char *script)
{
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    struct launched l;
    struct err e;

    if (launch_start(&l, argv, &e) != 0)
        fail_msg("%s", e.detail);
    return l;
}

static void wait_exit(struct launched *l, const char *want)
{
    struct pollfd p = {.fd = l->pidfd, .events = POLLIN};
    char how[80];

    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(launch_reaped(l, how, sizeof how));
    assert_string_equal(how, want);
    assert_int_equal(l->pid, 0);
    assert_int_equal(l->pidfd, -1);
}

static void an_exit_is_told_with_its_status(void **state)
{
    struct launched l = start("exit 3");

    (void)state;
    wait_exit(&l, "exit 3");
}

static void a_signal_is_told_by_number_and_name(void **state)
{
    struct launched l = start("sleep 60");
    char how[80];

    (void)state;
    assert_false(launch_reaped(&l, how, sizeof how));
    launch_kill(&l, SIGKILL);
    wait_exit(&l, "signal 9 (Killed)");
    launch_kill(&l, SIGKILL); /* after its end: hits nobody */
}

static void a_program_that_is_not_there_is_an_error_that_names_it(void **state)
{
    const char *argv[] = {"/nonexistent/tutti-worker", NULL};
    struct launched l;
    struct err e;

    (void)state;
    assert_int_equal(launch_start(&l, argv, &e), -1);
    assert_non_null(strstr(e.detail, "/nonexistent/tutti-worker"));
}

/* Descriptors, blocked and ignored signals of the server are no business of a worker's. */
static void a_worker_inherits_only_standard_files_and_default_signals(void **state)
{
    int extra = open("/dev/null", O_RDONLY); /* without CLOEXEC */
    sigset_t block, old;
    struct launched l;

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&block);
    sigaddset(&block, SIGTERM);
    sigprocmask(SIG_BLOCK, &block, &old);
    l = start("for f in /proc/self/fd/*; do f=${f##*/}; [ $f -le 2 ] || [ $f = 3 ] || exit 1; done;"
              "[ \"$(readlink /proc/self/fd/0)\" = /dev/null ] || exit 2;"
              "grep -q '^SigBlk:.*[1-9a-f]' /proc/self/status && exit 3;"
              /* 32 and 33 are the C library's own, and ignored in every spawned child */
              "grep -q '^SigIgn:.*0000000$' /proc/self/status || exit 4;"
              "[ $(ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat) = $$ ] || exit 5;"
              "exit 0");
    wait_exit(&l, "exit 0");
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, SIG_DFL);
    close(extra);
}

/* As the worker of another parent is: fork, and let a middle man be the parent. */
static void an_adopted_process_is_seen_to_end(void **state)
{
    struct launched l;
    struct err e;
    int pipes[2];
    pid_t middle, grandchild;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    middle = fork();
    if (middle == 0) {
        grandchild = fork();
        if (grandchild == 0) {
            pause();
            _exit(0);
        }
        if (write(pipes[1], &grandchild, sizeof grandchild) < 0)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(pipes[0], &grandchild, sizeof grandchild), sizeof grandchild);
    waitpid(middle, NULL, 0);
    assert_int_equal(launch_adopt(&l, grandchild, &e), 0);
    launch_kill(&l, SIGKILL);
    wait_exit(&l, "its own exit");
    assert_int_equal(launch_adopt(&l, 0, &e), -1); /* a peer of another process namespace */
    assert_int_equal(launch_adopt(&l, 0x3fffffff, &e), -1);
    close(pipes[0]);
    close(pipes[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exit_is_told_with_its_status),
        cmocka_unit_test(a_signal_is_told_by_number_and_name),
        cmocka_unit_test(a_program_that_is_not_there_is_an_error_that_names_it),
        cmocka_unit_test(a_worker_inherits_only_standard_files_and_default_signals),
        cmocka_unit_test(an_adopted_process_is_seen_to_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
