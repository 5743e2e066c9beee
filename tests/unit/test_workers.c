/* test_workers.c - the worker link against real processes: this program, started with --server, is
 * the worker, and FAKE_WORKER in the environment says how it behaves.
 *
 * This file is long because one fake worker serves all its rules.
 */
#include "tests/unit/unit.h"

#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/log.h"
#include "server/arena.h"
#include "server/comms.h"
#include "server/durable.h"
#include "server/extent.h"
#include "server/fence.h"
#include "server/scheduler.h"
#include "server/workers.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARENA (4ull << 20)

/* ---- the worker ---- */

struct fake {
    int fd;
    uint32_t rank;
    uint64_t epoch, comm;
    struct frame_reader reader;
};

static bool behaves(const char *how)
{
    const char *all = getenv("FAKE_WORKER");

    return all && strstr(all, how);
}

static void say(struct fake *f, const struct frame *frame)
{
    struct err e;

    if (frame_send(f->fd, frame, NULL, 0, 1000, &e) != 0)
        _exit(9);
}

static void say_hello(struct fake *f)
{
    struct frame frame = {.type = FRAME_hello};

    frame.hello.schema_hash = schema_hash() + behaves("other-build");
    frame.hello.rank = f->rank;
    frame.hello.pid = (uint32_t)getpid();
    strcpy(frame.hello.version, "9.9");
    strcpy(frame.hello.backend, "sh\xffm"); /* not fit for a document */
    strcpy(frame.hello.device, behaves("on-gpu") ? "gpu:0" : "cpu");
    say(f, &frame);
}

static void answer_run(struct fake *f, const struct frame_run *run)
{
    struct frame frame = {.type = FRAME_done};

    if (run->comm != f->comm || run->epoch != f->epoch)
        _exit(8); /* RUN before JOIN, or another's epoch */
    if (behaves("die-on-run"))
        kill(getpid(), SIGKILL);
    if (behaves("silent-on-run"))
        return;
    if (behaves("fail-on-run")) {
        frame = (struct frame){.type = FRAME_failed};
        frame.failed.epoch = f->epoch;
        frame.failed.job = run->job;
        frame.failed.attempt = run->attempt;
        strcpy(frame.failed.code, "worker_failed");
        strcpy(frame.failed.detail, "no\n such\xff thing");
    } else {
        frame.done = (struct frame_done){.epoch = f->epoch,
                                         .job = run->job,
                                         .attempt = run->attempt,
                                         .start_ns = 1000,
                                         .end_ns = 5001000};
    }
    if (behaves("late")) { /* answers of another life first */
        frame.done.epoch--;
        say(f, &frame);
        frame.done.epoch++;
        frame.done.attempt += 7;
        say(f, &frame);
        frame.done.attempt -= 7;
    }
    say(f, &frame);
    if (behaves("twice"))
        say(f, &frame);
    if (behaves("die-after-done"))
        _exit(4);
}

/* Returns false when it is time to leave. */
static bool obey(struct fake *f, struct frame *in)
{
    struct stat s;

    switch (in->type) {
    case FRAME_welcome:
        f->epoch = in->welcome.epoch;
        if (fstat(frame_take_fd(&f->reader, 0), &s) != 0 ||
            (uint64_t)s.st_size != in->welcome.arena_bytes || frame_take_fd(&f->reader, 1) < 0)
            _exit(7);
        if (behaves("garbage"))
            send(f->fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, 0);
        if (behaves("mine-not"))
            say(f, &(struct frame){.type = FRAME_stop});
        return true;
    case FRAME_join:
        f->comm = in->join.comm;
        if (in->join.ranks[in->join.rank] != f->rank)
            _exit(6);
        return true;
    case FRAME_run:
        answer_run(f, &in->run);
        return true;
    case FRAME_cancel:
        if (!behaves("stubborn")) {
            struct frame out = {.type = FRAME_failed};

            out.failed.epoch = f->epoch;
            out.failed.job = in->cancel.job;
            out.failed.attempt = in->cancel.attempt;
            strcpy(out.failed.code, "cancelled");
            say(f, &out);
        }
        return true;
    case FRAME_leave:
    case FRAME_heartbeat:
        return true;
    default:
        return false;
    }
}

static int fake_worker(int argc, char *argv[])
{
    static struct fake f;
    static struct frame in;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct err e;
    int rc;

    f.rank = (uint32_t)strtoul(argv[4], NULL, 10);
    if (argc < 11 || strncmp(argv[2], "unix:", 5) != 0 || behaves("die-at-start"))
        return 3;
    strncpy(address.sun_path, argv[2] + 5, sizeof address.sun_path - 1);
    f.fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(f.fd, (struct sockaddr *)&address, sizeof address) != 0)
        return 2;
    frame_reader_init(&f.reader, f.fd);
    if (!behaves("mute"))
        say_hello(&f);
    while ((rc = frame_read(&f.reader, 0, &in, &e)) >= 0) {
        if (rc == 1 && !obey(&f, &in))
            break;
    }
    while (behaves("outlive"))
        pause();
    return 0;
}

/* ---- what jobs see ---- */

static struct {
    uint32_t done, failed, lost, late;
    uint32_t lost_rank;
    char how[256], why[256];
} seen;

void job_rank_done(uint64_t seq, uint32_t attempt, uint32_t world_rank, uint64_t start_ns,
                   uint64_t end_ns)
{
    (void)seq;
    (void)attempt;
    (void)world_rank;
    assert_int_equal(end_ns - start_ns, 5000000);
    seen.done++;
}

