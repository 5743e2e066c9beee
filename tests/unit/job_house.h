/* job_house.h - a house for the life of jobs: a database and workers that do what the test says.
 *
 * Included once, by each test of the core's job files: it stands in for store.c, workers.c and
 * resident.c. This header is long because one fake house serves all rules.
 */
#ifndef TUTTI_TESTS_JOB_HOUSE_H
#define TUTTI_TESTS_JOB_HOUSE_H

#include "tests/unit/arena_house.h"

#include "schema/clock.h"
#include "server/extent.h"
#include "server/job.h"
#include "server/resident.h"
#include "server/scheduler.h"
#include "server/stage.h"
#include "server/store.h"
#include "server/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORLD 4
#define ARENA (8ull << 20)
#define COUNT 1024u /* float32 elements of a usual tensor */

/* ---- a database: commits, or fails, when the test says so ---- */

static struct store_msg *posted[4096];
static uint32_t n_posted, inserts, finishes;
static uint32_t attempts_stored;  /* of the job last inserted or tried */
static enum err_code store_fails; /* ERR_none: it does not */
static bool key_exists, finish_superseded;
static struct id key_job;

static inline int do_insert(struct store_msg *msg, struct err *e)
{
    struct store_job_insert *m = (struct store_job_insert *)msg;

    (void)e;
    m->existed = m->key[0] && key_exists;
    m->existing = key_job;
    inserts += !m->existed;
    attempts_stored = m->record->attempts;
    return 0;
}

static inline int do_finish(struct store_msg *msg, struct err *e)
{
    struct store_job_finish *m = (struct store_job_finish *)msg;

    (void)e;
    assert_true(job_state_terminal(m->record->state));
    assert_int_equal(m->outputs != NULL, m->record->state == JOB_succeeded);
    m->superseded = finish_superseded;
    finishes++;
    return 0;
}

static inline int do_attempt(struct store_msg *msg, struct err *e)
{
    (void)e;
    attempts_stored = ((struct store_job_attempt *)msg)->attempts;
    return 0;
}

void store_job_insert_init(struct store_job_insert *m)
{
    m->msg.apply = do_insert;
}

void store_job_finish_init(struct store_job_finish *m)
{
    m->msg.apply = do_finish;
}

void store_job_attempt_init(struct store_job_attempt *m)
{
    m->msg.apply = do_attempt;
}

/* Inputs that were promises are there: so many of them, of so many. */
static uint32_t inputs_stored, inputs_promised;

static inline int do_inputs(struct store_msg *msg, struct err *e)
{
    struct store_job_inputs *m = (struct store_job_inputs *)msg;

    (void)e;
    inputs_stored++;
    inputs_promised = 0;
    for (size_t i = 0; i < m->size; i++)
        inputs_promised += m->inputs[i];
    if (m->attempts > 0)
        attempts_stored = m->attempts;
    return 0;
}

int store_job_inputs_init(struct store_job_inputs *m, const struct job_record *record,
                          struct tensor *const *inputs)
{
    m->msg.apply = do_inputs;
    m->id = record->id;
    m->size = record->n;
    m->inputs = malloc(m->size);
    for (uint32_t i = 0; i < record->n; i++)
        m->inputs[i] = inputs[i] && inputs[i]->promise;
    return 0;
}

void store_job_inputs_fini(struct store_job_inputs *m)
{
    free(m->inputs);
}

/* Calls are tested over HTTP. */
void store_call_init(struct store_call *m)
{
    (void)m;
    fail_msg("a call");
}

void store_key_find_init(struct store_key_find *m)
{
    (void)m;
    fail_msg("a call's key");
}

void store_line_key(struct store_key *out, const char *key, uint32_t line)
{
    snprintf(out->key, sizeof out->key, "%s/%u", key, line);
}

/* What a restart finds of jobs that have ended. */
static struct job_record *stored_job;

int store_job_read(const struct id *id, const struct account *scope, struct job_record **out,
                   struct err *e)
{
    (void)scope;
    if (!stored_job || !id_equal(&stored_job->id, id))
        return err_set(e, ERR_job_unknown, "there is no such job");
    *out = record_copy(stored_job);
    return 0;
}

