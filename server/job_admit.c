/* job_admit.c - a job's way in: checked, recorded, and begun: ahead of its record where somebody
 * waits for its end.
 */
#include "server/job_parts.h"
#include "server/promise.h"
#include "server/scheduler.h"
#include "server/stage.h"
#include "server/store.h"
#include "server/workers.h"
#include "schema/clock.h"
#include "schema/failpoint.h"

#include <stdlib.h>
#include <string.h>

/* What the jobs of a batch share until the last is recorded. */
struct batch {
    struct store_batch store;
    uint32_t left;
};

/* A submission while the store has it. */
struct admission {
    struct store_job_insert insert;
    struct store_key line_key; /* of a batch's line, when the batch has a key */
    struct core_msg recorded;
    struct job *job;
    struct job_submission *submission;
    struct batch *batch; /* NULL: it is alone */
    bool failed;
};

static uint32_t admissions; /* with the store now, that begin when they are recorded */

#define LAZY_US 1000 /* so long the store may not hear of a job that runs ahead of its record */

/* Jobs that run ahead of their records, and when the store has to hear of them at last. */
static struct {
    uint32_t jobs;
    bool timed;
    struct core_timer timer;
} ahead;

static void submission_refuse(struct job_submission *s, const struct err *e)
{
    promises_refused(&s->promised, e);
    for (uint32_t i = 0; s->inputs && i < record_needs(s->record); i++)
        tensor_unref(s->inputs[i]);
    free(s->inputs);
    job_results_drop(s->results, s->record->n);
    record_free(s->record);
    job_wait_refuse(s->wait, e);
    free(s);
}

/* The submission does not become a job. One that runs by now runs on, and is dropped at its end. */
static void drop_job(struct job *j)
{
    static const struct err why = {.code = ERR_cancelled, .detail = "it was not recorded"};

    if (!j->ahead) {
        job_count_out(j->record->owner);
        job_free(j);
        return;
    }
    j->disowned = true;
    if (j->record->state == JOB_queued)
        job_move(j, JOB_cancelled, &why);
}

static void admission_refuse(struct admission *a, const struct err *e)
{
    promises_refused(&a->job->promised, e);
    drop_job(a->job);
    job_wait_refuse(a->submission->wait, e);
}

/* The key's job was here before: the submission turns into a watch on it. */
static void admission_replay(struct admission *a)
{
    struct job_wait *w = a->submission->wait;
    struct job *earlier = job_find(&a->insert.existing);

    drop_job(a->job);
    w->replayed = true;
    w->id = a->insert.existing;
    if (earlier) {
        job_wait_attach(earlier, w);
    } else {
        struct err e;

        err_set(&e, ERR_job_unknown, "the job of this Idempotency-Key has finished");
        job_wait_refuse(w, &e);
    }
}

static void enter(struct job *j)
{
    job_enter(j);
    promises_wait(j);
    scheduler_next();
    if (j->record->state == JOB_queued)
        stage_ahead(j);
}

/* Those who follow hear of every state, of this job a little late. */
static void tell_so_far(struct job *j)
{
    enum job_state now = j->shown;

    j->shown = JOB_queued;
    job_tell(j);
    j->shown = now;
    if (now != JOB_queued)
        job_tell(j);
}

static void admission_accept(struct admission *a)
{
    struct job *j = a->job;

    if (j->ahead) {
        j->ahead = false;
        tell_so_far(j);
    } else {
        enter(j);
    }
    failpoint("job.before_ack");
    job_wait_attach(j, a->submission->wait);
}

static void caught_up(void)
{
    if (--ahead.jobs > 0)
        return;
    core_timer_clear(&ahead.timer);
    ahead.timed = false;
}

static void write_overdue(struct core_timer *t)
{
    (void)t;
    ahead.timed = false;
    store_wake();
}

/* Whoever waits for the job's end is acknowledged with that, so it need not be recorded before it
 * runs, and mostly is together with its end: one commit, and the store is woken once. The ranks do
 * not wait for it. A crash before that takes a job that nobody was told of. */
static void run_ahead(struct admission *a)
{
    ahead.jobs++;
    store_post_lazily(&a->insert.msg);
    if (!ahead.timed) {
        ahead.timed = true;
        ahead.timer.fire = write_overdue;
        core_timer_set(&ahead.timer, clock_us() + LAZY_US);
    }
    enter(a->job);
}

