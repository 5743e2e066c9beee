/* job.c - a job's moves from state to state, and its way out: its end recorded. */
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
    else if (j->record->state == JOB_succeeded && !j->disowned)
        job_outputs_publish(j);
    if (!j->disowned) {
        job_show(j, j->record->state);
        metrics_job_ended(j->record);
    }
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

    if (x->failed && !j->disowned) {
        log_error("job=%s its end is not recorded yet: %s", id_format('j', &j->record->id, id),
                  x->finish.msg.err.detail);
        record_later(j);
    } else {
        ended(j, x->finish.superseded || j->disowned);
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
    if (j->disowned) {
        x->recorded.run = on_end_recorded;
        core_post(&x->recorded);
        return;
    }
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