static bool at_once; /* the database and the workers need no word of the test */

void store_post(struct store_msg *m)
{
    struct err e;

    if (at_once) {
        m->apply(m, &e);
        m->done(m, NULL);
        return;
    }
    assert_true(n_posted < sizeof posted / sizeof posted[0]);
    posted[n_posted++] = m;
}

void store_post_joined(struct store_msg *first)
{
    for (struct store_msg *m = first, *next; m; m = next) {
        next = m->next;
        store_post(m);
    }
}

/* One commit, then what it answered. */
static inline void commit(void)
{
    uint32_t n = n_posted;
    struct store_msg *taken[4096];

    memcpy(taken, posted, n * sizeof posted[0]);
    n_posted = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct err e;

        if (store_fails != ERR_none) {
            err_set(&e, store_fails, "said the test");
            taken[i]->done(taken[i], &e);
        } else {
            taken[i]->apply(taken[i], &e);
            taken[i]->done(taken[i], NULL);
        }
    }
    core_turn(0);
}

/* ---- workers ---- */

#define LARGE (LIMIT_BATCH_BYTES / 4 + 1) /* elements of a tensor that shares no run */

static struct job *on_rank[WORLD], *behind[WORLD][LIMIT_BATCH_JOBS];
static uint32_t runs, cancels, batch;
static bool one_input; /* of all ranks */
static int holds;      /* attempts that hold their inputs on their devices */

int workers_check(const struct job_record *r, struct err *e)
{
    (void)r;
    (void)e;
    return 0;
}

int workers_prepare(struct job *j, struct err *e)
{
    (void)j;
    (void)e;
    return 0;
}

/* Ranks on CPUs: nothing is resident. */
bool resident_stays(const struct job_record *r)
{
    (void)r;
    return false;
}

bool resident_too_large(const struct job_record *r, uint64_t bytes)
{
    (void)r;
    (void)bytes;
    return false;
}

int resident_prepare(struct job *j, struct err *e)
{
    (void)j;
    (void)e;
    return 0;
}

void resident_hold(const struct job *j, bool begin)
{
    holds += begin ? 1 : -1;
    (void)j;
}

int resident_make(struct tensor *t, const uint32_t *ranks, uint32_t n, struct err *e)
{
    (void)t;
    (void)ranks;
    (void)n;
    return err_set(e, ERR_internal, "nothing is resident here");
}

struct answer {
    struct core_msg msg;
    uint64_t seq;
    uint32_t rank;
};

/* The rank has answered for the job at hand. */
static inline void next_of_batch(uint32_t r)
{
    on_rank[r] = behind[r][0];
    memmove(behind[r], behind[r] + 1, sizeof behind[r] - sizeof behind[r][0]);
    behind[r][LIMIT_BATCH_JOBS - 1] = NULL;
    if (!on_rank[r])
        scheduler_rank(r, 0, true);
}

static inline void give_answer(struct core_msg *m)
{
    struct answer *a = CORE_OWNER(m, struct answer, msg);

    next_of_batch(a->rank);
    job_rank_done(a->seq, 1, a->rank, 1000, 2000);
    scheduler_next();
    free(a);
}

static inline void answer_at_once(const struct job *j)
{
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct answer *a = calloc(1, sizeof *a);

        *a = (struct answer){.msg.run = give_answer, .seq = j->seq, .rank = j->record->ranks[i]};
        core_post(&a->msg);
    }
}

/* A rank has a batch to answer, the oldest job first. */
void workers_run(struct job *const *jobs, uint32_t n)
{
    const struct job_record *r = jobs[0]->record;

    batch = n;
    for (uint32_t k = 0; k < n; k++) {
        runs++;
        if (at_once)
            answer_at_once(jobs[k]);
        for (uint32_t i = 0; i < r->n; i++) {
            if (k == 0)
                assert_null(on_rank[r->ranks[i]]);
            *(k ? &behind[r->ranks[i]][k - 1] : &on_rank[r->ranks[i]]) = jobs[k];
        }
    }
    for (uint32_t i = 0; i < r->n; i++)
        scheduler_rank(r->ranks[i], 0, false);
}

