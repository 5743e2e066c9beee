/* call_gather.c - the calls of one job from the first to the last, and what becomes of those that
 * never make one. */
#include "server/backward.h"
#include "server/call_parts.h"
#include "server/job_parts.h"
#include "server/metrics.h"
#include "server/rank_list.h"
#include "server/scheduler.h"
#include "server/group.h"
#include "schema/clock.h"

#include <stdlib.h>
#include <string.h>

/* ---- those that are over, for the ranks that have not come to them ---- */

static struct {
    struct gather *oldest, *newest;
    uint32_t n;
} kept;

void gather_keep_not(struct gather *g)
{
    if (!g->older && !g->newer && kept.oldest != g)
        return;
    *(g->older ? &g->older->newer : &kept.oldest) = g->newer;
    *(g->newer ? &g->newer->older : &kept.newest) = g->older;
    g->older = g->newer = NULL;
    kept.n--;
}

static void forget_oldest(void)
{
    struct gather *g = kept.oldest;
    struct series *s = g->series;

    if (s->forgotten <= g->turn)
        s->forgotten = g->turn + 1;
    gather_tell_forgotten(g);
    gather_free(g);
}

void gather_keep(struct gather *g)
{
    g->older = kept.newest;
    *(g->older ? &g->older->newer : &kept.oldest) = g;
    kept.newest = g;
    if (++kept.n > LIMIT_CALLS_BEHIND)
        forget_oldest();
}

void gather_pass(struct gather *g, uint32_t rank, struct call_key *key, struct job_wait *w)
{
    g->came[rank] = true;
    g->n_came++;
    gather_tell_late(g, rank, key, w);
    if (g->n_came == g->wanted && !g->job)
        gather_free(g);
}

/* ---- the end of a job that never ran ---- */

void gather_end(struct gather *g, enum job_state to, const struct err *why)
{
    core_timer_clear(&g->deadline);
    metrics_call_closed(g->wanted - g->n_came);
    g->over = true;
    g->series->open--;
    job_move(g->job, to, why); /* recorded as it stands, by call_end_fill */
}

void call_end_fill(const struct job *j, struct store_job_finish *m)
{
    const struct gather *g = j->gather;
    uint8_t *came;

    if (!g || !g->over)
        return;
    m->unrun = true;
    m->keys = gather_keys(g, &m->n_keys);
    if (g->n_came == g->wanted || g->series->gone)
        return;
    came = calloc(g->series->n, sizeof *came);
    for (uint32_t i = 0; came && i < g->series->n; i++)
        came[i] = g->came[i];
    m->came = came;
}

void call_end_free(struct store_job_finish *m)
{
    free((void *)(uintptr_t)m->keys);
    free((void *)(uintptr_t)m->came);
}

/* Nothing of the job is left but its place. */
static void job_is_gone(struct gather *g)
{
    struct series *s = g->series;

    g->job = NULL;
    if (!g->over || g->n_came == g->wanted || s->gone) {
        gather_free(g);
        return;
    }
    for (uint32_t i = 0; i < s->n; i++)
        call_key_remove(g->caller[i].key);
    free(g->caller);
    g->caller = NULL;
    gather_keep(g);
}

void call_job_gone(struct job *j)
{
    if (j->gather)
        job_is_gone(j->gather);
}

void call_cancel(struct job *j, const struct err *why)
{
    struct gather *g = j->gather;

    if (g->whole && !g->over)
        g->cancelled = true; /* it is on its way to the queue, and is cancelled there */
    else if (!g->over)
        gather_end(g, JOB_cancelled, why);
}

static void set_abandoned(struct job *j, uint32_t rank, bool abandoned)
{
    if (j->gather && j->gather->caller)
        j->gather->caller[rank].abandoned = abandoned;
}

void call_abandoned(struct job *j, uint32_t rank)
{
    set_abandoned(j, rank, true);
}

void call_claimed(struct job *j, uint32_t rank)
{
    set_abandoned(j, rank, false);
}

void gather_start_anew(struct gather *g, uint32_t rank)
{
    struct err why;
    bool old = g->came[rank];

    if (g->whole || g->over)
        return;
    for (uint32_t i = 0; i < g->series->n && !old; i++)
        old = g->came[i] && g->caller[i].abandoned;
    if (!old)
        return;
    err_set(&why, ERR_cancelled,
            "rank %u starts anew (rejoin), and this call was made before that: call again", rank);
    gather_end(g, JOB_cancelled, &why);
}

/* ---- the deadline ---- */

static bool has_come(const void *arg, uint32_t rank)
{
    const struct gather *g = arg;

    return g->came[rank];
}

static bool is_missing(const void *arg, uint32_t rank)
{
    const struct gather *g = arg;

    return series_wants(g->series, rank) && !g->came[rank];
}

static void too_late(struct core_timer *t)
{
    struct gather *g = CORE_OWNER(t, struct gather, deadline);
    char came[150], missing[150];
    uint32_t count = 0;
    struct err why;

    for (uint32_t i = 0; i < g->series->n; i++)
        count += is_missing(g, i);
    err_set(
        &why, ERR_ranks_missing,
        "call %llu of group %s waited %.1f s, and rank%s %s never came; these did: %s. Call again "
        "on every rank, with a longer timeout if they need it",
        (unsigned long long)g->turn, g->series->group,
        (double)(clock_us() - g->job->received_at_us) / 1e6, count == 1 ? "" : "s",
        rank_list(missing, sizeof missing, g->series->n, is_missing, g),
        rank_list(came, sizeof came, g->series->n, has_come, g));
    for (uint32_t i = 0; i < g->series->n; i++) {
        if (is_missing(g, i))
            err_rank(&why, i);
    }
    gather_end(g, JOB_failed, &why);
}

