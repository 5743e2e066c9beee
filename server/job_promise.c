/* job_promise.c - from a job's end to the jobs that wait for its outputs. Core thread, unless the
 * header says other. */
#include "server/job_promise.h"
#include "server/job_parts.h"
#include "server/scheduler.h"
#include "server/store.h"

#include "schema/clock.h"

#include <assert.h>
#include <stdlib.h>

#define RETRY_US 1000000 /* inputs that could not be recorded are tried again */

/* ---- may it be promised? ---- */

static int check_output(const struct job_record *r, uint32_t rank, struct err *e)
{
    char id[ID_TEXT];

    if (rank >= r->n)
        return err_set(e, ERR_input_unknown, "job %s has group ranks 0 to %u, and none called %u",
                       id_format('j', &r->id, id), r->n - 1, rank);
    if (!record_gets(r, rank))
        return err_set(e, ERR_input_unknown, "job %s, a %s, has no output of rank %u",
                       id_format('j', &r->id, id), r->op->name, rank);
    return 0;
}

/* Of a chain of jobs each says what became of the first. */
static void why_broken(const struct job_record *r, struct err *e)
{
    char id[ID_TEXT];

    if (r->error && r->error->code == ERR_input_failed)
        err_set(e, ERR_input_failed, "%s", r->error->detail);
    else
        err_set(e, ERR_input_failed, "job %s, whose output it takes, has %s: %.300s",
                id_format('j', &r->id, id), r->state == JOB_cancelled ? "been cancelled" : "failed",
                r->error ? r->error->detail : "the reason is not known");
}

/* It was promised before it was known that no gradient would come. */
static void no_output(const struct job_record *r, struct err *e)
{
    char id[ID_TEXT];

    err_set(e, ERR_input_failed, "job %s, whose output it takes, has no output: no gradient came",
            id_format('j', &r->id, id));
}

static void take_shape(struct tensor *t, const struct job_record *r)
{
    t->dtype = r->dtype;
    t->shape = r->out_shape;
    t->size_bytes = shape_count(&t->shape) * dtypes[t->dtype].size_bytes;
}

int promise_answer(struct tensor *t, const struct job_record *r, struct err *e)
{
    uint32_t rank = t->promise->rank;
    struct tensor *output;
    char id[ID_TEXT];

    if (r->state != JOB_succeeded) {
        why_broken(r, e);
        return -1;
    }
    if (r->nothing) {
        no_output(r, e);
        return -1;
    }
    if (check_output(r, rank, e) != 0)
        return -1;
    output = tensor_find(&r->outputs[rank]);
    if (!output || tensor_lost(output)) {
        tensor_unref(output);
        return err_set(e, ERR_tensor_lost, "the output of rank %u of job %s is gone", rank,
                       id_format('j', &r->id, id));
    }
    take_shape(t, r);
    promise_keep(t->promise, output);
    tensor_unref(output); /* the promise has its own reference */
    return 0;
}

int promise_of(struct tensor *t, struct job_submission *s, struct err *e)
{
    if (check_output(s->record, t->promise->rank, e) != 0)
        return -1;
    take_shape(t, s->record);
    promise_enter(&s->promised, t->promise);
    return 0;
}

/* ---- questions ---- */

/* j is in the tables; its end may be on its way to the database. */
static int answer(struct job *j, struct tensor *t, struct err *e)
{
    const struct job_record *r = j->record;
    char id[ID_TEXT];

    if (job_state_terminal(r->state) && r->state != JOB_succeeded) {
        why_broken(r, e);
        return -1;
    }
    if (r->called && !r->shaped)
        return err_set(e, ERR_job_running,
                       "job %s waits for a rank to call with a tensor: its outputs have no shape "
                       "yet",
                       id_format('j', &r->id, id));
    if (check_output(r, t->promise->rank, e) != 0)
        return -1;
    take_shape(t, r);
    t->promise->shared = true;
    if (r->state == JOB_succeeded)
        promise_keep(t->promise, j->outputs[t->promise->rank]);
    else
        promise_enter(&j->promised, t->promise);
    return 0;
}

