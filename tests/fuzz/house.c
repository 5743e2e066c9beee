/* house.c - the core on this thread; the store's functions are replaced by the linker (--wrap). */
#include "tests/fuzz/house.h"

#include "server/core.h"
#include "server/events.h"
#include "server/group.h"
#include "server/job.h"
#include "server/scheduler.h"
#include "server/store.h"
#include "server/store_kv.h"
#include "server/workers_parts.h"

#include <stdlib.h>
#include <string.h>

const struct id house_id = {.b = {[15] = 1}};

#define TURNS 8 /* more than anything posts in a row */

/* ---- the database ---- */

void __wrap_store_post(struct store_msg *m);
void __wrap_store_post_joined(struct store_msg *first);
int __wrap_store_key_read(const struct store_key *k, struct id *job, struct err *e);
int __wrap_store_text_read(const char *key, const uint8_t *text, struct id *job, struct err *e);
int __wrap_store_job_read(const struct id *id, const struct account *scope, struct job_record **out,
                          struct err *e);
int __wrap_store_job_list(const struct store_job_filter *f, struct job_record **out, uint32_t max,
                          uint32_t *n, struct err *e);
int __wrap_store_job_given(const struct id *id, const struct job_record *record, struct given **out,
                           struct err *e);
int __wrap_store_kv_read(const char *group, const char *key, uint64_t now_us, struct kv_value *out,
                         struct err *e);
int __wrap_store_kv_list(const char *group, const char *prefix, const char *after, uint64_t now_us,
                         struct kv_row *out, uint32_t max, uint32_t *n, struct err *e);

/* The one value: of the key `there` of any group. */
static bool value_at(const char *key, struct kv_value *out)
{
    if (strcmp(key, "there") != 0)
        return false;
    *out = (struct kv_value){.text = fuzz_copy("[1]", 3), .len = 3, .expires_us = UINT64_MAX};
    return true;
}

/* What is taken out of the database has to come from somewhere. */
static bool refuses(struct store_msg *m)
{
    static struct store_kv_take any;
    struct store_kv_take *take = (struct store_kv_take *)m;

    store_kv_take_init(&any);
    return m->apply == any.msg.apply && !value_at(take->key, &take->value);
}

void __wrap_store_post(struct store_msg *m)
{
    m->rc = refuses(m) ? err_set(&m->err, ERR_key_unknown, "there is nothing here") : 0;
    m->done(m, m->rc ? &m->err : NULL);
}

void __wrap_store_post_joined(struct store_msg *first)
{
    for (struct store_msg *m = first, *next; m; m = next) {
        next = m->next;
        __wrap_store_post(m);
    }
}

int __wrap_store_key_read(const struct store_key *k, struct id *job, struct err *e)
{
    (void)e;
    *job = house_id;
    return strcmp(k->key, "old") != 0;
}

int __wrap_store_text_read(const char *key, const uint8_t *text, struct id *job, struct err *e)
{
    (void)key;
    (void)text;
    (void)job;
    (void)e;
    return 1;
}

/* The one finished job: of group ranks 2 and 1, whose output is the tensor of its own id. */
static struct job_record *finished(void)
{
    struct job_record *r = record_new(2);

    FUZZ_CHECK(r && (r->outputs = calloc(2, sizeof *r->outputs)), "no memory for a record");
    r->id = r->outputs[0] = r->outputs[1] = house_id;
    r->op = op_find("all_reduce_sum", strlen("all_reduce_sum"));
    r->params.dst = 1;
    r->ranks[0] = 2;
    r->ranks[1] = 1;
    r->dtype = DTYPE_float32;
    r->in_shape = r->out_shape = (struct shape){.ndim = 2, .dim = {2, 3}};
    r->state = JOB_succeeded;
    r->attempts = 1;
    r->received_us = r->finished_us = 1700000000000000ull;
    return r;
}

int __wrap_store_job_read(const struct id *id, const struct account *scope, struct job_record **out,
                          struct err *e)
{
    (void)scope;
    if (!id_equal(id, &house_id))
        return err_set(e, ERR_job_unknown, "there is no such job");
    *out = finished();
    return 0;
}

int __wrap_store_job_list(const struct store_job_filter *f, struct job_record **out, uint32_t max,
                          uint32_t *n, struct err *e)
{
    (void)e;
    *n = max > 0 && (id_is_zero(&f->before) || memcmp(f->before.b, house_id.b, 16) > 0);
    if (*n)
        out[0] = finished();
    return 0;
}

/* Bytes with all kinds of NaN, so that a script has both ways to say them. */
int __wrap_store_job_given(const struct id *id, const struct job_record *record, struct given **out,
                           struct err *e)
{
    (void)id;
    (void)e;
    *out = calloc(1, sizeof **out);
    FUZZ_CHECK(*out, "no memory for inputs");
    (*out)->size = given_count(record) * given_input_bytes(record);
    (*out)->bytes = calloc(1, (*out)->size + 1);
    FUZZ_CHECK((*out)->bytes, "no memory for inputs");
    memset((*out)->bytes + (*out)->size / 2, 0xff, (*out)->size - (*out)->size / 2);
    return 0;
}

int __wrap_store_kv_read(const char *group, const char *key, uint64_t now_us, struct kv_value *out,
                         struct err *e)
{
    (void)group;
    (void)now_us;
    (void)e;
    return !value_at(key, out);
}