void workers_take(struct job *const *jobs, uint32_t n)
{
    (void)jobs;
    (void)n;
    fail_msg("a job on another host");
}

void workers_tell(struct job *const *jobs, uint32_t n)
{
    workers_take(jobs, n);
}

void workers_untake(struct job *j)
{
    workers_take(&j, 1);
}

/* All ranks are on this machine. */
bool stage_skips(const struct job_record *r)
{
    (void)r;
    return false;
}

void stage_ahead(const struct job *j)
{
    (void)j;
}

int stage_make(struct job *j, struct err *e)
{
    (void)j;
    (void)e;
    return 0;
}

bool stage_too_large(const struct job *j)
{
    (void)j;
    return false;
}

void stage_send(struct job *j)
{
    workers_take(&j, 1);
}

bool stage_fetch(struct job *j)
{
    (void)j;
    return false;
}

bool stage_waits(const struct job *j)
{
    (void)j;
    return false;
}

bool stage_sends(const struct job *j)
{
    (void)j;
    return false;
}

const char *stage_waits_for(const struct job *j)
{
    (void)j;
    return "";
}

void stage_drop(struct job *j)
{
    (void)j;
}

void workers_cancel(struct job *j)
{
    (void)j;
    cancels++;
}

static inline void release(uint32_t r)
{
    next_of_batch(r);
}

static inline void rank_done(uint32_t r)
{
    struct job *j = on_rank[r];

    release(r);
    job_rank_done(j->seq, j->record->attempts, r, 1000000 + r, 5000000 + r);
    scheduler_next();
}

static inline void rank_failed(uint32_t r, const char *why)
{
    struct job *j = on_rank[r];
    struct err e;

    err_set(&e, ERR_worker_failed, "%s", why);
    release(r);
    job_rank_failed(j->seq, j->record->attempts, r, &e);
    scheduler_next();
}

/* Not ready: it has to come back first. */
static inline void rank_lost(uint32_t r)
{
    struct job *jobs[LIMIT_BATCH_JOBS + 1] = {on_rank[r]};

    memcpy(jobs + 1, behind[r], sizeof behind[r]);
    on_rank[r] = NULL;
    memset(behind[r], 0, sizeof behind[r]);
    for (uint32_t i = 0; jobs[i]; i++)
        job_rank_lost(jobs[i]->seq, jobs[i]->record->attempts, r, "signal 9 (Killed)");
    scheduler_next();
}

static inline void rank_back(uint32_t r)
{
    scheduler_rank(r, 0, true);
    scheduler_next();
}

static inline void all_done(void)
{
    for (uint32_t r = 0; r < WORLD; r++) {
        if (on_rank[r])
            rank_done(r);
    }
}

/* ---- the house around ---- */

static struct extent_usage at_start;

static inline int set_up(void **state)
{
    struct err e;

    (void)state;
    holds = 0;
    n_posted = inserts = finishes = attempts_stored = runs = cancels = inputs_stored = 0;
    batch = 0;
    one_input = false;
    store_fails = ERR_none;
    key_exists = finish_superseded = false;
    memset(on_rank, 0, sizeof on_rank);
    memset(behind, 0, sizeof behind);
    if (arena_house_open("/dev/shm/tutti-job-XXXXXX", ARENA) != 0 || extent_init(arena, &e) != 0 ||
        tensor_table_init(&e) != 0 || core_init(&e) != 0 || job_table_init(3600000000u, &e) != 0 ||
        scheduler_init(WORLD, 1, job_begin, &e) != 0)
        return -1;
    for (uint32_t r = 0; r < WORLD; r++)
        scheduler_rank(r, 0, true);
    extent_usage(&at_start);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    store_fails = ERR_none;
    while (n_posted) /* as store_stop does */
        commit();
    scheduler_fini();
    job_table_fini();
    core_fini();
    tensor_table_fini();
    extent_fini();
    return arena_house_close();
}