void job_rank_failed(uint64_t seq, uint32_t attempt, uint32_t world_rank, const struct err *why)
{
    (void)seq;
    (void)attempt;
    (void)world_rank;
    snprintf(seen.why, sizeof seen.why, "%s: %.200s", err_name(why->code), why->detail);
    seen.failed++;
}

void job_rank_lost(uint64_t seq, uint32_t attempt, uint32_t world_rank, const char *how)
{
    assert_int_equal(seq, 1);
    assert_int_equal(attempt, 1);
    seen.lost_rank = world_rank;
    snprintf(seen.how, sizeof seen.how, "%s", how);
    seen.lost++;
}

void job_rank_away(struct job *j)
{
    (void)j;
    fail_msg("a worker whose end the kernel does not tell");
}

void job_staged(struct job *j, const struct err *why)
{
    (void)j;
    (void)why;
    fail_msg("a job on another host");
}

void job_count_late(void)
{
    seen.late++;
}

static enum job_begun begin(struct job *j)
{
    (void)j;
    return JOB_BEGUN;
}

/* ---- the house around ---- */

static char dir[64], address[128], self[256];
static struct arena *arena;
static struct workers_options options;

static void clear_dir(void)
{
    static const char *const files[] = {"arena", "arena.lock", "fence", "workers.pids",
                                        "worker.sock"};
    char path[128];

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

static int set_up(void **state)
{
    struct err e;
    bool kept;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    (void)state;
    self[n > 0 ? n : 0] = '\0';
    memset(&seen, 0, sizeof seen);
    log_init("test", LOG_error, false);
    strcpy(dir, "/dev/shm/tutti-workers-XXXXXX");
    if (!mkdtemp(dir) || arena_open(&arena, dir, ARENA, 0, &kept, &e) != 0 ||
        extent_init(arena, &e) != 0 || tensor_table_init(&e) != 0 || core_init(&e) != 0)
        return -1;
    snprintf(address, sizeof address, "unix:%s/worker.sock", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unsetenv("FAKE_WORKER");
    workers_fini(clock_us() + 3000000);
    scheduler_fini();
    core_fini();
    tensor_table_fini();
    extent_fini();
    arena_close(arena);
    clear_dir();
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return 0;
}

static void start(uint32_t world, uint32_t launch, const char *behaviour)
{
    struct err e;

    setenv("FAKE_WORKER", behaviour, 1);
    options = (struct workers_options){
        .world_size = world,
        .launch = launch,
        .listen = address,
        .fence_dir = dir,
        .worker_path = self,
        .backend = "shm",
        .log_level = "info",
        .log_format = "text",
        .arena = arena,
    };
    assert_int_equal(scheduler_init(world, 1, begin, &e), 0);
    if (workers_init(&options, &e) != 0)
        fail_msg("%s", e.detail);
}

static struct worker_info info(uint32_t rank)
{
    struct worker_info all[8];

    workers_list(all);
    return all[rank];
}

#define UNTIL(condition, limit_ms)                         \
    do {                                                   \
        uint64_t until_ = clock_us() + (limit_ms)*1000ull; \
        while (!(condition) && clock_us() < until_)        \
            core_turn(10000);                              \
        assert_true(condition);                            \
    } while (0)

static pid_t outsider(const char *rank, const char *behaviour)
{
    pid_t pid = fork();

    if (pid == 0) {
        setenv("FAKE_WORKER", behaviour, 1);
        execl(self, self, "--server", address, "--rank", rank, "--backend", "shm", "--log-level",
              "info", "--log-format", "text", NULL);
        _exit(127);
    }
    return pid;
}

static bool exited(pid_t pid)
{
    siginfo_t info_of = {0};

    return waitid(P_PID, (id_t)pid, &info_of, WEXITED | WNOHANG | WNOWAIT) == 0 && info_of.si_pid;
}

/* ---- a job that only the link sees ---- */

static struct job *job_on(const uint32_t *ranks, uint32_t n)
{
    struct job *j = calloc(1, sizeof *j + n * sizeof j->links[0]);
    struct extent *x;
    struct err e;

    j->seq = 1;
    j->record = record_new(n);
    j->record->op = op_find("all_reduce_sum", 14);
    j->record->attempts = 1;
    j->record->id = id_new();
    j->record->in_shape = j->record->out_shape = (struct shape){.ndim = 1, .dim = {16}};
    memcpy(j->record->ranks, ranks, n * sizeof *ranks);
    j->inputs = calloc(n, sizeof(struct tensor *));
    j->outputs = calloc(n, sizeof(struct tensor *));
    for (uint32_t i = 0; i < n; i++) {
        assert_int_equal(extent_alloc(16, &x, &e), 0);
        j->inputs[i] = tensor_new(DTYPE_int8, &j->record->in_shape, x, 0);
        j->outputs[i] = tensor_ref(j->inputs[i]);
        extent_unref(x);
    }
    return j;
}

static void run(struct job *j)
{
    struct err e;

    assert_int_equal(workers_prepare(j, &e), 0);
    workers_run(&j, 1);
}

static void job_gone(struct job *j)
{
    for (uint32_t i = 0; i < j->record->n; i++) {
        tensor_unref(j->inputs[i]);
        tensor_unref(j->outputs[i]);
    }
    free(j->inputs);
    free(j->outputs);
    record_free(j->record);
    free(j);
}

/* ---- the tests ---- */

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