int __wrap_store_kv_list(const char *group, const char *prefix, const char *after, uint64_t now_us,
                         struct kv_row *out, uint32_t max, uint32_t *n, struct err *e)
{
    (void)group;
    (void)prefix;
    (void)now_us;
    (void)e;
    *n = max > 0 && strcmp(after, "there") < 0;
    if (*n)
        out[0] = (struct kv_row){.key = "there", .size_bytes = 3, .expires_us = UINT64_MAX};
    return 0;
}

/* ---- workers that do everything, soon ---- */

int __wrap_workers_prepare(struct job *j, struct err *e);
void __wrap_workers_run(struct job *const *jobs, uint32_t n);
void __wrap_workers_cancel(struct job *j);

struct answer {
    struct core_msg msg;
    uint64_t seq;
    uint32_t attempt, rank, lane;
    bool last; /* of its rank's batch */
};

int __wrap_workers_prepare(struct job *j, struct err *e)
{
    (void)j;
    (void)e;
    return 0;
}

static void give_answer(struct core_msg *m)
{
    struct answer *a = CORE_OWNER(m, struct answer, msg);

    if (a->last)
        scheduler_rank(a->rank, a->lane, true);
    job_rank_done(a->seq, a->attempt, a->rank, 1000, 2000);
    scheduler_next();
    free(a);
}

/* As task.c would on the other side of the link: what a job says is one thing, and there is room
 * for all that its ranks will read and write. */
static void check_run(const struct job *j)
{
    const struct job_record *r = j->record;
    struct shape out;
    struct err e;

    FUZZ_CHECK(op_check_dtype(r->op, r->dtype, &e) == 0 &&
                   op_check_peers(r->op, &r->params, r->n, &e) == 0 &&
                   op_out_shape(r->op, &r->params, r->n, &r->in_shape, &out, &e) == 0,
               "a worker would refuse it: %s", e.detail);
    FUZZ_CHECK(shape_equal(&out, &r->out_shape), "a worker would make another shape");
    for (uint32_t i = 0; i < r->n; i++) {
        if (record_gives(r, i)) {
            fuzz_check_tensor(j->inputs[i]);
            FUZZ_CHECK(shape_equal(&j->inputs[i]->shape, &r->in_shape), "input %u", i);
        }
        if (record_gets(r, i)) {
            if (!record_is_view(r) && j->outputs[i]->size_bytes > 0)
                memset(tensor_data(j->outputs[i]), 0, j->outputs[i]->size_bytes);
            fuzz_check_tensor(j->outputs[i]);
            FUZZ_CHECK(shape_equal(&j->outputs[i]->shape, &r->out_shape), "output %u", i);
        }
    }
}

void __wrap_workers_run(struct job *const *jobs, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        const struct job_record *r = jobs[k]->record;
        uint32_t lane = scheduler_lane(r);

        check_run(jobs[k]);
        for (uint32_t i = 0; i < r->n; i++) {
            struct answer *a = calloc(1, sizeof *a);

            FUZZ_CHECK(a, "no memory for an answer");
            *a = (struct answer){.msg.run = give_answer,
                                 .seq = jobs[k]->seq,
                                 .attempt = r->attempts,
                                 .rank = r->ranks[i],
                                 .lane = lane,
                                 .last = k + 1 == n};
            if (k == 0)
                scheduler_rank(r->ranks[i], lane, false);
            core_post(&a->msg);
        }
    }
}

void __wrap_workers_cancel(struct job *j)
{
    (void)j; /* it is done before that is heard */
}

/* ---- the core ---- */

void house_open(uint32_t lanes)
{
    struct err e;

    FUZZ_CHECK(core_init(&e) == 0 && group_table_init(HOUSE_WORLD, &e) == 0 &&
                   job_table_init(3600000000u, &e) == 0 &&
                   scheduler_init(HOUSE_WORLD, lanes, job_begin, &e) == 0,
               "the core: %s", e.detail);
    events_start();
}

/* For the process's life. */
static void make_ranks(void)
{
    if (workers.rank)
        return;
    workers.options.world_size = HOUSE_WORLD;
    workers.rank = calloc(HOUSE_WORLD, sizeof *workers.rank);
    FUZZ_CHECK(workers.rank, "no memory for workers");
    for (uint32_t r = 0; r < HOUSE_WORLD; r++)
        workers.rank[r].info.rank = r;
}

void house_ready(void)
{
    make_ranks();
    for (uint32_t r = 0; r < HOUSE_WORLD; r++)
        for (uint32_t lane = 0; lane < scheduler_lanes(); lane++)
            scheduler_rank(r, lane, true);
    scheduler_next();
}

void house_turn(void)
{
    for (int i = 0; i < TURNS; i++)
        core_turn(0);
}

void house_check(void)
{
    struct err e;

    FUZZ_CHECK(job_check(&e) == 0 && scheduler_check(&e) == 0 && extent_check(&e) == 0, "%s",
               e.detail);
}

void house_close(void)
{
    struct err e;

    events_stop();
    house_turn();
    scheduler_fini();
    job_table_fini();
    events_fini();
    house_turn(); /* tensors that were on devices */
    core_fini();
    group_table_fini();
    tensor_table_fini();
    FUZZ_CHECK(tensor_table_init(&e) == 0, "%s", e.detail);
}
