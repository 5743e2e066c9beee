/* job.c - a job's way in and out: admitted, recorded, moved from state to state, its end recorded.
 */
#include "server/job.h"
#include "server/call.h"
#include "server/job_parts.h"
#include "server/metrics.h"
#include "server/promise.h"
#include "server/scheduler.h"
#include "server/stage.h"
#include "server/store.h"
#include "server/workers.h"
#include "schema/clock.h"
#include "schema/failpoint.h"
#include "schema/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_US 1000000 /* an end that could not be recorded is tried again */

/* ---- the way in ---- */

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

static uint32_t admissions; /* with the store now */

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

static void admission_refuse(struct admission *a, const struct err *e)
{
    promises_refused(&a->job->promised, e);
    job_count_out(a->job->record->owner);
    job_free(a->job);
    job_wait_refuse(a->submission->wait, e);
}

/* The key's job was here before: the submission turns into a watch on it. */
static void admission_replay(struct admission *a)
{
    struct job_wait *w = a->submission->wait;
    struct job *earlier = job_find(&a->insert.existing);

    job_count_out(a->job->record->owner);
    job_free(a->job);
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

static void admission_accept(struct admission *a)
{
    struct job *j = a->job;

    j->record->attempts = 0; /* here, where it is known that none has begun */
    job_enter(j);
    promises_wait(j);
    scheduler_next();
    if (j->record->state == JOB_queued)
        stage_ahead(j);
    failpoint("job.before_ack");
    job_wait_attach(j, a->submission->wait);
}

static void on_recorded(struct core_msg *m)
{
    struct admission *a = CORE_OWNER(m, struct admission, recorded);

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
static struct admission *admit(struct job_submission *s, struct batch *batch)
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
    /* A job that will start the moment it is recorded is recorded as started: one commit less where
     * latency counts most. A crash in between counts one run too many, never one too few. */
    j->attempt_stored = admissions++ == 0 && j->awaits == 0 && scheduler_idle(j->record);
    j->record->attempts = j->attempt_stored;
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
        a = admit(s, batch);
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

/* ---- the way out ---- */

/* The end of a job while the store has it. */
struct ending {
    struct store_job_finish finish;
    struct core_msg recorded;
    struct job *job;
    struct given *given;
    bool failed;
};

static void record_end(struct job *j);

static void try_again(struct core_timer *t)
{
    record_end(CORE_OWNER(t, struct job, timer));
}

/* The job stays as it is for all to see until its end is recorded: a result that a crash could take
 * back is none. */
static void record_later(struct job *j)
{
    j->timer.fire = try_again;
    core_timer_set(&j->timer, clock_us() + RETRY_US);
}

/* superseded: the database has another end already. That one stands, and the waiters read it there.
 */
static void ended(struct job *j, bool superseded)
{
    if (superseded)
        job_waits_refuse(j);
    else if (j->record->state == JOB_succeeded)
        job_outputs_publish(j);
    job_show(j, j->record->state);
    metrics_job_ended(j->record);
    /* First the space, then the answer: its reader's next request finds the arena free. */
    job_outputs_drop(j);
    job_inputs_drop(j);
    job_waits_answer(j);
    call_job_gone(j);
    job_leave(j);
    job_count_out(j->record->owner);
    job_count_ending(-1);
    job_free(j);
    scheduler_freed();
    scheduler_next();
}

static void on_end_recorded(struct core_msg *m)
{
    struct ending *x = CORE_OWNER(m, struct ending, recorded);
    struct job *j = x->job;
    char id[ID_TEXT];

    if (x->failed) {
        log_error("job=%s its end is not recorded yet: %s", id_format('j', &j->record->id, id),
                  x->finish.msg.err.detail);
        record_later(j);
    } else {
        ended(j, x->finish.superseded);
    }
    call_end_free(&x->finish);
    given_free(x->given);
    free(x);
}

/* Store thread. */
static void finish_done(struct store_msg *m, const struct err *e)
{
    struct ending *x = CORE_OWNER(m, struct ending, finish.msg);

    x->failed = e != NULL;
    if (e && e != &m->err)
        m->err = *e;
    x->recorded.run = on_end_recorded;
    core_post(&x->recorded);
}

static void record_end(struct job *j)
{
    struct ending *x = calloc(1, sizeof *x);

    if (!x) {
        record_later(j);
        return;
    }
    x->job = j;
    store_job_finish_init(&x->finish);
    x->finish.record = j->record;
    x->finish.outputs = j->record->state == JOB_succeeded ? j->outputs : NULL;
    x->finish.kept = j->kept;
    x->finish.given = x->given = given_of(j->record, j->inputs);
    call_end_fill(j, &x->finish);
    x->finish.msg.done = finish_done;
    store_post(&x->finish.msg);
}

/* ---- every move ---- */

static void log_move(const struct job *j, enum job_state to, const struct err *why)
{
    const struct job_record *r = j->record;
    enum log_level level = to == JOB_failed ? LOG_info : LOG_debug;
    char id[ID_TEXT];

    if (!log_wants(level))
        return;
    log_line(level, "job=%s from=%s to=%s group=%s attempt=%u%s%s", id_format('j', &r->id, id),
             job_state_name(r->state), job_state_name(to), r->group[0] ? r->group : "-",
             r->attempts + (to == JOB_running), why ? " why=" : "", why ? why->detail : "");
}

static struct err *copy_reason(const struct err *why)
{
    struct err *copy = malloc(sizeof *copy);

    if (copy && why)
        *copy = *why;
    else if (copy)
        err_set(copy, ERR_internal, "the reason was lost for want of memory");
    return copy;
}

/* Of the last attempt. Without memory there are none. */
static struct rank_time *times_of(const struct job *j)
{
    const uint64_t received_ns = j->received_at_us * 1000; /* may wrap, as received_at_us may */
    struct rank_time *t = calloc(j->record->n, sizeof *t);

    for (uint32_t i = 0; t && i < j->record->n; i++) {
        const struct job_rank_link *part = &j->links[i];

        if (part->end_ns)
            t[i] = (struct rank_time){part->start_ns - received_ns, part->end_ns - received_ns};
    }
    return t;
}

static void stamp(struct job *j, enum job_state from, enum job_state to)
{
    struct job_record *r = j->record;
    uint64_t now = clock_us();

    if (from == JOB_waiting)
        r->queued_us = now - j->event_us;
    if (to == JOB_running) {
        r->dispatch_us = now - j->event_us;
        r->sent_us = now - j->received_at_us;
    }
    if (to == JOB_succeeded)
        r->collective_us = (j->last_end_ns - j->first_start_ns) / 1000;
    if (job_state_terminal(to)) {
        r->total_us = now - j->received_at_us;
        r->finished_us = clock_wall_us();
        if (from == JOB_running && !r->nothing)
            r->times = times_of(j);
    }
    j->event_us = now;
}

void job_move(struct job *j, enum job_state to, const struct err *why)
{
    struct job_record *r = j->record;
    enum job_state from = r->state;

    assert(core_here() && job_state_may(from, to));
    log_move(j, to, why);
    if (j->place.queued)
        scheduler_remove(j, to == JOB_running);
    r->attempts += to == JOB_running;
    r->state = to;
    stamp(j, from, to);
    if (!job_state_terminal(to)) {
        job_show(j, to);
        if (to == JOB_queued)
            scheduler_add(j);
        return;
    }
    if (to == JOB_succeeded) {
        job_outputs_name(j);
        job_kept_make(j);
    } else {
        r->error = copy_reason(why);
    }
    promises_drop(j);
    job_count_ending(1);
    record_end(j);
    promises_over(j);
}
