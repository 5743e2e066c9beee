/* job_run.c - one attempt of a job: begun, answered by every rank, and what follows from the
 * answers. */
#include "server/job_parts.h"
#include "server/resident.h"
#include "server/scheduler.h"
#include "server/stage.h"
#include "server/store.h"
#include "server/workers.h"
#include "schema/clock.h"
#include "schema/failpoint.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- begin ---- */

/* Store thread: attempts are counted for the case of a crash; nobody waits for it. */
static void attempt_done(struct store_msg *m, const struct err *e)
{
    (void)e;
    free(CORE_OWNER(m, struct store_job_attempt, msg));
}

static void record_attempt(const struct job *j)
{
    struct store_job_attempt *m = calloc(1, sizeof *m);

    if (!m)
        return;
    store_job_attempt_init(m);
    m->id = j->record->id;
    m->attempts = j->record->attempts;
    m->msg.done = attempt_done;
    store_post(&m->msg);
}

/* "0, 3": the ranks that have not answered, cut to fit. */
static void name_silent(const struct job *j, char *buf, size_t size)
{
    size_t len = 0;

    buf[0] = '\0';
    for (uint32_t i = 0; i < j->record->n && len < size; i++) {
        if (!j->links[i].answered)
            len += (size_t)snprintf(buf + len, size - len, len ? ", %u" : "%u", i);
    }
}

static void run_timed_out(struct core_timer *t)
{
    struct job *j = CORE_OWNER(t, struct job, timer);
    char silent[200];
    struct err why;

    name_silent(j, silent, sizeof silent);
    if (stage_waits(j))
        err_set(&why, ERR_run_timeout,
                "after %.6g s its tensors were still on their way %s host %s",
                (double)j->record->timeout_us / 1e6, stage_sends(j) ? "to" : "from",
                stage_waits_for(j));
    else
        err_set(&why, ERR_run_timeout, "after %.6g s %u of %u ranks had not finished: %s",
                (double)j->record->timeout_us / 1e6, j->pending, j->record->n, silent);
    for (uint32_t i = 0; i < j->record->n && !stage_waits(j); i++) {
        if (!j->links[i].answered)
            err_rank(&why, i);
    }
    job_stop_run(j, JOB_failed, &why);
}

static void reset_attempt(struct job *j)
{
    j->pending = j->record->n;
    j->done = 0;
    j->batched = j->again = j->crashed = j->cancelling = false;
    j->first_start_ns = UINT64_MAX;
    j->last_end_ns = 0;
    free(j->why);
    j->why = NULL;
    for (uint32_t i = 0; i < j->record->n; i++) {
        j->links[i].answered = false;
        j->links[i].start_ns = j->links[i].end_ns = 0;
    }
}

/* May something of ours still give room back? */
static bool room_may_come(void)
{
    return !job_idle();
}

static void succeed(struct job *j);

/* No rank has anything to do. */
static int run_nothing(struct job *j, struct err *e)
{
    if (!j->record->nothing) {
        if (job_outputs_make(j, e) != 0)
            return -1;
    } else {
        j->outputs = calloc(j->record->n, sizeof *j->outputs);
        if (!j->outputs)
            return err_set(e, ERR_no_memory, "outputs of %u ranks", j->record->n);
    }
    job_move(j, JOB_running, NULL);
    j->first_start_ns = j->last_end_ns = 0;
    succeed(j);
    return 0;
}

enum started { STARTED, ENDED, BLOCKED };

/* Its outputs, and room on other hosts. Returns 0; 1: later; -1 with e, and nothing made. */
static int make_room(struct job *j, struct err *e)
{
    int rc;

    if (job_outputs_make(j, e) != 0)
        return -1;
    rc = stage_make(j, e);
    if (rc != 0) {
        job_reserve_again(j);
        job_outputs_drop(j);
    }
    return rc;
}

/* To running, its ranks not told yet; or to its end, and it is not to be touched any more. */
static enum started start(struct job *j)
{
    struct err e;
    int prepared;

