/* test_workers.c - the worker link against real processes: this program, started with --server, is
 * the worker. */
#include "tests/unit/fake_worker.h"
#include "tests/unit/workers_house.h"

static void launched_workers_join_run_and_stop(void **state)
{
    struct job *j;

    (void)state;
    start(3, 3, "");
    UNTIL(workers_ready_count() == 3, 5000);
    assert_int_equal(info(2).state, WORKER_ready);
    assert_string_equal(info(2).backend, "sh?m");
    assert_true(info(1).epoch > 0 && info(1).epoch != info(2).epoch);
    j = job_on((uint32_t[]){2, 0}, 2);
    run(j);
    assert_int_equal(info(0).state, WORKER_busy);
    assert_int_equal(info(1).state, WORKER_ready);
    UNTIL(seen.done == 2, 5000);
    run(j); /* knows the group already */
    UNTIL(seen.done == 4, 5000);
    assert_int_equal(info(0).jobs_done, 2);
    assert_int_equal(info(0).busy_us, 10000);
    assert_int_equal(workers_ready_count(), 3);
    workers_fini(clock_us() + 3000000); /* STOP: they leave by themselves */
    assert_int_equal(seen.lost, 0);
    job_gone(j);
}

static void a_worker_that_dies_in_a_job_is_lost_once_and_comes_back(void **state)
{
    struct job *j = job_on((uint32_t[]){1, 0}, 2);

    (void)state;
    start(2, 2, "die-on-run");
    UNTIL(workers_ready_count() == 2, 5000);
    setenv("FAKE_WORKER", "", 1); /* for those that start from now on */
    run(j);
    UNTIL(seen.lost == 2, 5000);
    assert_non_null(strstr(seen.how, "signal 9 (Killed)"));
    UNTIL(workers_ready_count() == 2, 5000);
    assert_int_equal(info(0).restarts, 1);
    run(j); /* new processes: told of the group again */
    UNTIL(seen.done == 2, 5000);
    job_gone(j);
}

static void a_done_that_was_sent_before_the_death_counts(void **state)
{
    struct job *j = job_on((uint32_t[]){0}, 1);

    (void)state;
    start(1, 1, "die-after-done");
    UNTIL(workers_ready_count() == 1, 5000);
    run(j);
    UNTIL(seen.done == 1, 5000);
    UNTIL(info(0).restarts >= 1, 5000);
    assert_int_equal(seen.lost, 0);
    job_gone(j);
}

static void a_failure_is_told_in_fit_words(void **state)
{
    struct job *j = job_on((uint32_t[]){0}, 1);

    (void)state;
    start(1, 1, "fail-on-run");
    UNTIL(workers_ready_count() == 1, 5000);
    run(j);
    UNTIL(seen.failed == 1, 5000);
    assert_string_equal(seen.why, "worker_failed: no? such? thing");
    assert_int_equal(info(0).state, WORKER_ready);
    assert_int_equal(info(0).jobs_failed, 1);
    job_gone(j);
}

static void answers_of_another_life_are_dropped(void **state)
{
    struct job *j = job_on((uint32_t[]){0}, 1);

    (void)state;
    start(1, 1, "late twice");
    UNTIL(workers_ready_count() == 1, 5000);
    run(j);
    UNTIL(seen.late == 3, 5000);
    assert_int_equal(seen.done, 1);
    assert_int_equal(info(0).state, WORKER_ready);
    job_gone(j);
}

static void cancel_is_answered_or_ends_in_a_confirmed_kill(void **state)
{
    struct job *j = job_on((uint32_t[]){0, 1}, 2);
    uint64_t start_us;

    (void)state;
    start(2, 1, "silent-on-run");
    outsider("1", "silent-on-run stubborn");
    UNTIL(workers_ready_count() == 2, 5000);
    run(j);
    workers_cancel(j);
    workers_cancel(j); /* nothing more */
    start_us = clock_us();
    UNTIL(seen.failed == 1, 1000);
    UNTIL(seen.lost == 1, LIMIT_CANCEL_MS + 2000);
    assert_true(clock_us() - start_us >= LIMIT_CANCEL_MS * 1000ull);
    assert_int_equal(seen.lost_rank, 1);
    assert_non_null(strstr(seen.how, "CANCEL"));
    assert_int_equal(info(1).state, WORKER_absent); /* not ours to start again */
    assert_int_equal(info(0).state, WORKER_ready);
    job_gone(j);
}