static inline void check(void)
{
    struct err e;

    if (job_check(&e) != 0 || extent_check(&e) != 0)
        fail_msg("%s", e.detail);
}

/* After the last job: only `kept` extents are left. */
static inline void assert_extents(uint64_t kept)
{
    struct extent_usage now;

    extent_usage(&now);
    assert_int_equal(now.extents, at_start.extents + kept);
}

/* ---- requests ---- */

struct request {
    struct job_wait wait;
    uint32_t answers;
};

static inline void on_wake(struct job_wait *w)
{
    CORE_OWNER(w, struct request, wait)->answers++;
}

static inline struct request *request(uint64_t wait_us)
{
    struct request *r = calloc(1, sizeof *r);

    r->wait.wake = on_wake;
    r->wait.deadline_us = wait_us ? clock_us() + wait_us : 0;
    return r;
}

#define LONG 60000000u

static inline void request_free(struct request *r)
{
    record_free(r->wait.job);
    free(r);
}

static inline struct job_record *record_of(const char *op, const uint32_t *ranks, uint32_t n,
                                           uint32_t count)
{
    struct job_record *r = record_new(n);
    struct err e;

    r->id = id_new();
    r->op = op_find(op, strlen(op));
    r->params = (struct op_params){.dst = 1};
    r->dtype = DTYPE_float32;
    r->in_shape = (struct shape){.ndim = 1, .dim = {count}};
    assert_int_equal(op_out_shape(r->op, &r->params, n, &r->in_shape, &r->out_shape, &e), 0);
    for (uint32_t i = 0; i < n; i++)
        r->ranks[i] = ranks[i];
    r->received_us = clock_wall_us();
    r->timeout_us = LONG;
    return r;
}

static inline struct tensor **inputs_of(const struct job_record *r)
{
    struct tensor **inputs = calloc(r->n, sizeof(struct tensor *));

    for (uint32_t i = 0; i < r->n; i++) {
        struct extent *x;
        struct err e;

        if (!op_gives(r->op, &r->params, i))
            continue;
        if (one_input && i > 0) {
            inputs[i] = tensor_ref(inputs[0]);
            continue;
        }
        assert_int_equal(extent_alloc(shape_count(&r->in_shape) * 4, &x, &e), 0);
        inputs[i] = tensor_new(r->dtype, &r->in_shape, x, 0);
        extent_unref(x);
    }
    return inputs;
}

static inline struct id submit(struct job_record *record, struct request *r, const char *key)
{
    struct job_submission *s = calloc(1, sizeof *s);
    struct id id = record->id;

    s->record = record;
    s->inputs = inputs_of(record);
    snprintf(s->key, sizeof s->key, "%s", key);
    s->wait = &r->wait;
    job_submit(s);
    core_turn(0);
    return id;
}

static const uint32_t world[WORLD] = {0, 1, 2, 3};

static inline struct id submit_sum(struct request *r)
{
    return submit(record_of("all_reduce_sum", world, WORLD, COUNT), r, "");
}

static inline void assert_answer(const struct request *r, enum job_state state)
{
    assert_int_equal(r->answers, 1);
    assert_int_equal(r->wait.rc, 0);
    assert_non_null(r->wait.job);
    assert_string_equal(job_state_name(r->wait.job->state), job_state_name(state));
    assert_int_equal(r->wait.job->error != NULL, state == JOB_failed || state == JOB_cancelled);
}

static enum job_state shown;
static inline bool keep_all(const struct job_record *r, void *arg)
{
    (void)arg;
    shown = r->state;
    return true;
}

/* What a list says of the one unfinished job. */
static inline enum job_state listed(void)
{
    static const struct id newest;
    struct job_record *r;

    assert_int_equal(job_list(&newest, keep_all, NULL, &r, 1), 1);
    assert_int_equal(r->state, shown);
    assert_int_equal(r->finished_us, 0);
    record_free(r);
    return shown;
}

#endif
