/* workers_house.h - a server's side of the worker link, with what it tells jobs; for its tests.
 *
 * Included once: it stands in for job.c. This header is long because one house serves all rules.
 */
#ifndef TUTTI_TESTS_WORKERS_HOUSE_H
#define TUTTI_TESTS_WORKERS_HOUSE_H

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

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARENA (4ull << 20)

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

static inline enum job_begun begin(struct job *j)
{
    (void)j;
    return JOB_BEGUN;
}

/* ---- the house around ---- */

static char dir[64], address[128], self[256];
static struct arena *arena;
static struct workers_options options;

static inline void clear_dir(void)
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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline void start(uint32_t world, uint32_t launch, const char *behaviour)
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

static inline struct worker_info info(uint32_t rank)
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

static inline pid_t outsider(const char *rank, const char *behaviour)
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

static inline bool exited(pid_t pid)
{
    siginfo_t info_of = {0};

    return waitid(P_PID, (id_t)pid, &info_of, WEXITED | WNOHANG | WNOWAIT) == 0 && info_of.si_pid;
}

/* ---- a job that only the link sees ---- */

static inline struct job *job_on(const uint32_t *ranks, uint32_t n)
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

static inline void run(struct job *j)
{
    struct err e;

    assert_int_equal(workers_prepare(j, &e), 0);
    workers_run(&j, 1);
}

static inline void job_gone(struct job *j)
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

#endif
