/* stage.h - a stage for tests of what survives: a directory, an arena, the tables, the store; a
 * message posted and waited for; a child process that a failpoint may end.
 *
 * This file is long because one stage serves all store and job tests.
 */
#ifndef TUTTI_TESTS_STAGE_H
#define TUTTI_TESTS_STAGE_H

#include "tests/unit/unit.h"

#include "schema/failpoint.h"
#include "schema/log.h"
#include "server/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAGE_ARENA (16u << 20)

static char stage_dir[64];
static struct arena *stage_arena;

static inline const char *stage_path(const char *name)
{
    static char path[4][128];
    static unsigned turn;
    char *at = path[turn++ % 4];

    snprintf(at, sizeof path[0], "%s/%s", stage_dir, name);
    return at;
}

static inline void stage_make_dir(void)
{
    log_init("test", LOG_error, false);
    strcpy(stage_dir, "/tmp/tutti-stage-XXXXXX");
    assert_non_null(mkdtemp(stage_dir));
}

static inline void stage_remove_dir(void)
{
    static const char *const names[] = {"tutti.db", "tutti.db-wal", "tutti.db-shm", "lock",
                                        "arena",    "arena.lock",   "saved"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(stage_path(names[i]));
    assert_int_equal(rmdir(stage_dir), 0);
}

/* Store (not started), arena, tables. */
static inline void stage_open(bool *kept)
{
    struct err e = {0};
    bool is_kept;

    if (store_open(stage_dir, &e) != 0 ||
        arena_open(&stage_arena, stage_dir, STAGE_ARENA, store_arena_nonce(), &is_kept, &e) != 0 ||
        extent_init(stage_arena, &e) != 0 || tensor_table_init(&e) != 0 ||
        store_set_arena_nonce(arena_nonce(stage_arena), &e) != 0)
        fail_msg("%s", e.detail);
    if (kept)
        *kept = is_kept;
}

static inline void stage_close(void)
{
    tensor_table_fini();
    extent_fini();
    arena_close(stage_arena);
    store_close();
}

static inline int stage_setup(void **state)
{
    struct err e;

    (void)state;
    stage_make_dir();
    stage_open(NULL);
    return store_start(&e);
}

static inline int stage_teardown(void **state)
{
    (void)state;
    store_stop();
    stage_close();
    stage_remove_dir();
    return 0;
}

static inline int stage_setup_dir(void **state)
{
    (void)state;
    stage_make_dir();
    return 0;
}

static inline int stage_teardown_dir(void **state)
{
    (void)state;
    stage_remove_dir();
    return 0;
}

static inline void stage_restart(void)
{
    struct err e;

    store_stop();
    stage_close();
    stage_open(NULL);
    assert_int_equal(store_start(&e), 0);
}

/* ---- one message, waited for ---- */

static pthread_mutex_t stage_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t stage_cond = PTHREAD_COND_INITIALIZER;
static unsigned stage_dones;

static inline void stage_done(struct store_msg *m, const struct err *e)
{
    (void)m;
    (void)e;
    pthread_mutex_lock(&stage_lock);
    stage_dones++;
    pthread_cond_broadcast(&stage_cond);
    pthread_mutex_unlock(&stage_lock);
}

static inline void stage_wait(unsigned dones)
{
    pthread_mutex_lock(&stage_lock);
    while (stage_dones < dones)
        pthread_cond_wait(&stage_cond, &stage_lock);
    pthread_mutex_unlock(&stage_lock);
}

/* Returns the message's rc; its err says why. */
static inline int stage_post(struct store_msg *m)
{
    unsigned before;

    pthread_mutex_lock(&stage_lock);
    before = stage_dones;
    pthread_mutex_unlock(&stage_lock);
    m->done = stage_done;
    store_post(m);
    stage_wait(before + 1);
    return m->rc;
}

/* ---- records and tensors ---- */

static inline struct tensor *stage_tensor(uint64_t elements)
{
    struct shape s = {.ndim = 1, .dim = {elements}};
    struct extent *x = NULL;
    struct tensor *t;

    assert_int_equal(extent_alloc(elements * 4, &x, NULL), 0);
    t = tensor_new(DTYPE_float32, &s, x, 0);
    assert_non_null(t);
    extent_unref(x);
    return t;
}

/* all_reduce_sum over two ranks of four float32. */
static inline struct job_record *stage_record(void)
{
    struct job_record *r = record_new(2);

    assert_non_null(r);
    r->id = id_new();
    r->op = &ops[OP_all_reduce_sum];
    strcpy(r->group, "world");
    r->ranks[1] = 1;
    r->dtype = DTYPE_float32;
    r->in_shape = r->out_shape = (struct shape){.ndim = 1, .dim = {4}};
    r->timeout_us = 60000000;
    r->received_us = 1000000;
    return r;
}

static inline int stage_insert(const struct job_record *r, struct tensor *const *inputs)
{
    struct store_job_insert m = {.record = r, .inputs = inputs, .key = ""};

    store_job_insert_init(&m);
    return stage_post(&m.msg);
}

/* ---- of a running store ---- */

static inline struct job_record *must_read(const struct id *id)
{
    struct job_record *r = NULL;
    struct err e = {0};

    if (store_job_read(id, NULL, &r, &e) != 0)
        fail_msg("%s", e.detail);
    return r;
}

static inline void expect_unknown(const struct id *id)
{
    struct job_record *r = NULL;
    struct err e = {0};

    assert_int_equal(store_job_read(id, NULL, &r, &e), -1);
    assert_int_equal(e.code, ERR_job_unknown);
}

static inline void must(struct store_msg *m)
{
    if (stage_post(m) != 0)
        fail_msg("%s", m->err.detail);
}

static inline void must_insert(const struct job_record *r)
{
    struct tensor *none[LIMIT_RANKS] = {0};

    assert_int_equal(stage_insert(r, none), 0);
}

/* Ends it: succeeded without outputs, or failed. */
static inline void must_finish(struct job_record *r, enum job_state to, uint64_t finished_us)
{
    struct store_job_finish m = {.record = r};
    struct tensor *none[LIMIT_RANKS] = {0};

    r->state = to;
    r->finished_us = finished_us;
    if (to == JOB_succeeded) {
        m.outputs = none;
    } else {
        r->error = calloc(1, sizeof *r->error);
        err_set(r->error, ERR_run_timeout, "too slow");
    }
    store_job_finish_init(&m);
    must(&m.msg);
    assert_false(m.superseded);
}

/* ---- children ---- */

/* What the child ended with: its exit status, or -signal. */
static inline int stage_child(void (*body)(void), const char *failpoints)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        if (failpoints) {
            setenv("TUTTI_FAILPOINTS", failpoints, 1);
            failpoint_init();
        }
        if (!freopen("/dev/null", "w", stderr))
            _exit(99);
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