/* Is it alone, has all it needs, and will somebody wait for its end? */
static bool may_run_ahead(const struct job *j, const struct job_submission *s, bool alone)
{
    return alone && j->awaits == 0 && s->wait->deadline_us > clock_us() + LAZY_US;
}

static void on_recorded(struct core_msg *m)
{
    struct admission *a = CORE_OWNER(m, struct admission, recorded);

    if (a->job->ahead)
        caught_up();
    else
        admissions--;
    if (a->failed)
        admission_refuse(a, &a->insert.msg.err);
    else if (a->insert.existed)
        admission_replay(a);
    else
        admission_accept(a);
    if (a->batch && --a->batch->left == 0)
        free(a->batch);
    free(a->submission);
    free(a);
}

/* Store thread. */
static void insert_done(struct store_msg *m, const struct err *e)
{
    struct admission *a = CORE_OWNER(m, struct admission, insert.msg);

    a->failed = e != NULL;
    if (e && e != &m->err)
        m->err = *e;
    a->recorded.run = on_recorded;
    core_post(&a->recorded);
}

static void fill_insert(struct admission *a)
{
    const struct job_submission *s = a->submission;
    struct store_job_insert *m = &a->insert;

    store_job_insert_init(m);
    m->record = a->job->record;
    m->attempts = a->job->attempt_stored;
    m->inputs = a->job->inputs;
    m->key = s->key;
    m->digest = s->digest;
    m->text = s->has_text ? s->text : NULL;
    m->msg.done = insert_done;
    if (!a->batch)
        return;
    m->batch = &a->batch->store;
    m->leads = a->batch->left++ == 0;
    store_line_key(&a->line_key, s->key, s->line);
    memcpy(a->line_key.digest, s->digest, sizeof a->line_key.digest);
    m->keys = &a->line_key;
    m->n_keys = 1;
}

/* Its inputs that are there already are no promises any more. */
static int look_at_inputs(struct job *j, struct err *e)
{
    int left = promises_take(j, e);

    j->awaits = left < 0 ? 0 : (uint32_t)left;
    return left < 0 ? -1 : 0;
}

/* On its way to the database; NULL: it was refused. Takes s. */
static struct admission *admit(struct job_submission *s, struct batch *batch, bool alone)
{
    struct admission *a;
    struct job *j;
    struct err e;

    if (workers_check(s->record, &e) != 0 || job_count_in(s->record->owner, &e) != 0) {
        submission_refuse(s, &e);
        return NULL;
    }
    s->record->state = JOB_waiting;
    a = calloc(1, sizeof *a);
    j = a ? job_new(s->record, s->inputs, &e) : NULL;
    if (!j) {
        err_set(&e, ERR_no_memory, "a job of %u ranks", s->record->n);
        job_count_out(s->record->owner);
        free(a);
        submission_refuse(s, &e);
        return NULL;
    }
    j->results = s->results;
    promises_share(j, s);
    *a = (struct admission){.job = j, .submission = s, .batch = batch};
    if (look_at_inputs(j, &e) != 0 || job_reserve(j, &e) != 0) {
        admission_refuse(a, &e);
        free(s);
        free(a);
        return NULL;
    }
    /* A job that will start soon is recorded as started: one write less. A crash in between counts
     * one run too many, never one too few. */
    j->ahead = may_run_ahead(j, s, alone);
    j->attempt_stored = j->ahead ||
                        (admissions++ == 0 && j->awaits == 0 && scheduler_idle(j->record));
    j->event_us = s->posted_us;
    j->received_at_us = s->posted_us - j->record->validated_us;
    fill_insert(a);
    return a;
}

void job_admit(struct job_submission *first)
{
    struct batch *batch = first->batch && first->key[0] ? calloc(1, sizeof *batch) : NULL;
    struct store_msg *head = NULL, **tail = &head;

    for (struct job_submission *s = first, *next; s; s = next) {
        struct admission *a;
        struct err e;

        next = s->next;
        if (s->batch && s->key[0] && !batch) {
            err_set(&e, ERR_no_memory, "a batch");
            submission_refuse(s, &e);
            continue;
        }
        a = admit(s, batch, s == first && !next && !batch);
        if (a && a->job->ahead) {
            run_ahead(a);
            continue;
        }
        if (!a)
            continue;
        *tail = &a->insert.msg;
        tail = &a->insert.msg.next;
    }
    if (head)
        store_post_joined(head);
    else
        free(batch);
}