    assert(core_here() && j->record->state == JOB_queued);
    if (j->record->nothing) {
        if (run_nothing(j, &e) != 0)
            job_move(j, JOB_failed, &e);
        return ENDED;
    }
    prepared = resident_prepare(j, &e);
    if (prepared == 0 && stage_skips(j->record)) {
        if (run_nothing(j, &e) != 0)
            job_move(j, JOB_failed, &e);
        return ENDED;
    }
    if (prepared == 0)
        prepared = workers_prepare(j, &e);
    if (prepared == 0)
        prepared = make_room(j, &e);
    if (prepared > 0)
        return BLOCKED;
    if (prepared < 0) {
        if ((e.code == ERR_arena_full || e.code == ERR_device_full) && room_may_come() &&
            !job_outputs_too_large(j) && !stage_too_large(j))
            return BLOCKED;
        job_move(j, JOB_failed, &e);
        return ENDED;
    }
    reset_attempt(j);
    resident_hold(j, true);
    job_move(j, JOB_running, NULL);
    if (!j->attempt_stored)
        record_attempt(j);
    j->attempt_stored = false;
    j->timer.fire = run_timed_out;
    core_timer_set(&j->timer, clock_us() + j->record->timeout_us);
    return STARTED;
}

/* Small jobs are mostly overhead, and share it. */
static bool may_share(const struct job *j)
{
    const struct job_record *r = j->record;
    uint64_t size = dtypes[r->dtype].size_bytes;

    return !j->alone && !j->stage && r->mask == MASK_NONE &&
           shape_count(&r->in_shape) * size <= LIMIT_BATCH_BYTES &&
           shape_count(&r->out_shape) * size <= LIMIT_BATCH_BYTES;
}

enum job_begun job_begin(struct job *j)
{
    struct job *batch[LIMIT_BATCH_JOBS], *next = j;
    uint32_t n = 0;

    do {
        enum started what = start(next);

        if (what == BLOCKED && n == 0)
            return JOB_BLOCKED;
        if (what == BLOCKED)
            break;
        if (what == STARTED)
            batch[n++] = next;
    } while (n > 0 && n < LIMIT_BATCH_JOBS && may_share(batch[0]) &&
             (next = scheduler_follower(batch[0])) && may_share(next));
    if (n == 0)
        return JOB_BEGUN;
    if (batch[0]->stage) {
        workers_take(batch, n);
        stage_send(batch[0]);
        return JOB_BEGUN;
    }
    for (uint32_t i = 0; i < n && n > 1; i++)
        batch[i]->batched = true;
    failpoint("sched.before_run");
    workers_run(batch, n);
    failpoint("sched.after_run");
    return JOB_BEGUN;
}

/* ---- end ---- */

static void keep_reason(struct job *j, const struct err *why)
{
    if (!j->why)
        j->why = malloc(sizeof *j->why);
    if (j->why)
        *j->why = *why;
}

static void attempt_over(struct job *j);

/* Its ranks know that it is over, or never heard of it; or they have to be told. */
static void stop_ranks(struct job *j)
{
    if (!stage_waits(j)) {
        workers_cancel(j);
        return;
    }
    workers_untake(j);
    j->pending = 0;
    attempt_over(j);
}

void job_stop_run(struct job *j, enum job_state end, const struct err *why)
{
    if (!j->cancelling) {
        j->cancelling = true;
        j->end = end;
        keep_reason(j, why);
    }
    stop_ranks(j);
}

static void succeed(struct job *j)
{
    struct err e;

    failpoint("sched.before_record");
    j->record->outputs = calloc(j->record->n, sizeof *j->record->outputs);
    if (j->record->outputs) {
        job_move(j, JOB_succeeded, NULL);
        return;
    }
    err_set(&e, ERR_no_memory, "the outputs of %u ranks", j->record->n);
    job_outputs_drop(j);
    job_move(j, JOB_failed, &e);
}

/* The job goes back to its place, and runs when its ranks are there: alone, so that it suffers from
 * no other, nor any other from it. */
static void run_again(struct job *j)
{
    j->spared += !j->crashed;
    j->alone |= j->batched;
    if (j->crashed && j->record->attempts - j->spared >= LIMIT_ATTEMPTS) {
        job_move(j, JOB_failed, j->why);
        return;
    }
    job_count_retry();
    job_reserve_again(j);
    job_move(j, JOB_queued, NULL);
}

/* Every rank has answered or is confirmed dead: nobody writes into the outputs any more. */
static void attempt_over(struct job *j)
{
    bool complete = j->done == j->record->n && !stage_waits(j);

    if (complete && stage_fetch(j))
        return;
    core_timer_clear(&j->timer);
    resident_hold(j, false);
    stage_drop(j);
    if (complete) { /* also when a CANCEL came too late */
        succeed(j);
    } else {
        job_outputs_drop(j);
        if (j->cancelling)
            job_move(j, j->end, j->why);
        else
            run_again(j);
    }
    scheduler_freed();
    scheduler_next();
}