static void garbage_and_frames_of_the_server_end_the_worker(void **state)
{
    (void)state;
    start(2, 0, "");
    outsider("0", "garbage");
    UNTIL(info(0).epoch != 0, 5000);
    UNTIL(info(0).state == WORKER_absent, 5000);
    outsider("1", "mine-not outlive");
    UNTIL(info(1).epoch != 0, 5000);
    UNTIL(info(1).state == WORKER_absent, 5000); /* killed: it would have outlived its link */
}

static void others_are_refused_with_a_reason(void **state)
{
    pid_t pids[5];

    (void)state;
    start(2, 1, "");
    UNTIL(workers_ready_count() == 1, 5000);
    pids[0] = outsider("0", ""); /* launched by the server */
    pids[1] = outsider("1", "other-build");
    pids[2] = outsider("2", ""); /* outside the world */
    UNTIL(exited(pids[0]), 5000);
    UNTIL(exited(pids[1]), 5000);
    UNTIL(exited(pids[2]), 5000);
    assert_int_equal(info(1).state, WORKER_absent);
    pids[3] = outsider("4294967295", ""); /* any rank */
    UNTIL(workers_ready_count() == 2, 5000);
    assert_int_equal(info(1).pid, pids[3]);
    pids[4] = outsider("1", ""); /* held */
    UNTIL(exited(pids[4]), 5000);
    assert_int_equal(info(1).pid, pids[3]);
    assert_int_equal(workers_ready_count(), 2);
}

static void a_gpu_is_refused_where_what_it_writes_must_be_flushed(void **state)
{
    pid_t pid;

    (void)state;
    start(1, 0, "");
    durable = true;
    pid = outsider("0", "on-gpu");
    UNTIL(exited(pid), 5000);
    assert_int_equal(info(0).state, WORKER_absent);
    durable = false;
    outsider("0", "on-gpu");
    UNTIL(workers_ready_count() == 1, 5000);
}

static void one_that_does_not_say_hello_is_sent_away(void **state)
{
    uint64_t start_us = clock_us();
    pid_t pid;

    (void)state;
    start(1, 0, "");
    pid = outsider("0", "mute");
    UNTIL(exited(pid), LIMIT_HELLO_MS + 3000);
    assert_true(clock_us() - start_us >= LIMIT_HELLO_MS * 1000ull);
    assert_int_equal(info(0).state, WORKER_absent);
}

static void one_that_dies_at_once_is_started_again_with_growing_pauses(void **state)
{
    uint64_t start_us = clock_us();

    (void)state;
    start(1, 1, "die-at-start");
    UNTIL(info(0).restarts == 4, 10000);
    assert_true(clock_us() - start_us >= LIMIT_RESTART_MIN_MS * 1000ull * (1 + 2 + 4 + 8));
}

static void a_stopped_worker_is_killed_and_only_then_lost(void **state)
{
    struct job *j = job_on((uint32_t[]){0}, 1);
    pid_t pid;

    (void)state;
    start(1, 1, "silent-on-run");
    UNTIL(workers_ready_count() == 1, 5000);
    pid = (pid_t)info(0).pid;
    kill(pid, SIGSTOP);
    run(j);
    workers_cancel(j);
    UNTIL(seen.lost == 1, LIMIT_CANCEL_MS + 2000);
    assert_int_equal(kill(pid, 0), -1); /* gone and reaped */
    job_gone(j);
}