/* The earliest timeout of those who came is that of all. */
static void set_deadline(struct gather *g, uint64_t timeout_us)
{
    uint64_t at = clock_us() + timeout_us;

    if (g->deadline.slot && g->deadline.at_us <= at)
        return;
    core_timer_clear(&g->deadline);
    g->deadline.fire = too_late;
    core_timer_set(&g->deadline, at);
}

/* ---- all have come ---- */

/* There is no job, and no trace of one: the callers hear why. */
static void refuse_all(struct gather *g, const struct err *why)
{
    struct job *j = g->job;

    promises_refused(&j->promised, why);
    while (j->waits)
        job_wait_refuse(j->waits, why);
    j->gather = NULL;
    job_leave(j);
    job_count_out(j->record->owner);
    job_free(j);
    gather_free(g);
}

static void on_recorded(struct core_msg *m)
{
    struct gather *g = CORE_OWNER(m, struct gather, recorded);
    struct job *j = g->job;

    free((void *)(uintptr_t)g->insert.keys);
    g->insert.keys = NULL;
    if (g->failed) {
        struct err why = g->insert.msg.err;

        refuse_all(g, &why);
        return;
    }
    promises_wait(j);
    job_waits_told(j, UINT64_MAX, NULL);
    if (g->cancelled)
        job_cancel_now(j);
    scheduler_next();
}

/* Store thread. */
static void insert_done(struct store_msg *m, const struct err *e)
{
    struct gather *g = CORE_OWNER(m, struct gather, insert.msg);

    g->failed = e != NULL;
    if (e && e != &m->err)
        m->err = *e;
    g->recorded.run = on_recorded;
    core_post(&g->recorded);
}

/* Not one rank brought a gradient. */
static bool all_missing(const struct gather *g)
{
    bool all = true;

    for (uint32_t i = 0; i < g->series->n; i++)
        all &= !record_gives(g->job->record, i) || g->caller[i].missing;
    return all;
}

static void record(struct gather *g)
{
    struct job *j = g->job;
    struct err why;
    int left;

    core_timer_clear(&g->deadline);
    if (!id_is_zero(&j->record->parent) && all_missing(g))
        backward_nothing(j->record, j->inputs);
    if (!j->record->shaped)
        record_no_tensor(j->record);
    left = promises_take(j, &why);
    if (left < 0) {
        gather_end(g, JOB_failed, &why);
        return;
    }
    if (left > 0 && promises_circle(j)) {
        err_set(&why, ERR_input_failed,
                "the job waits for its own output: what an input of it takes depends on it");
        gather_end(g, JOB_failed, &why);
        return;
    }
    if (job_reserve(j, &why) != 0) {
        gather_end(g, JOB_failed, &why);
        return;
    }
    j->awaits = (uint32_t)left;
    g->whole = true;
    metrics_call_closed(0);
    store_job_insert_init(&g->insert);
    g->insert.record = j->record;
    g->insert.inputs = j->inputs;
    g->insert.key = "";
    g->insert.keys = gather_keys(g, &g->insert.n_keys);
    g->insert.replaces = g->known;
    g->insert.msg.done = insert_done;
    store_post(&g->insert.msg);
}

void gather_next(struct gather *g, uint64_t timeout_us)
{
    if (g->n_came == g->wanted)
        record(g);
    else
        set_deadline(g, timeout_us);
}

/* ---- when no more will come ---- */

static void end_open(struct gather *g, const struct err *why)
{
    if (!g->whole && !g->over)
        gather_end(g, JOB_cancelled, why);
    else if (!g->job)
        gather_free(g); /* nobody will come to it any more */
}

void call_group_gone(const char *name)
{
    struct err why;

    err_set(&why, ERR_cancelled, "the group was deleted");
    series_end(name);
    series_each(name, end_open, &why);
}

/* What nobody was told of is as if it had not been: after a restart it may come again. */
static void drain(struct gather *g, const struct err *why)
{
    if (g->whole || g->over)
        return;
    if (g->known)
        gather_end(g, JOB_failed, why + 1);
    else
        refuse_all(g, why);
}

void call_drain(void)
{
    struct err why[2]; /* for those whose call was never made, and for those who hear of it later */

    err_set(&why[0], ERR_draining,
            "the service stops before every rank has called: call again when it is back");
    err_set(&why[1], ERR_inputs_lost,
            "the service was stopped before every rank had called: call again");
    series_each(NULL, drain, why);
}

/* ---- recovery ---- */

int call_restore(const struct job_record *r, const uint8_t *came, struct err *e)
{
    static struct group group; /* large */
    struct series *s;
    struct gather *g;

    if (!r->group[0] || group_find(r->group, strlen(r->group), &group, NULL) != 0 ||
        group.n != r->n || memcmp(group.ranks, r->ranks, r->n * sizeof *r->ranks) != 0)
        return 0; /* nobody can come to it any more */
    s = series_of(r, e);
    if (!s)
        return -1;
    if (series_find(s, r->call_seq))
        return 0;
    g = gather_new(s, r->call_seq, &r->id, e);
    if (!g)
        return -1;
    free(g->caller);
    g->caller = NULL;
    g->over = g->known = true;
    s->open--;
    for (uint32_t i = 0; i < r->n; i++) {
        g->came[i] = came[i] != 0;
        g->n_came += came[i] != 0;
    }
    gather_keep(g);
    return 0;
}

void call_restored(void)
{
    series_restore();
}

void call_fini(void)
{
    series_fini();
    call_keys_fini();
}