void job_staged(struct job *j, const struct err *why)
{
    if (!why && j->pending > 0) {
        workers_tell(&j, 1);
        return;
    }
    if (why) {
        keep_reason(j, why);
        j->done = 0; /* what the ranks have made is lost */
        j->cancelling = why->code == ERR_arena_full;
        j->end = JOB_failed;
        j->again = j->crashed = !j->cancelling;
    }
    if (j->pending > 0)
        workers_untake(j);
    j->pending = 0;
    attempt_over(j);
}

void job_rank_away(struct job *j)
{
    if (stage_waits(j) && !stage_sends(j))
        return; /* all have done their part; what comes back may come still */
    if (!j->cancelling)
        j->again = true;
    stop_ranks(j);
}

/* The job, and the group rank, whose live attempt this answer belongs to; NULL when it is late. */
static struct job *take_answer(uint64_t seq, uint32_t attempt, uint32_t world_rank, uint32_t *rank)
{
    struct job *j = job_find_seq(seq);

    assert(core_here());
    if (j && j->record->state == JOB_running && j->record->attempts == attempt) {
        for (uint32_t i = 0; i < j->record->n; i++) {
            if (j->record->ranks[i] != world_rank || j->links[i].answered)
                continue;
            j->links[i].answered = true;
            j->pending--;
            *rank = i;
            return j;
        }
    }
    job_count_late();
    return NULL;
}

#define CLOCK_SLACK_NS 1000000 /* of the moments between which a rank can have been at it */

/* Puts a rank's times on our clock. Those that lie between its RUN and its DONE are on it already;
 * of another clock only the duration is true, and its end is when DONE came: late by its way. */
static void keep_times(struct job *j, struct job_rank_link *part, uint64_t start_ns,
                       uint64_t end_ns)
{
    uint64_t now = clock_ns(), sent = j->event_us * 1000;
    uint64_t took = end_ns > start_ns ? end_ns - start_ns : 0;

    if (start_ns + CLOCK_SLACK_NS < sent || start_ns + took > now + CLOCK_SLACK_NS)
        start_ns = now - took;
    part->start_ns = start_ns;
    part->end_ns = start_ns + took;
    if (part->start_ns < j->first_start_ns)
        j->first_start_ns = part->start_ns;
    if (part->end_ns > j->last_end_ns)
        j->last_end_ns = part->end_ns;
}

void job_rank_done(uint64_t seq, uint32_t attempt, uint32_t world_rank, uint64_t start_ns,
                   uint64_t end_ns)
{
    uint32_t rank;
    struct job *j = take_answer(seq, attempt, world_rank, &rank);

    if (!j)
        return;
    j->done++;
    keep_times(j, &j->links[rank], start_ns, end_ns);
    if (j->pending == 0)
        attempt_over(j);
}

/* This rank's part will not be: nor then the attempt. */
static void give_up(struct job *j)
{
    if (j->pending > 0)
        stop_ranks(j);
    else
        attempt_over(j);
}

void job_rank_failed(uint64_t seq, uint32_t attempt, uint32_t world_rank, const struct err *why)
{
    uint32_t rank;
    struct job *j = take_answer(seq, attempt, world_rank, &rank);
    bool news = j && !j->cancelling && !j->again; /* else it only says that it was stopped */

    if (news && (j->batched || why->code == ERR_aborted)) {
        j->again = true; /* whose fault it was, is not known */
    } else if (news) {
        struct err e;

        err_set(&e, ERR_worker_failed, "rank %u: %s", rank, why->detail);
        err_rank(&e, rank);
        j->cancelling = true;
        j->end = JOB_failed;
        keep_reason(j, &e);
    }
    if (news)
        give_up(j);
    else if (j && j->pending == 0)
        attempt_over(j);
}

void job_rank_lost(uint64_t seq, uint32_t attempt, uint32_t world_rank, const char *how)
{
    uint32_t rank;
    struct job *j = take_answer(seq, attempt, world_rank, &rank);

    if (!j)
        return;
    if (!j->cancelling) {
        struct err e;

        err_set(&e, ERR_worker_crashed,
                "the worker of rank %u ended in each of %u runs, the last time by %s", rank,
                j->record->attempts - j->spared, how);
        err_rank(&e, rank);
        keep_reason(j, &e);
        j->again = j->crashed = true;
        give_up(j);
    } else if (j->pending == 0) {
        attempt_over(j);
    }
}