static void the_next_server_waits_for_and_kills_the_workers_of_the_last(void **state)
{
    struct err e;
    int fence = -1;
    pid_t pid;

    (void)state;
    start(1, 0, "");
    pid = outsider("0", "outlive"); /* its exe is not a tutti-worker: not ours to kill */
    UNTIL(workers_ready_count() == 1, 5000);
    fence_close();
    assert_int_equal(fence_open(dir, &e), -1);
    assert_non_null(strstr(e.detail, "fence"));
    kill(pid, SIGKILL);
    UNTIL(info(0).state == WORKER_absent, 5000);
    assert_int_equal(fence_open(dir, &e), 0);
    assert_int_equal(fence_pass(&fence, &e), 0);
    assert_int_equal(fence_record(0, getpid(), &e), 0);
    close(fence);
}

/* The same with a process that calls itself tutti-worker: killed, and the start goes on. */
static void an_orphaned_tutti_worker_is_killed_at_the_next_start(void **state)
{
    char copy[128], command[700];
    uint64_t start_us;
    int fence, status;
    struct err e;
    pid_t pid;

    (void)state;
    assert_int_equal(fence_open(dir, &e), 0);
    assert_int_equal(scheduler_init(1, 1, begin, &e), 0);
    snprintf(copy, sizeof copy, "%s/tutti-worker", dir);
    snprintf(command, sizeof command, "cp /bin/sleep %s", copy);
    assert_int_equal(system(command), 0);
    assert_int_equal(fence_pass(&fence, &e), 0);
    pid = fork();
    if (pid == 0) {
        dup2(fence, 50); /* holds the fence, as a worker does */
        execl(copy, copy, "60", NULL);
        _exit(127);
    }
    close(fence);
    usleep(100000); /* exec */
    assert_int_equal(fence_record(0, pid, &e), 0);
    fence_close();
    start_us = clock_us();
    assert_int_equal(fence_open(dir, &e), 0);
    assert_true(clock_us() - start_us < 1000000);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    fence_close();
    unlink(copy);
}

static void groups_are_named_once_and_the_oldest_idle_one_is_forgotten(void **state)
{
    struct comm *first, *second, *c;
    struct err e;

    (void)state;
    assert_int_equal(scheduler_init(1, 1, begin, &e), 0);
    first = comms_use((uint32_t[]){0, 1}, 2, 0, "shm", &e);
    second = comms_use((uint32_t[]){1, 0}, 2, 0, "shm", &e); /* another order: another group */
    assert_ptr_not_equal(first, second);
    assert_int_not_equal(first->id, second->id);
    assert_ptr_equal(comms_use((uint32_t[]){0, 1}, 2, 0, "shm", &e), first);
    first->busy = 1;
    for (uint32_t i = 0; i < COMMS_MAX - 2; i++) {
        comms_use(&i, 1, 0, "shm", &e);
        assert_null(comms_evict(COMMS_MAX));
    }
    comms_use((uint32_t[]){7, 8, 9}, 3, 0, "shm", &e);
    c = comms_evict(COMMS_MAX);
    assert_ptr_equal(c, second); /* first is older by use only after it, and busy */
    comm_free(c);
    assert_null(comms_evict(COMMS_MAX));
    first->busy = 0;
}

int main(int argc, char *argv[])
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(launched_workers_join_run_and_stop),
        T(a_worker_that_dies_in_a_job_is_lost_once_and_comes_back),
        T(a_done_that_was_sent_before_the_death_counts),
        T(a_failure_is_told_in_fit_words),
        T(answers_of_another_life_are_dropped),
        T(cancel_is_answered_or_ends_in_a_confirmed_kill),
        T(garbage_and_frames_of_the_server_end_the_worker),
        T(others_are_refused_with_a_reason),
        T(a_gpu_is_refused_where_what_it_writes_must_be_flushed),
        T(one_that_does_not_say_hello_is_sent_away),
        T(one_that_dies_at_once_is_started_again_with_growing_pauses),
        T(a_stopped_worker_is_killed_and_only_then_lost),
        T(the_next_server_waits_for_and_kills_the_workers_of_the_last),
        T(an_orphaned_tutti_worker_is_killed_at_the_next_start),
        T(groups_are_named_once_and_the_oldest_idle_one_is_forgotten),
    };
#undef T

    if (argc > 1 && strcmp(argv[1], "--server") == 0)
        return fake_worker(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