static void on_ask(struct core_msg *m)
{
    struct promise_ask *a = CORE_OWNER(m, struct promise_ask, msg);

    for (uint32_t i = 0; i < a->n; i++) {
        struct promise_question *q = &a->q[i];
        struct job *j = job_find(&q->t->promise->job);

        if (j && a->scope && a->scope != j->record->owner)
            j = NULL;
        q->rc = j ? answer(j, q->t, &q->err) : 1;
    }
    a->done(a);
}

void promise_ask(struct promise_ask *a)
{
    a->msg.run = on_ask;
    core_post(&a->msg);
}

/* ---- a job that takes outputs ---- */

static struct promise *promise_at(const struct job *j, uint32_t i)
{
    return j->inputs && j->inputs[i] ? j->inputs[i]->promise : NULL;
}

static int broken(const struct promise *p, uint32_t rank, struct err *e)
{
    if (p->broken)
        *e = *p->broken;
    else
        err_set(e, ERR_input_failed, "the job whose output it takes has failed");
    err_rank(e, rank);
    return -1;
}

int promises_take(struct job *j, struct err *e)
{
    uint32_t left = 0;

    assert(core_here());
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct promise *p = promise_at(j, i);
        struct tensor *stood_in = j->inputs ? j->inputs[i] : NULL;

        if (p && !p->over) {
            left++;
        } else if (p && !p->kept) {
            return broken(p, i, e);
        } else if (p) {
            j->inputs[i] = tensor_ref(p->kept);
            tensor_unref(stood_in);
        }
    }
    return (int)left;
}

void promises_name(const struct job *j, struct job_record *r)
{
    r->awaits = calloc(j->record->n, sizeof *r->awaits);
    for (uint32_t i = 0; r->awaits && i < j->record->n; i++) {
        const struct promise *p = promise_at(j, i);
        uint32_t k = 0;

        while (p && k < r->n_awaits && !id_equal(&r->awaits[k], &p->job))
            k++;
        if (p && k == r->n_awaits)
            r->awaits[r->n_awaits++] = p->job;
    }
}

/* Those that are still to be looked at are linked. */
bool promises_circle(struct job *j)
{
    static uint64_t walks;
    struct job *next = j;

    walks++;
    j->next_walk = NULL;
    while (next) {
        const struct job *at = next;

        next = at->next_walk;
        for (uint32_t i = 0; i < at->record->n; i++) {
            const struct promise *p = promise_at(at, i);
            struct job *from = p && !p->over ? job_find(&p->job) : NULL;

            if (from == j)
                return true;
            if (!from || from->walk == walks)
                continue;
            from->walk = walks;
            from->next_walk = next;
            next = from;
        }
    }
    return false;
}

void promises_drop(struct job *j)
{
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct promise *p = promise_at(j, i);

        if (p && p->by == j)
            p->by = NULL;
    }
    j->held = false;
}

/* On its way to the database, or waiting to be sent once more. */
struct recording {
    struct store_job_inputs inputs;
    struct core_msg failed;
    struct core_timer again;
};

static void record_inputs(struct job *j, bool ready);

static void recording_free(struct recording *x)
{
    store_job_inputs_fini(&x->inputs);
    free(x);
}

/* With what is there by now. */
static void record_again(struct core_timer *t)
{
    struct recording *x = CORE_OWNER(t, struct recording, again);
    struct job *j = job_find(&x->inputs.id);

    recording_free(x);
    if (j && !job_state_terminal(j->record->state))
        record_inputs(j, false);
}

static void on_failed(struct core_msg *m)
{
    struct recording *x = CORE_OWNER(m, struct recording, failed);

    x->again.fire = record_again;
    core_timer_set(&x->again, clock_us() + RETRY_US);
}

/* Store thread. */
static void inputs_stored(struct store_msg *m, const struct err *e)
{
    struct recording *x = CORE_OWNER(m, struct recording, inputs.msg);

    if (!e) {
        recording_free(x);
        return;
    }
    x->failed.run = on_failed;
    core_post(&x->failed);
}

