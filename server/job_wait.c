/* job_wait.c - requests that wait for a job: submit, watch, cancel; answered exactly once.
 *
 * Two threads may want to end a wait: the core, with an answer, and the watch of a client that hung
 * up, with job_wait_drop. `phase` decides by compare-and-swap. When the drop wins, its message is
 * in the inbox and still points into the wait; so the core only notes its answer, and the message
 * delivers it.
 */
#include "server/call.h"
#include "server/job_parts.h"
#include "server/scheduler.h"
#include "schema/clock.h"

#include <assert.h>
#include <stdlib.h>

enum phase { PHASE_open, PHASE_dropping, PHASE_answered };
enum what { WHAT_submit, WHAT_watch, WHAT_cancel };

/* ---- answers ---- */

static void deliver(struct job_wait *w)
{
    int open = PHASE_open;

    core_timer_clear(&w->timer);
    if (w->prev) {
        *w->prev = w->next;
        if (w->next)
            w->next->prev = w->prev;
        w->prev = NULL;
        w->next = NULL;
    }
    w->held = false;
    if (w->gone || atomic_compare_exchange_strong(&w->phase, &open, PHASE_answered))
        w->wake(w);
    else
        w->late = true;
}

void job_wait_refuse(struct job_wait *w, const struct err *e)
{
    w->rc = -1;
    w->err = *e;
    deliver(w);
}

static void answer(struct job_wait *w, const struct job *j)
{
    w->id = j->record->id;
    w->job = job_snapshot(j);
    if (w->wants_given)
        w->given = given_of(j->record, j->inputs);
    w->rc = w->job ? 0 : err_set(&w->err, ERR_no_memory, "a copy of the job's record");
    deliver(w);
}

void job_waits_answer(struct job *j)
{
    while (j->waits)
        answer(j->waits, j);
}

void job_wait_refuse_unknown(struct job_wait *w)
{
    char id[ID_TEXT];
    struct err e;

    err_set(&e, ERR_job_unknown, "no unfinished job %s", id_format('j', &w->id, id));
    job_wait_refuse(w, &e);
}

void job_waits_refuse(struct job *j)
{
    while (j->waits)
        job_wait_refuse_unknown(j->waits);
}

static bool must_be_told(struct job *j, struct job_wait *w)
{
    return w->calls && !w->gone && call_ack(j, w);
}

static void deadline_passed(struct core_timer *t)
{
    struct job_wait *w = CORE_OWNER(t, struct job_wait, timer);

    if (!must_be_told(w->on, w))
        answer(w, w->on);
}

void job_waits_told(struct job *j, uint64_t number, const struct err *failed)
{
    for (struct job_wait *w = j->waits, *next; w; w = next) {
        next = w->next;
        if (w->told_number == 0 || w->told_number > number)
            continue;
        if (failed)
            job_wait_refuse(w, failed);
        else
            answer(w, j);
    }
}

static void hold(struct job *j, struct job_wait *w)
{
    w->on = j;
    w->held = true;
    w->next = j->waits;
    w->prev = &j->waits;
    if (w->next)
        w->next->prev = &w->next;
    j->waits = w;
}

void job_wait_attach(struct job *j, struct job_wait *w)
{
    bool due = w->gone || w->deadline_us <= clock_us() || job_stuck(j);

    if (due && !must_be_told(j, w)) {
        answer(w, j);
        return;
    }
    hold(j, w);
    if (due)
        return;
    w->timer.fire = deadline_passed;
    core_timer_set(&w->timer, w->deadline_us);
}

/* ---- requests ---- */

void job_cancel_now(struct job *j)
{
    struct err why;

    if (j->record->state == JOB_queued) {
        err_set(&why, ERR_cancelled, "cancelled before it ran");
        job_move(j, JOB_cancelled, &why);
        scheduler_next(); /* its ranks may take the next one */
    } else if (j->record->state == JOB_running) {
        err_set(&why, ERR_cancelled, "cancelled while it ran");
        job_stop_run(j, JOB_cancelled, &why);
    } else if (j->held) {
        err_set(&why, ERR_cancelled, "cancelled while it waited for its inputs");
        job_move(j, JOB_cancelled, &why);
    } else if (j->record->state == JOB_waiting && j->gather) {
        err_set(&why, ERR_cancelled, "cancelled while it waited for ranks to call");
        call_cancel(j, &why);
    } /* else it has ended, and its end is being recorded: that end stands */
}

static void begin(struct core_msg *m)
{
    struct job_wait *w = CORE_OWNER(m, struct job_wait, msg);
    struct job *j;

    if (w->what == WHAT_submit) {
        job_admit(w->submission);
        return;
    }
    j = job_find(&w->id);
    if (!j || (w->scope && w->scope != j->record->owner)) {
        job_wait_refuse_unknown(w);
        return;
    }
    if (w->what == WHAT_cancel)
        job_cancel_now(j);
    job_wait_attach(j, w);
}

static void post(struct job_wait *w, enum what what)
{
    w->what = what;
    w->msg.run = begin;
    core_post(&w->msg);
}

void job_submit_batch(struct job_submission *first)
{
    uint64_t now = clock_us();

    for (struct job_submission *s = first; s; s = s->next) {
        if (!s->results)
            job_outputs_warm(s->record);
        s->posted_us = now;
        s->wait->id = s->record->id;
        s->wait->submission = s;
    }
    post(first->wait, WHAT_submit);
}

void job_submit(struct job_submission *s)
{
    s->next = NULL;
    job_submit_batch(s);
}

void job_watch(const struct id *id, struct job_wait *w)
{
    w->id = *id;
    post(w, WHAT_watch);
}

void job_cancel(const struct id *id, struct job_wait *w)
{
    w->id = *id;
    post(w, WHAT_cancel);
}

/* ---- a client that hung up ---- */

static void drop(struct core_msg *m)
{
    struct job_wait *w = CORE_OWNER(m, struct job_wait, drop);

    w->gone = true;
    if (w->held && w->calls)
        call_abandoned(w->on, w->rank);
    if (w->late)
        w->wake(w);
    else if (w->held)
        answer(w, w->on);
    /* else it is on its way to a job, and is answered when it gets there */
}

void job_wait_drop(struct job_wait *w)
{
    int open = PHASE_open;

    if (!atomic_compare_exchange_strong(&w->phase, &open, PHASE_dropping))
        return; /* the answer came first: w may be gone as soon as we return */
    w->drop.run = drop;
    core_post(&w->drop);
}
