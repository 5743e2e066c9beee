/* job_table.c - the unfinished jobs: by id, by place in the global order, by age; how many of each.
 */
#include "server/call.h"
#include "server/events.h"
#include "server/job_parts.h"
#include "server/promise.h"
#include "server/scheduler.h"
#include "server/stage.h"
#include "schema/clock.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS (1u << 16) /* three jobs a bucket at LIMIT_UNFINISHED_JOBS */

static struct {
    struct job **by_id, **by_seq;
    struct job *oldest, *newest; /* by id */
    uint64_t last_seq, retain_us;
    uint32_t unfinished; /* those being recorded for the first time too */
    bool draining;       /* queued jobs stay queued */
    bool drained;        /* and running ones are not waited for */
} table;

/* Written by the core, read by any thread. */
static struct {
    _Atomic uint64_t shown[JOB_STATE_COUNT]; /* unfinished: now; terminal: since start */
    _Atomic uint64_t retried, late, ending;
} counts;

static void add(_Atomic uint64_t *count, int64_t change)
{
    atomic_fetch_add_explicit(count, (uint64_t)change, memory_order_relaxed);
}

static uint64_t get(_Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

int job_table_init(uint64_t retain_us, struct err *e)
{
    table = (typeof(table)){.retain_us = retain_us};
    for (int s = 0; s < JOB_STATE_COUNT; s++)
        atomic_store(&counts.shown[s], 0);
    atomic_store(&counts.retried, 0);
    atomic_store(&counts.late, 0);
    atomic_store(&counts.ending, 0);
    table.by_id = calloc(BUCKETS, sizeof(struct job *));
    table.by_seq = calloc(BUCKETS, sizeof(struct job *));
    if (!table.by_id || !table.by_seq) {
        job_table_fini();
        return err_set(e, ERR_no_memory, "the job table");
    }
    return 0;
}

void job_table_fini(void)
{
    while (table.oldest) {
        struct job *j = table.oldest;

        core_timer_clear(&j->timer);
        job_leave(j);
        job_count_out(j->record->owner);
        job_free(j);
    }
    call_fini();
    free(table.by_id);
    free(table.by_seq);
    table.by_id = table.by_seq = NULL;
}

/* ---- one job ---- */

struct job *job_new(struct job_record *record, struct tensor **inputs, struct err *e)
{
    struct job *j = calloc(1, sizeof *j + record->n * sizeof j->links[0]);

    if (!j) {
        err_set(e, ERR_no_memory, "a job of %u ranks", record->n);
        return NULL;
    }
    j->record = record;
    j->inputs = inputs;
    j->shown = record->state;
    add(&counts.shown[j->shown], 1);
    return j;
}

void job_free(struct job *j)
{
    stage_drop(j);
    if (!job_state_terminal(j->shown))
        add(&counts.shown[j->shown], -1);
    while (j->promised)
        promise_leave(j->promised);
    promises_drop(j);
    job_unreserve(j);
    job_outputs_drop(j);
    job_inputs_drop(j);
    job_kept_drop(j);
    job_results_drop(j->results, j->record->n);
    record_free(j->record);
    free(j->why);
    free(j);
}

static struct job **id_bucket(const struct id *id)
{
    uint64_t low;

    memcpy(&low, id->b + 8, sizeof low);
    return &table.by_id[low * 0x9e3779b97f4a7c15u >> 48 & (BUCKETS - 1)]; /* Fibonacci hashing */
}

static struct job **seq_bucket(uint64_t seq)
{
    return &table.by_seq[seq & (BUCKETS - 1)];
}

/* Lists are by id, so that a page's cursor means the same in memory and in the database. Ids come
 * nearly in order: the walk from the newest is a step or two. */
static void age_insert(struct job *j)
{
    struct job *after = table.newest;

    while (after && memcmp(after->record->id.b, j->record->id.b, sizeof j->record->id.b) > 0)
        after = after->prev_all;
    j->prev_all = after;
    j->next_all = after ? after->next_all : table.oldest;
    *(after ? &after->next_all : &table.oldest) = j;
    *(j->next_all ? &j->next_all->prev_all : &table.newest) = j;
}

void job_enter(struct job *j)
{
    struct job **by_id = id_bucket(&j->record->id), **by_seq;

    j->seq = ++table.last_seq;
    by_seq = seq_bucket(j->seq);
    j->next_id = *by_id;
    *by_id = j;
    j->next_seq = *by_seq;
    *by_seq = j;
    age_insert(j);
}

void job_leave(struct job *j)
{
    struct job **at;

    for (at = id_bucket(&j->record->id); *at != j; at = &(*at)->next_id)
        ;
    *at = j->next_id;
    for (at = seq_bucket(j->seq); *at != j; at = &(*at)->next_seq)
        ;
    *at = j->next_seq;
    *(j->prev_all ? &j->prev_all->next_all : &table.oldest) = j->next_all;
    *(j->next_all ? &j->next_all->prev_all : &table.newest) = j->prev_all;
}

struct job *job_find(const struct id *id)
{
    struct job *j = *id_bucket(id);

    while (j && !id_equal(&j->record->id, id))
        j = j->next_id;
    return j;
}

struct job *job_find_seq(uint64_t seq)
{
    struct job *j = *seq_bucket(seq);

    while (j && j->seq != seq)
        j = j->next_seq;
    return j;
}

struct job_record *job_snapshot(const struct job *j)
{
    struct job_record *r = record_copy(j->record);

    if (r && r->state != j->shown) { /* its end is not recorded yet */
        free(r->error);
        free(r->outputs);
        free(r->kept);
        free(r->times);
        r->error = NULL;
        r->outputs = r->kept = NULL;
        r->times = NULL;
        r->state = j->shown;
        r->finished_us = r->total_us = 0;
    }
    if (r && j->held)
        promises_name(j, r);
    return r;
}

struct job_record *job_copy(const struct id *id)
{
    const struct job *j = job_find(id);

    assert(core_here());
    return j ? job_snapshot(j) : NULL;
}

/* ---- all of them ---- */

uint32_t job_list(const struct id *before, bool (*keep)(const struct job_record *, void *),
                  void *arg, struct job_record **out, uint32_t max)
{
    uint32_t n = 0;

    assert(core_here());
    for (const struct job *j = table.newest; j && n < max; j = j->prev_all) {
        bool ending = j->record->state != j->shown; /* keep() must not see that */

        if (!id_is_zero(before) && memcmp(j->record->id.b, before->b, sizeof before->b) >= 0)
            continue;
        if (!ending && !keep(j->record, arg))
            continue;
        out[n] = job_snapshot(j);
        if (out[n] && ending && !keep(out[n], arg))
            record_free(out[n]);
        else if (out[n])
            n++;
    }
    return n;
}

uint64_t job_retain_us(void)
{
    return table.retain_us;
}

bool job_stuck(const struct job *j)
{
    return table.drained || (table.draining && (j->record->state == JOB_queued || j->held));
}

static void answer_stuck(void)
{
    for (struct job *j = table.oldest; j; j = j->next_all) {
        if (job_stuck(j))
            job_waits_answer(j);
    }
}

void job_drain(void)
{
    assert(core_here());
    table.draining = true;
    scheduler_drain();
    call_drain();
    answer_stuck();
}

void job_drain_waits(void)
{
    assert(core_here());
    table.drained = true;
    answer_stuck();
}

/* ---- counts ---- */

int job_count_in(struct account *owner, struct err *e)
{
    if (table.draining)
        return err_set(e, ERR_draining, "the service is stopping and takes no new jobs");
    if (table.unfinished >= LIMIT_UNFINISHED_JOBS)
        return err_set(e, ERR_too_many_jobs,
                       "%u jobs are unfinished, and no more are taken; wait for some to end",
                       table.unfinished);
    if (account_take(owner, USE_jobs, 1, e) != 0)
        return -1;
    table.unfinished++;
    return 0;
}

void job_count_out(struct account *owner)
{
    account_give_back(owner, USE_jobs, 1);
    table.unfinished--;
}

void job_show(struct job *j, enum job_state s)
{
    add(&counts.shown[j->shown], -1);
    add(&counts.shown[s], 1);
    j->shown = s;
    job_tell(j);
}

void job_tell(const struct job *j)
{
    if (events_wanted())
        events_job(job_snapshot(j));
}

void job_count_retry(void)
{
    add(&counts.retried, 1);
}

void job_count_late(void)
{
    add(&counts.late, 1);
}

void job_count_ending(int change)
{
    add(&counts.ending, change);
}

bool job_idle(void)
{
    return get(&counts.ending) == 0 && get(&counts.shown[JOB_running]) == 0;
}

void job_counts(struct job_counts *out)
{
    *out = (struct job_counts){
        .waiting = get(&counts.shown[JOB_waiting]),
        .queued = get(&counts.shown[JOB_queued]),
        .running = get(&counts.shown[JOB_running]),
        .succeeded = get(&counts.shown[JOB_succeeded]),
        .failed = get(&counts.shown[JOB_failed]),
        .cancelled = get(&counts.shown[JOB_cancelled]),
        .retried = get(&counts.retried),
        .late = get(&counts.late),
    };
}

/* ---- recovery ---- */

/* Gives a stored job the place it had. Durations go on from the wall clock: the old process's
 * monotonic time is gone. The subtraction may pass below zero, and wraps back in every difference.
 */
static struct job *restore(struct job_record *record, struct tensor **inputs, struct err *e)
{
    struct job *j = job_new(record, inputs, e);
    uint64_t wall = clock_wall_us();

    if (!j)
        return NULL;
    j->spared = record->attempts; /* whatever ended them: it was not seen that a worker died */
    j->event_us = clock_us();
    j->received_at_us = j->event_us - (wall > record->received_us ? wall - record->received_us : 0);
    table.unfinished++;
    account_force(j->record->owner, USE_jobs, 1);
    job_enter(j);
    return j;
}

static bool takes_promises(const struct job_record *r, struct tensor *const *inputs)
{
    for (uint32_t i = 0; inputs && i < r->n; i++) {
        if (inputs[i] && inputs[i]->promise)
            return true;
    }
    return false;
}

int job_restore(struct job_record *record, struct tensor **inputs, struct err *e)
{
    struct job *j;

    record->state = takes_promises(record, inputs) ? JOB_waiting : JOB_queued;
    j = restore(record, inputs, e);
    if (!j) {
        for (uint32_t i = 0; inputs && i < record_needs(record); i++)
            tensor_unref(inputs[i]);
        free(inputs);
        record_free(record);
        return -1;
    }
    job_reserve_again(j); /* not of one that ends at once: its calls may have said no shape yet */
    if (record->state == JOB_queued)
        scheduler_add(j);
    return 0;
}

void job_restore_waiting(void)
{
    for (struct job *j = table.oldest; j; j = j->next_all) {
        if (j->record->state == JOB_waiting)
            promises_restore(j);
    }
}

int job_restore_failed(struct job_record *record, const struct err *why, struct err *e)
{
    struct job *j;

    record->state = JOB_queued;
    j = restore(record, NULL, e);
    if (!j) {
        record_free(record);
        return -1;
    }
    job_move(j, JOB_failed, why);
    return 0;
}

/* ---- for tests ---- */

static int check_one(const struct job *j, struct err *e)
{
    const struct job_record *r = j->record;
    uint32_t answered = 0;

    for (uint32_t i = 0; i < r->n; i++)
        answered += j->links[i].answered;
    if (job_find(&r->id) != j || job_find_seq(j->seq) != j)
        return err_set(e, ERR_internal, "it is not in the tables");
    if (j->held && (r->state != JOB_waiting || j->awaits == 0))
        return err_set(e, ERR_internal, "it awaits %u inputs, and is not held", j->awaits);
    if (j->place.queued != (r->state == JOB_queued))
        return err_set(e, ERR_internal, "its queues disagree with its state");
    if (r->state == JOB_running &&
        (j->pending != r->n - answered || j->pending == 0 || !j->outputs))
        return err_set(e, ERR_internal, "it runs, and waits for %u of %u ranks", j->pending, r->n);
    if (r->state == JOB_succeeded && (!r->outputs || !j->outputs || r->error))
        return err_set(e, ERR_internal, "it succeeded without outputs");
    if ((r->state == JOB_failed || r->state == JOB_cancelled) && !r->error)
        return err_set(e, ERR_internal, "it ended without a reason");
    if (!job_state_terminal(r->state) && j->shown != r->state)
        return err_set(e, ERR_internal, "it is shown as %s", job_state_name(j->shown));
    return 0;
}

int job_check(struct err *e)
{
    const struct job *last = NULL;
    uint32_t n = 0;

    for (const struct job *j = table.oldest; j; last = j, j = j->next_all, n++) {
        char id[ID_TEXT];

        if (j->prev_all != last || check_one(j, e) != 0)
            return err_context(e, "job %s, %s", id_format('j', &j->record->id, id),
                               job_state_name(j->record->state));
    }
    if (n > table.unfinished)
        return err_set(e, ERR_internal, "%u jobs, and %u counted", n, table.unfinished);
    return scheduler_check(e);
}