/* As in job_admit, a job that will start at once is recorded as started. When the database is full
 * it is tried again: as long as it is not there, a restart looks for the other job's record. */
static void record_inputs(struct job *j, bool ready)
{
    struct recording *x = calloc(1, sizeof *x);

    if (!x || store_job_inputs_init(&x->inputs, j->record, j->inputs) != 0) {
        free(x);
        return;
    }
    j->attempt_stored = ready && scheduler_idle(j->record);
    x->inputs.attempts = j->record->attempts + j->attempt_stored;
    x->inputs.msg.done = inputs_stored;
    store_post(&x->inputs.msg);
}

void promises_wait(struct job *j)
{
    uint32_t before = j->awaits;
    struct err e;
    int left = promises_take(j, &e);

    j->held = false;
    if (left < 0) {
        job_move(j, JOB_failed, &e);
        return;
    }
    j->awaits = (uint32_t)left;
    if (j->awaits < before)
        record_inputs(j, left == 0);
    if (left == 0) {
        job_move(j, JOB_queued, NULL);
        return;
    }
    j->held = true;
    for (uint32_t i = 0; i < j->record->n; i++) {
        if (promise_at(j, i))
            promise_at(j, i)->by = j;
    }
    job_tell(j);
}

/* ---- a job's end ---- */

/* Jobs whose promises are over. A list and no recursion: a chain may be long. */
static struct job *unsettled;
static bool settling;

static void settle_later(struct job *j)
{
    if (!j || !j->held)
        return;
    j->held = false;
    j->next_unsettled = unsettled;
    unsettled = j;
}

static void settle(void)
{
    if (settling)
        return;
    settling = true;
    while (unsettled) {
        struct job *j = unsettled;

        unsettled = j->next_unsettled;
        promises_wait(j);
    }
    settling = false;
}

void promises_over(struct job *j)
{
    const struct job_record *r = j->record;
    struct err why;

    if (!j->promised)
        return;
    if (r->state != JOB_succeeded)
        why_broken(r, &why);
    else
        no_output(r, &why);
    while (j->promised) {
        struct promise *p = j->promised;

        if (r->state == JOB_succeeded && j->outputs[p->rank])
            promise_keep(p, j->outputs[p->rank]);
        else
            promise_break(p, &why);
        settle_later(p->by);
    }
    settle();
}

void promises_refused(struct promise **list, const struct err *why)
{
    struct err e;

    err_set(&e, ERR_input_failed, "the job whose output it takes was refused: %.300s", why->detail);
    while (*list) {
        struct job *by = (*list)->by;

        promise_break(*list, &e);
        settle_later(by);
    }
    settle();
}

void promises_share(struct job *j, struct job_submission *s)
{
    while (s->promised) {
        struct promise *p = s->promised;

        promise_leave(p);
        p->shared = true;
        promise_enter(&j->promised, p);
    }
}

/* ---- recovery ---- */

static void find_again(struct tensor *t)
{
    struct promise *p = t->promise;
    struct job *from = job_find(&p->job);
    struct job_record *r = NULL;
    char id[ID_TEXT];
    struct err e;
    int rc;

    if (from)
        rc = answer(from, t, &e);
    else
        rc = store_job_read(&p->job, NULL, &r, &e) != 0 ? -1 : promise_answer(t, r, &e);
    if (rc != 0 && e.code == ERR_job_unknown)
        err_set(
            &e, ERR_input_failed,
            "job %s, whose output it takes, is not known any more: it waited for its ranks' calls "
            "when the service ended, or was deleted",
            id_format('j', &p->job, id));
    if (rc != 0)
        promise_break(p, &e);
    record_free(r);
}

void promises_restore(struct job *j)
{
    for (uint32_t i = 0; i < j->record->n; i++) {
        struct promise *p = promise_at(j, i);

        if (!p)
            continue;
        if (!p->over && !p->prev)
            find_again(j->inputs[i]);
        j->awaits++;
    }
    promises_wait(j);
}
